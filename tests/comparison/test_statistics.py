"""Means, paired differences and their tests, against numbers worked out by hand or by scipy."""

import numpy as np
import pytest
from scipy import stats

from umamba.comparison.records import ModelComparison
from umamba.comparison.results import to_plain
from umamba.comparison.statistics.bootstrap import resample_means
from umamba.comparison.statistics.models import (
    compare_models,
    compare_with_controls,
    summarize_models,
)
from umamba.comparison.statistics.paired_tests import (
    cohen_d_z,
    fold_test,
    holm,
    holm_steps,
    rank_biserial,
    wilcoxon,
)
from umamba.comparison.statistics.scores import CaseScore, ScoreTable, Structure
from umamba.comparison.statistics.variance import case_part, training_spread, training_weights
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
    means, _ = resample_means(values, np.arange(6), 200_000, 0)
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


def test_the_wider_of_students_and_welchs_interval_decides() -> None:
    # Trainings are all that varies: every case is as good as the training.
    model, baseline = [0.8, 0.9, 0.85, 0.7], [0.7, 0.71]
    comparison = compare_two([[v] * 9 for v in model], [[v] * 9 for v in baseline])
    student, welch = (stats.ttest_ind(model, baseline, equal_var=equal) for equal in (True, False))
    for estimate, test in ((comparison.pooled, student), (comparison.unpooled, welch)):
        assert estimate is not None
        assert estimate.degrees_of_freedom == pytest.approx(test.df)
        assert estimate.mean / estimate.standard_error == pytest.approx(test.statistic)
    assert comparison.p_difference == pytest.approx(max(student.pvalue, welch.pvalue))
    assert comparison.difference == comparison.pooled
    widest = student.confidence_interval()
    interval = comparison.difference.interval
    np.testing.assert_allclose([interval.low, interval.high], widest, atol=0.02)


def test_folds_that_differ_by_more_than_cases_explain_are_what_varies() -> None:
    of_folds = [0.01, 0.05, 0.03, 0.08]
    rows = [[0.5 + of_folds[case % 4] for case in range(12)]] * 2
    comparison = compare_two(rows, [[0.5] * 12] * 2, folds=4)
    test = stats.ttest_1samp(of_folds, 0.0)
    assert comparison.p_difference == pytest.approx(test.pvalue)
    assert comparison.fold_test.p == pytest.approx(test.pvalue)
    assert comparison.fold_test.n_folds == 4
    assert [part.source for part in comparison.difference.parts][-1] == "folds"
    two = compare_two(rows, [[0.5] * 12] * 2, folds=2)  # too few to tell
    assert "folds" not in [part.source for part in two.difference.parts]


def test_fold_test_by_scipy_and_without_folds() -> None:
    values = np.array([0.1, 0.3, -0.1])
    test = fold_test(values)
    assert test.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert test.interval.high > 0.3
    assert np.isnan(fold_test(values[:1]).p)
    assert np.isnan(fold_test(np.empty(0)).mean)


def test_cases_of_a_patient_count_as_one() -> None:
    rng = np.random.default_rng(8)
    model, baseline = rng.normal(0.8, 0.1, (2, 1, 12)) + rng.normal(0, 0.01, (2, 2, 12))
    alone = compare_two(model.tolist(), baseline.tolist())
    thrice = [
        *scores_of("new", np.repeat(model, 3, axis=1).tolist()),
        *scores_of("net", np.repeat(baseline, 3, axis=1).tolist()),
    ]
    patients = Structure({f"case_{case:02d}": f"patient_{case // 3}" for case in range(36)})
    (together,) = compare_models(thrice, "net", patients, n_bootstrap=2000)
    assert (together.n_cases, together.n_clusters, alone.n_clusters) == (36, 12, 12)
    assert together.difference.standard_error == pytest.approx(alone.difference.standard_error)
    assert together.p_difference == pytest.approx(alone.p_difference)
    assert together.p_wilcoxon == pytest.approx(alone.p_wilcoxon)
    (apart,) = compare_models(thrice, "net", n_bootstrap=2000)
    assert apart.difference.standard_error < 0.7 * alone.difference.standard_error


def test_unequal_clusters_are_those_of_the_ratio_estimator() -> None:
    values = np.array([1.0, 2.0, 6.0, 3.0])
    part = case_part(values, np.array([0, 0, 0, 1]))
    # mean 3; cluster sums of residuals 0 and 0: clusters do not differ in the mean
    assert part.variance == 0
    part = case_part(values, np.array([0, 0, 1, 2]))
    assert part.variance == pytest.approx((9 + 9 + 0) * 3 / 2 / 16)
    assert part.degrees_of_freedom == pytest.approx(16 / 6 - 1)


def test_trainings_that_share_their_seed_in_all_folds_are_one() -> None:
    rng = np.random.default_rng(9)
    cases, seeds = rng.normal(0.8, 0.1, 20), rng.normal(0, 0.05, (2, 3, 1))
    model, baseline = (cases + seeds + rng.normal(0, 0.01, (2, 3, 20))).tolist()
    scores = [*scores_of("new", model, folds=2), *scores_of("net", baseline, folds=2)]
    (crossed,) = compare_models(scores, "net", Structure(shared_seeds=["net"]), n_bootstrap=2000)
    (independent,) = compare_models(scores, "net", n_bootstrap=2000)
    one_fold = compare_two(model, baseline)
    assert crossed.difference.standard_error == pytest.approx(one_fold.difference.standard_error)
    assert crossed.difference.degrees_of_freedom < independent.difference.degrees_of_freedom
    assert crossed.difference.standard_error > 1.2 * independent.difference.standard_error


def test_pairs_use_the_cases_that_both_have() -> None:
    comparison = compare_two([[0.5, NAN, 0.75, 0.5]], [[0.25, 0.5, 0.5, NAN]])
    assert (comparison.n_cases, comparison.n_cases_left_out) == (2, 2)
    assert comparison.model_mean == 0.625
    assert comparison.baseline_mean == 0.375
    assert comparison.difference.mean == 0.25


def test_seeds_are_those_that_every_fold_has() -> None:
    half = scores_of("new", [[0.5, 0.75, 0.5, 0.25], [0.5, NAN, 0.75, NAN]], folds=2)
    half = [score for score in half if not np.isnan(score.value)]
    net = scores_of("net", [[0.5, 0.25, 0.5, 0.5], [0.5, 0.5, 0.75, 0.5]], folds=2)
    (comparison,) = compare_models([*half, *net], "net", n_bootstrap=100)
    assert (comparison.n_seeds, comparison.n_baseline_seeds) == (1, 2)
    assert comparison.difference.includes_seed_variance  # of the fold that was repeated
    stock = scores_of("net", [[0.5, 0.5, 0.5, 0.5]], folds=2, seeds=[None])
    (comparison,) = compare_models([*half, *stock], "net", n_bootstrap=100)
    assert not comparison.difference.includes_seed_variance  # of the baseline nothing is known
    assert [part.source for part in comparison.difference.parts] == ["cases"]


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
    plain = to_plain(new)
    assert plain["difference"]["mean"] is None
    assert plain["p_wilcoxon_holm"] is None


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
    assert summary.seed_means == {1: 0.5, 2: 0.75, 3: 0.5}
    assert summary.seed_standard_deviation == pytest.approx(0.25 / np.sqrt(3))
    # the second case is undefined in one of four trainings: no mean of the other three
    assert (summary.n_cases, summary.n_undefined, summary.n_partly_defined) == (1, 1, 1)
    assert summary.estimate.mean == pytest.approx(0.4625)  # of the first case
    assert np.isnan(summary.estimate.interval.low)


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.04, 0.01, NAN, 0.03]), [0.06, 0.03, NAN, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_corrected_intervals_leave_out_zero_where_corrected_p_is_small() -> None:
    assert holm_steps([0.04, 0.01, NAN, 0.03], 0.05) == [2, 3, 1, 2]
    rng = np.random.default_rng(10)
    for _ in range(200):
        p_values = (rng.random(4) ** 3).tolist()
        steps = holm_steps(p_values, 0.05)
        by_interval = [p * step < 0.05 for p, step in zip(p_values, steps, strict=True)]
        assert by_interval == [p < 0.05 for p in holm(p_values)]
    names = ["net", "a", "b", "c"]
    scores = [s for n in names for s in scores_of(n, rng.normal(0.8, 0.1, (2, 20)).tolist())]
    comparisons = compare_models(scores, "net", n_bootstrap=500)
    assert [comparison.model for comparison in comparisons] == ["a", "b", "c"]
    for comparison in comparisons:
        narrow, wide = comparison.difference.interval, comparison.corrected_interval
        assert wide.low < narrow.low < narrow.high < wide.high
        degrees = comparison.difference.degrees_of_freedom
        stretch = (wide.high - wide.low) / (narrow.high - narrow.low)
        expected = stats.t.ppf(1 - 0.025 / 3, degrees) / stats.t.ppf(0.975, degrees)
        assert stretch == pytest.approx(expected)


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


@pytest.mark.parametrize(
    "differences",
    [
        (0.1, 0.1, 0.2),
        (0.0, 0.3, -0.2, 0.4, 0.5),
        (0.0, 0.0, 0.1, 0.1, 0.2, -0.3, 0.3),
        (-1.0, -1.0, -2.0, -2.0, -2.0, 0.0),
    ],
)
def test_ties_and_zeros_get_the_p_value_of_scipys_signs(differences: tuple[float, ...]) -> None:
    want = stats.wilcoxon(differences, zero_method="pratt").pvalue
    assert wilcoxon(np.array(differences)) == want
