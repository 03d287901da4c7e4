"""The demonstration from end to end, small; and its manners with folders."""

import json
import os
import shlex
from pathlib import Path

import pytest

from umamba.cli.main import build_parser
from umamba.demo.run import DemoRequest, DemoResult, Recipe, run_demo
from umamba.errors import ResumableInterruptError, UMambaError
from umamba.system.environment import environment

TINY = Recipe(n_training=5, n_held_out=1, features=(4, 8), batch_size=2, epochs=1, iterations=2)
USERS = {name: f"/nowhere/{name}" for name in ("nnUNet_raw", "nnUNet_preprocessed")}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    output = tmp_path_factory.mktemp("demo") / "tiny"
    with environment(nnUNet_def_n_proc="1", nnUNet_n_proc_DA="0", **USERS):
        result = run_demo(DemoRequest(output, device="cpu", recipe=TINY))
        assert {name: os.environ[name] for name in USERS} == USERS
    return result


@pytest.mark.nnunet
def test_leaves_a_complete_nnunet_tree_and_pictures(tiny: DemoResult) -> None:
    model = "nnUNet_results/Dataset001_Brain/nnUNetTrainerUMamba__nnUNetUMambaBotPlans__2d"
    for name in (
        "nnUNet_raw/Dataset001_Brain/dataset.json",
        "nnUNet_preprocessed/Dataset001_Brain/nnUNetUMambaBotPlans.json",
        f"{model}/fold_4/checkpoint_final.pth",
        "held_out/predictions/held_out_01.nii.gz",
    ):
        assert (tiny.output / name).is_file(), name
    assert tiny.pictures
    for picture in tiny.pictures.values():
        assert picture.stat().st_size > 20_000


@pytest.mark.nnunet
def test_result_is_written_and_readable(tiny: DemoResult) -> None:
    written = json.loads((tiny.output / "demo.json").read_text())
    assert written == tiny.to_dict()
    assert set(written["dice"]) == {"grey_matter", "white_matter", "mean"}
    assert written["dice_thresholds"]["mean"] > 0.5
    assert written["versions"]["nnunetv2"]
    table = tiny.to_table()
    assert f"{written['dice']['mean']:.3f}" in table
    assert str(tiny.pictures["segmentation"]) in table


@pytest.mark.nnunet
def test_commands_are_ones_that_we_have(tiny: DemoResult) -> None:
    script = (tiny.output / "commands.sh").read_text().splitlines()
    lines = [shlex.split(line)[1:] for line in script if line.startswith("umamba ")]
    assert [line[0] for line in lines] == ["dataset", "plan", "train", "predict"]
    for line in lines:
        build_parser().parse_args(line)


@pytest.fixture
def no_brain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load none, which takes a second, where nothing looks at it."""
    monkeypatch.setattr("umamba.demo.data.load_brain", lambda: None)


@pytest.mark.nnunet
@pytest.mark.usefixtures("no_brain")
def test_finished_demonstration_is_kept_unless_told_otherwise(tiny: DemoResult) -> None:
    with pytest.raises(UMambaError, match="finished demonstration; --overwrite"):
        run_demo(DemoRequest(tiny.output, device="cpu", recipe=TINY))
    assert (tiny.output / "demo.json").is_file()


def stop_here(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("no_brain")
@pytest.mark.parametrize("finished", [True, False])
def test_an_earlier_demonstration_is_removed_and_nothing_else(
    finished: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "nnUNet_raw" / "Dataset001_Brain"
    mine = tmp_path / "nnUNet_raw" / "Dataset002_Mine" / "imagesTr"
    for folder in (old, mine):
        folder.mkdir(parents=True)
    (tmp_path / ".umamba-demo").touch()
    (tmp_path / "notes.txt").write_text("mine")
    if finished:
        (tmp_path / "demo.json").write_text("{}")
    monkeypatch.setattr("umamba.demo.data.write_scans", stop_here)
    with pytest.raises(ResumableInterruptError):
        run_demo(DemoRequest(tmp_path, device="cpu", overwrite=finished))
    assert not old.exists()
    assert mine.is_dir()
    assert not (tmp_path / "demo.json").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.usefixtures("no_brain")
def test_folders_and_files_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    for output in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(UMambaError, match="is not a demonstration; give another --output"):
            run_demo(DemoRequest(output, device="cpu", overwrite=True))
    with pytest.raises(UMambaError, match="cannot use"):
        run_demo(DemoRequest(tmp_path / "thesis.tex" / "below", device="cpu"))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.slow
@pytest.mark.nnunet
def test_learns_what_thresholds_cannot(tmp_path: Path) -> None:
    result = run_demo(DemoRequest(tmp_path / "demo", device="cpu"))
    assert result.dice["mean"] >= 0.90
    assert result.dice["mean"] >= result.dice_thresholds["mean"] + 0.05
