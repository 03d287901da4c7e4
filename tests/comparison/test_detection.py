"""Labels seen where there are none, and missed: they count, whatever Dice is said to be."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from small_results import N_CASES, N_EMPTY, results_with
from umamba.comparison.records import Interval, MeanEstimate, VariancePart
from umamba.comparison.statistics.analysis import analyse
from umamba.comparison.statistics.detection import rate_interval


def always_new(model: str, seed: int, case: int) -> bool:
    return model == "new"


@pytest.mark.parametrize("empty", ["undefined", "one", "zero"])
def test_false_alarms_of_one_model_alone_are_a_difference(empty: str) -> None:
    analysed = analyse(results_with(always_new, empty=empty))
    sentence = analysed.verdicts["new"]
    said = "more false alarms in 60 of 60 predictions of a label that is not there against 0 of 60"
    assert said in sentence
    assert "no difference shown" not in sentence
    assert "would have been" not in sentence
    old, new = analysed.statistics["false_alarm"].rates
    assert (old.n_events, new.n_events, new.n_predictions) == (0, 60, 60)
    # of 20 cases, not of 60 predictions
    exact = stats.binomtest(20, 20).proportion_ci(0.95, method="exact")
    assert new.interval.low == pytest.approx(exact.low)
    assert old.interval.high == pytest.approx(1 - exact.low)
    (comparison,) = analysed.statistics["false_alarm"].comparisons
    low = 1 - np.hypot(1 - exact.low, 1 - exact.low)  # Newcombe's, by hand
    assert comparison.difference.interval.low == pytest.approx(low)


def test_dice_of_two_empty_masks_is_what_was_asked_for() -> None:
    for empty, of_empty in (("one", 1.0), ("zero", 0.0)):
        results = results_with(empty=empty)
        of_cases = [r.metrics["dice"] or of_empty for r in results.cases]
        summary = analyse(results).statistics["dice"].summaries[0]
        assert summary.n_cases == N_CASES
        assert summary.estimate.mean == pytest.approx(np.mean(of_cases[: len(of_cases) // 2]))
    for settings in ({}, {"empty": "undefined"}):
        statistics = analyse(results_with(**settings)).statistics
        assert statistics["dice"].summaries[0].n_cases == N_CASES - N_EMPTY


def test_misses_of_one_model_are_named() -> None:
    def miss(model: str, seed: int, case: int) -> bool:
        return model == "new" and case % 3 > 0

    sentence = analyse(results_with(miss=miss)).verdicts["new"]
    assert (
        "more misses in 60 of 90 predictions of a label that is there against 0 of 90" in sentence
    )
    assert "; worse by" in sentence


def test_a_case_with_an_alarm_in_one_of_three_trainings_is_left_out_and_counted() -> None:
    def alarm(model: str, seed: int, case: int) -> bool:
        return model == "new" and seed == 0 and case < 5

    analysed = analyse(results_with(alarm))
    summary = analysed.statistics["dice"].summaries[1]
    assert (summary.n_cases, summary.n_partly_defined) == (30, 5)
    (comparison,) = analysed.statistics["dice"].comparisons
    assert comparison.n_informative_left_out == 5
    sentence = analysed.verdicts["new"]
    assert "would have been" not in sentence
    assert "no difference shown in the cases for which both have a score" in sentence
    assert sentence.endswith(
        "; false alarms in 5 of 60 predictions of a label that is not there against 0 of 60, which "
        "shows no difference."
    )


def test_cases_without_the_label_that_all_get_right_leave_the_power_as_it_is() -> None:
    sentence = analyse(results_with()).verdicts["new"]
    assert "would have been" in sentence
    assert "false alarms" not in sentence


def test_networks_trained_once_get_no_verdict_on_false_alarms() -> None:
    sentence = analyse(results_with(always_new, seeds=1)).verdicts["new"]
    assert "these trained networks: more false alarms in 20 of 20" in sentence


def test_labels_of_a_case_count_as_one_case() -> None:
    results = results_with(always_new)
    cysts = (replace(row, label="cyst") for row in results.cases)
    results = replace(results, cases=(*results.cases, *cysts))
    statistics = analyse(results).statistics["false_alarm"]
    assert statistics.rates[1].n_events == 120
    assert statistics.comparisons[0].n_clusters == N_EMPTY
    exact = stats.binomtest(20, 20).proportion_ci(0.95, method="exact")
    assert statistics.rates[1].interval.low == pytest.approx(exact.low)


def test_rates_have_the_exact_interval_of_as_many_cases_as_have_their_variance() -> None:
    def estimate(p: float, error: float) -> MeanEstimate:
        part = VariancePart("cases", error**2, error**2, 39.0)
        return MeanEstimate(
            p, Interval(p, p), error, 39.0, includes_seed_variance=True, parts=(part,)
        )

    plain = rate_interval(estimate(0.25, (0.25 * 0.75 / 40) ** 0.5), 0.95)
    exact = stats.binomtest(10, 40).proportion_ci(0.95, method="exact")
    assert (plain.low, plain.high) == pytest.approx((exact.low, exact.high))
    wide = rate_interval(estimate(0.25, 2 * (0.25 * 0.75 / 40) ** 0.5), 0.95)
    quarter = stats.beta.ppf([0.025, 0.975], [2.5, 3.5], [8.5, 7.5])
    assert (wide.low, wide.high) == pytest.approx(tuple(quarter))
    assert rate_interval(estimate(0.25, 0.01), 0.95) == plain  # never of more cases than there are
