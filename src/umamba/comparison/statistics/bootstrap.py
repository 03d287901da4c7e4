"""Bootstrap of means over cases, with intervals that hold with few cases and few trainings."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from umamba.comparison.records import Interval, MeanEstimate
from umamba.comparison.statistics.variance import MeanVariance, cluster_sums

__all__ = [
    "CONFIDENCE",
    "N_BOOTSTRAP",
    "estimate_mean",
    "interval_at",
    "no_estimate",
    "resample_each",
    "resample_means",
]

CONFIDENCE = 0.95
N_BOOTSTRAP = 10_000
_CHUNK = 2**22  # numbers drawn at a time, to save memory with many cases
_MOST_MEANS = 2**24  # means kept at a time


def interval_at(estimate: MeanEstimate, confidence: float) -> Interval:
    """Return the interval at another confidence, scaled by Student's quantiles."""
    if confidence == CONFIDENCE:
        return estimate.interval
    ordinary, asked = (
        stats.t.ppf((1 + level) / 2, estimate.degrees_of_freedom)
        for level in (CONFIDENCE, confidence)
    )
    stretch = float(asked / ordinary)
    ends = (estimate.interval.low, estimate.interval.high)
    return Interval(*(estimate.mean + (end - estimate.mean) * stretch for end in ends))


def no_estimate() -> MeanEstimate:
    """Return an estimate in which everything is undefined."""
    nan = float("nan")
    return MeanEstimate(nan, Interval(nan, nan), nan, nan, includes_seed_variance=False)


def resample_means(
    values: Float[np.ndarray, "rows cases"],
    clusters: Int[np.ndarray, " cases"],
    n_bootstrap: int,
    seed: int,
) -> tuple[Float[np.ndarray, "rows n_bootstrap"], np.random.Generator]:
    """Draw clusters of cases with replacement, the same for all rows, and return the means.

    The number of clusters drawn is one less than there are, so that the variance of the means is
    that of the sample mean without bias (McCarthy & Snowden 1985; Rao & Wu 1988).

    Args:
        values: Scores, of at least two clusters.
        clusters: Number of each case's cluster.
        n_bootstrap: Number of bootstraps.
        seed: Seed of the draws.

    Returns:
        The means over the cases drawn, and the random generator after the draws.
    """
    sums = cluster_sums(values, clusters)
    sizes = cluster_sums(np.ones((1, values.shape[1])), clusters)[0]
    n_clusters = len(sizes)
    means = np.empty((len(values), n_bootstrap))
    rng = np.random.default_rng(seed)
    step = max(_CHUNK // n_clusters, 1)
    if n_bootstrap <= step:
        counts, rng.bit_generator.state = _draw_once(n_clusters, n_bootstrap, seed)
        means[:] = sums @ counts / (sizes @ counts)
        return means, rng
    for start in range(0, n_bootstrap, step):
        counts = _draw(n_clusters, min(step, n_bootstrap - start), rng)
        means[:, start : start + counts.shape[1]] = sums @ counts / (sizes @ counts)
    return means, rng


def resample_each(
    rows: Sequence[tuple[Float[np.ndarray, " _"], Int[np.ndarray, " _"]]],
    n_bootstrap: int,
    seed: int,
) -> Iterator[tuple[int, Float[np.ndarray, " n_bootstrap"], Float[np.ndarray, " n_bootstrap"]]]:
    """Resample the mean of every row as `resample_means` would; rows of the same cases together.

    Args:
        rows: Scores, of at least two clusters, and the number of each case's cluster.
        n_bootstrap: Number of bootstraps.
        seed: Seed of the draws, the same for each row.

    Yields:
        Number of the row, its means, and standard normal numbers, which all rows share. Rows come
        in any order.
    """
    alike: dict[bytes, list[int]] = {}
    for number, (_, clusters) in enumerate(rows):
        alike.setdefault(clusters.tobytes(), []).append(number)
    most = max(_MOST_MEANS // n_bootstrap, 1)
    for numbers in alike.values():
        for first in range(0, len(numbers), most):
            block = numbers[first : first + most]
            values = np.stack([rows[number][0] for number in block])
            means, rng = resample_means(values, rows[block[0]][1], n_bootstrap, seed)
            noise = rng.standard_normal(n_bootstrap)
            for number, drawn in zip(block, means, strict=True):
                yield number, drawn, noise


def _draw(
    n_clusters: int, n_draws: int, rng: np.random.Generator
) -> Float[np.ndarray, "n_clusters n_draws"]:
    """Return how often each draw contains each cluster."""
    shares = np.full(n_clusters, 1 / n_clusters)
    counts = rng.multinomial(n_clusters - 1, shares, size=n_draws)
    return np.ascontiguousarray(counts.T, dtype=float)


@lru_cache(maxsize=4)
def _draw_once(
    n_clusters: int, n_draws: int, seed: int
) -> tuple[Float[np.ndarray, "n_clusters n_draws"], Mapping[str, Any]]:
    """Return draws that all models and metrics share, and the generator's state after them."""
    rng = np.random.default_rng(seed)
    counts = _draw(n_clusters, n_draws, rng)
    counts.setflags(write=False)
    return counts, rng.bit_generator.state


def estimate_mean(
    mean: float,
    variance: MeanVariance,
    draws: Float[np.ndarray, " n_bootstrap"],
    noise: Float[np.ndarray, " n_bootstrap"],
    *,
    includes_seed_variance: bool,
) -> MeanEstimate:
    """Estimate a mean over cases, treating cases, trainings and folds as samples.

    Cases are drawn with replacement, regardless of their fold (hierarchical bootstrap; Saravanan,
    Berman & Sober 2020). Two or three trainings are too few to draw from, so their distribution,
    and that of folds, is taken to be normal (parametric bootstrap). All variances add up. As they
    are estimates themselves, often from few trainings, both arms of the percentile interval are
    stretched by the ratio of Student's quantile to the normal quantile (Hesterberg 2015), with the
    degrees of freedom of Satterthwaite (1946).

    Args:
        mean: The mean.
        variance: Its variance.
        draws: Means of bootstraps over cases.
        noise: Standard normal numbers, as many as draws.
        includes_seed_variance: Whether trainings of every model in it were repeated.

    Returns:
        The estimate.
    """
    cases, *others = variance.parts
    spread_of_cases = draws.std()
    scale = np.sqrt(cases.variance) / spread_of_cases if spread_of_cases else 0.0
    scale_of_noise = np.sqrt(sum(part.variance for part in others))
    drawn = mean + (draws - mean) * scale + scale_of_noise * noise
    tail = (1 - CONFIDENCE) / 2
    stretch = stats.t.ppf(tail, variance.degrees_of_freedom) / stats.norm.ppf(tail)
    low, high = mean + (np.quantile(drawn, [tail, 1 - tail]) - mean) * stretch
    return MeanEstimate(
        mean=mean,
        interval=Interval(float(low), float(high)),
        standard_error=variance.standard_error,
        degrees_of_freedom=variance.degrees_of_freedom,
        includes_seed_variance=includes_seed_variance,
        parts=variance.parts,
    )
