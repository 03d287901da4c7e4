"""Means, paired differences and their tests, against numbers worked out by hand or by scipy."""

import json

import numpy as np
import pytest
from scipy import stats

from umamba.comparison.bootstrap import resample_means
from umamba.comparison.paired_tests import cohen_d_z, holm, rank_biserial, wilcoxon
from umamba.comparison.scores import CaseScore, ScoreTable
from umamba.comparison.statistics import (
    ModelComparison,
    compare_models,
    compare_with_controls,
    summarize_models,
)
from umamba.comparison.variance import training_spread, training_weights
from umamba.errors import ComparisonError

NAN = float("nan")


def scores_of(
    model: str, values: list[list[float]], *, folds: int = 1, seeds: list[int | None] | None = None
) -> list[CaseScore]:
    """Turn rows of seeds and columns of cases into scores; cases alternate between folds."""
    names = seeds or list(range(len(values)))
    return [
        CaseScore(model, case % folds, seed, f"case_{case:02d}", float(value))
        for seed, row in zip(names, values, strict=True)
        for case, value in enumerate(row)
    ]


def compare_two(
    model: list[list[float]], baseline: list[list[float]], **keywords: int
) -> ModelComparison:
    scores = [*scores_of("new", model, **keywords), *scores_of("net", baseline, **keywords)]
    (comparison,) = compare_models(scores, "net", n_bootstrap=2000)
    return comparison


def test_with_one_training_the_standard_error_is_that_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(1)
    model, baseline = rng.normal(0.8, 0.1, (2, 30))
    comparison = compare_two([model.tolist()], [baseline.tolist()])
    t_test = stats.ttest_rel(model, baseline)
    assert comparison.p_difference == pytest.approx(t_test.pvalue)
    assert comparison.p_difference_holm == comparison.p_difference
    assert comparison.difference.mean == pytest.approx((model - baseline).mean())
    assert comparison.difference.standard_error == pytest.approx(stats.sem(model - baseline))
    expected = t_test.confidence_interval()
    interval = comparison.difference.interval
    np.testing.assert_allclose([interval.low, interval.high], expected, atol=0.005)
    assert comparison.p_wilcoxon == pytest.approx(stats.wilcoxon(model, baseline).pvalue)
    assert not comparison.difference.includes_seed_variance


def test_variance_between_trainings_is_that_of_the_analysis_of_variance() -> None:
    # deviations of +-1 per training, and +-0.5 per case in it; 2 trainings x 2 cases
    rows = [[11.5, 20.5], [8.5, 19.5]]
    spread = training_spread(ScoreTable.from_scores(scores_of("net", rows)), ["net"])
    # trainings' means 16 and 14: variance 2; residuals +-0.5: 4 * 0.25 over 1 degree, 2 cases
    assert spread.raw_variance == pytest.approx(2.0)
    assert spread.variance == pytest.approx(2.0 - 1.0 / 2)
    assert spread.degrees_of_freedom == 1
    assert np.mean(spread.effects**2) == pytest.approx(spread.variance)


def test_variance_between_trainings_is_pooled_over_folds_and_models_without_stock() -> None:
    net = scores_of("net", [[1.0, 5.0], [3.0, 5.0]], folds=2)  # variances 2 and 0
    new = scores_of("new", [[0.0, 0.0], [9.0, 9.0]], folds=2, seeds=[None, 4])
    table = ScoreTable.from_scores([*net, *new])
    assert training_spread(table, ["net", "new"]).raw_variance == pytest.approx(1.0)
    assert training_spread(table, ["net", "new"]).degrees_of_freedom == 2
    assert training_spread(table, ["new"]).degrees_of_freedom == 0
    used = np.array([True, True])
    weights = training_weights(table, "new", used)
    assert weights.n_trainings == (2, 2)
    assert weights.factor == pytest.approx(2 * 0.5**2 / 2)


def test_the_bootstrap_has_the_variance_of_the_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=(2, 6))
    values[1] = -values[0]
    means = resample_means(values, 200_000, np.random.default_rng(0))
    assert means[0].std() == pytest.approx(stats.sem(values[0]), rel=0.01)
    np.testing.assert_array_equal(means[1], -means[0])  # the same cases for every row


def test_repeats_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(2)
    cases = rng.normal(0.8, 0.1, 20)
    steady = [(cases + rng.normal(0, 0.001, 20)).tolist() for _ in range(2)]
    luck = [(cases + shift).tolist() for shift in (-0.05, 0.05)]
    narrow = compare_two(steady, steady[::-1]).difference
    wide = compare_two(luck, steady).difference
    assert wide.includes_seed_variance
    # the pair's pooled variance is (0.005 + 0) / 2, and its weight 1/2 for either model
    assert wide.standard_error == pytest.approx(np.sqrt(0.005 / 2), rel=0.01)
    assert narrow.standard_error < 0.001
    assert wide.interval.high - wide.interval.low > 4 * wide.standard_error


def test_pairs_use_the_cases_that_both_have() -> None:
    comparison = compare_two([[0.5, NAN, 0.75, 0.5]], [[0.25, 0.5, 0.5, NAN]])
    assert (comparison.n_cases, comparison.n_cases_left_out) == (2, 2)
    assert comparison.model_mean == 0.625
    assert comparison.baseline_mean == 0.375
    assert comparison.difference.mean == 0.25


def test_seeds_are_those_that_every_fold_has() -> None:
    half = scores_of("new", [[0.5, 0.75, 0.5, 0.25], [0.5, NAN, 0.75, NAN]], folds=2)
    scores = [*half, *scores_of("net", [[0.5, 0.5, 0.5, 0.5]], folds=2, seeds=[None])]
    (comparison,) = compare_models(scores, "net", n_bootstrap=100)
    assert (comparison.n_seeds, comparison.n_baseline_seeds) == (1, 1)
    assert comparison.difference.includes_seed_variance  # of the fold that was repeated


def test_nothing_to_compare() -> None:
    assert compare_models(scores_of("net", [[0.5]]), "net") == []
    assert summarize_models([]) == []
    with pytest.raises(ComparisonError, match="there are scores of no model"):
        compare_models([], "net")


def test_without_common_cases_all_numbers_are_null() -> None:
    scores = [*scores_of("net", [[0.5, 0.5]]), *scores_of("new", [[NAN, NAN]])]
    scores += scores_of("other", [[0.5, 0.75]])
    new, other = compare_models(scores, "net", n_bootstrap=100)
    assert (new.n_cases, new.n_comparisons, other.n_comparisons) == (0, 1, 1)
    plain = new.to_dict()
    assert plain["difference"]["mean"] is None
    assert plain["p_wilcoxon_holm"] is None
    json.dumps(plain, allow_nan=False)


def test_identical_scores_show_nothing() -> None:
    comparison = compare_two([[0.5, 0.75, 0.25] * 4], [[0.5, 0.75, 0.25] * 4])
    assert comparison.p_difference == comparison.p_wilcoxon == 1.0
    assert comparison.rank_biserial == 0
    assert np.isnan(comparison.cohen_d_z)
    assert np.isnan(comparison.smallest_detectable_difference)


def test_an_unknown_baseline_is_named() -> None:
    with pytest.raises(ComparisonError, match=r"model nets has no scores .* scores of net"):
        compare_models(scores_of("net", [[0.5]]), "nets")
    with pytest.raises(ComparisonError, match="model new_matched has no scores"):
        compare_with_controls(scores_of("new", [[0.5]]), {"new": ["new_matched"]})


def test_controls_are_a_family_of_their_own() -> None:
    rng = np.random.default_rng(5)
    names = ["net", "new", "new_nomamba", "new_matched"]
    scores = [s for name in names for s in scores_of(name, rng.normal(0.8, 0.1, (2, 20)).tolist())]
    controls = compare_with_controls(
        scores, {"new": ["new_nomamba", "new_matched"]}, n_bootstrap=100
    )
    pairs = [(comparison.model, comparison.baseline) for comparison in controls]
    assert pairs == [("new", "new_nomamba"), ("new", "new_matched")]
    assert [comparison.n_comparisons for comparison in controls] == [2, 2]
    models = compare_models(scores, "net", n_bootstrap=100)
    assert [comparison.n_comparisons for comparison in models] == [3, 3, 3]


def test_the_same_seed_gives_the_same_and_other_models_change_no_interval() -> None:
    rng = np.random.default_rng(6)
    net, new, other = (rng.normal(0.8, 0.1, (2, 20)).tolist() for _ in range(3))
    two = [*scores_of("net", net), *scores_of("new", new)]
    three = [*scores_of("other", other), *two]
    alone = compare_models(two, "net", n_bootstrap=500, seed=3)[0]
    among = compare_models(three, "net", n_bootstrap=500, seed=3)[1]
    assert alone.difference == among.difference
    assert alone.difference != compare_models(two, "net", n_bootstrap=500, seed=4)[0].difference


def test_smallest_detectable_difference_has_the_power_it_claims() -> None:
    # of a paired t test, whose exact power is that of the noncentral t distribution
    differences = np.random.default_rng(7).normal(0, 1, 25)
    comparison = compare_two([differences.tolist()], [[0.0] * 25])
    noncentrality = comparison.smallest_detectable_difference / stats.sem(differences)
    power = stats.nct.sf(stats.t.ppf(0.975, 24), 24, noncentrality)
    assert power == pytest.approx(0.8, abs=0.01)


def test_summary_has_the_spread_over_seeds_without_stock() -> None:
    rows = [[0.1, 0.1], [0.5, 0.75], [0.75, 0.5], [0.5, NAN]]
    (summary,) = summarize_models(scores_of("net", rows, seeds=[None, 1, 2, 3]), n_bootstrap=100)
    assert summary.seeds == (None, 1, 2, 3)
    assert summary.seed_means == {1: 0.625, 2: 0.625}
    assert summary.seed_standard_deviation == 0
    assert (summary.n_cases, summary.n_undefined) == (2, 1)
    assert summary.estimate.mean == pytest.approx((1.85 / 4 + 1.35 / 3) / 2)
    json.dumps(summary.to_dict(), allow_nan=False)


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.04, 0.01, NAN, 0.03]), [0.06, 0.03, NAN, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_effect_sizes_by_hand() -> None:
    differences = np.array([1.0, 2.0, -3.0, 4.0])
    assert rank_biserial(differences) == pytest.approx((1 + 2 - 3 + 4) / 10)
    assert cohen_d_z(differences) == pytest.approx(1 / np.sqrt(26 / 3))
    assert rank_biserial(np.array([0.0, 1.0])) == pytest.approx(2 / 3)
    assert np.isnan(rank_biserial(np.empty(0)))
    assert np.isnan(cohen_d_z(np.ones(3)))


def test_wilcoxon_of_few_cases_is_exact() -> None:
    assert wilcoxon(np.arange(1.0, 7.0)) == pytest.approx(2 / 2**6)
    assert wilcoxon(np.zeros(5)) == 1.0
    assert np.isnan(wilcoxon(np.ones(1)))
