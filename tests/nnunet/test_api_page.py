"""The examples of docs/reference/python-api.md run, in their order, on a toy data set."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import umamba
from conftest import REPOSITORY
from toy import write_toy_images
from umamba import api
from umamba.cli.main import main
from umamba.errors import ResumableInterruptError
from umamba.nnunet.paths import VARIABLES, environment
from umamba.nnunet.requests import TrainingRequest
from umamba.results import TrainingResult

PAGE = REPOSITORY / "docs" / "reference" / "python-api.md"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page's examples have made."""
    root = tmp_path_factory.mktemp("page")
    write_toy_images(root, n_cases=5)
    where = ["--images", str(root / "images"), "--masks", str(root / "masks")]
    made = ["dataset", "Dataset004_Toy", *where, "--raw", str(root / "data" / "nnUNet_raw")]
    assert main([*made, "--labels", "background=0", "big=1", "small=2"]) == 0
    elsewhere = {name: str(root / "elsewhere") for name in VARIABLES.values()}
    names: dict[str, Any] = {}
    with environment(nnUNet_def_n_proc="1", nnUNet_n_proc_DA="0", **elsewhere):
        before, here = dict(os.environ), Path.cwd()
        os.chdir(root)
        try:
            for example in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
                exec(example, names)
        finally:
            os.chdir(here)
        names |= {"changed": before.items() ^ dict(os.environ).items(), "root": root}
    return names


def test_the_examples_run_and_leave_nothing_changed(names: dict[str, Any]) -> None:
    libraries = {"KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "TORCHINDUCTOR_CACHE_DIR"}
    libraries |= {"ME_DSL_JIT_LIBTCC_PATH"}  # at their first import
    assert {name for name, _ in names["changed"]} <= libraries
    assert not (names["root"] / "elsewhere").exists()
    assert names["trained"].folder.is_relative_to(names["root"] / "data" / "nnUNet_results")


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
        assert names["network"](torch.zeros(1, 2, 32, 32, 32)).shape == (1, 3, 32, 32, 32)
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
