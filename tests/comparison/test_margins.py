"""Verdicts by the smallest difference that matters."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from model_comparisons import BETTER, changed
from small_results import results_with
from umamba.comparison.records import ModelComparison
from umamba.comparison.rows import Cost
from umamba.comparison.statistics.analysis import analyse
from umamba.comparison.statistics.margins import against_margin, margin_verdict
from umamba.comparison.statistics.models import compare_models
from umamba.comparison.statistics.scores import CaseScore
from umamba.comparison.statistics.verdicts import DICE_POINTS

ALONE = replace(BETTER, n_comparisons=1)
COST = {"new": Cost(1, 1, 1, 900, 0.5), "net": Cost(1, 1, 1, 1000, 1.0)}


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.011, 0.03, "superior by the margin"),
        (0.0, 0.03, "not inferior"),
        (-0.0099, 0.0099, "equivalent"),
        (-0.011, 0.005, "undecided"),
        (-0.03, 0.03, "undecided"),
        (-0.03, -0.011, "inferior by the margin"),
    ],
)
def test_the_interval_decides(low: float, high: float, outcome: str) -> None:
    comparison = changed(ALONE, (low + high) / 2, low, high)
    judged = against_margin(comparison, 0.01, COST)
    assert judged is not None
    assert judged.outcome == outcome
    lower = replace(changed(ALONE, -(low + high) / 2, -high, -low), higher_is_better=False)
    judged = against_margin(lower, 0.01, COST)
    assert judged is not None
    assert judged.outcome == outcome


def test_of_several_comparisons_the_interval_is_simultaneous() -> None:
    four = replace(changed(ALONE, 0.0, -0.008, 0.008), n_comparisons=4)
    judged = against_margin(four, 0.01, COST)
    assert judged is not None
    arm = 0.008 * stats.t.ppf(1 - 0.05 / 8, 40) / stats.t.ppf(0.975, 40)
    assert judged.interval.high == pytest.approx(arm)
    assert judged.outcome == "undecided"


def test_equivalence_is_two_one_sided_tests() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        differences = rng.normal(0.002, 0.02, 30)
        comparison = one_training_each(differences)
        judged = against_margin(comparison, 0.01, {})
        assert judged is not None
        one_sided = (
            stats.ttest_1samp(differences, -0.01, alternative="greater").pvalue,
            stats.ttest_1samp(differences, 0.01, alternative="less").pvalue,
        )
        if min(abs(p - 0.025) for p in one_sided) > 0.004:  # the bootstrap is no t interval
            assert (judged.outcome == "equivalent") == (max(one_sided) < 0.025)
        expected = stats.ttest_1samp(differences, 0.01, alternative="greater").pvalue
        assert judged.probability == pytest.approx(1 - expected)


def one_training_each(differences: np.ndarray) -> ModelComparison:
    scores = [
        CaseScore(model, 0, None, f"case_{case:02d}", float(value))
        for model, values in (("new", differences), ("net", np.zeros(len(differences))))
        for case, value in enumerate(values)
    ]
    return compare_models(scores, "net")[0]


def test_the_same_quality_at_less_cost() -> None:
    alike = changed(ALONE, 0.0, -0.005, 0.005)
    judged = against_margin(alike, 0.01, COST)
    assert judged is not None
    assert judged.same_at_less_cost
    assert margin_verdict(judged, DICE_POINTS, repeated=True) == (
        "by a margin of 1 Dice point: equivalent (better by more than that with a probability of "
        "1 %), the same quality at less cost: 50 % of the time of a training step and 90 % of the "
        "memory"
    )
    for cost in (
        {"net": COST["net"]},
        COST | {"new": replace(COST["new"], peak_memory_bytes=1200)},  # faster, and larger
        COST | {"new": replace(COST["new"], peak_memory_bytes=None)},  # not known
        COST | {"new": Cost(1, 1, 1, 990, 0.97)},
    ):
        judged = against_margin(alike, 0.01, cost)
        assert judged is not None
        assert not judged.same_at_less_cost
    worse = against_margin(changed(ALONE, -0.03, -0.04, -0.02), 0.01, COST)
    assert worse is not None
    assert not worse.same_at_less_cost


def test_as_many_more_cases_as_it_says_would_settle_it() -> None:
    rng = np.random.default_rng(1)
    differences = rng.normal(0, 1, 20)
    differences = 0.005 + 0.04 * (differences - differences.mean()) / differences.std(ddof=1)
    judged = against_margin(one_training_each(differences), 0.01, {})
    assert judged is not None
    assert judged.outcome == "undecided"
    n = judged.to_settle["cases"]
    assert n is not None
    # power of the one-sided test at 2.5 % that 0.5 points are more than -1, by noncentral t
    power = [
        stats.nct.sf(stats.t.isf(0.025, m - 1), m - 1, 0.015 * m**0.5 / 0.04) for m in (n, n / 1.1)
    ]
    assert power[0] > 0.79
    assert power[1] < 0.8
    assert judged.to_settle["seeds"] is None  # nothing is known of trainings to gain


def test_undecided_says_what_would_settle_it() -> None:
    judged = against_margin(changed(ALONE, 0.0, -0.02, 0.02), 0.01, COST)
    assert judged is not None
    judged = replace(judged, to_settle={"seeds": 7, "folds": 5, "cases": None})
    assert margin_verdict(judged, DICE_POINTS, repeated=True).endswith(
        "), which 7 seeds per fold or 5 folds as large would settle in four of five such "
        "comparisons"
    )
    judged = replace(judged, to_settle=dict.fromkeys(judged.to_settle))
    said = margin_verdict(replace(judged, margin=0.005), DICE_POINTS, repeated=True)
    assert "by a margin of 0.5 Dice points: undecided" in said
    assert "neither seeds nor folds nor cases alone would settle" in said
    assert "these trained networks: undecided" in margin_verdict(
        judged, DICE_POINTS, repeated=False
    )


def test_a_margin_is_in_results_and_verdicts() -> None:
    analysed = analyse(results_with(margin=5.0, cost=COST))
    (judged,) = analysed.dice.margins
    assert (judged.model, judged.outcome, judged.margin) == ("new", "equivalent", 0.05)
    assert "by a margin of 5 Dice points: equivalent" in analysed.verdicts["new"]
    assert analyse(results_with()).dice.margins == ()
