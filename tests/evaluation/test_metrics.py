"""Metrics of shapes whose numbers are known."""

import math

import numpy as np
import pytest
import SimpleITK

from umamba.evaluation.label_masks import LabelMasks
from umamba.evaluation.metrics import measure
from umamba.evaluation.settings import EvaluationSettings

# The others have tests of their own.
NAMES = ("dice", "iou", "nsd", "hd95", "assd", "volume_error", "sensitivity", "precision")


def counts(prediction, reference):
    return LabelMasks.of_booleans(prediction, reference, (1.0, 1.0), EvaluationSettings()).counts


def compare_masks(prediction, reference, spacing, nsd_tolerance):
    settings = EvaluationSettings(nsd_tolerance)
    found = measure(LabelMasks.of_booleans(prediction, reference, spacing, settings))
    return {name: found[name] for name in NAMES}


def box(z, y, x, shape=(20, 20, 20)):
    mask = np.zeros(shape, bool)
    mask[slice(*z), slice(*y), slice(*x)] = True
    return mask


def test_the_same_box():
    mask = box((5, 10), (5, 12), (5, 15))
    assert compare_masks(mask, mask, (1.0, 2.0, 3.0), 0.0) == {
        **dict.fromkeys(("dice", "iou", "nsd", "sensitivity", "precision"), 1),
        **dict.fromkeys(("hd95", "assd", "volume_error"), 0),
    }


@pytest.mark.parametrize(("axis", "step"), [(0, 5.0), (1, 2.0), (2, 0.5)])
def test_a_box_shifted_by_two_voxels_of_an_anisotropic_image(axis, step):
    spans = [(4, 14)] * 3
    reference = box(*spans)
    spans[axis] = (6, 16)
    metrics = compare_masks(box(*spans), reference, (5.0, 2.0, 0.5), 2 * step)
    assert metrics["dice"] == metrics["sensitivity"] == metrics["precision"] == 0.8
    assert metrics["iou"] == pytest.approx(800 / 1200)
    assert metrics["volume_error"] == 0
    assert metrics["nsd"] == 1
    assert metrics["hd95"] == pytest.approx(2 * step)
    assert 0 < metrics["assd"] < 2 * step


def test_a_box_inside_another():
    metrics = compare_masks(
        box((5, 10), (5, 10), (5, 10)), box((5, 10), (5, 10), (5, 15)), (1.0, 1.0, 1.0), 1.0
    )
    assert metrics["dice"] == pytest.approx(2 * 125 / (125 + 250))
    assert metrics["iou"] == metrics["sensitivity"] == metrics["volume_error"] == 0.5
    assert metrics["precision"] == 1
    assert metrics["hd95"] == 5


def test_volume_error_has_no_sign():
    small, large = box((5, 10), (5, 10), (5, 10)), box((5, 10), (5, 10), (5, 15))
    assert compare_masks(small, large, (1.0, 1.0, 1.0), 1.0)["volume_error"] == 0.5
    assert compare_masks(large, small, (1.0, 1.0, 1.0), 1.0)["volume_error"] == 1


def test_concentric_balls():
    z, y, x = np.indices((60, 60, 60)) - 29.5
    radius = np.sqrt(z**2 + y**2 + x**2)
    metrics = compare_masks(radius < 25, radius < 20, (0.5, 0.5, 0.5), 2.5)
    assert metrics["dice"] == pytest.approx(2 * 20**3 / (20**3 + 25**3), abs=0.01)
    # Elements are up to half a voxel off the sphere, and the nearest ones are those nearer.
    assert metrics["assd"] == pytest.approx(2.5, abs=0.3)
    assert metrics["hd95"] == pytest.approx(2.5, abs=0.3)


def test_overlap_is_that_of_simpleitk():
    rng = np.random.default_rng(0)
    prediction, reference = rng.random((2, 9, 10, 11)) < 0.4
    measures = SimpleITK.LabelOverlapMeasuresImageFilter()
    measures.Execute(
        *(SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in (prediction, reference))
    )
    metrics = compare_masks(prediction, reference, (1.0, 1.0, 1.0), 1.0)
    assert metrics["dice"] == pytest.approx(measures.GetDiceCoefficient())
    assert metrics["iou"] == pytest.approx(measures.GetJaccardCoefficient())
    assert metrics["sensitivity"] == pytest.approx(1 - measures.GetFalseNegativeError())
    assert metrics["precision"] == pytest.approx(1 - measures.GetFalseDiscoveryRate())


NOTHING, SOMETHING = np.zeros((6, 6), bool), np.eye(6, dtype=bool)


@pytest.mark.parametrize(
    ("prediction", "reference", "empty", "zero", "one"),
    [
        (NOTHING, NOTHING, "both", (), ()),
        (SOMETHING, NOTHING, "reference", ("dice", "iou", "nsd", "precision"), ()),
        (
            NOTHING,
            SOMETHING,
            "prediction",
            ("dice", "iou", "nsd", "sensitivity"),
            ("volume_error",),
        ),
    ],
)
def test_empty_masks_leave_undefined_what_is_undefined(prediction, reference, empty, zero, one):
    assert counts(prediction, reference).empty == empty
    metrics = compare_masks(prediction, reference, (1.0, 1.0), 1.0)
    expected = {**dict.fromkeys(NAMES, math.nan), **dict.fromkeys(zero, 0.0)}
    expected |= dict.fromkeys(one, 1.0)
    assert metrics == pytest.approx(expected, nan_ok=True)


def test_masks_with_voxels_are_not_empty():
    assert counts(SOMETHING, SOMETHING).empty is None
