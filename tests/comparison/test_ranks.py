"""Rankings over bootstraps."""

import json

import numpy as np
import pytest
from scipy import stats

from umamba.comparison.ranks import _kendall_tau, rank_stability
from umamba.comparison.scores import CaseScore


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
    json.dumps(stability.to_dict(), allow_nan=False)


def test_models_alike_share_the_first_place() -> None:
    stability = rank_stability(scores_of({"a": 0.5, "b": 0.5}, noise=0.1), n_bootstrap=2000)
    assert stability is not None
    best = stability.models[0]
    assert 0.5 < best.first_share < 0.999
    assert (best.rank_low, best.rank_high) == (1, 2)
    assert sum(best.shares) == pytest.approx(1)
    assert stability.kendall_tau == pytest.approx(2 * best.first_share - 1)


def test_kendall_is_scipys() -> None:
    rng = np.random.default_rng(3)
    observed, draws = rng.integers(0, 5, 6).astype(float), rng.integers(0, 4, (6, 40)).astype(float)
    expected = [stats.kendalltau(observed, draw).statistic for draw in draws.T]
    np.testing.assert_allclose(_kendall_tau(observed, draws), expected)


def test_one_model_has_no_ranking() -> None:
    assert rank_stability(scores_of({"a": 0.5}, noise=0.1)) is None
    assert rank_stability([]) is None
