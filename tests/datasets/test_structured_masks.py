"""Data sets whose masks are RTSTRUCT or SEG."""

import json
from pathlib import Path

import numpy as np
import pytest

from dicom_files import PATIENT, write_series
from umamba.cli.main import main
from umamba.dicom.derived import Maker
from umamba.dicom.finding import find_series
from umamba.dicom.rtstruct_writing import write_rtstruct
from umamba.dicom.seg_writing import write_seg
from umamba.dicom.segments import segments_of
from umamba.images.files import read_image

UID = "1.2.826.0.1.3680043.9.7777"
STORED = np.random.default_rng(4).integers(-500, 900, (4, 5, 6)).astype(np.int16)


def mask(number: int) -> np.ndarray:
    labels = np.zeros(STORED.shape, np.uint8)
    labels[1:3, 2, number + 1], labels[2, 4, 5] = 1, 2
    return labels


def write(folder: Path, number: int, **rois: tuple[int, ...]) -> None:
    """Write the reference of a series: the first as RTSTRUCT, the second as SEG."""
    (series,) = find_series(folder / "in" / str(number)).series
    path = folder / "masks" / f"RS.{number}"
    (write_rtstruct, write_seg)[number](
        path, mask(number), series, segments_of(rois), Maker("clinician", "1")
    )


def write_other(folder: Path):
    """Write a series that is not taken."""
    write_series(folder, STORED, uid=f"{UID}.9")
    return find_series(folder).series


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    (tmp_path / "masks").mkdir()
    for number in range(2):
        write_series(tmp_path / "in" / str(number), STORED + number, uid=f"{UID}.{number}")
    return tmp_path


def create(folders: Path, *more: str) -> int:
    given = ["--images", str(folders / "in"), "--masks", str(folders / "masks")]
    fixed = ["dataset", "Dataset501_Tumour", *given, "--channels", "CT"]
    return main([*fixed, "--raw", str(folders / "raw"), *more])


def test_masks_are_paired_by_the_series_that_they_refer_to(folders, capsys):
    write(folders, 0, GTV_a=(1,), Node=(2,))
    write(folders, 1, gtv_b=(1,), node=(2,), body=(1, 2))

    (series,) = write_other(folders / "other")
    stray = segments_of({"tumour": (1,)})
    write_rtstruct(folders / "masks" / "RS.9", mask(0), series, stray, Maker("clinician", "1"))

    labels = ("--labels", "tumour=1", "node=2", "--rois", "tumour=GTV*")
    assert create(folders, *labels) == 0

    made = folders / "raw" / "Dataset501_Tumour"
    key = json.loads((folders / "raw" / "Dataset501_Tumour.key.json").read_text())["cases"]
    assert len(key) == 2
    for name, case in key.items():
        found = read_image(made / "labelsTr" / f"{name}.nii.gz", is_mask=True)
        assert np.array_equal(found.array[0], mask(int(case["path"])))
    captured = capsys.readouterr()
    assert "1 RTSTRUCT or SEG refer to no series that is taken" in captured.err
    assert not [value for value in PATIENT.values() if value in captured.out + captured.err]


def test_cases_without_a_roi_are_listed_before_any_work(folders, capsys):
    write(folders, 0, tumour=(1,))
    write(folders, 1, GTV=(1,), node=(2,))

    assert create(folders, "--labels", "tumour=1", "node=2") == 2

    said = capsys.readouterr().err
    assert "no ROI for node (its ROIs: tumour); give --rois node=PATTERN" in said
    assert "no ROI for tumour (its ROIs: GTV, node)" in said
    assert not (folders / "raw" / "Dataset501_Tumour").exists()


def test_a_label_may_lack_its_roi_where_that_is_said(folders, capsys):
    write(folders, 0, tumour=(1,))
    write(folders, 1, tumour=(1,), node=(2,))

    assert create(folders, "--labels", "tumour=1", "node=2", "--rois-may-lack") == 0
    made = folders / "raw" / "Dataset501_Tumour" / "labelsTr"
    held = sorted(read_image(path).array.max() for path in made.iterdir())
    assert held == [1, 2]


def test_voxels_of_two_rois_are_reported(folders, capsys):
    write(folders, 0, organ=(1, 2), tumour=(2,))
    write(folders, 1, organ=(1,), tumour=(2,))

    assert create(folders, "--labels", "organ=1", "tumour=2") == 0
    assert "1 voxels lie in both organ and tumour, and become tumour" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "whose masks have names, not values; give --labels"),
        (("--labels", "tumour=1", "--rois", "x=y"), "--rois names x, which is not one of"),
    ],
)
def test_labels_that_do_not_fit_are_refused(folders, capsys, options, expected):
    write(folders, 0, tumour=(1,))
    assert create(folders, *options) == 2
    assert expected in capsys.readouterr().err


def test_a_series_needs_one_reference(folders, capsys):
    write(folders, 0, tumour=(1,))
    (folders / "masks" / "copy").write_bytes((folders / "masks" / "RS.0").read_bytes())

    assert create(folders, "--labels", "tumour=1") == 2

    said = capsys.readouterr().err
    assert "2 RTSTRUCT or SEG refer to the series" in said
    assert "no RTSTRUCT or SEG refers to the series; add one" in said
