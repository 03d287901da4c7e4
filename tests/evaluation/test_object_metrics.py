"""Panoptic quality, and lesions found or falsely predicted, beside MONAI's and counts by hand."""

import math

import numpy as np
import pytest
import SimpleITK
import torch
from scipy import ndimage

from masks_of_metrics import EMPTY, ONE_VOXEL, blobs, filled, measured


def components(mask):
    """Return the voxels of every component, as sets."""
    numbered, count = ndimage.label(mask, np.ones([3] * mask.ndim))
    return [set(np.flatnonzero(numbered == number)) for number in range(1, count + 1)]


@pytest.mark.parametrize(("seed", "shape"), [(0, (30, 32)), (1, (30, 32)), (2, (14, 15, 16))])
def test_objects_are_those_of_monai_and_of_sets(seed, shape):
    import monai.metrics  # takes seconds

    prediction, reference = blobs(seed, shape)
    ours = measured(prediction, reference, (1.0,) * len(shape))
    predicted, referred = components(prediction), components(reference)
    ious = [len(p & r) / len(p | r) for p in predicted for r in referred]
    matched = [iou for iou in ious if iou > 0.5]
    expected = 2 * sum(matched) / (len(predicted) + len(referred))
    assert ours["panoptic_quality"] == pytest.approx(expected)
    found = sum(any(r & p for p in predicted) for r in referred)
    assert ours["lesion_recall"] == pytest.approx(found / len(referred))
    false = sum(not any(r & p for r in referred) for p in predicted)
    assert ours["lesion_false_positives"] == false
    volume = sum(len(p) for p in predicted if not any(r & p for r in referred))
    assert ours["lesion_false_positive_volume"] == volume

    numbered = [
        ndimage.label(mask, np.ones([3] * mask.ndim))[0] for mask in (prediction, reference)
    ]
    instances = [torch.from_numpy(mask.astype(np.int64)) for mask in numbered]
    quality = monai.metrics.compute_panoptic_quality(*instances, match_iou_threshold=0.5)
    assert ours["panoptic_quality"] == pytest.approx(float(quality), abs=1e-5)


def test_a_lesion_found_by_halves_and_one_missed():
    reference = filled((20, 20), ((2, 6), (2, 6)), ((12, 16), (12, 16)), ((0, 1), (19, 20)))
    prediction = filled((20, 20), ((2, 6), (2, 5)), ((12, 16), (14, 18)), ((10, 11), (0, 1)))
    metrics = measured(prediction, reference, (2.0, 0.5))
    assert metrics["lesion_false_positive_volume"] == 1.0  # 1 voxel
    prediction[15:17, 0:3] = True
    assert measured(prediction, reference, (2.0, 1.5))["lesion_false_positive_volume"] == 7 * 3
    prediction[15:17, 0:3] = False
    metrics = measured(prediction, reference, (1.0, 1.0))
    assert metrics["lesion_recall"] == pytest.approx(2 / 3)
    assert metrics["lesion_false_positives"] == 1
    assert metrics["panoptic_quality"] == pytest.approx(0.75 / (1 + 2 / 2 + 2 / 2))


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        (EMPTY, EMPTY, (math.nan, math.nan, 0, 0)),
        (ONE_VOXEL, EMPTY, (0, math.nan, 1, 1)),
        (EMPTY, ONE_VOXEL, (0, 0, 0, 0)),
        (ONE_VOXEL, ONE_VOXEL, (1, 1, 0, 0)),
    ],
)
def test_objects_of_empty_masks_and_single_voxels(prediction, reference, expected):
    metrics = measured(prediction, reference, (1.0, 1.0))
    counts = ("lesion_false_positives", "lesion_false_positive_volume")
    names = ("panoptic_quality", "lesion_recall", *counts)
    assert [metrics[name] for name in names] == pytest.approx(list(expected), nan_ok=True)


def test_volume_bias_has_the_sign_and_is_that_of_simpleitk():
    small, large = filled((9, 9), ((1, 4), (1, 5))), filled((9, 9), ((1, 8), (1, 5)))
    assert measured(large, small, (2.0, 0.5))["volume_bias"] == pytest.approx(16 / 12)
    assert measured(small, large, (2.0, 0.5))["volume_bias"] == pytest.approx(-16 / 28)
    measures = SimpleITK.LabelOverlapMeasuresImageFilter()
    measures.Execute(*(SimpleITK.GetImageFromArray(m.astype(np.uint8)) for m in (large, small)))
    similarity = measures.GetVolumeSimilarity()  # of the mean of both volumes
    assert pytest.approx(2 * similarity / (2 - similarity)) == 16 / 12
    assert math.isnan(measured(ONE_VOXEL, EMPTY, (1.0, 1.0))["volume_bias"])
    assert measured(EMPTY, ONE_VOXEL, (1.0, 1.0))["volume_bias"] == -1
