"""Data sets from DICOM: pairing with masks, geometry, and names without the patient."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dicom_files import PATIENT, edit, write_series
from umamba.cli.main import main
from umamba.dicom.derived import Maker
from umamba.dicom.finding import find_series
from umamba.dicom.rtstruct_writing import write_rtstruct
from umamba.dicom.seg_writing import write_seg
from umamba.dicom.segments import segments_of
from umamba.images.files import read_image, write_image

UID = "1.2.826.0.1.3680043.9.7777"
STORED = np.random.default_rng(4).integers(-500, 900, (4, 5, 6)).astype(np.int16)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "viewer.png").touch()  # a picture on a CD is no image
    for number, name in enumerate(("Mustermann", "Doe")):
        write_series(tmp_path / "in" / name / "ct", STORED + number, uid=f"{UID}.{number}")
        geometry = find_series(tmp_path / "in" / name).series[0].geometry
        (tmp_path / "masks").mkdir(exist_ok=True)
        mask = np.zeros(STORED.shape, np.uint8)
        mask[1:3, 2, number + 1] = 1
        write_image(tmp_path / "masks" / f"{name}_seg.nii.gz", mask, geometry)
    return tmp_path


def create(folders: Path, *more: str) -> int:
    given = ["--images", str(folders / "in"), "--masks", str(folders / "masks")]
    fixed = ["dataset", "Dataset501_Tumour", *given, "--mask-suffix", "_seg"]
    return main([*fixed, "--channels", "CT", "--raw", str(folders / "raw"), *more])


def secrets_in(said: str, made: Path) -> list[str]:
    """Return what a command or the files that it wrote tell of the patients."""
    told = said.encode()
    for path in sorted(made.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        told += path.name.encode()
        told += gzip.decompress(content) if path.suffix == ".gz" else content
    secrets = [*PATIENT.values(), f"{UID}.0", f"{UID}.1", "Mustermann"]
    return [secret for secret in secrets if secret.encode() in told]


def test_series_become_cases_that_tell_nothing_of_the_patient(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert create(folders, "--json") == 0
    captured = capsys.readouterr()
    made = folders / "raw" / "Dataset501_Tumour"
    key = json.loads((folders / "raw" / "Dataset501_Tumour.key.json").read_text())["cases"]
    assert {case["path"] for case in key.values()} == {"Mustermann/ct", "Doe/ct"}
    for name, case in key.items():
        number = case["path"] == "Doe/ct"
        image = read_image(made / "imagesTr" / f"{name}_0000.nii.gz")
        assert np.array_equal(image.array[0], STORED + number)
        mask = read_image(made / "labelsTr" / f"{name}.nii.gz", is_mask=True)
        assert mask.array[0, 1, 2, number + 1] == 1
        assert mask.geometry == image.geometry
    assert secrets_in(captured.out + captured.err, made) == []
    assert not list((folders / "raw").glob(".umamba*"))


def test_remarks_on_a_mask_do_not_tell_its_name(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = folders / "masks" / "Mustermann_seg.nii.gz"
    write_image(mask, np.zeros(STORED.shape, np.uint8), read_image(mask).geometry)

    assert create(folders, "--json") == 0

    captured = capsys.readouterr()
    assert ": the mask holds no foreground; correct it unless" in captured.out
    assert secrets_in(captured.out + captured.err, folders / "raw" / "Dataset501_Tumour") == []


def test_contours_and_segments_tell_nothing_of_the_patient(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even remarks on a case, or on a file that belongs to no case."""
    shutil.rmtree(folders / "masks")
    write_series(folders / "other", STORED, uid=f"{UID}.7")
    labels = np.zeros(STORED.shape, np.uint8)
    labels[0, 1:3, 1:3], labels[3, 2, 2:4] = 1, 2
    segments = segments_of({"organ": (1, 2), "tumour": (2,)})
    for write, folder in (
        (write_rtstruct, folders / "in" / "Mustermann"),
        (write_seg, folders / "in" / "Doe"),
        (write_seg, folders / "other"),
    ):
        target = folders / "masks" / "Mustermann" / f"{folder.name}.dcm"
        target.parent.mkdir(parents=True, exist_ok=True)
        write(target, labels, find_series(folder).series[0], segments, Maker("clinician", "1"))

    assert create(folders, "--labels", "organ=1", "tumour=2", "--json") == 0

    captured = capsys.readouterr()
    warnings = " ".join(json.loads(captured.out)["warnings"])
    assert "'organ' has contours in 2 of 4 slices from its first to its last; check" in warnings
    assert warnings.count("2 voxels lie in both organ and tumour, and become tumour; check") == 2
    assert "1 RTSTRUCT or SEG refer to no series that is taken" in warnings
    made = folders / "raw" / "Dataset501_Tumour"
    assert len(list((made / "labelsTr").iterdir())) == 2
    assert secrets_in(captured.out + captured.err, made) == []


def test_all_that_cannot_be_paired_or_read_is_listed(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(folders / "in" / "other", STORED, uid=f"{UID}.7")
    write_series(folders / "in" / "Doe" / "mr", STORED, uid=f"{UID}.8")
    (folders / "masks" / "Mustermann_seg.nii.gz").rename(folders / "masks" / "nobody_seg.nii.gz")
    bad = next((folders / "in" / "Mustermann" / "ct").iterdir())
    edit(bad, PixelSpacing=[3, 3])
    assert create(folders) == 2
    said = capsys.readouterr().err
    assert "masks/Doe_seg.nii.gz: the mask fits 2 series by its name; choose one" in said
    assert "masks/nobody_seg.nii.gz: the mask has no series; name it like a folder" in said
    assert said.count("the series has no mask; add a mask named like its folder") == 3
    assert "differ in pixel size (0.8 x 0.7, 3 x 3 mm); export each pixel size" in said
    assert not (folders / "raw" / "Dataset501_Tumour").exists()
