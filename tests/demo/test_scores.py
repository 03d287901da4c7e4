"""Dice by hand, and the thresholds against trying all pairs."""

import math

import numpy as np
import pytest

from umamba.demo.scores import Thresholds, dice, dice_per_label, fit_thresholds, mean_dice


def test_dice_by_hand() -> None:
    reference = np.array([0, 1, 1, 2, 2, 2])
    prediction = np.array([1, 1, 0, 2, 2, 0])
    assert dice_per_label(reference, prediction) == {
        "grey_matter": pytest.approx(2 * 1 / (2 + 2)),
        "white_matter": pytest.approx(2 * 2 / (3 + 2)),
    }


def test_dice_of_nothing_is_undefined_and_of_nothing_found_is_zero() -> None:
    nothing, something = np.zeros(3, bool), np.array([True, False, False])
    assert math.isnan(dice(nothing, nothing))
    assert dice(something, nothing) == 0
    assert dice(something, something) == 1


def test_mean_dice_averages_scans_then_labels() -> None:
    scores = [
        {"grey_matter": 0.8, "white_matter": 0.6},
        {"grey_matter": 0.9, "white_matter": 0.8},
    ]
    means = mean_dice(scores)
    assert means == pytest.approx({"grey_matter": 0.85, "white_matter": 0.7, "mean": 0.775})


def test_thresholds_separate_what_can_be_separated() -> None:
    image = np.array([0.0, 0.1, 0.5, 0.6, 0.9, 1.0])
    labels = np.array([0, 0, 1, 1, 2, 2])
    fitted = fit_thresholds([image[:3], image[3:]], [labels[:3], labels[3:]])
    np.testing.assert_array_equal(fitted.segment(image), labels)


def test_no_other_pair_of_thresholds_is_better() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 2000)
    image = labels + rng.normal(scale=0.6, size=labels.shape)

    def score(thresholds: Thresholds) -> float:
        return mean_dice([dice_per_label(labels, thresholds.segment(image))])["mean"]

    best = score(fit_thresholds([image], [labels]))
    tried = np.linspace(image.min(), image.max(), 60)
    others = [score(Thresholds(g, w)) for g in tried for w in tried if g < w]
    assert best >= max(others) - 1e-3
