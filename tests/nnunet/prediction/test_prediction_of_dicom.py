"""Prediction from DICOM: whose series are segmented, under which names, and what stays secret."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from dicom_files import PATIENT, edit, write_series
from model_factory import write_model
from umamba.cli.main import main
from umamba.dicom.finding import find_series
from umamba.images.files import read_image

UID = "1.2.826.0.1.3680043.9.7777"
STORED = np.random.default_rng(2).normal(100, 40, (8, 16, 16)).astype(np.int16)


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
    places = [(-10, -20, z) for z in [*range(0, 14, 2), 20]]
    bad = write_series(tmp_path / "in" / "b", STORED, uid=f"{UID}.2", positions=places)
    (tmp_path / "in" / "torn.dcm").write_bytes(bad[0].read_bytes()[:150])
    torn = write_series(tmp_path / "in" / "c", STORED, uid=f"{UID}.3")
    edit(torn[4], PixelData=b"\0" * 10)
    assert main(command(tmp_path, model, "--json")) == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    (name,) = report["predicted"]
    reasons = sorted(report["failed"].values())
    assert reasons[0].startswith("3 slices are missing")
    assert reasons[1].startswith("the file is empty, or not DICOM")
    assert reasons[2].startswith("the pixels of a slice are torn, or cannot be decoded;")
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
    tilted = [(-10, -20 + 0.3 * z, z) for z in range(8)]
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
