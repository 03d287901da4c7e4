"""How stable the ranking of models is over bootstraps, as in challengeR."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from umamba.comparison.bootstrap import CONFIDENCE, resample_means, resample_trainings
from umamba.comparison.records import Record
from umamba.comparison.scores import CaseScore, ScoreTable
from umamba.comparison.variance import training_spread, training_weights

__all__ = ["ModelRank", "RankStability", "rank_stability"]


@dataclass(frozen=True)
class ModelRank(Record):
    """The place of one model; ranks start at 1, and equal means share the better one.

    Attributes:
        model: Name.
        mean: Mean over the cases.
        rank: Rank by that mean.
        rank_low: 2.5 % quantile of the ranks over bootstraps.
        rank_high: 97.5 % quantile.
        shares: Share of the bootstraps in which it has rank 1, 2, ...
    """

    model: str
    mean: float
    rank: int
    rank_low: int
    rank_high: int
    shares: tuple[float, ...]

    @property
    def first_share(self) -> float:
        """Return the share of the bootstraps in which the model comes first."""
        return self.shares[0]


@dataclass(frozen=True)
class RankStability(Record):
    """Ranking of all models over bootstraps.

    Attributes:
        n_cases: Cases that all models have scores of.
        n_cases_left_out: The others.
        includes_seed_variance: Whether every model has repeated trainings.
        models: Per model its ranks, the best first.
        kendall_tau: Mean over bootstraps of Kendall's tau-b with the ranking observed.
        kendall_tau_low: 2.5 % quantile.
        kendall_tau_high: 97.5 % quantile.
    """

    n_cases: int
    n_cases_left_out: int
    includes_seed_variance: bool
    models: tuple[ModelRank, ...]
    kendall_tau: float
    kendall_tau_low: float
    kendall_tau_high: float


def rank_stability(
    scores: Sequence[CaseScore],
    *,
    higher_is_better: bool = True,
    n_bootstrap: int = 10_000,
    seed: int = 0,
) -> RankStability | None:
    """Rank models by their mean, in bootstraps over cases and trainings.

    Wiesenfarth et al., Methods and open-source toolkit for analyzing and visualizing challenge
    results, 2021; there only cases are resampled, here trainings, too.

    Args:
        scores: Scores of one metric.
        higher_is_better: Whether more of the metric is better.
        n_bootstrap: Number of bootstraps.
        seed: Seed of the bootstrap; the same gives the same.

    Returns:
        The ranking, `None` where there are not two models with two cases in common.

    Raises:
        ComparisonError: Scores contradict each other.
    """
    table = ScoreTable.from_scores(scores)
    means = np.array([table.case_means(model) for model in table.models])
    used = np.isfinite(means).all(axis=0)
    if len(table.models) < 2 or used.sum() < 2:
        return None
    rng = np.random.default_rng(seed)
    draws = resample_means(means[:, used], n_bootstrap, rng)
    spreads = [training_spread(table, [model]) for model in table.models]
    for row, model, spread in zip(draws, table.models, spreads, strict=True):
        row += resample_trainings(  # noqa: PLW2901 - adds in place
            spread, training_weights(table, model, used), n_bootstrap, rng
        )
    sign = -1 if higher_is_better else 1
    observed = sign * means[:, used].mean(axis=1)
    taus = _kendall_tau(observed, sign * draws)
    tail = (1 - CONFIDENCE) / 2
    tau_low, tau_high = np.quantile(taus, [tail, 1 - tail]) if taus.size else (np.nan, np.nan)
    return RankStability(
        n_cases=int(used.sum()),
        n_cases_left_out=int((~used).sum()),
        includes_seed_variance=all(spread.degrees_of_freedom > 0 for spread in spreads),
        models=_rank_models(table.models, sign, observed, sign * draws),
        kendall_tau=float(taus.mean()) if taus.size else float("nan"),
        kendall_tau_low=float(tau_low),
        kendall_tau_high=float(tau_high),
    )


def _rank_models(
    names: Sequence[str],
    sign: int,
    observed: Float[np.ndarray, " models"],
    draws: Float[np.ndarray, "models n_bootstrap"],
) -> tuple[ModelRank, ...]:
    """Rank what is better the smaller it is."""
    ranks = stats.rankdata(observed, method="min").astype(int)
    drawn_ranks = stats.rankdata(draws, method="min", axis=0).astype(int)
    n_models, n_bootstrap = draws.shape
    tail = (1 - CONFIDENCE) / 2
    models = []
    for index in np.argsort(observed, kind="stable"):
        low, high = np.quantile(drawn_ranks[index], [tail, 1 - tail], method="inverted_cdf")
        counts = np.bincount(drawn_ranks[index], minlength=n_models + 1)[1:]
        models.append(
            ModelRank(
                model=names[index],
                mean=float(sign * observed[index]),
                rank=int(ranks[index]),
                rank_low=int(low),
                rank_high=int(high),
                shares=tuple(float(count / n_bootstrap) for count in counts),
            )
        )
    return tuple(models)


def _kendall_tau(
    observed: Float[np.ndarray, " models"], draws: Float[np.ndarray, "models n_bootstrap"]
) -> Float[np.ndarray, " n"]:
    """Return tau-b of every draw with what was observed; draws that are all ties are left out."""
    first, second = np.triu_indices(len(observed), k=1)
    observed_order = np.sign(observed[first] - observed[second])
    drawn_order = np.sign(draws[first] - draws[second])
    n_untied = np.abs(drawn_order).sum(axis=0) * np.abs(observed_order).sum()
    tied = n_untied == 0
    concordance: np.ndarray = (observed_order @ drawn_order)[~tied] / np.sqrt(n_untied[~tied])
    return concordance
