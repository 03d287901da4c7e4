"""Sentences that are never stronger than the numbers."""

from dataclasses import replace

import pytest

from umamba.comparison.bootstrap import Interval, MeanEstimate
from umamba.comparison.statistics import ModelComparison
from umamba.comparison.verdicts import Unit, outcome, verdict

DICE = Unit("Dice points", 100)
BETTER = ModelComparison(
    model="new",
    baseline="net",
    higher_is_better=True,
    n_cases=64,
    n_cases_left_out=0,
    n_seeds=2,
    n_baseline_seeds=2,
    n_comparisons=4,
    model_mean=0.812,
    baseline_mean=0.8,
    difference=MeanEstimate(0.012, Interval(0.004, 0.02), 0.004, 40.0, includes_seed_variance=True),
    p_difference=0.001,
    p_difference_holm=0.003,
    p_wilcoxon=0.0001,
    p_wilcoxon_holm=0.0002,
    rank_biserial=0.4,
    cohen_d_z=0.3,
    smallest_detectable_difference=0.0135,
)


def with_difference(mean: float, low: float, high: float, *, repeated: bool = True) -> MeanEstimate:
    return MeanEstimate(mean, Interval(low, high), 0.004, 40.0, includes_seed_variance=repeated)


NONE_SHOWN = replace(
    BETTER,
    difference=with_difference(0.003, -0.005, 0.011),
    p_difference_holm=0.9,
    p_wilcoxon_holm=0.25,
    smallest_detectable_difference=0.0081,
)


def test_better_with_the_larger_of_both_p() -> None:
    assert verdict(BETTER, DICE) == (
        "better by 1.2 Dice points (95 % interval 0.4 to 2.0; p = 0.003 after Holm, "
        "n = 64 cases, 2 trainings per fold)"
    )


def test_higher_is_worse_where_lower_is_better() -> None:
    higher = replace(BETTER, higher_is_better=False, difference=with_difference(1.5, 0.5, 2.5))
    assert verdict(higher, Unit("mm")).startswith("worse by 1.5 mm (95 % interval 0.5 to 2.5;")
    lower = replace(higher, difference=with_difference(-1.5, -2.5, -0.5), rank_biserial=-0.5)
    assert verdict(lower, Unit("mm")).startswith("better by 1.5 mm (95 % interval 0.5 to 2.5;")


def test_no_difference_says_what_would_have_been_shown_rounded_up() -> None:
    assert verdict(NONE_SHOWN, DICE) == (
        "no difference shown; a difference above 0.9 Dice points would have been, at 80 % power "
        "(+0.3 Dice points, 95 % interval \N{MINUS SIGN}0.5 to 1.1; p = 0.9 after Holm, "
        "n = 64 cases, 2 trainings per fold)"
    )


def test_no_sensitivity_is_claimed_where_the_difference_is_larger() -> None:
    larger = replace(NONE_SHOWN, difference=with_difference(0.02, -0.005, 0.045))
    assert "would have been" not in verdict(larger, DICE)
    unknown = replace(NONE_SHOWN, smallest_detectable_difference=float("nan"))
    assert "would have been" not in verdict(unknown, DICE)


def test_without_repeats_nothing_is_said_of_the_models() -> None:
    once = replace(BETTER, n_seeds=1, n_baseline_seeds=1)
    once = replace(once, difference=with_difference(0.012, 0.004, 0.02, repeated=False))
    sentence = verdict(once, DICE)
    assert sentence.startswith("these trained networks: better by 1.2 Dice points")
    assert sentence.endswith(
        "1 training per fold); of the models it shows nothing, as no training was repeated with "
        "another seed"
    )
    none = replace(NONE_SHOWN, difference=with_difference(0.003, -0.005, 0.011, repeated=False))
    assert verdict(none, DICE).startswith("no difference shown between these networks; a")


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({}, "better"),
        ({"p_wilcoxon_holm": 0.06}, "tests disagree"),
        ({"p_difference_holm": 0.06}, "tests disagree"),
        ({"difference": with_difference(0.012, -0.001, 0.03)}, "tests disagree"),
        ({"rank_biserial": -0.2}, "tests disagree"),
        ({"p_difference_holm": 0.06, "p_wilcoxon_holm": 0.06}, "no difference shown"),
        ({"n_cases": 7}, "too few cases"),  # 2 / 2**7 is above 0.05 / 4
        ({"n_cases": 8}, "better"),
    ],
)
def test_every_condition_counts(changes: dict[str, object], result: str) -> None:
    assert outcome(replace(BETTER, **changes)) == result


def test_disagreement_and_few_cases_are_named() -> None:
    ranks_only = replace(BETTER, p_difference_holm=0.06)
    assert "the ranks of the cases differ, but the mean" in verdict(ranks_only, DICE)
    means_only = replace(BETTER, p_wilcoxon_holm=0.06)
    assert "the means differ, but the ranks" in verdict(means_only, DICE)
    assert "opposite sides" in verdict(replace(BETTER, rank_biserial=-0.2), DICE)
    assert verdict(replace(BETTER, n_cases=1), DICE).endswith("however large (1 case in common)")


def test_unequal_trainings_and_small_numbers() -> None:
    unequal = replace(BETTER, n_seeds=3, n_baseline_seeds=1)
    assert "3 against 1 training per fold)" in verdict(unequal, DICE)
    exact = replace(BETTER, difference=with_difference(0.1, 0.1 - 1e-16, 0.1 + 1e-16))
    assert verdict(exact, DICE).startswith("better by 10.0 Dice points (95 % interval 10.0 to 10.0")
    tiny = replace(BETTER, difference=with_difference(0.00012, 0.00004, 0.0002))
    assert verdict(tiny, DICE).startswith("better by 0.012 Dice points (95 % interval 0.004 to")
    sure = replace(BETTER, p_difference_holm=0.0001)
    assert "p < 0.001 after Holm" in verdict(sure, DICE)
