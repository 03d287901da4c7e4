"""Polygons around masks, and masks of polygons."""

import numpy as np
import pytest
from skimage.draw import polygon2mask
from skimage.measure import label

from umamba.dicom.outlines import filled, outlines


def area(points: np.ndarray) -> float:
    """Return the signed area by Gauss's formula."""
    x, y = points.T
    return float(x @ np.roll(y, -1) - np.roll(x, -1) @ y) / 2


@pytest.mark.parametrize("density", [0.15, 0.5, 0.8, 0.95])
def test_outlines_have_the_masks_area_and_fill_to_it_again(density):
    rng = np.random.default_rng(3)
    for _ in range(60):
        mask = rng.random(rng.integers(1, 15, 2)) < density

        polygons = outlines(mask)

        assert len(polygons) == label(mask, connectivity=1).max()
        assert sum(map(area, polygons)) == pytest.approx(mask.sum())
        alone = [polygon2mask(mask.shape, points[:, ::-1]) for points in polygons]
        assert np.array_equal(np.any([np.zeros(mask.shape), *alone], axis=0), mask)
        assert np.array_equal(filled(polygons, mask.shape), mask)


def test_a_single_voxel_is_a_square_of_its_size():
    mask = np.zeros((5, 6), bool)
    mask[2, 4] = True

    (square,) = outlines(mask)

    assert sorted(map(tuple, square)) == [(3.5, 1.5), (3.5, 2.5), (4.5, 1.5), (4.5, 2.5)]


def test_a_hole_is_joined_by_a_channel_along_edges_of_voxels():
    mask = np.ones((7, 7), bool)
    mask[3, 4] = False

    (keyhole,) = outlines(mask)

    assert len(keyhole) == 10  # 4 + 4 corners, and both ends of the channel a second time
    assert area(keyhole) == 48
    assert not np.any(keyhole == np.round(keyhole))  # nowhere through a centre


def test_an_island_in_a_hole_is_filled_again():
    mask = np.zeros((9, 9), bool)
    mask[1:8, 1:8], mask[2:7, 2:7], mask[4, 4] = True, False, True

    assert len(outlines(mask)) == 2
    assert np.array_equal(filled(outlines(mask), mask.shape), mask)


def test_a_polygon_in_another_one_is_a_hole():
    outer = np.array([(0.5, 0.5), (6.5, 0.5), (6.5, 6.5), (0.5, 6.5)])
    inner = np.array([(2.5, 2.5), (4.5, 2.5), (4.5, 4.5), (2.5, 4.5)])

    mask = filled([outer, inner], (8, 8))

    assert mask.sum() == 36 - 4
    assert not mask[3:5, 3:5].any()


def test_a_centre_on_a_line_belongs_to_one_of_two_neighbours():
    """Rounding in the file, here a hundred-thousandth of a voxel, does not decide on it."""
    left = np.array([(0, 0), (3.000004, 0), (2.999996, 4), (0, 4)])
    right = np.array([(2.999996, 0), (6, 0), (6, 4), (3.000004, 4)])

    masks = [filled([points], (5, 8)) for points in (left, right)]

    assert [np.flatnonzero(mask[1]).tolist() for mask in masks] == [[0, 1, 2], [3, 4, 5]]
    assert not (masks[0] & masks[1]).any()


def test_a_polygon_may_lie_partly_outside_and_have_no_area():
    outside = np.array([(-5.2, -3.1), (2.4, -3.1), (2.4, 2.2), (-5.2, 2.2)])

    assert np.argwhere(filled([outside], (4, 5))).max(0).tolist() == [2, 2]
    assert filled([outside], (4, 5)).sum() == 9
    assert not filled([np.array([(1.0, 1.0)]), np.array([(0, 0), (3, 3)])], (4, 5)).any()
    assert not filled([], (4, 5)).any()
