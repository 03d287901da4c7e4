"""Sentences that are never stronger than the numbers."""

from dataclasses import replace

import pytest

from model_comparisons import BETTER, changed
from umamba.comparison.records import (
    Interval,
    Repeats,
)
from umamba.comparison.statistics.verdicts import Unit, outcome, verdict

DICE = Unit("Dice points", 100)


NONE_SHOWN = replace(
    changed(BETTER, 0.003, -0.005, 0.011),
    p_difference_holm=0.9,
    p_wilcoxon_holm=0.25,
    smallest_detectable_difference=0.0081,
)


def test_better_with_the_larger_of_both_p() -> None:
    assert verdict(BETTER, DICE) == (
        "better by 1.2 Dice points (95 % interval 0.4 to 2.0, p = 0.003, after Holm; "
        "n = 64 cases, 2 trainings per fold)"
    )


def test_higher_is_worse_where_lower_is_better() -> None:
    higher = changed(replace(BETTER, higher_is_better=False), 1.5, 0.5, 2.5)
    assert verdict(higher, Unit("mm")).startswith("worse by 1.5 mm (95 % interval 0.5 to 2.5,")
    lower = replace(changed(higher, -1.5, -2.5, -0.5), rank_biserial=-0.5)
    assert verdict(lower, Unit("mm")).startswith("better by 1.5 mm (95 % interval 0.5 to 2.5,")


def test_no_difference_says_what_would_have_been_shown_rounded_up() -> None:
    assert verdict(NONE_SHOWN, DICE) == (
        "no difference shown; a difference above 0.9 Dice points would have been, at 80 % power "
        "(+0.3 Dice points, 95 % interval \N{MINUS SIGN}0.5 to 1.1, p = 0.9, after Holm; "
        "n = 64 cases, 2 trainings per fold)"
    )


def test_no_sensitivity_is_claimed_where_the_difference_is_larger() -> None:
    larger = changed(NONE_SHOWN, 0.02, -0.005, 0.045)
    assert "would have been" not in verdict(larger, DICE)
    unknown = replace(NONE_SHOWN, smallest_detectable_difference=float("nan"))
    assert "would have been" not in verdict(unknown, DICE)


def test_without_repeats_there_is_no_verdict_on_the_models() -> None:
    once = replace(BETTER, n_seeds=1, n_baseline_seeds=1)
    once = changed(once, 0.012, 0.004, 0.02, repeated=False)
    assert outcome(once) == "trained once"
    assert verdict(once, DICE) == (
        "no verdict on the models, as no training was repeated with another seed; these trained "
        "networks: better by 1.2 Dice points (95 % interval 0.4 to 2.0, p = 0.003, after Holm; "
        "n = 64 cases, 1 training per fold)"
    )
    none = replace(changed(NONE_SHOWN, 0.003, -0.005, 0.011, repeated=False), n_baseline_seeds=1)
    assert verdict(none, DICE).startswith(
        "no verdict on the models, as net was trained once per fold; these trained networks: no "
        "difference shown; a difference above 0.9"
    )


def test_fewer_than_three_folds_say_nothing_of_other_training_data() -> None:
    two = replace(BETTER, fold_test=replace(BETTER.fold_test, n_folds=2))
    assert verdict(two, DICE).endswith("), for the training data of these 2 folds")
    one = replace(BETTER, fold_test=replace(BETTER.fold_test, n_folds=1))
    assert verdict(one, DICE).endswith("), for the training data of this fold")


@pytest.mark.parametrize(
    ("repeats", "counted", "reservation"),
    [
        ("folds", "3 against 2 folds", ", for the training data of these 2 folds"),
        ("trainings", "3 against 2 trainings", ", for these training data"),
        ("ensembles", "3 against 2 ensembles", ", for these training data"),
    ],
)
def test_what_is_repeated_on_a_test_set(repeats: Repeats, counted: str, reservation: str) -> None:
    comparison = replace(BETTER, repeats=repeats, n_seeds=3)
    said = verdict(comparison, DICE)
    assert said.endswith(f"n = 64 cases, {counted}){reservation}")
    once = replace(comparison.difference, includes_seed_variance=False)
    alone = verdict(replace(comparison, difference=once, n_seeds=1, n_baseline_seeds=1), DICE)
    why = {
        "folds": "{} was trained on only one fold",
        "trainings": "no training was",
        "ensembles": "each model has only one ensemble",
    }[repeats].format("both")
    assert "no verdict on the models, as " in alone
    assert why.removeprefix("both ") in alone


def test_cases_that_belong_together_are_counted() -> None:
    assert "n = 64 cases of 20 clusters" in verdict(replace(BETTER, n_clusters=20), DICE)
    assert outcome(replace(BETTER, n_clusters=7)) == "too few cases"


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({}, "better"),
        ({"p_wilcoxon_holm": 0.06}, "tests disagree"),
        ({"p_difference_holm": 0.06}, "tests disagree"),
        ({"corrected_interval": Interval(-0.001, 0.03)}, "tests disagree"),
        ({"rank_biserial": -0.2}, "tests disagree"),
        ({"p_difference_holm": 0.06, "p_wilcoxon_holm": 0.06}, "no difference shown"),
        ({"n_clusters": 7}, "too few cases"),  # 2 / 2**7 is above 0.05 / 4
        ({"n_clusters": 8}, "better"),
    ],
)
def test_every_condition_counts(changes: dict[str, object], result: str) -> None:
    assert outcome(replace(BETTER, **changes)) == result


def test_disagreement_and_few_cases_are_named() -> None:
    ranks_only = replace(BETTER, p_difference_holm=0.06)
    assert "the ranks of the cases differ, but the mean" in verdict(ranks_only, DICE)
    means_only = replace(BETTER, p_wilcoxon_holm=0.06)
    assert "the means differ, but the ranks" in verdict(means_only, DICE)
    assert "opposite directions" in verdict(replace(BETTER, rank_biserial=-0.2), DICE)
    assert verdict(replace(BETTER, n_cases=1, n_clusters=1), DICE).endswith(
        "however large (1 case in common)"
    )


def test_unequal_trainings_and_small_numbers() -> None:
    unequal = replace(BETTER, n_seeds=3, n_baseline_seeds=1)
    assert "3 against 1 training per fold)" in verdict(unequal, DICE)
    exact = changed(BETTER, 0.1, 0.1 - 1e-16, 0.1 + 1e-16)
    assert verdict(exact, DICE).startswith("better by 10.0 Dice points (95 % interval 10.0 to 10.0")
    tiny = changed(BETTER, 0.00012, 0.00004, 0.0002)
    assert verdict(tiny, DICE).startswith("better by 0.012 Dice points (95 % interval 0.004 to")
    sure = replace(BETTER, p_difference_holm=0.0001)
    assert "p < 0.001, after Holm" in verdict(sure, DICE)
