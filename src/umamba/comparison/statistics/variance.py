"""What a mean over cases varies with: cases, the luck of training, and the folds' training data."""

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

FEWEST_FOLDS = 3  # of two, the variance would have one degree of freedom: no interval is that wide


@dataclass(frozen=True)
class MeanVariance:
    """The variance of a mean over cases, as it was estimated.

    Attributes:
        parts: What it is made of, cases first.
        degrees_of_freedom: Of their sum.
    """

    parts: tuple[VariancePart, ...]
    degrees_of_freedom: float

    @property
    def standard_error(self) -> float:
        """Return the standard deviation of the mean."""
        return float(np.sqrt(sum(part.variance for part in self.parts)))


@dataclass(frozen=True)
class TrainingSpread:
    """Variance of a mean score between trainings that differ in nothing but the seed.

    A training's deviation has two parts: the training as a whole is better or worse, and every case
    moves by itself. The latter averages out over cases, and the variance over cases counts it
    already, so `variance` is the former alone, by the analysis of variance of trainings x cases
    (Searle, Casella & McCulloch, Variance Components, 1992).

    Attributes:
        degrees_of_freedom: Repeated trainings less one, summed over models and folds; 0 where
            nothing was repeated.
        raw_variance: Variance of the trainings' means, both parts.
        unbiased_variance: The part of whole trainings, below zero at times.
    """

    degrees_of_freedom: int
    raw_variance: float
    unbiased_variance: float

    @property
    def variance(self) -> float:
        """Return the part of whole trainings; an estimate below zero counts as zero."""
        return max(self.unbiased_variance, 0.0)


@dataclass(frozen=True)
class TrainingWeights:
    """How a model's mean over cases is made of trainings.

    Attributes:
        shares: Per fold its share of the cases.
        n_trainings: Per fold its trainings.
        independent: The weight of each training that is independent of the others in the mean.
            Trainings of one seed in several folds are one where `shared_seeds` says so.
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
    """Add up the cases of every cluster."""
    position = np.unique(clusters, return_inverse=True)[1]
    n_clusters = int(position.max(initial=-1)) + 1
    sums = [np.bincount(position, weights=row, minlength=n_clusters) for row in values]
    return np.array(sums, dtype=float).reshape(len(values), n_clusters)


def case_part(
    values: Float[np.ndarray, " cases"],
    clusters: Int[np.ndarray, " cases"],
    strata: Int[np.ndarray, " cases"] | None = None,
) -> VariancePart:
    """Estimate the variance of a mean that comes of the cases, from two clusters or more.

    Where every case is a cluster of its own, it is that of the sample mean. With clusters it is
    that of the ratio estimator (Cochran, Sampling Techniques, 1977, chapter 9A), and degrees of
    freedom are those of as many equal clusters as would weigh the same.

    Args:
        values: One per case.
        clusters: Number of each case's cluster.
        strata: Number of what each case is in, such as its fold, to leave out the variance between
            these; `None` leaves out nothing.
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
    """Return how far values are from their mean, or that of their stratum, and how many those are.

    Args:
        rows: Values.
        strata: Number of each case's stratum; `None` is one of all.
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

    Trainings without a seed are left out.

    Args:
        table: Scores of one metric.
        models: Models that are taken to have the same variance.
        shared_seeds: Whether trainings of one seed have something in common in all folds: what
            varies then is the mean over the cases of all folds.
        strata: Number of what each case of the table is in, where scores were given weights that
            differ between these; `None` where they were not.

    Returns:
        The variance; zero, with no degrees of freedom, where no training was repeated.
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
    """Return the sum of squares of the trainings' means that the cases in them explain."""
    within, lost = _within(residuals, strata)
    sums = cluster_sums(within, clusters)
    n_clusters, n_cases = int(sums.shape[1]), int(residuals.shape[1])
    if n_clusters <= lost:
        return 0.0
    return float((sums**2).sum()) * n_clusters / (n_clusters - lost) / (n_cases * n_cases)


def _repeated_trainings(
    table: ScoreTable, model: str, cases: Bool[np.ndarray, " cases"]
) -> tuple[Float[np.ndarray, "trainings n"], Int[np.ndarray, " n"]] | None:
    """Return the scores of seeds in the cases that all have, and where those are, if it is two."""
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
    """Find out how a model's mean is made of trainings.

    Args:
        table: Scores of one metric.
        model: Name of the model.
        used: The cases that the mean is taken over; the model has scores of all of them.
        shared_seeds: Whether trainings of one seed in several folds are one.
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
    """Return what trainings contribute to the variance of a mean, or of a difference of two.

    Args:
        spreads: Variances between trainings, each with degrees of freedom of its own.
        factors: Variance of the mean in units of each of them.

    Returns:
        A part for each; where all together are estimated below zero, none has a variance, and
        where one is, it is taken off the others.
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
    """Estimate what the folds' training data contribute to the variance of a difference.

    One model makes more of some training data than the other does. It shows in folds that differ by
    more than their cases and trainings explain: the variance of a random effect of folds, by the
    method of moments (DerSimonian & Laird 1986), as restricted maximum likelihood finds it where
    folds are of one size.

    Args:
        values: Differences of the cases.
        folds: Fold of each case.
        within: What the cases within folds contribute.
        trainings: What trainings that are independent between folds contribute.

    Returns:
        The part; its mean square is what the folds show in all, cases and trainings included.
        `None` below three folds, and where the folds differ by no more than expected.
    """
    numbers, sizes = np.unique(folds, return_counts=True)
    if len(numbers) < FEWEST_FOLDS:
        return None
    shares = sizes / sizes.sum()
    means = np.array([values[folds == fold].mean() for fold in numbers])
    # A fold's own variance is taken to go with 1 / its share.
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

    Never fewer than the least of the parts: the formula falls to zero where the variance of
    trainings, with that of cases taken off, is estimated as zero.

    Args:
        parts: What it is made of, cases first.
    """
    measured = [(p.mean_square, p.degrees_of_freedom) for p in parts if p.degrees_of_freedom]
    spread = sum(square**2 / n for square, n in measured)
    degrees = sum(part.variance for part in parts) ** 2 / spread if spread else 0.0
    return MeanVariance(tuple(parts), float(max(degrees, min(n for _, n in measured))))
