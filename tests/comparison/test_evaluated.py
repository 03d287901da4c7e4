"""Sizes of reference objects, by which all trainings of a comparison are evaluated."""

import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from umamba.comparison.runs.evaluated import evaluate_predictions, size_cut_points
from umamba.errors import UMambaError
from umamba.evaluation.settings import EvaluationSettings


def write(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing((1.0, 2.0, 5.0))
    SimpleITK.WriteImage(image, str(path))


def test_objects_of_a_slice_are_areas_and_regions_count_together(tmp_path: Path) -> None:
    mask = np.zeros((1, 20, 20), np.uint8)
    for row, (width, value) in enumerate([(1, 1), (2, 1), (4, 2), (8, 2)]):
        mask[0, 4 * row + 1, 1 : 1 + width] = value
    write(tmp_path / "refs" / "a.nii.gz", mask)
    settings = EvaluationSettings(size_measure="volume")
    labels = {"one": 1, "all": (1, 2)}
    cuts = size_cut_points(tmp_path / "refs", ".nii.gz", labels, settings)
    # Areas of 2, 4, 8 and 16 mm^2: the second tercile of four lies on the third.
    assert cuts["all"] == pytest.approx((4.0, 8.0))
    # Two objects have terciles between them.
    assert cuts["one"] == pytest.approx((2 + 2 / 3, 2 + 4 / 3))
    diameters = size_cut_points(tmp_path / "refs", ".nii.gz", labels, EvaluationSettings())
    assert diameters["all"][0] == pytest.approx(2 * math.sqrt(4 / math.pi))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path / "refs" / "a.nii.gz", np.ones((3, 4, 5)))
    (tmp_path / "refs" / "b.nii.gz").write_bytes(b"no image")
    refs, settings = tmp_path / "refs", EvaluationSettings()
    with pytest.raises(UMambaError, match=r"b\.nii\.gz cannot be read"):
        size_cut_points(refs, ".nii.gz", {"one": 1}, settings)
    given = (refs, refs, ["a", "b"], ".nii.gz", {"one": 1}, settings)
    with pytest.raises(UMambaError, match=r"b\.nii\.gz cannot be evaluated"):
        evaluate_predictions(*given)
