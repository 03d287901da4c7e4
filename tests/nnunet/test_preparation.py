"""Damaged raw data are found before nnU-Net plans or preprocesses them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import SimpleITK
from nnunetv2.experiment_planning import plan_and_preprocess_api as nnunet_api

from plans_factory import stock_plans
from toy import NAME, folder_options, write_toy_images
from umamba.cli.main import main
from umamba.nnunet.paths import Paths
from umamba.nnunet.preparation import ensure_plans


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Raw data of three cases; nnU-Net's own work is stopped where it would begin."""
    write_toy_images(tmp_path / "source", n_cases=3)
    source = [f"--{kind}={tmp_path}/source/{kind}" for kind in ("images", "masks")]
    assert main(["dataset", NAME, *source, "--raw", str(tmp_path / "raw")]) == 0

    def begin(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(nnunet_api, "extract_fingerprint_dataset", begin)
    monkeypatch.setattr(nnunet_api, "preprocess_dataset", begin)
    return tmp_path


def plan(root: Path) -> int:
    return main(["plan", NAME, "--model", "umamba_bot", *folder_options(root)])


def train(root: Path) -> int:
    """Train with plans, but without preprocessed data."""
    folder = root / "preprocessed" / NAME
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_bytes((root / "raw" / NAME / "dataset.json").read_bytes())
    (folder / "nnUNetPlans.json").write_text(json.dumps(stock_plans()))
    command = ["train", NAME, "3d_fullres", "0", "-p", "nnUNetPlans", "-device", "cpu"]
    return main([*command, *folder_options(root)])


@pytest.mark.parametrize("command", [plan, train])
@pytest.mark.parametrize("file", ["imagesTr/case_1_0000.nii.gz", "labelsTr/case_1.nii.gz"])
def test_a_truncated_file_stops_planning_and_training(
    root: Path, command: Callable[[Path], int], file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / "raw" / NAME / file
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    assert command(root) == 2
    message = capsys.readouterr().err
    assert "1 problem; nothing was written" in message
    assert f"case case_1: {file}: the file is truncated" in message
    assert not list(root.rglob("*unfinished*"))
    assert not list(root.rglob("*fingerprint*"))


@pytest.mark.parametrize("command", [plan, train])
def test_what_nnunet_only_warns_of_stops_nothing(
    root: Path, command: Callable[[Path], int], capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(root / "raw" / NAME / "labelsTr" / "case_1.nii.gz")
    mask = SimpleITK.ReadImage(path)
    mask.SetOrigin((6.0, -3.0, 11.0))
    SimpleITK.WriteImage(mask, path)
    assert command(root) == 75
    assert f"checking the 3 cases of {root / 'raw' / NAME}" in capsys.readouterr().err


def test_raw_data_without_images_are_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (root / "raw" / NAME / "imagesTr").iterdir():
        path.unlink()
    (root / "raw" / NAME / "imagesTr").rmdir()
    assert plan(root) == 2
    assert "imagesTr does not exist; nnU-Net looks for images" in capsys.readouterr().err


def hide_a_case(raw: Path) -> str:
    (raw / "imagesTr" / "._case_0_0000.nii.gz").write_bytes(b"a copy by macOS")
    return "nnU-Net takes hidden files for cases: ._case_0_0000.nii.gz; delete them: find"


def shout(raw: Path) -> str:
    path = raw / "imagesTr" / "case_1_0000.nii.gz"
    path.rename(path.with_name("case_1_0000.NII.GZ"))
    return "nnU-Net overlooks it: file_ending in dataset.json is .nii.gz; rename it: mv "


def misorder(raw: Path) -> str:
    file = raw / "dataset.json"
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    description = json.loads(file.read_text()) | {"labels": labels, "regions_class_order": [2, 1]}
    file.write_text(json.dumps(description))
    return "nnU-Net would write 1 as 2, 2 as 1; write"


@pytest.mark.parametrize("spoil", [hide_a_case, shout, misorder])
def test_check_plan_and_train_say_the_same(
    root: Path, spoil: Callable[[Path], str], capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = spoil(root / "raw" / NAME)
    assert main(["check", NAME, "--raw", str(root / "raw")]) == 2
    assert wanted in capsys.readouterr().out
    for command in (plan, train):
        assert command(root) == 2
        assert wanted in capsys.readouterr().err
    assert not list(root.rglob("*unfinished*"))
    assert not list(root.rglob("*fingerprint*"))


@pytest.mark.parametrize("name", ["nnUNetPlans.json", "dataset_fingerprint.json"])
def test_what_a_kill_left_torn_is_planned_again(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    for step in ("extract_fingerprint_dataset", "plan_experiment_dataset"):
        monkeypatch.setattr(nnunet_api, step, lambda *_, of=step, **__: made.append(of))
    folder = root / "preprocessed" / NAME
    folder.mkdir(parents=True)
    torn = folder / name
    torn.write_text(json.dumps(stock_plans())[:40])
    paths = Paths(root / "raw", root / "preprocessed", None)
    assert ensure_plans(NAME, "nnUNetPlans", paths)
    assert made == ["extract_fingerprint_dataset", "plan_experiment_dataset"]
    assert not torn.exists()
    said = capsys.readouterr().err
    assert f"{torn} is damaged, and is made again" in said
    assert f"checking the 3 cases of {root / 'raw' / NAME}" in said
