"""No kill, full disk or other model leaves an output folder whose files are not what it says."""

import errno
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import toy_process
from model_factory import write_image, write_model
from umamba.cli.main import main
from umamba.nnunet.prediction.record import model_identity
from umamba.system.file_lock import FileLock
from umamba.system.output_folders import OutputClaim

CASES = ("case_0", "case_1")
# Each step that changes a folder, where it is taken.
STEPS = [
    pytest.param("os.fsync", True, marks=pytest.mark.slow),
    ("pathlib.Path.replace", True),
    ("os.fsync", False),
    ("os.link", False),
]


@pytest.fixture
def two_models(tmp_path: Path) -> Path:
    write_model(tmp_path / "model", folds=2)
    for seed, case_id in enumerate(CASES):  # of about one patch
        write_image(tmp_path / "images" / f"{case_id}.nii.gz", (8, 14, 14), seed=seed)
    return tmp_path


def command(root: Path, fold: int, *more: str, output: str = "out") -> list[str]:
    fixed = ["predict", "-m", str(root / "model"), "-i", str(root / "images"), "-device", "cpu"]
    return [*fixed, "--disable_tta", "-o", str(root / output), "-f", str(fold), *more]


def segmentations(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.nii.gz")}


def is_killed_at(moment: str, call: int, arguments: list[str]) -> bool:
    """Run a command in a child that dies at the n-th call of a function, if there are so many."""
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1), os.dup2(null, 2)
        toy_process.die_at(moment, call)
        os._exit(main(arguments))
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or os.waitstatus_to_exitcode(status) == 0
    return killed


@pytest.mark.parametrize(("moment", "overwrites"), STEPS)
def test_after_any_kill_the_same_model_completes_and_another_is_refused(
    moment: str, overwrites: bool, two_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = two_models
    wanted = {}
    for fold in (0, 1):
        assert main(command(root, fold, output=f"alone_{fold}")) == 0
        wanted[fold] = segmentations(root / f"alone_{fold}")
    assert wanted[0] != wanted[1]
    options = ["--overwrite"] if overwrites else []
    for call in range(1, 20):
        out = f"{moment}_{call}"
        if overwrites:
            assert main(command(root, 0, output=out)) == 0
        if not is_killed_at(moment, call, command(root, 1, *options, output=out)):
            break
        there = segmentations(root / out)
        claimed = (root / out / "umamba_prediction.json").is_file()
        assert claimed or not there
        first_is_owner = claimed and main(command(root, 0, output=out)) == 0
        if claimed and not first_is_owner:
            assert "were made with another model or other settings" in capsys.readouterr().err
            assert segmentations(root / out) == there
            assert main(command(root, 1, output=out)) == 0
            assert segmentations(root / out) == wanted[1]
        elif overwrites:  # nothing was replaced yet
            assert segmentations(root / out) == there == wanted[0]
        else:
            assert main(command(root, 1, output=out)) == 0
            assert segmentations(root / out) == wanted[1]
        assert not list((root / out).glob(".*"))
    else:
        pytest.fail("the command never came to its end")
    assert call > 1


def test_a_folder_without_a_record_is_nobodys(
    two_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = two_models / "out"
    out.mkdir()
    (out / "case_0.nii.gz").write_bytes(b"another program's")
    (out / "mean.nii.gz").write_bytes(b"mine")
    assert main(command(two_models, 0)) == 2
    said = capsys.readouterr().err
    assert "holds files of 1 of the cases (case_0) that are not recorded as this model's" in said
    assert "give another -o, or --overwrite" in said
    assert sorted(segmentations(out)) == ["case_0.nii.gz", "mean.nii.gz"]
    assert main(command(two_models, 0, "--overwrite")) == 0
    assert "also holds files of 1 other case(s) that this model did not make" in (
        capsys.readouterr().err
    )
    assert (out / "mean.nii.gz").read_bytes() == b"mine"
    (two_models / "images" / "case_1.nii.gz").rename(two_models / "images" / "mean.nii.gz")
    assert main(command(two_models, 0)) == 2  # though the folder is this model's
    assert "(mean) that are not recorded as this model's" in capsys.readouterr().err
    assert (out / "mean.nii.gz").read_bytes() == b"mine"


def test_a_description_of_something_else_is_not_replaced(
    two_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = two_models / "out"
    out.mkdir()
    (out / "dataset.json").write_text('{"labels": "of a data set"}')
    for options in ([], ["--overwrite"]):
        assert main(command(two_models, 0, *options)) == 2
        assert "dataset.json describes something other than" in capsys.readouterr().err
    assert (out / "dataset.json").read_text() == '{"labels": "of a data set"}'
    (out / "predict_from_raw_data_args.json").write_text("{}")  # so it was stock nnU-Net
    assert main(command(two_models, 0, "--overwrite")) == 0


def test_probabilities_of_a_replaced_model_do_not_stay(two_models: Path) -> None:
    out = two_models / "out"
    assert main(command(two_models, 0, "--save_probabilities")) == 0
    assert (out / "case_0.npz").is_file()
    assert main(command(two_models, 1, "--overwrite")) == 0
    assert not list(out.glob("*.npz"))
    assert not list(out.glob("*.pkl"))


def test_a_case_that_fails_while_others_are_replaced_is_not_taken_for_ours(
    two_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(two_models, 0)) == 0
    old = segmentations(two_models / "out")["case_0.nii.gz"]
    image = two_models / "images" / "case_0.nii.gz"
    whole = image.read_bytes()
    image.write_bytes(whole[:3000])
    assert main(command(two_models, 1, "--overwrite")) == 1
    assert segmentations(two_models / "out")["case_0.nii.gz"] == old
    image.write_bytes(whole)
    capsys.readouterr()
    assert main(command(two_models, 1)) == 0
    assert "1 predicted, 1 already there" in capsys.readouterr().out
    assert main(command(two_models, 1, output="alone")) == 0
    assert segmentations(two_models / "out") == segmentations(two_models / "alone")


def test_a_full_disk_at_the_record_leaves_nothing_published(
    two_models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    assert main(command(two_models, 0)) == 2
    assert "(No space left on device); existing files are whole" in capsys.readouterr().err
    assert not list((two_models / "out").iterdir())


def test_what_appears_meanwhile_is_kept(
    two_models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stake = OutputClaim.stake

    def late(claim: OutputClaim, case_id: str, names: Any) -> None:
        stake(claim, case_id, names)
        if case_id == "case_0":
            (two_models / "out" / "case_0.nii.gz").write_bytes(b"quicker")

    monkeypatch.setattr(OutputClaim, "stake", late)
    assert main(command(two_models, 0)) == 1
    assert (
        "case_0.nii.gz appeared while the case was being predicted, and was kept"
        in capsys.readouterr().err
    )
    assert (two_models / "out" / "case_0.nii.gz").read_bytes() == b"quicker"
    assert (two_models / "out" / "case_1.nii.gz").is_file()


def test_a_folder_that_is_taken_over_gets_no_further_files(
    two_models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settle = OutputClaim.settle

    def overtaken(claim: OutputClaim, case_id: str) -> None:
        settle(claim, case_id)
        record = two_models / "out" / "umamba_prediction.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | {"weights_sha256": "0"}))

    monkeypatch.setattr(OutputClaim, "settle", overtaken)
    assert main(command(two_models, 0)) == 2
    assert "was taken over by another prediction in the meantime" in capsys.readouterr().err
    assert list(segmentations(two_models / "out")) == ["case_0.nii.gz"]


def claim_of(folder: Path, weights: str, *, overwrite: bool) -> OutputClaim:
    identity = {"weights_sha256": weights}
    return OutputClaim(folder, identity, endings=[".nii.gz"], required=1, overwrite=overwrite)


def put(claim: OutputClaim, folder: Path, case_id: str) -> None:
    """Publish a case."""
    name = f"{case_id}.nii.gz"
    claim.stake(case_id, [name])
    (folder / name).write_text("segmentation")
    claim.settle(case_id)


def recorded(folder: Path) -> tuple[set[str], set[str]]:
    record = json.loads((folder / "umamba_prediction.json").read_text())
    return set(record["others"]), set(record["replacing"])


def test_parts_that_replace_another_models_files_keep_one_record(tmp_path: Path) -> None:
    cases = {"a", "b", "c", "d"}
    old = claim_of(tmp_path, "1", overwrite=False)
    assert old.find_done(cases) == set()
    for case_id in cases | {"e"}:
        put(old, tmp_path, case_id)
    parts = [claim_of(tmp_path, "2", overwrite=True) for _ in range(2)]
    parts[0].find_done({"a", "c"})
    parts[1].find_done({"b", "d"})
    put(parts[0], tmp_path, "a")
    assert recorded(tmp_path) == ({"b", "d", "e"}, {"c"})
    put(parts[1], tmp_path, "b")
    put(parts[0], tmp_path, "c")
    assert recorded(tmp_path) == ({"e"}, {"d"})
    again = claim_of(tmp_path, "2", overwrite=False)  # as after a kill
    assert again.find_done(cases) == {"a", "b", "c"}
    put(again, tmp_path, "d")
    assert recorded(tmp_path) == ({"e"}, set())
    assert claim_of(tmp_path, "2", overwrite=False).find_done(cases) == cases


def test_a_part_that_changes_the_record_meanwhile_is_waited_for(tmp_path: Path) -> None:
    put(claim_of(tmp_path, "1", overwrite=False), tmp_path, "a")
    claim = claim_of(tmp_path, "1", overwrite=True)
    claim.find_done({"a"})
    lock = FileLock(tmp_path / ".umamba_prediction.lock")
    thread = threading.Thread(target=put, args=(claim, tmp_path, "a"))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    assert recorded(tmp_path) == (set(), set())
    lock.release()
    thread.join(10)
    assert recorded(tmp_path) == (set(), set())
    assert not list(tmp_path.glob(".*"))


def test_parts_predict_every_case_once_into_one_folder(
    two_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = two_models
    write_image(root / "images" / "case_2.nii.gz", (8, 14, 14), seed=2)
    (root / "images" / "case_3.nii.gz").write_bytes(b"torn")
    (root / "images" / "case_4.mha").touch()  # the model does not read it
    assert main(command(root, 0, output="whole")) == 1
    capsys.readouterr()
    for part_id, (code, counts) in enumerate([(1, "2 predicted"), (1, "1 predicted")]):
        part = ["-num_parts", "2", "-part_id", str(part_id)]
        assert main(command(root, 0, *part)) == code
        out, err = capsys.readouterr()
        assert counts in out
        assert ("case_4.mha" in err) == (part_id == 0)
        assert ("case case_3 was left out" in err) == (part_id == 1)
    assert segmentations(root / "out") == segmentations(root / "whole")
    assert len(segmentations(root / "out")) == 3
    assert main(command(root, 0, "-num_parts", "9", "-part_id", "8")) == 0
    assert "0 predicted, 0 already there, 0 left out" in capsys.readouterr().out
    assert main(command(root, 0, "-num_parts", "4", "-part_id", "3")) == 1  # the torn one only
    assert main(command(root, 0, "-num_parts", "2", "-part_id", "2")) == 2
    assert "-part_id 2 is not one of the parts, which are numbered from 0 to 1" in (
        capsys.readouterr().err
    )


class Predictor:
    """As much of nnU-Net's predictor as tells models apart."""

    tile_step_size, use_mirroring, allowed_mirroring_axes, network = 0.5, True, (0, 1), None

    def __init__(self, weights: dict[str, torch.Tensor], **plans: Any) -> None:
        self.list_of_parameters = [weights]
        self.configuration_manager = type("C", (), {"configuration": {"spacing": [1, 1]} | plans})
        self.plans_manager = type("P", (), {"plans": {"transpose_forward": [0, 1]}})
        self.dataset_json = {"labels": {"background": 0, "a": 1}, "file_ending": ".png"}


def test_whatever_changes_numbers_tells_models_apart(tmp_path: Path) -> None:
    weights = {"w": torch.ones(3), "n": torch.tensor(2), "h": torch.ones(2, dtype=torch.bfloat16)}
    base = model_identity(Predictor(weights), None)
    assert model_identity(Predictor(dict(reversed(weights.items()))), None) == base
    assert model_identity(Predictor(weights, batch_size=7), None) == base  # of training only
    for name, changed in {
        "weights_sha256": model_identity(Predictor(weights | {"n": torch.tensor(3)}), None),
        "plans_sha256": model_identity(Predictor(weights, spacing=[1, 2]), None),
        "first_stage": model_identity(Predictor(weights), tmp_path),
    }.items():
        assert [key for key, value in changed.items() if base[key] != value] == [name]


def test_a_second_stage_waits_for_the_first_to_be_of_one_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "model", "3d_cascade_fullres")
    for case_id in ("a", "b"):
        write_image(tmp_path / "images" / f"{case_id}_0000.nii.gz")
        mask = write_image(tmp_path / "first" / f"{case_id}.nii.gz")
        _as_mask(mask)
    record = {"weights_sha256": "1", "others": [], "replacing": ["b"]}
    (tmp_path / "first" / "umamba_prediction.json").write_text(json.dumps(record))
    where = ["-m", str(tmp_path / "model"), "-i", str(tmp_path / "images"), "-device", "cpu"]
    stage = ["-prev_stage_predictions", str(tmp_path / "first"), "-o", str(tmp_path / "out")]
    assert main(["predict", *where, *stage, "--disable_tta"]) == 1
    said = capsys.readouterr().err
    assert "case b was left out: " in said
    assert "is not from the first stage's model" in said
    assert list(segmentations(tmp_path / "out")) == ["a.nii.gz"]


def _as_mask(path: Path) -> None:
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    mask = SimpleITK.GetImageFromArray((SimpleITK.GetArrayFromImage(image) > 0).astype(np.uint8))
    mask.CopyInformation(image)
    SimpleITK.WriteImage(mask, str(path))
