"""Lesion-wise Dice and HD95, beside the steps of BraTS 2023 on whole images, and by hand."""

import math

import numpy as np
import pytest
import surface_distance
from scipy import ndimage

from masks_of_metrics import EMPTY, ONE_VOXEL, blobs, filled, measured


def by_the_rules_of_brats(prediction, reference, spacing, dilation, penalty, smallest):
    """Score every lesion on the whole image, as the challenge's description has it."""
    neighbours = np.ones([3] * reference.ndim)
    reach = ndimage.generate_binary_structure(reference.ndim, 2)
    predicted, n_predicted = ndimage.label(prediction, neighbours)
    joined, n_lesions = ndimage.label(
        ndimage.binary_dilation(reference, reach, iterations=dilation), neighbours
    )
    scores, hits = [], set()
    for number in range(1, n_lesions + 1):
        lesion = (joined == number) & reference
        near = ndimage.binary_dilation(lesion, reach, iterations=dilation)
        own = set(np.unique(predicted[near])) - {0}
        hits |= own
        if lesion.sum() * np.prod(spacing) <= smallest:
            continue
        mask = np.isin(predicted, list(own)) & (predicted > 0)
        distances = surface_distance.compute_surface_distances(lesion, mask, spacing)
        hausdorff = surface_distance.compute_robust_hausdorff(distances, 95)
        dice = surface_distance.compute_dice_coefficient(lesion, mask)
        scores.append((dice, hausdorff if np.isfinite(hausdorff) else penalty))
    scores += [(0.0, penalty)] * (n_predicted - len(hits))
    return np.mean(scores, axis=0)


@pytest.mark.parametrize(
    ("seed", "shape", "spacing", "dilation", "smallest"),
    [
        (0, (40, 44), (1.0, 1.0), 1, 0.0),
        (1, (40, 44), (2.5, 0.7), 2, 12.0),
        (2, (18, 19, 20), (1.0, 1.0, 1.0), 1, 0.0),
        (3, (18, 19, 20), (3.0, 0.8, 1.0), 3, 30.0),
    ],
)
def test_the_rules_of_brats(seed, shape, spacing, dilation, smallest):
    masks = blobs(seed, shape)
    metrics = measured(
        *masks, spacing, lesion_dilation=dilation, lesion_penalty=100.0, lesion_volume=smallest
    )
    expected = by_the_rules_of_brats(*masks, spacing, dilation, 100.0, smallest)
    assert [metrics["lesion_dice"], metrics["lesion_hd95"]] == pytest.approx(expected, abs=1e-6)


FOUND, MISSED, FALSE = ((1, 5), (1, 5)), ((1, 4), (16, 19)), ((16, 18), (0, 2))
REFERENCE = filled((20, 20), FOUND, MISSED)
PREDICTION = filled((20, 20), FOUND, FALSE)


def test_missed_and_false_lesions_cost_the_penalty():
    metrics = measured(PREDICTION, REFERENCE, (1.0, 1.0))
    assert metrics["lesion_dice"] == pytest.approx(1 / 3)
    assert metrics["lesion_hd95"] == pytest.approx(2 * 374 / 3)
    large_only = measured(PREDICTION, REFERENCE, (1.0, 1.0), lesion_volume=9.0)
    assert large_only["lesion_dice"] == pytest.approx(1 / 2)
    assert large_only["lesion_hd95"] == pytest.approx(374 / 2)


def test_lesions_are_joined_and_found_within_the_dilation():
    parts = filled((20, 20), ((2, 4), (2, 4)), ((2, 4), (7, 9)))
    near = filled((20, 20), ((2, 4), (2, 4)))
    assert measured(near, parts, (1.0, 1.0), lesion_dilation=0)["lesion_dice"] == 0.5
    assert measured(near, parts, (1.0, 1.0))["lesion_dice"] == pytest.approx(8 / 12)
    beside = filled((20, 20), ((2, 4), (5, 6)))
    assert measured(beside, near, (1.0, 1.0), lesion_dilation=1)["lesion_hd95"] == 374
    assert measured(beside, near, (1.0, 1.0), lesion_dilation=2)["lesion_hd95"] < 4


@pytest.mark.parametrize(
    ("prediction", "reference", "dice", "hd95"),
    [
        (EMPTY, EMPTY, math.nan, math.nan),
        (ONE_VOXEL, EMPTY, 0, 374),
        (EMPTY, ONE_VOXEL, 0, 374),
        (ONE_VOXEL, ONE_VOXEL, 1, 0),
    ],
)
@pytest.mark.parametrize("surface", ["surface-distance", "voxels"])
def test_lesions_of_empty_masks_and_single_voxels(prediction, reference, dice, hd95, surface):
    metrics = measured(prediction, reference, (3.0, 1.0), surface=surface)
    found = metrics["lesion_dice"], metrics["lesion_hd95"]
    assert found == pytest.approx((dice, hd95), nan_ok=True)
