"""Folders of DICOM as inputs of prediction: when they count as such, and what they need."""

from pathlib import Path

import numpy as np
import pytest

from dicom_files import enhanced, write_series
from plans_factory import DATASET_JSON
from umamba.datasets.inputs import FoundInputs
from umamba.datasets.studies import find_images_or_studies
from umamba.dicom.studies import StudyOptions
from umamba.errors import DatasetError
from umamba.images.files import read_image, write_image

STORED = np.arange(60, dtype=np.int16).reshape(3, 4, 5)


def found(tmp_path: Path, options: StudyOptions | None = None, **changes: object) -> FoundInputs:
    description = DATASET_JSON | changes
    return find_images_or_studies(
        tmp_path / "in", tmp_path / "out", description, None, options or StudyOptions()
    )


def test_a_case_has_files_while_it_is_open(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "a", STORED)
    inputs = found(tmp_path)
    (case,) = inputs.cases
    with inputs.opened(case) as opened:
        (file,) = opened.images
        assert np.array_equal(read_image(file).array[0], STORED)
    assert not file.exists()
    assert inputs.series[case.case_id][0].shape == (3, 4, 5)
    assert str(tmp_path / "out.key.json") in inputs.notes[0]


def test_a_file_of_dicom_is_an_input(tmp_path: Path) -> None:
    enhanced(tmp_path / "in", STORED, [1, 1, 1], "1.2.3")
    inputs = found(tmp_path)
    (case,) = inputs.cases
    with inputs.opened(case) as opened:
        assert np.array_equal(read_image(opened.images[0]).array[0], STORED + 1)


def test_images_come_before_dicom_below_them(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "a", STORED)
    write_image(tmp_path / "in" / "b.nii.gz", STORED)
    assert [case.case_id for case in found(tmp_path).cases] == ["b"]
    with pytest.raises(DatasetError, match=r"and --suv are for DICOM; .* holds none"):
        found(tmp_path, StudyOptions(suv=True))


@pytest.mark.parametrize(
    ("options", "changes", "text"),
    [
        ({"series": ("none",)}, {}, "1 series of CT, but none that matches none"),
        ({"key": Path("{}/out/key.json")}, {}, "which may be shared; give a place elsewhere"),
        ({}, {"file_ending": ".png"}, "this model reads .png, which has no place in space"),
    ],
)
def test_what_does_not_go_with_dicom_is_refused(
    tmp_path: Path, options: dict, changes: dict, text: str
) -> None:
    write_series(tmp_path / "in" / "a", STORED)
    if "key" in options:
        options = {"key": tmp_path / "out" / "key.json"}
    with pytest.raises(DatasetError, match=text):
        found(tmp_path, StudyOptions(**options), **changes)
