"""Stability of the ranking of models over bootstraps, as in challengeR."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from umamba.comparison.records import ModelRank, RankStability
from umamba.comparison.statistics.bootstrap import CONFIDENCE, N_BOOTSTRAP, resample_means
from umamba.comparison.statistics.pairs import difference_variances, make_pair, most_careful
from umamba.comparison.statistics.scores import CaseScore, ScoreTable, Structure
from umamba.comparison.statistics.variance import (
    MeanVariance,
    TrainingSpread,
    training_spread,
    training_weights,
)

__all__ = ["RankingDraws", "draw_ranking", "rank_stability"]


def rank_stability(
    scores: Sequence[CaseScore],
    structure: Structure | None = None,
    *,
    higher_is_better: bool = True,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> RankStability | None:
    """Rank models by their mean, with the certainty of the ranks.

    Ranges of ranks follow from the intervals of all pairs, and are as careful as those (Mogstad,
    Romano, Shaikh & Wilhelm, Inference for ranks, 2024). Shares come from bootstraps over cases and
    trainings (Wiesenfarth et al., Methods and open-source toolkit for analyzing and visualizing
    challenge results, 2021, where only cases are resampled), stretched in the same way as
    intervals.

    Args:
        scores: Scores of one metric.
        structure: Clusters of cases, and seeds shared by folds; `None` is neither.
        higher_is_better: Whether higher values of the metric are better.
        n_bootstrap: Number of bootstraps.
        seed: Seed of the bootstrap, which makes it reproducible.

    Returns:
        The ranking; `None` if no two models have two cases in common.

    Raises:
        ComparisonError: Scores contradict each other.
    """
    draws = draw_ranking(
        scores, structure, higher_is_better=higher_is_better, n_bootstrap=n_bootstrap, seed=seed
    )
    if draws is None:
        return None
    taus = _kendall_tau(draws.observed, draws.values)
    tail = (1 - CONFIDENCE) / 2
    tau_low, tau_high = np.quantile(taus, [tail, 1 - tail]) if taus.size else (np.nan, np.nan)
    table, used = draws.table, draws.used
    repeated = [_spread(table, model).degrees_of_freedom > 0 for model in table.models]
    return RankStability(
        n_cases=int(used.sum()),
        n_cases_left_out=int((~used).sum()),
        includes_seed_variance=all(repeated),
        models=_rank_models(draws, -1 if higher_is_better else 1),
        kendall_tau=float(taus.mean()) if taus.size else float("nan"),
        kendall_tau_low=float(tau_low),
        kendall_tau_high=float(tau_high),
    )


@dataclass(frozen=True, eq=False)
class RankingDraws:
    """Means of all models over the cases that they share, as found and over bootstraps.

    Attributes:
        table: The scores.
        used: The cases for which all models have scores.
        observed: Mean of each model; smaller is better.
        values: The same over bootstraps, `(models, n_bootstrap)`.
        variances: Variance of the difference of every pair of models.
    """

    table: ScoreTable
    used: Bool[np.ndarray, " cases"]
    observed: Float[np.ndarray, " models"]
    values: Float[np.ndarray, "models n_bootstrap"]
    variances: Mapping[tuple[int, int], MeanVariance]


def draw_ranking(
    scores: Sequence[CaseScore],
    structure: Structure | None = None,
    *,
    higher_is_better: bool = True,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> RankingDraws | None:
    """Draw the means that models are ranked by; arguments are those of `rank_stability`."""
    table = ScoreTable.from_scores(scores, structure)
    means = np.array([table.case_means(model) for model in table.models])
    used = np.isfinite(means).all(axis=0)
    if len(table.models) < 2 or len(np.unique(table.clusters[used])) < 2:
        return None
    variances = _pair_variances(table, used)
    sign = -1 if higher_is_better else 1
    values = sign * _draw(table, used, list(variances.values()), n_bootstrap, seed)
    return RankingDraws(table, used, sign * means[:, used].mean(axis=1), values, variances)


def _spread(table: ScoreTable, model: str) -> TrainingSpread:
    return training_spread(table, [model], shared_seeds=model in table.shared_seeds)


def _pair_variances(
    table: ScoreTable, used: Bool[np.ndarray, " cases"]
) -> dict[tuple[int, int], MeanVariance]:
    """Return the variance of the difference of every pair of models."""
    return {
        (first, second): most_careful(
            difference_variances(
                make_pair(table, table.models[first], table.models[second], used)
            ).values()
        )
        for first, second in combinations(range(len(table.models)), 2)
    }


def _ahead(
    observed: Float[np.ndarray, " models"], variances: Mapping[tuple[int, int], MeanVariance]
) -> Bool[np.ndarray, "models models"]:
    """Return which models are ahead of which beyond doubt; smaller is better."""
    n_models = len(observed)
    ahead = np.zeros((n_models, n_models), dtype=bool)
    tail = (1 - CONFIDENCE) / 2 / (n_models - 1)
    for (first, second), variance in variances.items():
        reach = stats.t.isf(tail, variance.degrees_of_freedom) * variance.standard_error
        difference = observed[first] - observed[second]
        ahead[first, second] = difference < -reach
        ahead[second, first] = difference > reach
    return ahead


def _draw(
    table: ScoreTable,
    used: Bool[np.ndarray, " cases"],
    variances: Sequence[MeanVariance],
    n_bootstrap: int,
    seed: int,
) -> Float[np.ndarray, "models n_bootstrap"]:
    """Draw means of all models, spread around the observed ones as the least certain pair needs."""
    means = np.array([table.case_means(model)[used] for model in table.models])
    draws, rng = resample_means(means, table.clusters[used], n_bootstrap, seed)
    for row, model in zip(draws, table.models, strict=True):
        shared = model in table.shared_seeds
        factor = training_weights(table, model, used, shared_seeds=shared).factor
        noise = rng.standard_normal(n_bootstrap)
        row += np.sqrt(_spread(table, model).variance * factor) * noise  # noqa: PLW2901 - in place
    tail = (1 - CONFIDENCE) / 2
    fewest = min(variance.degrees_of_freedom for variance in variances)
    centre = means.mean(axis=1, keepdims=True)
    stretched: np.ndarray = centre + (draws - centre) * (
        stats.t.ppf(tail, fewest) / stats.norm.ppf(tail)
    )
    return stretched


def _rank_models(drawn: RankingDraws, sign: int) -> tuple[ModelRank, ...]:
    """Rank the models, whose means are `sign` times those drawn."""
    names, observed, draws = drawn.table.models, drawn.observed, drawn.values
    ahead = _ahead(observed, drawn.variances)
    ranks = stats.rankdata(observed, method="min").astype(int)
    drawn_ranks = stats.rankdata(draws, method="min", axis=0).astype(int)
    n_models, n_bootstrap = draws.shape
    models = []
    for index in np.argsort(observed, kind="stable"):
        counts = np.bincount(drawn_ranks[index], minlength=n_models + 1)[1:]
        models.append(
            ModelRank(
                model=names[index],
                mean=float(sign * observed[index]),
                rank=int(ranks[index]),
                rank_low=1 + int(ahead[:, index].sum()),
                rank_high=n_models - int(ahead[index].sum()),
                shares=tuple(float(count / n_bootstrap) for count in counts),
            )
        )
    return tuple(models)


def _kendall_tau(
    observed: Float[np.ndarray, " models"], draws: Float[np.ndarray, "models n_bootstrap"]
) -> Float[np.ndarray, " n"]:
    """Return Kendall's tau-b of every draw with the observed ranks, without draws that all tie."""
    first, second = np.triu_indices(len(observed), k=1)
    observed_order = np.sign(observed[first] - observed[second])
    drawn_order = np.sign(draws[first] - draws[second])
    n_untied = np.abs(drawn_order).sum(axis=0) * np.abs(observed_order).sum()
    tied = n_untied == 0
    concordance: np.ndarray = (observed_order @ drawn_order)[~tied] / np.sqrt(n_untied[~tied])
    return concordance
