"""Variance of a mean over cases: from cases, the luck of training, and the folds' training data."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from umamba.comparison.records import VariancePart
from umamba.comparison.statistics.scores import ScoreTable

__all__ = [
    "FEWEST_FOLDS",
    "MeanVariance",
    "TrainingSpread",
    "TrainingWeights",
    "case_part",
    "cluster_sums",
    "fold_part",
    "mean_variance",
    "training_parts",
    "training_spread",
    "training_weights",
]

FEWEST_FOLDS = 3  # with two, one degree of freedom would make intervals useless


@dataclass(frozen=True)
class MeanVariance:
    """An estimate of the variance of a mean over cases.

    Attributes:
        parts: Its contributions, cases first.
        degrees_of_freedom: Degrees of freedom of their sum.
    """

    parts: tuple[VariancePart, ...]
    degrees_of_freedom: float

    @property
    def standard_error(self) -> float:
        """Standard deviation of the mean."""
        return float(np.sqrt(sum(part.variance for part in self.parts)))


@dataclass(frozen=True)
class TrainingSpread:
    """Variance of a mean score between trainings that differ only in the seed.

    The deviation of a training has two parts: the training as a whole is better or worse, and every
    case varies by itself. The latter averages out over cases and is already included in the
    variance over cases, so `variance` is the former alone, from the analysis of variance of
    trainings x cases (Searle, Casella & McCulloch, Variance Components, 1992).

    Attributes:
        degrees_of_freedom: Repeated trainings minus one, summed over models and folds; 0 if nothing
            was repeated.
        raw_variance: Variance of the trainings' means, both parts.
        unbiased_variance: The part of whole trainings, which can be below zero.
    """

    degrees_of_freedom: int
    raw_variance: float
    unbiased_variance: float

    @property
    def variance(self) -> float:
        """The part of whole trainings; an estimate below zero counts as zero."""
        return max(self.unbiased_variance, 0.0)


@dataclass(frozen=True)
class TrainingWeights:
    """The weights of trainings in a model's mean over cases.

    Attributes:
        shares: Share of the cases in each fold.
        n_trainings: Number of trainings in each fold.
        independent: The weight of each training that is independent of the others in the mean.
            Trainings of one seed in several folds count as one if seeds are shared.
    """

    shares: tuple[float, ...]
    n_trainings: tuple[int, ...]
    independent: tuple[float, ...]

    @property
    def factor(self) -> float:
        """Return the variance of the mean, in units of the variance of one training."""
        return sum(weight**2 for weight in self.independent)


def cluster_sums(
    values: Float[np.ndarray, "rows cases"], clusters: Int[np.ndarray, " cases"]
) -> Float[np.ndarray, "rows clusters"]:
    """Return the sums over the cases of every cluster."""
    position = np.unique(clusters, return_inverse=True)[1]
    n_clusters = int(position.max(initial=-1)) + 1
    sums = [np.bincount(position, weights=row, minlength=n_clusters) for row in values]
    return np.array(sums, dtype=float).reshape(len(values), n_clusters)


def case_part(
    values: Float[np.ndarray, " cases"],
    clusters: Int[np.ndarray, " cases"],
    strata: Int[np.ndarray, " cases"] | None = None,
) -> VariancePart:
    """Estimate the variance of a mean that is due to the cases, from two clusters or more.

    If every case is its own cluster, it is the variance of the sample mean. With larger clusters it
    is that of the ratio estimator (Cochran, Sampling Techniques, 1977, chapter 9A), and the degrees
    of freedom are those of the number of equal clusters that would weigh the same.

    Args:
        values: One value per case.
        clusters: Number of each case's cluster.
        strata: Number of each case's stratum, such as its fold, to exclude the variance between
            strata; `None` excludes nothing.
    """
    residuals, lost = _within(values[None], strata)
    sizes = cluster_sums(np.ones((1, len(values))), clusters)[0]
    n_clusters = len(sizes)
    free = max(n_clusters - lost, 1)
    squares = float((cluster_sums(residuals, clusters) ** 2).sum())
    variance = squares * n_clusters / free / len(values) ** 2
    equal_clusters = sizes.sum() ** 2 / (sizes**2).sum()
    return VariancePart("cases", variance, variance, max(float(equal_clusters) - lost, 1.0))


def _within(
    rows: Float[np.ndarray, "rows cases"], strata: Int[np.ndarray, " cases"] | None
) -> tuple[Float[np.ndarray, "rows cases"], int]:
    """Return deviations of values from the mean of their stratum, and the number of strata.

    Args:
        rows: Values.
        strata: Number of each case's stratum; `None` is a single stratum.
    """
    if strata is None:
        return rows - rows.mean(axis=1, keepdims=True), 1
    sizes = cluster_sums(np.ones((1, rows.shape[1])), strata)
    means = cluster_sums(rows, strata) / sizes
    position = np.unique(strata, return_inverse=True)[1]
    return rows - means[:, position], sizes.shape[1]


def training_spread(
    table: ScoreTable,
    models: Sequence[str],
    *,
    shared_seeds: bool = False,
    strata: Int[np.ndarray, " cases"] | None = None,
) -> TrainingSpread:
    """Estimate the variance between trainings, pooled over folds and models.

    Trainings without a seed do not count.

    Args:
        table: Scores of one metric.
        models: Models that are assumed to have the same variance.
        shared_seeds: Whether trainings of one seed have something in common in all folds; then the
            mean over the cases of all folds varies as a whole.
        strata: Number of each case's stratum, if scores were given weights that differ between
            strata; `None` if not.

    Returns:
        The variance; zero, with no degrees of freedom, if no training was repeated.
    """
    every = [np.ones(len(table.cases), dtype=bool)]
    parts = every if shared_seeds else [table.folds == fold for fold in np.unique(table.folds)]
    blocks = [
        found
        for model in models
        for cases in parts
        if (found := _repeated_trainings(table, model, cases)) is not None
    ]
    if not blocks:
        return TrainingSpread(0, 0.0, 0.0)
    degrees = sum(len(block) - 1 for block, _ in blocks)
    squares = noise = 0.0
    for block, cases in blocks:
        residuals = block - block.mean(axis=0)
        squares += float((residuals.mean(axis=1) ** 2).sum())
        own_strata = None if strata is None else strata[cases]
        noise += _noise_of_cases(residuals, table.clusters[cases], own_strata)
    return TrainingSpread(degrees, squares / degrees, (squares - noise) / degrees)


def _noise_of_cases(
    residuals: Float[np.ndarray, "trainings cases"],
    clusters: Int[np.ndarray, " cases"],
    strata: Int[np.ndarray, " cases"] | None,
) -> float:
    """Return the part of the trainings' sum of squares that their cases explain."""
    within, lost = _within(residuals, strata)
    sums = cluster_sums(within, clusters)
    n_clusters, n_cases = int(sums.shape[1]), int(residuals.shape[1])
    if n_clusters <= lost:
        return 0.0
    return float((sums**2).sum()) * n_clusters / (n_clusters - lost) / (n_cases * n_cases)


def _repeated_trainings(
    table: ScoreTable, model: str, cases: Bool[np.ndarray, " cases"]
) -> tuple[Float[np.ndarray, "trainings n"], Int[np.ndarray, " n"]] | None:
    """Return the seeds' scores in the cases that all have, and those cases, if two or more."""
    has_seed = np.array([seed is not None for seed in table.seeds[model]])
    block = table.values[model][has_seed][:, cases]
    block = block[np.isfinite(block).any(axis=1)]
    common = np.isfinite(block).all(axis=0)
    if block.shape[0] < 2 or not common.any():
        return None
    return block[:, common], np.flatnonzero(cases)[common]


def training_weights(
    table: ScoreTable, model: str, used: Bool[np.ndarray, " cases"], *, shared_seeds: bool = False
) -> TrainingWeights:
    """Return the weights of the trainings in a model's mean.

    Args:
        table: Scores of one metric.
        model: Name of the model.
        used: The cases that the mean is taken over; the model has scores for all of them.
        shared_seeds: Whether trainings of one seed in several folds count as one.
    """
    shares, n_trainings = [], []
    independent: dict[tuple[int | None, int | None], float] = {}
    for fold in np.unique(table.folds[used]).tolist():
        in_fold = used & (table.folds == fold)
        there = np.isfinite(table.values[model][:, in_fold]).any(axis=1)
        shares.append(float(in_fold.sum() / used.sum()))
        n_trainings.append(int(there.sum()))
        for seed, is_there in zip(table.seeds[model], there, strict=True):
            if is_there:
                unit = (seed, None if shared_seeds and seed is not None else fold)
                independent[unit] = independent.get(unit, 0.0) + shares[-1] / n_trainings[-1]
    return TrainingWeights(tuple(shares), tuple(n_trainings), tuple(independent.values()))


def training_parts(
    spreads: Sequence[TrainingSpread], factors: Sequence[float]
) -> list[VariancePart]:
    """Return the contributions of trainings to the variance of a mean, or of a difference of two.

    Args:
        spreads: Variances between trainings, each with its own degrees of freedom.
        factors: Variance of the mean in units of each of them.

    Returns:
        A part for each. If their sum is estimated below zero, none has a variance; if one of them
        is, it is subtracted from the others.
    """
    unbiased = [s.unbiased_variance * factor for s, factor in zip(spreads, factors, strict=True)]
    total, positive = sum(unbiased), sum(max(part, 0.0) for part in unbiased)
    kept = max(total, 0.0) / positive if positive else 0.0
    return [
        VariancePart(
            "trainings",
            max(part, 0.0) * kept,
            spread.raw_variance * factor,
            float(spread.degrees_of_freedom),
        )
        for spread, factor, part in zip(spreads, factors, unbiased, strict=True)
    ]


def fold_part(
    values: Float[np.ndarray, " cases"],
    folds: Int[np.ndarray, " cases"],
    within: VariancePart,
    trainings: float,
) -> VariancePart | None:
    """Estimate the contribution of the folds' training data to the variance of a difference.

    One model may learn more from some training data than the other does. This shows in folds that
    differ by more than their cases and trainings explain: as the variance of a random effect of
    folds, by the method of moments (DerSimonian & Laird 1986), which agrees with restricted maximum
    likelihood if folds have the same size.

    Args:
        values: Differences of the cases.
        folds: Fold of each case.
        within: The contribution of the cases within folds.
        trainings: The contribution of trainings that are independent between folds.

    Returns:
        The part; its mean square is the total between folds, including cases and trainings. `None`
        with fewer than three folds, or if the folds differ by no more than expected.
    """
    numbers, sizes = np.unique(folds, return_counts=True)
    if len(numbers) < FEWEST_FOLDS:
        return None
    shares = sizes / sizes.sum()
    means = np.array([values[folds == fold].mean() for fold in numbers])
    # The variance of a fold itself is assumed to be proportional to 1 / its share.
    between = float((shares * (means - values.mean()) ** 2).sum())
    expected = (within.variance + trainings) * (len(numbers) - 1)
    excess = (between - expected) / float((shares * (1 - shares)).sum())
    if excess <= 0:
        return None
    variance = excess * float((shares**2).sum())
    shown = variance + within.variance + trainings
    return VariancePart("folds", variance, shown, float(len(numbers) - 1))


def mean_variance(parts: Sequence[VariancePart]) -> MeanVariance:
    """Add up the variance of a mean, with the degrees of freedom of Satterthwaite (1946).

    There are never fewer than in the smallest of the parts, as the formula would give zero if the
    variance of trainings, after subtracting that of cases, is estimated as zero.

    Args:
        parts: Its contributions, cases first.
    """
    measured = [(p.mean_square, p.degrees_of_freedom) for p in parts if p.degrees_of_freedom]
    spread = sum(square**2 / n for square, n in measured)
    degrees = sum(part.variance for part in parts) ** 2 / spread if spread else 0.0
    return MeanVariance(tuple(parts), float(max(degrees, min(n for _, n in measured))))
