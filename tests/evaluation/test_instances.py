"""Objects matched and scored by hand."""

import math

import numpy as np
import pytest

from umamba.evaluation.instances import (
    ObjectOverlaps,
    find_components,
    object_sizes,
    score_by_size,
    stratum_names,
    tercile_cut_points,
)


def row(**lengths):
    """Put objects on a line of 40 pixels: name `o<number>` by (start, stop)."""
    image = np.zeros((1, 40), np.int32)
    for name, (start, stop) in lengths.items():
        image[0, start:stop] = int(name[1:])
    return image


def match_objects(prediction, reference, spacing, matching_iou=0.5):
    overlaps = ObjectOverlaps.of_numbered(prediction, reference)
    return overlaps.match(math.prod(spacing), matching_iou, reference.ndim)


REFERENCE = row(o1=(0, 2), o5=(4, 8), o7=(10, 20), o9=(25, 35))
# Object 5 is found too large, 7 too small to match, 9 is split, 1 is missed, 8 is made up.
PREDICTION = row(o2=(4, 9), o3=(10, 15), o4=(25, 34), o6=(34, 35), o8=(38, 40))


def test_components_that_share_a_corner_are_one():
    assert find_components(np.eye(4, dtype=bool)).max() == 1
    assert find_components(np.diag([True, False, True])).max() == 2
    corner = np.zeros((2, 2, 2), bool)
    corner[0, 0, 0] = corner[1, 1, 1] = True
    assert find_components(corner).max() == 1


def test_matching_by_hand():
    matches = match_objects(PREDICTION, REFERENCE, (2.0, 0.5))
    assert matches.reference_volumes.tolist() == [2, 4, 10, 10]
    assert matches.prediction_volumes.tolist() == [5, 5, 9, 1, 2]
    assert sorted(map(tuple, matches.pairs.tolist())) == [(1, 0), (3, 2)]
    by_reference = dict(zip(matches.pairs[:, 0].tolist(), matches.dice.tolist(), strict=True))
    assert by_reference == pytest.approx({1: 2 * 4 / 9, 3: 2 * 9 / 19})


def test_an_overlap_of_exactly_one_half_matches_only_below():
    matches = match_objects(row(o1=(10, 15)), row(o1=(10, 20)), (1.0, 1.0), 0.5)
    assert len(matches.pairs) == 0
    assert len(match_objects(row(o1=(10, 15)), row(o1=(10, 20)), (1.0, 1.0), 0.49).pairs) == 1


def test_below_one_half_the_best_pair_goes_first():
    reference = row(o1=(0, 10), o2=(10, 14))
    prediction = row(o1=(5, 14))
    matches = match_objects(prediction, reference, (1.0, 1.0), 0.1)
    # IoU 5/14 with the first object, 4/9 with the second.
    assert matches.pairs.tolist() == [[1, 0]]


def test_scores_by_size_by_hand():
    scores = score_by_size(match_objects(PREDICTION, REFERENCE, (1.0, 1.0)), (3.0, 5.0), "volume")
    found = {s.stratum: (s.n_reference, s.n_prediction, s.n_matched) for s in scores}
    # Prediction 2 (5 pixels) counts as its partner of 4 does: medium, not large.
    assert found == {
        "all": (4, 5, 2),
        "small": (1, 2, 0),
        "medium": (1.0, 1.0, 1.0),
        "large": (2, 2, 1),
    }
    f1 = {s.stratum: s.f1 for s in scores}
    assert f1 == pytest.approx({"all": 4 / 9, "small": 0, "medium": 1, "large": 0.5})
    dice = {s.stratum: s.dice for s in scores}
    expected = {"all": (8 / 9 + 18 / 19) / 2, "small": np.nan, "medium": 8 / 9, "large": 18 / 19}
    assert dice == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("which", ["reference", "prediction", "both"])
def test_empty_sides(which):
    reference = row() if which in ("reference", "both") else REFERENCE
    prediction = row() if which in ("prediction", "both") else PREDICTION
    everything, *_ = score_by_size(match_objects(prediction, reference, (1.0, 1.0)), (), "volume")
    assert everything.n_matched == 0
    assert np.isnan(everything.dice)
    assert np.isnan(everything.f1) if which == "both" else everything.f1 == 0


def test_an_object_as_large_as_a_cut_point_is_above_it():
    scores = score_by_size(match_objects(REFERENCE, REFERENCE, (1.0, 1.0)), (4.0,), "volume")
    assert [(s.stratum, s.n_reference) for s in scores] == [("all", 4), ("small", 1), ("large", 3)]


def test_sizes_are_those_of_ball_and_disc():
    assert object_sizes(np.array([np.pi * 9]), "diameter", 2) == pytest.approx(6)
    assert object_sizes(np.array([4 / 3 * np.pi * 27]), "diameter", 3) == pytest.approx(6)
    assert object_sizes(np.array([7.0]), "volume", 3) == 7


def test_terciles_part_objects_in_thirds():
    low, high = tercile_cut_points(np.arange(9.0))
    groups = np.searchsorted([low, high], np.arange(9.0), side="right")
    assert np.bincount(groups).tolist() == [3, 3, 3]
    assert tercile_cut_points(np.array([3.0, 3.0, 3.0])) == ()
    assert tercile_cut_points(np.array([1.0, 3.0, 3.0, 3.0])) == (3.0,)
    assert tercile_cut_points(np.array([])) == ()


def test_names_of_strata():
    assert stratum_names(0) == ()
    assert stratum_names(1) == ("small", "large")
    assert stratum_names(3) == ("size_1", "size_2", "size_3", "size_4")
