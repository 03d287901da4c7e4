"""Surfaces and their distances, by hand and beside DeepMind's surface-distance."""

import numpy as np
import pytest
import surface_distance
import torch
from scipy import ndimage

from umamba.evaluation.label_masks import LabelMasks
from umamba.evaluation.metrics import measure
from umamba.evaluation.settings import EvaluationSettings
from umamba.evaluation.surfaces import (
    BorderVoxels,
    LabelSurfaces,
    SurfaceDistances,
    measure_distances,
)

SPACINGS = [(1.0, 1.0), (3.0, 0.7), (1.0, 1.0, 1.0), (2.5, 0.8, 1.3)]


def box(shape, *slices):
    mask = np.zeros(shape, bool)
    mask[slices] = True
    return mask


def blobs(seed, spacing):
    rng = np.random.default_rng(seed)
    shape = (21, 24) if len(spacing) == 2 else (11, 12, 13)
    return rng.random(shape) < rng.uniform(0.1, 0.9)


def extract_surface(mask, spacing):
    return LabelSurfaces(mask.view(np.uint8)).surface(1, spacing)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(4))
def test_noise_has_the_numbers_of_surface_distance(spacing, seed):
    masks = blobs(seed, spacing), blobs(seed + 10, spacing)
    ours = measure_distances(*(extract_surface(mask, spacing) for mask in masks))
    theirs = surface_distance.compute_surface_distances(*masks, spacing)
    for side, kind in enumerate(("gt_to_pred", "pred_to_gt")):
        areas = theirs[f"surfel_areas_{kind[: kind.index('_')]}"]
        np.testing.assert_allclose(np.sort(ours.areas[side]), np.sort(areas), rtol=1e-5)
        np.testing.assert_allclose(
            np.sort(ours.distances[side]), np.sort(theirs[f"distances_{kind}"]), atol=1e-9
        )
    for tolerance in (0.0, 0.8, 1.0, 2.5):
        nsd = surface_distance.compute_surface_dice_at_tolerance(theirs, tolerance)
        assert ours.within(tolerance) == pytest.approx(nsd, abs=1e-6)
    hausdorff = surface_distance.compute_robust_hausdorff(theirs, 95)
    assert ours.hausdorff(95.0) == pytest.approx(hausdorff, abs=1e-9)
    averages = surface_distance.compute_average_surface_distance(theirs)
    weights = [areas.sum() for areas in ours.areas]
    assert ours.average() == pytest.approx(np.average(averages, weights=weights), rel=1e-6)


def test_area_of_a_ball_and_of_an_anisotropic_one():
    z, y, x = np.indices((64, 64, 64)) - 31.5
    ball = z**2 + y**2 + x**2 < 25**2
    # Marching cubes on a mask, not on grey values, make a ball some 10 % too large.
    assert extract_surface(ball, (1.0, 1.0, 1.0)).areas.sum() == pytest.approx(
        4 * np.pi * 25**2, rel=0.12
    )
    flat = (2 * z) ** 2 + y**2 + x**2 < 25**2
    assert extract_surface(flat, (2.0, 1.0, 1.0)).areas.sum() == pytest.approx(
        4 * np.pi * 25**2, rel=0.12
    )


def test_length_of_a_rectangle_has_cut_corners():
    surface = extract_surface(box((9, 9), slice(2, 5), slice(3, 8)), (2.0, 0.5))
    straight = 2 * (3 - 1) * 2.0 + 2 * (5 - 1) * 0.5
    assert surface.areas.sum() == pytest.approx(straight + 4 * np.hypot(2.0, 0.5) / 2)


def test_a_surface_at_the_border_of_the_image_counts():
    inside = extract_surface(box((6, 6), slice(1, 5), slice(1, 5)), (1.0, 1.0))
    filling = extract_surface(np.ones((4, 4), bool), (1.0, 1.0))
    assert filling.areas.sum() == inside.areas.sum()


def test_percentile_average_and_tolerance_weigh_by_area():
    distances = SurfaceDistances(
        (np.array([0.0, 10.0]), np.array([2.0])), (np.array([94.0, 6.0]), np.array([100.0]))
    )
    assert distances.hausdorff(95.0) == 10
    assert distances.hausdorff(94.0) == 2
    assert distances.average() == pytest.approx((60 + 200) / 200)
    assert distances.within(2.0) == pytest.approx(194 / 200)
    assert distances.within(1.99) == pytest.approx(94 / 200)


def test_a_tolerance_of_some_voxels_includes_them_despite_rounding():
    first = box((4, 40), slice(None), slice(5, 20))
    second = box((4, 40), slice(None), slice(8, 23))
    spacing = (0.1, 0.1)  # 3 * 0.1 is more than 0.3
    found = measure_distances(*(extract_surface(mask, spacing) for mask in (first, second)))
    assert found.within(0.3) == 1


def by_voxels(prediction, reference, spacing, tolerance=1.0):
    settings = EvaluationSettings(tolerance, surface="voxels")
    return measure(LabelMasks.of_booleans(prediction, reference, spacing, settings))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(2))
def test_border_voxels_have_the_numbers_of_monai_and_of_distance_maps(spacing, seed):
    import monai.metrics  # takes seconds

    masks = blobs(seed, spacing), blobs(seed + 10, spacing)
    ours = by_voxels(*masks, spacing, 2.5)
    one_hot = [torch.from_numpy(mask)[None, None] for mask in masks]
    of_all = {"include_background": True, "spacing": spacing}
    hausdorff = monai.metrics.compute_hausdorff_distance(*one_hot, percentile=95, **of_all)
    average = monai.metrics.compute_average_surface_distance(*one_hot, symmetric=True, **of_all)
    nsd = monai.metrics.compute_surface_dice(*one_hot, [2.5], **of_all)
    assert ours["hd95"] == pytest.approx(hausdorff.item(), rel=1e-6)
    assert ours["assd"] == pytest.approx(average.item(), rel=1e-6)
    assert ours["nsd"] == pytest.approx(nsd.item(), rel=1e-6)

    borders = [mask & ~ndimage.binary_erosion(mask) for mask in masks]
    maps = [ndimage.distance_transform_edt(~border, spacing) for border in borders]
    distances = maps[1][borders[0]], maps[0][borders[1]]
    assert ours["hd95"] == pytest.approx(max(np.percentile(each, 95) for each in distances))
    assert ours["assd"] == pytest.approx(np.concatenate(distances).mean())


def test_border_voxels_of_single_voxels_and_at_the_edge_of_the_image():
    here, there = box((5, 7), 0, 0), box((5, 7), 4, 3)
    far = float(np.hypot(4 * 2.0, 3 * 0.5))
    metrics = by_voxels(here, there, (2.0, 0.5))
    assert metrics["hd95"] == metrics["assd"] == pytest.approx(far)
    assert metrics["nsd"] == 0
    assert by_voxels(here, there, (2.0, 0.5), far)["nsd"] == 1
    # what is beyond the image is outside: all voxels of a full one but those in the middle
    full = BorderVoxels(np.ones((4, 5), np.uint8)).surface(1, (1.0, 1.0))
    assert len(full.points) == 4 * 5 - 2 * 3
