"""Two models on the cases for which both have scores, and the uncertainty of their difference."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from umamba.comparison.records import Interval, MeanEstimate, ModelComparison, VariancePart
from umamba.comparison.statistics.bootstrap import (
    CONFIDENCE,
    estimate_mean,
    interval_at,
    no_estimate,
    resample_each,
    resample_means,
)
from umamba.comparison.statistics.scores import ScoreTable
from umamba.comparison.statistics.variance import (
    MeanVariance,
    TrainingSpread,
    TrainingWeights,
    case_part,
    cluster_sums,
    fold_part,
    mean_variance,
    training_parts,
    training_spread,
    training_weights,
)

__all__ = [
    "Pair",
    "difference_variances",
    "estimate_contrast",
    "estimate_difference",
    "estimate_differences",
    "interval_of",
    "make_pair",
    "most_careful",
]

_Uncertain = TypeVar("_Uncertain", MeanEstimate, MeanVariance)
_DECIMALS = 12  # smaller differences of scores are rounding errors


@dataclass(frozen=True, eq=False)
class Pair:
    """Two models on the same cases.

    Attributes:
        used: The cases of the table that are used.
        differences: Model minus baseline for each case, as means over trainings.
        folds: Fold of each case.
        clusters: Number of each case's cluster.
        weights: Weights of trainings in the mean of the model, and in that of the baseline.
        pooled: Variance between trainings, assumed to be the same for both.
        own: Separate variances of the model and of the baseline.
        shared_seeds: Whether trainings of one seed in several folds count as one.
    """

    used: Bool[np.ndarray, " all_cases"]
    differences: Float[np.ndarray, " cases"]
    folds: Int[np.ndarray, " cases"]
    clusters: Int[np.ndarray, " cases"]
    weights: tuple[TrainingWeights, TrainingWeights]
    pooled: TrainingSpread
    own: tuple[TrainingSpread, TrainingSpread]
    shared_seeds: bool

    @property
    def n_clusters(self) -> int:
        """Number of clusters of the cases; that of the cases if no clusters are named."""
        return len(np.unique(self.clusters))

    @property
    def cluster_differences(self) -> Float[np.ndarray, " clusters"]:
        """Return the mean difference of each cluster."""
        values = np.stack([self.differences, np.ones_like(self.differences)])
        sums, sizes = cluster_sums(values, self.clusters)
        means: np.ndarray = np.round(sums / sizes, _DECIMALS)
        return means

    @property
    def fold_differences(self) -> Float[np.ndarray, " folds"]:
        """Return the mean difference of each fold."""
        folds = np.unique(self.folds)
        means = [self.differences[self.folds == fold].mean() for fold in folds]
        return np.round(np.array(means, dtype=float), _DECIMALS)

    @property
    def both_repeated(self) -> bool:
        """True if the luck of training is known for both models."""
        return all(spread.degrees_of_freedom > 0 for spread in self.own)


def make_pair(
    table: ScoreTable, model: str, baseline: str, cases: Bool[np.ndarray, " cases"] | None = None
) -> Pair:
    """Pair two models on common cases.

    Args:
        table: Scores of one metric.
        model: Name of the model.
        baseline: Name of the model that it is compared with.
        cases: Cases to use; `None` is all.
    """
    names = (model, baseline)
    model_means, baseline_means = (table.case_means(name) for name in names)
    used = np.isfinite(model_means) & np.isfinite(baseline_means)
    if cases is not None:
        used &= cases
    shared = bool(table.shared_seeds & set(names))
    model_weights, baseline_weights = (
        training_weights(table, name, used, shared_seeds=shared) for name in names
    )
    model_spread, baseline_spread = (
        training_spread(table, [name], shared_seeds=shared) for name in names
    )
    return Pair(
        used=used,
        differences=np.round((model_means - baseline_means)[used], _DECIMALS),
        folds=table.folds[used],
        clusters=table.clusters[used],
        weights=(model_weights, baseline_weights),
        pooled=training_spread(table, names, shared_seeds=shared),
        own=(model_spread, baseline_spread),
        shared_seeds=shared,
    )


def difference_variances(pair: Pair) -> dict[str, MeanVariance]:
    """Estimate the variance of the mean difference in each possible way.

    Args:
        pair: Two models on two or more clusters of cases.

    Returns:
        `pooled`, which assumes the same variance between trainings for both, and `unpooled`, with a
        separate variance for each (Welch 1947). If one of them was never repeated, only `networks`,
        in which nothing but the cases varies.
    """
    if not pair.both_repeated:
        return {"networks": mean_variance([case_part(pair.differences, pair.clusters)])}
    factors = [weights.factor for weights in pair.weights]
    trainings = {
        "pooled": training_parts([pair.pooled], [sum(factors)]),
        "unpooled": training_parts(pair.own, factors),
    }
    return {name: _with_folds(pair, parts) for name, parts in trainings.items()}


def _with_folds(pair: Pair, trainings: list[VariancePart]) -> MeanVariance:
    """Add the luck of training data, as far as the folds reveal it."""
    independent = 0.0 if pair.shared_seeds else sum(part.variance for part in trainings)
    within = case_part(pair.differences, pair.clusters, pair.folds)
    folds = fold_part(pair.differences, pair.folds, within, independent)
    if folds is None:
        return mean_variance([case_part(pair.differences, pair.clusters), *trainings])
    return mean_variance([within, *trainings, folds])


def most_careful(estimates: Iterable[_Uncertain], confidence: float = CONFIDENCE) -> _Uncertain:
    """Return the estimate with the widest interval at some confidence."""
    quantile = (1 + confidence) / 2
    return max(
        estimates, key=lambda e: stats.t.ppf(quantile, e.degrees_of_freedom) * e.standard_error
    )


def interval_of(comparison: ModelComparison, confidence: float) -> Interval:
    """Return the interval at another confidence: the widest of all estimates."""
    estimates = [e for e in (comparison.pooled, comparison.unpooled) if e is not None]
    widest = most_careful(estimates or [comparison.difference], confidence)
    return interval_at(widest, confidence)


def estimate_difference(pair: Pair, n_bootstrap: int, seed: int) -> dict[str, MeanEstimate]:
    """Estimate the mean difference with each variance; all nan with fewer than two clusters.

    Args:
        pair: Two models.
        n_bootstrap: Number of bootstraps.
        seed: Seed of the bootstrap.

    Returns:
        Estimates by the names of `difference_variances`.
    """
    return estimate_differences([pair], n_bootstrap, seed)[0]


def estimate_differences(
    pairs: Sequence[Pair], n_bootstrap: int, seed: int
) -> list[dict[str, MeanEstimate]]:
    """Estimate the mean differences of several pairs, each as `estimate_difference` does."""
    found = [{"networks": no_estimate()} for _ in pairs]
    known = [number for number, pair in enumerate(pairs) if pair.n_clusters > 1]
    rows = [(pairs[number].differences, pairs[number].clusters) for number in known]
    for row, draws, noise in resample_each(rows, n_bootstrap, seed):
        pair = pairs[known[row]]
        mean = float(pair.differences.mean())
        found[known[row]] = {
            name: estimate_mean(
                mean, variance, draws, noise, includes_seed_variance=pair.both_repeated
            )
            for name, variance in difference_variances(pair).items()
        }
    return found


def estimate_contrast(
    table: ScoreTable,
    model: str,
    baseline: str,
    inside: Bool[np.ndarray, " cases"],
    n_bootstrap: int,
    seed: int,
) -> MeanEstimate:
    """Estimate the mean difference in some cases minus that in all others.

    It is a weighted mean over all cases of the differences, so that what trainings have in common
    in both parts cancels. The luck of training data is not included.

    Args:
        table: Scores of one metric.
        model: Name of the model.
        baseline: Name of what it is compared with.
        inside: Mask of those cases.
        n_bootstrap: Number of bootstraps.
        seed: Seed of the bootstrap.

    Returns:
        The estimate; nan if either side has fewer than two clusters.
    """
    used = make_pair(table, model, baseline).used
    table, sides = table.only(used), inside[used].astype(np.int64)
    if any(len(np.unique(table.clusters[sides == side])) < 2 for side in (0, 1)):
        return no_estimate()
    share = sides.mean()
    table = table.times(np.where(sides == 1, 1 / share, -1 / (1 - share)))
    pair = make_pair(table, model, baseline)
    variance = [case_part(pair.differences, pair.clusters, sides)]
    if pair.both_repeated:
        spreads = [
            training_spread(table, [name], shared_seeds=pair.shared_seeds, strata=sides)
            for name in (model, baseline)
        ]
        variance += training_parts(spreads, [weights.factor for weights in pair.weights])
    side_means = np.array([pair.differences[sides == side].mean() for side in (0, 1)])
    mean, centred = float(pair.differences.mean()), pair.differences - side_means[sides]
    (draws,), rng = resample_means(centred[None], pair.clusters, n_bootstrap, seed)
    return estimate_mean(
        mean,
        mean_variance(variance),
        mean + draws,
        rng.standard_normal(n_bootstrap),
        includes_seed_variance=pair.both_repeated,
    )
