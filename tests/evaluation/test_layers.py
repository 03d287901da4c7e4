"""Labels of one image found in one go, beside each label by itself."""

import math

import numpy as np
import pytest
from scipy import ndimage

from umamba.evaluation.cases import evaluate_case
from umamba.evaluation.instances import ObjectOverlaps
from umamba.evaluation.label_masks import LabelMasks
from umamba.evaluation.layers import disjoint_layers, paint
from umamba.evaluation.metrics import measure
from umamba.evaluation.settings import EvaluationSettings

SPACING = (2.5, 0.8, 1.3)
LABELS = {"a": 1, "b": 2, "whole": (1, 2, 4), "c": 4, "core": (2, 4), "absent": 9}


def noisy_masks(dtype, n_dims=3):
    rng = np.random.default_rng(0)
    shape = (12, 15, 17)[:n_dims]
    smooth = ndimage.gaussian_filter(rng.random(shape), 1.5)
    reference = np.digitize(smooth, np.quantile(smooth, [0.4, 0.6, 0.75, 0.9])).astype(dtype)
    prediction = np.roll(reference, 1, axis=1)
    for mask in (prediction, reference):  # strays, far from all else
        mask[rng.random(shape) < 0.02] = rng.choice([1, 2, 4])
    return prediction, reference


@pytest.mark.parametrize("n_dims", [2, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_all_labels_at_once_are_each_by_itself(dtype, n_dims):
    prediction, reference = noisy_masks(dtype, n_dims)
    spacing = SPACING[:n_dims]
    found = {
        label.label: label for label in evaluate_case(prediction, reference, spacing, LABELS).labels
    }
    assert list(found) == list(LABELS)
    corners = np.ones((3,) * n_dims)
    for name, values in LABELS.items():
        masks = [np.isin(mask, values) for mask in (prediction, reference)]
        alone = measure(LabelMasks.of_booleans(*masks, spacing, EvaluationSettings()))
        assert found[name].metrics == pytest.approx(alone, rel=1e-12, nan_ok=True)
        numbered = (ndimage.label(mask, corners)[0] for mask in masks)
        objects = ObjectOverlaps.of_numbered(*numbered).match(math.prod(spacing), 0.5, n_dims)
        for field in ("reference_volumes", "prediction_volumes", "pairs", "dice"):
            np.testing.assert_array_equal(
                getattr(found[name].objects, field), getattr(objects, field)
            )


def test_labels_that_share_a_value_are_in_different_layers():
    assert disjoint_layers(LABELS) == [
        {"a": (1,), "b": (2,), "c": (4,), "absent": (9,)},
        {"whole": (1, 2, 4)},
        {"core": (2, 4)},
    ]


@pytest.mark.parametrize(
    ("array", "painted"),
    [
        (np.array([[0, 1], [5, 7]], np.uint16), [[0, 2], [1, 1]]),
        (np.array([[-5, 1], [5, 7]], np.int32), [[0, 2], [1, 1]]),
        (np.array([[0, 1], [5, 2**40]]), [[0, 2], [1, 0]]),
        (np.array([[False, True]]), [[0, 2]]),
        (np.zeros((0, 3), np.uint8), np.zeros((0, 3))),
    ],
)
def test_any_kind_of_integer_is_painted(array, painted):
    np.testing.assert_array_equal(paint(array, [(5, 7), (1,)]), painted)


def test_more_labels_than_a_byte_holds_are_painted():
    values = np.arange(1, 301)
    np.testing.assert_array_equal(paint(values, [(int(v),) for v in values]), values)
