"""Rankings over bootstraps."""

import numpy as np
import pytest
from scipy import stats

from umamba.comparison.statistics.models import compare_models
from umamba.comparison.statistics.ranks import _kendall_tau, rank_stability
from umamba.comparison.statistics.scores import CaseScore


def scores_of(means: dict[str, float], noise: float) -> list[CaseScore]:
    rng = np.random.default_rng(0)
    return [
        CaseScore(model, 0, 1, f"case_{case}", float(mean + rng.normal(0, noise)))
        for model, mean in means.items()
        for case in range(20)
    ]


def test_models_far_apart_keep_their_rank() -> None:
    scores = scores_of({"b": 0.5, "a": 0.9, "c": 0.1}, noise=0.01)
    stability = rank_stability(scores, n_bootstrap=300)
    assert stability is not None
    assert [rank.model for rank in stability.models] == ["a", "b", "c"]
    assert [rank.first_share for rank in stability.models] == [1, 0, 0]
    assert stability.kendall_tau == stability.kendall_tau_low == 1
    assert not stability.includes_seed_variance
    lower = rank_stability(scores, higher_is_better=False, n_bootstrap=300)
    assert lower is not None
    assert [(rank.model, rank.rank) for rank in lower.models] == [("c", 1), ("b", 2), ("a", 3)]


def test_models_alike_share_the_first_place() -> None:
    stability = rank_stability(scores_of({"a": 0.5, "b": 0.5}, noise=0.1), n_bootstrap=2000)
    assert stability is not None
    best = stability.models[0]
    assert 0.5 < best.first_share < 0.999
    assert (best.rank_low, best.rank_high) == (1, 2)
    assert sum(best.shares) == pytest.approx(1)
    assert stability.kendall_tau == pytest.approx(2 * best.first_share - 1)


def test_a_range_of_ranks_is_as_wide_as_the_interval_of_the_difference() -> None:
    rng = np.random.default_rng(4)
    ranges = []
    for _ in range(60):
        means = {"a": rng.normal(0.5, 0.05, 2), "b": rng.normal(0.55, 0.05, 2)}
        scores = [
            CaseScore(model, 0, seed, f"case_{case}", float(mean + rng.normal(0, 0.02)))
            for model, of_seeds in means.items()
            for seed, mean in enumerate(of_seeds)
            for case in range(12)
        ]
        stability = rank_stability(scores, n_bootstrap=50)
        assert stability is not None
        (comparison,) = compare_models(scores, "b", n_bootstrap=50)
        first, second = stability.models
        assert (first.rank_high == 1) == (second.rank_low == 2) == (comparison.p_difference < 0.05)
        ranges.append(first.rank_high)
    assert set(ranges) == {1, 2}


def test_of_three_models_ranges_are_corrected_for_the_two_others() -> None:
    differences = np.random.default_rng(5).normal(0, 0.1, 20)
    t = stats.ttest_1samp(differences, 0.0)
    wanted = float(stats.t.isf(0.0125 * 1.1, 19) * stats.sem(differences))  # p of 0.0275
    shifted = differences - differences.mean() + wanted
    assert t.df == 19
    scores = [
        CaseScore(model, 0, None, f"case_{case}", float(value))
        for model, values in (("a", shifted), ("b", 0 * shifted), ("c", 0 * shifted - 9))
        for case, value in enumerate(values)
    ]
    three = rank_stability(scores, n_bootstrap=50)
    two = rank_stability([s for s in scores if s.model != "c"], n_bootstrap=50)
    assert three is not None
    assert two is not None
    assert [(r.rank_low, r.rank_high) for r in three.models] == [(1, 2), (1, 2), (3, 3)]
    assert [(r.rank_low, r.rank_high) for r in two.models] == [(1, 1), (2, 2)]


def test_kendall_is_scipys() -> None:
    rng = np.random.default_rng(3)
    observed, draws = rng.integers(0, 5, 6).astype(float), rng.integers(0, 4, (6, 40)).astype(float)
    expected = [stats.kendalltau(observed, draw).statistic for draw in draws.T]
    np.testing.assert_allclose(_kendall_tau(observed, draws), expected)


def test_one_model_has_no_ranking() -> None:
    assert rank_stability(scores_of({"a": 0.5}, noise=0.1)) is None
    assert rank_stability([]) is None
