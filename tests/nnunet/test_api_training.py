"""Planning and training from Python: what the commands do, and nothing left behind."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import umamba
from toy import NAME, PLANS, read_json, write_toy_images
from umamba.cli.main import main
from umamba.nnunet.checkpoints import read_checkpoint
from umamba.nnunet.paths import VARIABLES, environment

SMALL = {"features": [4, 8], "patch_size": (8, 16, 16), "batch_size": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A toy data set below `root/raw`; nnU-Net's variables name folders that are not there."""
    root = tmp_path_factory.mktemp("api")
    write_toy_images(root / "source", n_cases=5)
    images, masks = str(root / "source/images"), str(root / "source/masks")
    made = ["dataset", NAME, "--images", images, "--masks", masks, "--raw", str(root / "raw")]
    assert main([*made, "--labels", "background=0", "big=1", "small=2"]) == 0
    elsewhere = {name: str(root / "elsewhere") for name in VARIABLES.values()}
    with environment(nnUNet_def_n_proc="1", nnUNet_n_proc_DA="0", **elsewhere):
        yield root
    assert not (root / "elsewhere").exists()


def folders(root: Path, name: str) -> umamba.Paths:
    return umamba.Paths(raw=root / "raw", root=root / name)


def state() -> tuple[Any, ...]:
    """What a call must leave as it was."""
    import nnunetv2.training.nnUNetTrainer.nnUNetTrainer  # noqa: F401 - whose import sets some

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    threads = torch.get_num_threads(), torch.backends.cudnn.benchmark
    return dict(os.environ), handlers, threads


@pytest.fixture(scope="module")
def planned(root: Path) -> umamba.PlanResult:
    return umamba.plan(dataset=901, model="umamba_bot", paths=folders(root, "one"), **SMALL)


def test_plans_are_those_of_the_command(
    root: Path, planned: umamba.PlanResult, capsys: pytest.CaptureFixture[str]
) -> None:
    there = root / "two"
    command = ["plan", "901", "--model", "umamba_bot", "--features", "4,8", "--batch-size", "2"]
    command += ["--patch-size", "8", "16", "16", "--raw", str(root / "raw"), "--json"]
    assert main([*command, "--preprocessed", str(there)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert planned.path == root / "one" / "nnUNet_preprocessed" / NAME / f"{PLANS}.json"
    assert planned.plans == read_json(planned.path) == read_json(there / NAME / f"{PLANS}.json")
    assert planned.plans_name == shown["plans_name"] == PLANS
    assert {name: row.to_dict() for name, row in planned.memory.items()} == json.loads(
        json.dumps(shown["configurations"])
    )
    assert planned.to_pandas()["configuration"].tolist() == list(planned.configurations)


def test_training_is_that_of_the_command_and_leaves_nothing_changed(
    root: Path, planned: umamba.PlanResult, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state()
    capsys.readouterr()
    result = umamba.train(
        dataset=901,
        configuration="3d_fullres",
        fold=0,
        model="umamba_bot",
        epochs=1,
        iterations=1,
        seed=3,
        device="cpu",
        paths=folders(root, "one"),
    )
    assert capsys.readouterr().out == ""
    assert state() == before
    command = ["train", "901", "3d_fullres", "0", "-p", PLANS, "--epochs", "1", "--iterations", "1"]
    where = ["--preprocessed", str(root / "one" / "nnUNet_preprocessed")]
    where += ["--results", str(root / "results")]
    assert main([*command, "--seed", "3", "-device", "cpu", "--json", *where]) == 0
    shown = json.loads(capsys.readouterr().out)
    weights, others = (
        read_checkpoint(Path(folder) / "checkpoint_final.pth")["network_weights"]
        for folder in (result.folder, shown["folder"])
    )
    assert result.folder.is_relative_to(root / "one" / "nnUNet_results")
    assert all(torch.equal(weights[name], others[name]) for name in others)
    assert result.dice == shown["dice"]
    assert result.mean_dice == shown["mean_dice"]
    assert result.dice.keys() == {"big", "small"}


def test_an_interrupt_is_one_in_python(root: Path, planned: umamba.PlanResult) -> None:
    before = state()
    with pytest.raises(KeyboardInterrupt, match="the limit of --hours"):
        umamba.train(
            dataset=901,
            configuration="3d_fullres",
            fold=1,
            model="umamba_bot",
            hours=1e-9,
            device="cpu",
            paths=folders(root, "one"),
        )
    assert state() == before


def test_from_a_thread_a_limit_of_hours_holds_without_signals(
    root: Path, planned: umamba.PlanResult
) -> None:
    said: list[BaseException] = []

    def work() -> None:
        try:
            umamba.train(
                dataset=901,
                configuration="3d_fullres",
                fold=2,
                model="umamba_bot",
                hours=1e-9,
                device="cpu",
                paths=folders(root, "one"),
            )
        except KeyboardInterrupt as error:
            said.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(said) == 1
    assert "hours" in str(said[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs: 0 is not a positive number"),
        ({"seed": -1}, "seed: -1 is not zero or a positive number"),
        ({"device": "tpu"}, "device: value 'tpu' does not exist; choose one of cpu, cuda, mps"),
        ({"model": "umamba_bt"}, "model: .* did you mean umamba_bot"),
        ({"model": None}, "plans_name or model is missing; give one of them"),
        ({"plans_name": PLANS}, "plans_name and model exclude each other"),
        ({"resume": True, "overwrite": True}, "resume and overwrite exclude each other"),
        ({"hours": "soon"}, "hours: 'soon' is not a positive number of hours"),
    ],
)
def test_keywords_are_checked_as_options_are(changes: dict[str, Any], message: str) -> None:
    asked = {"dataset": 4, "configuration": "2d", "fold": 0, "model": "umamba_bot"} | changes
    with pytest.raises(umamba.UMambaError, match=message):
        umamba.train(**asked)  # before anything is looked for


def test_trainers_are_trainers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from umamba.nnunet import trainers
    from umamba.nnunet.training import ext_trainer_folder, find_trainer

    monkeypatch.setenv("nnUNet_extTrainer", str(ext_trainer_folder()))
    for name in ("NestedSupervisionLoss", "environment", "__doc__", "CrashSafeTrainer"):
        with pytest.raises(umamba.UMambaError, match="does not exist"):
            find_trainer(name)
    assert find_trainer("nnUNetTrainerUMamba") is trainers.nnUNetTrainerUMamba
