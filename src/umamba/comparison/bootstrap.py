"""Bootstrap of means over cases and trainings, and intervals that hold with few of both."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from umamba.comparison.records import Record
from umamba.comparison.variance import TrainingSpread, TrainingWeights

__all__ = [
    "CONFIDENCE",
    "Interval",
    "MeanEstimate",
    "estimate_mean",
    "resample_means",
    "resample_trainings",
]

CONFIDENCE = 0.95
_CHUNK = 2**22  # numbers drawn at a time, so that memory stays small with many cases


@dataclass(frozen=True)
class Interval(Record):
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class MeanEstimate(Record):
    """A mean over cases with its uncertainty; below two cases all of it is nan.

    Attributes:
        mean: The estimate.
        interval: 95 % interval.
        standard_error: Of the mean, from cases and, where `includes_seed_variance`, trainings.
        degrees_of_freedom: Of the standard error.
        includes_seed_variance: Whether trainings were repeated, so that the uncertainty holds for
            the models; else it holds for these trained networks only.
    """

    mean: float
    interval: Interval
    standard_error: float
    degrees_of_freedom: float
    includes_seed_variance: bool


def resample_means(
    values: Float[np.ndarray, "rows cases"], n_bootstrap: int, rng: np.random.Generator
) -> Float[np.ndarray, "rows n_bootstrap"]:
    """Draw cases with replacement, the same for all rows, and take the means.

    One case less than there are is drawn, which makes the variance of the means that of the sample
    mean without bias (McCarthy & Snowden 1985; Rao & Wu 1988).

    Args:
        values: Scores, at least two cases.
        n_bootstrap: Number of bootstraps.
        rng: Random numbers.

    Returns:
        The means.
    """
    n_rows, n_cases = values.shape
    means = np.empty((n_rows, n_bootstrap))
    step = max(_CHUNK // n_cases, 1)
    for start in range(0, n_bootstrap, step):
        size = min(step, n_bootstrap - start)
        counts = rng.multinomial(n_cases - 1, np.full(n_cases, 1 / n_cases), size=size)
        means[:, start : start + size] = values @ counts.T / (n_cases - 1)
    return means


def resample_trainings(
    spread: TrainingSpread, weights: TrainingWeights, n_bootstrap: int, rng: np.random.Generator
) -> Float[np.ndarray, " n_bootstrap"]:
    """Draw how far other trainings would have moved the mean.

    Args:
        spread: Variance between trainings.
        weights: The trainings behind the mean; those of every fold are drawn by themselves.
        n_bootstrap: Number of bootstraps.
        rng: Random numbers.

    Returns:
        Shifts of the mean, zero where nothing was repeated.
    """
    shift = np.zeros(n_bootstrap)
    if spread.variance == 0:
        return shift
    for share, n_trainings in zip(weights.shares, weights.n_trainings, strict=True):
        drawn = rng.choice(spread.effects, size=(n_bootstrap, n_trainings))
        shift += share * drawn.mean(axis=1)
    return shift


def estimate_mean(
    values: Float[np.ndarray, " cases"],
    spread: TrainingSpread,
    weights: list[TrainingWeights],
    n_bootstrap: int,
    rng: np.random.Generator,
) -> MeanEstimate:
    """Estimate a mean over cases, where cases and trainings both are samples.

    Cases are drawn with replacement, whichever fold they lie in; trainings of every model and fold
    independently of them (hierarchical bootstrap; Saravanan, Berman & Sober 2020). Both variances
    add up, each without bias. As they are estimates themselves, the trainings' often from two or
    three seeds, the arms of the percentile interval are stretched by the ratio of Student's
    quantile to the normal one (Hesterberg 2015), with the degrees of freedom of
    Satterthwaite (1946).

    Args:
        values: Per-case means over trainings, or their differences between two models.
        spread: Variance between trainings.
        weights: Trainings behind the mean, of each model in it.
        n_bootstrap: Number of bootstraps.
        rng: Random numbers.

    Returns:
        The estimate.
    """
    n_cases = len(values)
    if n_cases < 2:
        nan = float("nan")
        return MeanEstimate(nan, Interval(nan, nan), nan, nan, includes_seed_variance=False)
    mean = float(values.mean())
    case_part = float(values.var(ddof=1)) / n_cases
    factor = sum(weight.factor for weight in weights)
    variance = case_part + spread.variance * factor
    degrees = _satterthwaite(
        variance,
        [(case_part, n_cases - 1), (spread.raw_variance * factor, spread.degrees_of_freedom)],
    )
    draws = resample_means(values[None], n_bootstrap, rng)[0]
    for weight in weights:
        draws += resample_trainings(spread, weight, n_bootstrap, rng)
    tail = (1 - CONFIDENCE) / 2
    stretch = stats.t.ppf(tail, degrees) / stats.norm.ppf(tail)
    low, high = mean + (np.quantile(draws, [tail, 1 - tail]) - mean) * stretch
    return MeanEstimate(
        mean=mean,
        interval=Interval(float(low), float(high)),
        standard_error=float(np.sqrt(variance)),
        degrees_of_freedom=degrees,
        includes_seed_variance=spread.degrees_of_freedom > 0,
    )


def _satterthwaite(variance: float, parts: list[tuple[float, int]]) -> float:
    """Return the degrees of freedom of a variance, given those of the estimates that made it.

    Never fewer than the least of the parts: the formula falls to zero where the variance of
    trainings, with that of cases taken off, is estimated as zero.
    """
    measured = [(part, n) for part, n in parts if n]
    spread = sum(part**2 / n for part, n in measured)
    degrees = variance**2 / spread if spread else 0.0
    return float(max(degrees, min(n for _, n in measured)))
