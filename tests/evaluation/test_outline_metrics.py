"""clDice and boundary IoU, beside other libraries, brute force and shapes that are known."""

import math

import numpy as np
import pytest
import SimpleITK
from scipy.spatial.distance import cdist
from skimage.morphology import skeletonize

from masks_of_metrics import EMPTY, ONE_VOXEL, blobs, filled, measured
from umamba.evaluation.boundary_iou import boundary_width


def test_centre_lines_of_bars():
    reference = filled((40, 60), ((9, 12), (5, 55)))
    thick = filled((40, 60), ((8, 13), (5, 55)))
    half = filled((40, 60), ((9, 12), (5, 30)))
    assert measured(thick, reference, (1.0, 1.0))["cldice"] == 1
    # all of the half's centre line lies inside, and half of the reference's
    assert measured(half, reference, (1.0, 1.0))["cldice"] == pytest.approx(2 / 3, abs=0.02)
    beside = filled((40, 60), ((12, 15), (5, 55)))
    assert measured(beside, reference, (1.0, 1.0))["cldice"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_cldice_is_that_of_the_thinned_masks(seed):
    walks = [np.zeros((40, 40), bool) for _ in range(2)]
    rng = np.random.default_rng(seed)
    for walk in walks:
        rows = np.clip(20 + np.cumsum(rng.integers(-1, 2, 30)), 3, 36)
        walk[rows, np.arange(5, 35)] = True
    reference, prediction = walks
    # curves of single voxels are their own skeletons, by SimpleITK's thinning as well
    thinned = [
        SimpleITK.GetArrayFromImage(
            SimpleITK.BinaryThinning(SimpleITK.GetImageFromArray(mask.astype(np.uint8)))
        )
        for mask in walks
    ]
    for mask, thin in zip(walks, thinned, strict=True):
        assert np.array_equal(mask, thin > 0)
    common = (reference & prediction).sum()
    expected = 2 * common / (reference.sum() + prediction.sum())
    assert measured(prediction, reference, (1.0, 3.0))["cldice"] == pytest.approx(expected)


def test_cldice_in_3d_is_the_formula_of_its_authors():
    prediction, reference = blobs(5, (18, 20, 22), 10)
    precision = reference[skeletonize(prediction) > 0].mean()
    sensitivity = prediction[skeletonize(reference) > 0].mean()
    expected = 2 * precision * sensitivity / (precision + sensitivity)
    assert measured(prediction, reference, (1.0, 1.0, 1.0))["cldice"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((20, 26), (1.0, 1.0)), ((20, 26), (2.5, 0.6)), ((9, 10, 11), (2.0, 1.0, 1.0))],
)
def test_boundaries_are_those_of_brute_force_and_of_simpleitk(shape, spacing):
    prediction, reference = blobs(1, shape, 12)
    # at the edge of the image what is beyond is outside
    prediction[0], reference[0] = True, True
    width = boundary_width(shape, spacing)
    boundaries = []
    for mask in (prediction, reference):
        padded = np.pad(mask, 1)
        inside, outside = (np.argwhere(m) * spacing for m in (padded, ~padded))
        near = cdist(inside, outside).min(axis=1) <= width + 1e-9
        boundary = np.zeros(padded.shape, bool)
        boundary[tuple(np.argwhere(padded)[near].T)] = True
        boundaries.append(boundary)
        image = SimpleITK.GetImageFromArray((~padded).astype(np.uint8))
        image.SetSpacing(spacing[::-1])
        distances = SimpleITK.GetArrayFromImage(
            SimpleITK.DanielssonDistanceMap(image, inputIsBinary=True, useImageSpacing=True)
        )
        assert np.array_equal(boundary, padded & (distances <= width + 1e-4))
    first, second = boundaries
    expected = (first & second).sum() / (first | second).sum()
    ours = measured(prediction, reference, spacing)["boundary_iou"]
    assert ours == pytest.approx(expected)


def test_boundary_iou_sees_more_than_iou_of_large_squares():
    reference = filled((200, 200), ((20, 180), (20, 180)))
    prediction = filled((200, 200), ((22, 182), (20, 180)))
    metrics = measured(prediction, reference, (1.0, 1.0))
    assert boundary_width((200, 200), (1.0, 1.0)) == pytest.approx(0.02 * math.hypot(200, 200))
    # rings of 5 voxels; their sides of 150 overlap by all, or by 3 of 5 where they were moved
    ring = 160**2 - 150**2
    common = 2 * 5 * 158 + 2 * 3 * 150
    assert metrics["boundary_iou"] == pytest.approx(common / (2 * ring - common))
    assert metrics["iou"] > 0.97


@pytest.mark.parametrize("name", ["cldice", "boundary_iou"])
def test_outlines_of_empty_masks_and_single_voxels(name):
    assert math.isnan(measured(EMPTY, EMPTY, (1.0, 1.0))[name])
    assert measured(ONE_VOXEL, EMPTY, (1.0, 1.0))[name] == 0
    assert measured(EMPTY, ONE_VOXEL, (1.0, 1.0))[name] == 0
    assert measured(ONE_VOXEL, ONE_VOXEL, (4.0, 1.0))[name] == 1
    full = np.ones((7, 8), bool)
    assert measured(full, full, (1.0, 1.0))[name] == 1
