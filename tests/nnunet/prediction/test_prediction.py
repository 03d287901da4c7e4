"""Where predictions go, what comes of bad cases and of interrupts, and that outputs are whole."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK

from model_factory import OBLIQUE, write_image, write_model
from toy import write_toy_images
from umamba.cli.main import main
from umamba.errors import UMambaError
from umamba.nnunet.prediction.folders import predict
from umamba.nnunet.prediction.loading import PredictionOptions
from umamba.system.output_folders import Workshop
from umamba.system.path_names import check_writable

FORKSERVER = multiprocessing.get_context("forkserver")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_model(tmp_path / "model")
    write_toy_images(tmp_path, n_cases=2)
    return tmp_path / "images"


def command(tmp_path: Path, *more: str) -> list[str]:
    model, images, output = (str(tmp_path / name) for name in ("model", "images", "out"))
    fixed = ["predict", "-m", model, "-i", images, "-o", output, "-device", "cpu"]
    return [*fixed, "--disable_tta", *more]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_only_what_describes_the_segmentations_is_kept(images: Path, tmp_path: Path) -> None:
    assert main(command(tmp_path)) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    described = ["dataset.json", "plans.json", "umamba_prediction.json"]
    assert names == ["case_0.nii.gz", "case_1.nii.gz", *described]


def test_a_rerun_does_what_is_missing_and_overwrite_all(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path)) == 0
    first = contents(tmp_path / "out")
    (tmp_path / "out" / "case_1.nii.gz").unlink()
    (tmp_path / "out" / "case_0.nii.gz").write_bytes(b"mine")
    capsys.readouterr()
    assert main(command(tmp_path, "--json")) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["predicted"], report["skipped"]) == (["case_1"], ["case_0"])
    assert (tmp_path / "out" / "case_0.nii.gz").read_bytes() == b"mine"
    assert main(command(tmp_path, "--overwrite")) == 0
    assert contents(tmp_path / "out") == first


def test_segmentations_of_other_models_are_not_added_to(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path)) == 0
    assert main(command(tmp_path, "-step_size", "1")) == 2
    assert "(step_size differs); give another -o" in capsys.readouterr().err
    write_model(tmp_path / "model", folds=2)
    assert main(command(tmp_path, "-f", "1")) == 2
    assert "(weights_sha256 differs); give another -o, or --overwrite" in capsys.readouterr().err


def test_folds_and_checkpoints_that_are_not_there_are_answered_with_those_that_are(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "model", folds=2)
    assert main(command(tmp_path, "-f", "7")) == 2
    assert "the fold '7' does not exist; choose one of 0, 1" in capsys.readouterr().err
    final = tmp_path / "model" / "fold_1" / "checkpoint_final.pth"
    final.rename(final.with_name("checkpoint_best.pth"))
    assert main(command(tmp_path, "-f", "1")) == 2
    said = capsys.readouterr().err
    assert "fold_1 has no checkpoint_final.pth, but checkpoint_best.pth: finish" in said
    assert "or give -chk checkpoint_best.pth" in said
    assert main(command(tmp_path, "-f", "1", "-chk", "checkpoint_best.pth")) == 0
    (tmp_path / "model" / "fold_0" / "checkpoint_final.pth").unlink()
    assert main(command(tmp_path)) == 2
    said = capsys.readouterr().err
    assert "model has no fold with a checkpoint_final.pth, but checkpoint_best.pth: finish" in said


def test_bad_cases_are_named_and_the_rest_is_predicted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "model", channel_names={"0": "T1", "1": "T2"})
    folder = tmp_path / "images"
    for case in ("good", "torn", "nan", "inf", "shape", "single", "triple", "empty", "zero"):
        for channel in range(2):
            write_image(folder / f"{case}_{channel:04d}.nii.gz", seed=channel)
    torn = folder / "torn_0001.nii.gz"
    torn.write_bytes(torn.read_bytes()[:3000])
    for case, value in (("nan", np.nan), ("inf", np.inf)):
        array = np.ones((13, 30, 26), np.float32)
        array[1, 2, 3] = value
        write_array(folder / f"{case}_0001.nii.gz", array)
    write_image(folder / "shape_0001.nii.gz", shape=(13, 30, 25))
    (folder / "single_0001.nii.gz").unlink()
    write_image(folder / "triple_0002.nii.gz")
    for channel in range(2):
        write_array(folder / f"empty_{channel:04d}.nii.gz", np.zeros((13, 30, 26), np.float32))
    (folder / "zero_0000.nii.gz").write_bytes(b"")
    assert main(command(tmp_path, "--json")) == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["predicted"] == ["good"]
    reasons = {
        "torn": "truncated",
        "nan": "1 NaN",
        "inf": "1 infinite",
        "shape": "shape (13, 30, 25)",
        "single": "give single_0000.nii.gz, single_0001.nii.gz",
        "triple": "3 channel(s), but the model was trained with 2: T1, T2",
        "empty": "the image is empty: all voxels are 0",
        "zero": "the file is empty; replace the file",
    }
    assert set(report["failed"]) == set(reasons)
    for case, reason in reasons.items():
        assert reason in report["failed"][case]
        assert f"case {case} was left out: " in captured.err
    assert [path.name for path in (tmp_path / "out").glob("*.nii.gz")] == ["good.nii.gz"]


def write_array(path: Path, array: np.ndarray) -> None:
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing((1.1, 0.9, 1.3))
    image.SetOrigin((5.25, -3.1, 11.7))
    SimpleITK.WriteImage(image, str(path))


def test_a_network_that_fails_on_one_case_stops_no_other(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    infer = nnUNetPredictor._internal_maybe_mirror_and_predict
    calls = []

    def fail_first(self: Any, x: Any) -> Any:
        calls.append(x)
        return infer(self, x) * float("inf") if len(calls) == 1 else infer(self, x)

    monkeypatch.setattr(nnUNetPredictor, "_internal_maybe_mirror_and_predict", fail_first)
    assert main(command(tmp_path, "--json")) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["predicted"] == ["case_1"]
    assert "the network's output is not finite" in report["failed"]["case_0"]


def test_a_disk_that_fills_up_ends_the_run_and_leaves_whole_files(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("umamba.nnunet.prediction.cases.write_segmentation", full)
    assert main(command(tmp_path)) == 2
    message = capsys.readouterr().err
    assert "case case_0 cannot be written" in message
    assert "(No space left on device); existing files are whole: make room" in message
    assert list((tmp_path / "out").iterdir()) == []


def _predict(arguments: list[str], said: Path) -> None:
    """Predict in a session of its own, as a user's process does."""
    os.setsid()
    multiprocessing.set_start_method("fork", force=True)
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
    sys.exit(main(arguments))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_whole_outputs_and_no_process(
    number: signal.Signals, tmp_path: Path
) -> None:
    write_model(tmp_path / "model")
    for i in range(40):
        write_image(tmp_path / "images" / f"c{i:02d}_0000.nii.gz", shape=(40, 60, 60), seed=i)
    said = tmp_path / "said"
    process = FORKSERVER.Process(target=_predict, args=(command(tmp_path), said))
    process.start()
    done = tmp_path / "out" / "c00.nii.gz"
    limit = time.monotonic() + 100
    while not done.exists() and process.is_alive() and time.monotonic() < limit:
        time.sleep(0.02)
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 75, said.read_text()
    assert "predicted; run the same command again to predict the rest" in said.read_text()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert not list((tmp_path / "out").glob(".umamba*"))
    assert done.exists()
    for path in (tmp_path / "out").glob("*.nii.gz"):
        assert SimpleITK.ReadImage(str(path)).GetSize() == (60, 60, 40)


def test_what_dead_runs_left_is_cleared_away(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = socket.gethostname()
    (tmp_path / f".umamba-partial-{dead.pid}@{here}" / "outputs").mkdir(parents=True)
    (tmp_path / f".umamba-partial-{os.getppid()}@{here}").mkdir()
    (tmp_path / f".umamba-partial-{dead.pid}@another-host").mkdir()
    with Workshop(tmp_path) as folder:
        assert folder.is_dir()
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == sorted(
        [f".umamba-partial-{os.getppid()}@{here}", f".umamba-partial-{dead.pid}@another-host"]
    )


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_the_geometry_is_exactly_that_of_the_image(ending: str, tmp_path: Path) -> None:
    write_model(tmp_path / "model", file_ending=ending)
    spacing = (0.7, 1 / 3, 1.1)
    path = tmp_path / "images" / f"a_0000{ending}"
    write_image(path, spacing=spacing, direction=OBLIQUE)
    assert main(command(tmp_path)) == 0
    image, result = (SimpleITK.ReadImage(str(p)) for p in (path, tmp_path / "out" / f"a{ending}"))
    assert image.GetSpacing() == result.GetSpacing()
    assert image.GetOrigin() == result.GetOrigin()
    assert image.GetDirection() == result.GetDirection()
    assert np.allclose(result.GetDirection(), OBLIQUE, atol=1e-6)


@pytest.mark.parametrize(("qform", "sform"), [(1, 0), (0, 2), (1, 4), (0, 0)])
def test_both_transforms_of_nifti_are_kept(qform: int, sform: int, tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    path = write_image(tmp_path / "images" / "a_0000.nii.gz", direction=OBLIQUE)
    given = nibabel.load(path)
    given = nibabel.Nifti1Image(given.get_fdata(dtype=np.float32), given.affine)
    given.set_qform(given.affine, qform)
    given.set_sform(given.affine + np.diag([1e-6, 0, 0, 0]), sform)
    nibabel.save(given, path)
    assert main(command(tmp_path)) == 0
    result = nibabel.load(tmp_path / "out" / "a.nii.gz")
    expected = nibabel.load(path)
    assert np.array_equal(result.header["pixdim"][:4], expected.header["pixdim"][:4])
    for name in ("qform_code", "sform_code", "quatern_b", "qoffset_x", "srow_x"):
        assert np.array_equal(result.header[name], expected.header[name]), name
    assert np.array_equal(result.affine, expected.affine)
    assert result.get_fdata().shape == expected.shape


def test_the_images_are_never_overwritten(images: Path, tmp_path: Path) -> None:
    before = contents(images)
    (tmp_path / "same").symlink_to(images)
    for output in (images, images / ".." / "images", tmp_path / "same"):
        with pytest.raises(UMambaError, match="is also the folder of -i, whose files would be"):
            predict(tmp_path, images, output, PredictionOptions())
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "case_0.nii.gz").symlink_to(images / "case_0.nii.gz")
    with pytest.raises(UMambaError, match=r"case_0.nii.gz is a link to .*would be overwritten"):
        predict(tmp_path / "model", linked, images, PredictionOptions())
    assert contents(images) == before


def test_the_first_stages_predictions_are_never_overwritten(images: Path, tmp_path: Path) -> None:
    options = PredictionOptions(previous_stage=tmp_path / "masks")
    with pytest.raises(UMambaError, match="is also the folder of -prev_stage_predictions"):
        predict(tmp_path, images, tmp_path / "masks", options)


@pytest.mark.parametrize("below", [".", "sub", "sub/sub"])
def test_an_output_that_is_a_file_is_named_before_the_model_is_loaded(
    below: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "afile").touch()
    command = ["predict", "-m", "/no/model", "-i", str(images), "-device", "cpu"]
    assert main([*command, "-o", str(tmp_path / "afile" / below)]) == 2
    message = capsys.readouterr().err
    assert f"nothing can be written to {tmp_path / 'afile' / below} (Not a directory)" in message
    assert "give another folder as -o, or make this one writable" in message


def test_a_folder_is_tried_where_it_would_be_made_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_writable(tmp_path / "new" / "newer", "-o")
    assert list(tmp_path.iterdir()) == []

    def refuse(*_: object, dir: Path, **__: object) -> None:  # noqa: A002 - tempfile's name
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    with pytest.raises(UMambaError, match=r"nothing can be written to .*new \(Permission denied\)"):
        check_writable(tmp_path / "new", "-o")


@pytest.mark.parametrize("case", ["scan.nii", "scan.NII", "scan.hdr", "scan.img"])
def test_a_case_whose_name_has_a_second_ending_is_predicted(case: str, tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    write_image(tmp_path / "images" / "plain_0000.nii.gz")
    image = (tmp_path / "images" / "plain_0000.nii.gz").read_bytes()
    (tmp_path / "images" / f"{case}_0000.nii.gz").write_bytes(image)
    assert main(command(tmp_path)) == 0
    got, want = (tmp_path / "out" / f"{name}.nii.gz" for name in (case, "plain"))
    assert got.read_bytes() == want.read_bytes()
    assert len(list((tmp_path / "out").glob("*.nii*"))) == 2


@pytest.mark.parametrize(
    ("order", "code", "said"),
    [
        ([1, 2], 0, ""),
        (["1", "2"], 0, ""),  # as nnU-Net takes it
        ([2, 1], 0, 'would write 1 as 2, 2 as 1; write "regions_class_order": [1, 2]'),
        ([1], 2, "regions_class_order is [1], but must be 2 values"),
        (None, 2, "regions_class_order is None, but must be 2 values"),
    ],
)
def test_an_order_of_regions_that_cannot_be_right_is_named(
    order: list[Any] | None, code: int, said: str, tmp_path: Path, capsys: Any
) -> None:
    regions = {"background": 0, "whole": [1, 2], "core": [2]}
    write_model(tmp_path / "model", labels=regions, regions_class_order=[1, 2])
    file = tmp_path / "model" / "dataset.json"
    description = json.loads(file.read_text()) | {"regions_class_order": order}
    file.write_text(json.dumps(description))
    write_image(tmp_path / "images" / "case_0000.nii.gz")
    assert main(command(tmp_path)) == code
    messages = capsys.readouterr().err
    assert said in messages
    assert ("regions_class_order" in messages) == bool(said)


def test_each_kind_of_header_conflict_is_said_and_no_impossible_voxel_size_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "model")
    quarter = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for case, code in (("a", 1), ("b", 2)):
        path = tmp_path / "images" / f"{case}_0000.nii"
        write_image(path)
        image = nibabel.Nifti1Image(nibabel.load(path).get_fdata(dtype=np.float32) + 0, None)
        image.set_qform(np.eye(4), 1)
        image.set_sform(quarter, code)
        nibabel.save(image, path)
    for case, size in (("endless", np.inf), ("flat", 1e-9)):
        content = bytearray((tmp_path / "images" / "a_0000.nii").read_bytes())
        content[84:88] = np.float32(size).tobytes()  # pixdim[2]
        (tmp_path / "images" / f"{case}_0000.nii").write_bytes(content)
    assert main(command(tmp_path, "--json")) == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["predicted"] == ["a", "b"]
    assert "the voxel size (1, inf, 1); it is read as 1: write" in report["failed"]["endless"]
    assert "is smaller than a voxel of the network's grid" in report["failed"]["flat"]
    for form in ("sform", "qform"):
        assert captured.err.count(f"the qform (-1, 0, 0, 0, -1, 0, 0, 0, 1); the {form} is") == 1
