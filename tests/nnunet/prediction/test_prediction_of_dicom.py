"""Prediction from DICOM: whose series are segmented, under which names, and what stays secret."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dicom_files import PATIENT, edit, write_series
from model_factory import write_model
from umamba.cli.main import main
from umamba.dicom.finding import find_series
from umamba.images.files import read_image

UID = "1.2.826.0.1.3680043.9.7777"
STORED = np.random.default_rng(2).normal(100, 40, (13, 30, 26)).astype(np.int16)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model")


def command(tmp_path: Path, model: Path, *more: str) -> list[str]:
    fixed = ["predict", "-m", str(model), "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    return [*fixed, "-device", "cpu", "--disable_tta", *more]


def written(folder: Path) -> bytes:
    """Return everything below a folder, names and contents, unpacked where it is packed."""
    parts = []
    for path in sorted(folder.rglob("*")):
        parts.append(path.relative_to(folder).as_posix().encode())
        if path.is_file():
            content = path.read_bytes()
            parts.append(gzip.decompress(content) if path.suffix == ".gz" else content)
    return b"\n".join(parts)


def test_a_study_is_predicted_on_its_own_grid_and_nothing_tells_whose_it_is(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "in" / "Mustermann" / "a", STORED, uid=f"{UID}.1")
    places = [(-10, -20, z) for z in [*range(0, 24, 2), 30]]
    bad = write_series(tmp_path / "in" / "b", STORED, uid=f"{UID}.2", positions=places)
    (tmp_path / "in" / "torn.dcm").write_bytes(bad[0].read_bytes()[:150])
    assert main(command(tmp_path, model, "--json")) == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    (name,) = report["predicted"]
    reasons = sorted(report["failed"].values())
    assert reasons[0].startswith("3 slices are missing")
    assert reasons[1].startswith("the file is empty, or not DICOM")
    segmentation = read_image(tmp_path / "out" / f"{name}.nii.gz")
    (series,) = find_series(tmp_path / "in" / "Mustermann").series
    assert segmentation.geometry is not None
    assert not segmentation.geometry.differences(series.geometry)
    assert segmentation.array.shape[1:] == series.shape
    told = written(tmp_path / "out") + (captured.out + captured.err).encode()
    secrets = [*PATIENT.values(), f"{UID}.1", f"{UID}.2", "Mustermann"]
    assert [secret for secret in secrets if secret.encode() in told] == []
    key = json.loads((tmp_path / "out.key.json").read_text())["cases"]
    assert key[name]["patient_id"] == PATIENT["PatientID"]
    assert set(key) == {name, *report["failed"]}


def test_a_rerun_predicts_what_is_new_and_resampling_is_said(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tilted = [(-10, -20 + 0.3 * z, z) for z in range(13)]
    write_series(tmp_path / "in" / "a", STORED, uid=f"{UID}.1")
    assert main(command(tmp_path, model)) == 0
    (first,) = (tmp_path / "out").glob("*.nii.gz")
    write_series(tmp_path / "in" / "b", STORED, uid=f"{UID}.2", positions=tilted)
    capsys.readouterr()
    assert main(command(tmp_path, model, "--resample-irregular", "--json")) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["skipped"] == [first.name.removesuffix(".nii.gz")]
    (name,) = report["predicted"]
    note = f"{name}: resampled, because its slices are tilted by 16.7 degrees against their stack"
    assert f"note: {note}" in captured.err
    assert any(said.startswith(note) for said in report["notes"])


def test_pixels_that_cannot_be_decoded_leave_one_case_out(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "in" / "a", STORED, uid=f"{UID}.1")
    bad = write_series(tmp_path / "in" / "b", STORED[:, :, ::-1], uid=f"{UID}.2")
    edit(bad[4], PixelData=b"\0" * 10)
    assert main(command(tmp_path, model, "--json")) == 1
    report = json.loads(capsys.readouterr().out)
    assert len(report["predicted"]) == 1
    (why,) = report["failed"].values()
    assert why.startswith("the pixels of a slice are torn, or cannot be decoded;")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--series", "none"], "1 series of CT, but none that matches none"),
        (["--key", "{}/out/key.json"], "which may be shared; give a place elsewhere"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], options: list[str], text: str
) -> None:
    write_series(tmp_path / "in" / "a", STORED, uid=f"{UID}.1")
    assert main(command(tmp_path, model, *(o.format(tmp_path) for o in options))) == 2
    assert text in capsys.readouterr().err


def test_options_for_dicom_need_dicom(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(__file__, tmp_path / "in" / "a.nii.gz")
    assert main(command(tmp_path, model, "--suv")) == 2
    assert "are for DICOM; " in capsys.readouterr().err
