"""The Python API does what the commands do, as its page shows, and leaves nothing behind."""

import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import umamba
from reference_cases import REPOSITORY
from toy import PLANS, read_json, write_toy_images
from umamba import api
from umamba.cli.functions_page import functions_as_markdown
from umamba.cli.main import main
from umamba.errors import ResumableInterruptError
from umamba.nnunet.checkpoints.files import read_checkpoint
from umamba.nnunet.paths import VARIABLES
from umamba.nnunet.requests import TrainingRequest
from umamba.results import TrainingResult
from umamba.system.environment import environment

PAGE = REPOSITORY / "docs" / "reference" / "python-api.md"
NAME = "Dataset004_Toy"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the page's examples have made, while nnU-Net's variables name other folders."""
    import nnunetv2.training.nnUNetTrainer.nnUNetTrainer  # noqa: F401 - whose import sets some

    root = tmp_path_factory.mktemp("api")
    write_toy_images(root, n_cases=5)
    where = ["--images", str(root / "images"), "--masks", str(root / "masks")]
    made = ["dataset", NAME, *where, "--raw", str(root / "data" / "nnUNet_raw")]
    assert main([*made, "--labels", "background=0", "big=1", "small=2"]) == 0
    elsewhere = {name: str(root / "elsewhere") for name in VARIABLES.values()}
    names: dict[str, Any] = {}
    with environment(nnUNet_def_n_proc="1", nnUNet_n_proc_DA="0", **elsewhere):
        before, here = state(), Path.cwd()
        os.chdir(root)
        try:
            for example in re.findall(
                r"(?<!-->\n)```python\n(.*?)```", PAGE.read_text(), re.DOTALL
            ):
                exec(example, names)
        finally:
            os.chdir(here)
        names |= {"root": root, "before": before, "after": state()}
        yield names
    assert not (root / "elsewhere").exists()


def state() -> tuple[Any, ...]:
    """What a call must leave as it was."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    threads = torch.get_num_threads(), torch.backends.cudnn.benchmark
    return dict(os.environ), handlers, threads


def test_the_page_of_functions_is_current() -> None:
    page = (PAGE.parent / "python-functions.md").read_text(encoding="utf-8")
    assert page == functions_as_markdown(), (
        "run python -m umamba.cli.functions_page > docs/reference/python-functions.md"
    )
    assert all(f"## umamba.{name}\n" in page for name in umamba.__all__ if name != "__version__")


@pytest.mark.slow
def test_the_examples_leave_nothing_changed(names: dict[str, Any]) -> None:
    assert names["after"] == names["before"]
    assert names["trained"].folder.is_relative_to(names["root"] / "data" / "nnUNet_results")


def test_plans_are_those_of_the_command(
    names: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    planned, there = names["planned"], names["root"] / "two" / NAME
    there.mkdir(parents=True)
    for file in ("dataset.json", "dataset_fingerprint.json", "nnUNetPlans.json"):
        shutil.copy(planned.path.parent / file, there / file)
    command = ["plan", "4", "--model", "umamba_bot", "--features", "4,8", "--batch-size", "2"]
    command += ["--patch-size", "8", "16", "16", "--preprocessed", str(there.parent), "--json"]
    assert main(command) == 0
    shown = json.loads(capsys.readouterr().out)
    assert planned.path == names["paths"].preprocessed / NAME / f"{PLANS}.json"
    assert planned.plans == read_json(planned.path) == read_json(there / f"{PLANS}.json")
    assert planned.plans_name == shown["plans_name"] == PLANS
    memory = {name: row.to_dict() for name, row in planned.memory.items()}
    assert json.loads(json.dumps(memory)) == shown["configurations"]
    assert planned.to_pandas()["configuration"].tolist() == list(planned.configurations)


def test_training_is_that_of_the_command(
    names: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    result = names["trained"]
    command = ["train", "4", "3d_fullres", "0", "-p", PLANS, "--epochs", "1", "--iterations", "2"]
    where = ["--preprocessed", str(names["paths"].preprocessed)]
    where += ["--results", str(names["root"] / "results")]
    assert main([*command, "--seed", "1", "--json", *where]) == 0
    shown = json.loads(capsys.readouterr().out)
    weights, others = (
        read_checkpoint(Path(folder) / "checkpoint_final.pth")["network_weights"]
        for folder in (result.folder, shown["folder"])
    )
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in others)
    assert result.dice == shown["dice"]
    assert result.mean_dice == shown["mean_dice"]
    assert result.dice.keys() == {"big", "small"}


def test_an_interrupt_leaves_nothing_changed_and_hours_hold_in_a_thread(
    names: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    before, said = state(), []
    asked = {"dataset": 4, "configuration": "3d_fullres", "fold": 1, "model": "umamba_bot"}

    def work() -> None:
        try:
            umamba.train(**asked, hours=1e-9, paths=names["paths"])
        except KeyboardInterrupt as error:
            said.append(str(error))

    work()
    thread = threading.Thread(target=work)  # where there are no signals
    thread.start()
    thread.join()
    assert [text.partition(";")[0].removeprefix("interrupted by ") for text in said] == [
        "the limit of --hours"
    ] * 2
    assert state() == before
    assert capsys.readouterr().out == ""


def test_predicted_and_evaluated_as_the_commands_do(
    names: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    root, cases = names["root"], [f"case_{i}" for i in range(5)]
    assert names["predicted"].predicted == cases
    assert names["predicted"].failed == {}
    model, images = str(names["trained"].folder.parent), str(root / "images")
    again = ["predict", "-m", model, "-i", images, "-o", str(root / "again"), "--disable_tta"]
    assert main(again) == 0
    for case in cases:
        ours, theirs = (root / name / f"{case}.nii.gz" for name in ("predictions", "again"))
        assert ours.read_bytes() == theirs.read_bytes()
    csv = root / "scores.csv"
    command = ["evaluate", str(root / "again"), str(root / "masks"), "--workers", "1"]
    labels = ["--labels", "big=1,2", "small=2", "--tolerance", "small=2", "--csv", str(csv)]
    assert main([*command, *labels]) == 0
    capsys.readouterr()
    table = names["table"].set_index(["case", "label"])
    scores = pd.read_csv(csv).set_index(["case", "label"])
    shared = ["dice", "nsd", "volume_error"]
    pd.testing.assert_frame_equal(table[shared].astype(float), scores[shared].astype(float))


def test_networks_and_their_costs(names: dict[str, Any]) -> None:
    with torch.no_grad():
        assert names["network"](torch.zeros(1, 2, 64, 64, 64)).shape == (1, 3, 64, 64, 64)
        assert names["same_as_planned"](torch.zeros(1, 1, 8, 16, 16)).shape == (1, 3, 8, 16, 16)
    (row,) = names["costs"].to_dict("records")
    built = umamba.build("umamba_bot", configuration="2d", deep_supervision=True)
    assert row["parameters"] == sum(p.numel() for p in built.parameters())
    with pytest.raises(umamba.UMambaError, match=r"did you mean umamba_bot\?"):
        umamba.build("umamba_bt")
    with pytest.raises(umamba.UMambaError, match="configuration '3d' is not in plans"):
        umamba.build(names["planned"].plans, configuration="3d")
    with pytest.raises(umamba.UMambaError, match="2 or more classes"):
        umamba.build("umamba_bot", num_classes=1)


def test_every_public_name_is_on_the_page_and_lazy() -> None:
    text = PAGE.read_text()
    unnamed = {"__version__"}
    assert {name for name in umamba.__all__ if name not in text} <= unnamed
    code = (
        "import sys, umamba; [getattr(umamba, n) for n in ('Paths', 'train', 'compare', 'build', "
        "'TrainingResult')]; print({'torch', 'nnunetv2', 'pandas', 'matplotlib'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_signature_and_docstring_are_those_of_the_options() -> None:
    parameters = inspect.signature(umamba.train).parameters
    assert parameters["epochs"].annotation == int | None
    assert parameters["epochs"].kind is inspect.Parameter.KEYWORD_ONLY
    assert inspect.signature(umamba.train).return_annotation is TrainingResult
    told = str(umamba.train.__doc__)
    assert "iterations: Training iterations in all" in told
    assert "without `epochs`" in told  # not: without --epochs
    with pytest.raises(TypeError, match="epohcs"):
        umamba.train(dataset=4, configuration="2d", fold=0, model="unetpp", epohcs=3)


def test_an_interrupt_that_can_be_continued_is_no_exit() -> None:
    def interrupted(_: TrainingRequest) -> TrainingResult:
        message = "--resume goes on"
        raise ResumableInterruptError(message)

    train = api._function("train", TrainingRequest, interrupted)
    with pytest.raises(umamba.UserInterruptError, match="--resume goes on") as raised:
        train(dataset=4, configuration="2d", fold=0, model="umamba_bot")
    assert isinstance(raised.value, KeyboardInterrupt)


def test_a_table_without_pandas_and_in_jupyter(monkeypatch: pytest.MonkeyPatch) -> None:
    result = TrainingResult(Path("fold_0"), {"<b>": 0.5, "lost": float("nan")}, 0.5)
    shown = result._repr_html_()
    assert "<td>&lt;b&gt;</td><td>0.5</td>" in shown
    assert "<td>lost</td><td></td>" in shown
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(umamba.UMambaError, match="pip install pandas"):
        result.to_pandas()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs: 0 is not a positive number"),
        ({"seed": -1}, "seed: -1 is not zero or a positive number"),
        ({"device": "tpu"}, "device: value 'tpu' does not exist; .*choose one of cpu, cuda"),
        ({"model": "umamba_bt"}, "model: .* did you mean umamba_bot"),
        ({"model": None}, "plans_name or model is missing; give one of them"),
        ({"plans_name": PLANS}, "plans_name and model exclude each other"),
        ({"resume": True, "overwrite": True}, "resume and overwrite exclude each other"),
        ({"hours": 0.0}, "hours: 0.0 is not a positive number of hours"),
    ],
)
def test_keywords_are_checked_as_options_are(changes: dict[str, Any], message: str) -> None:
    asked = {"dataset": 4, "configuration": "2d", "fold": 0, "model": "umamba_bot"} | changes
    with pytest.raises(umamba.UMambaError, match=message):
        umamba.train(**asked)  # before anything is looked for


def test_trainers_are_trainers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from umamba.nnunet.training import trainers
    from umamba.nnunet.training.folds import ext_trainer_folder, find_trainer

    monkeypatch.setenv("nnUNet_extTrainer", str(ext_trainer_folder()))
    for name in ("NestedSupervisionLoss", "environment", "__doc__", "CrashSafeTrainer"):
        with pytest.raises(umamba.UMambaError, match="does not exist"):
            find_trainer(name)
    assert find_trainer("nnUNetTrainerUMamba") is trainers.nnUNetTrainerUMamba
