"""Measured ratios: memory of the compared networks, and how cost grows with length."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from umamba.comparison.records import Interval
from umamba.reach.long_range_results import SEEN, LongRangeResult
from umamba.system.json_files import load_json

__all__ = [
    "FAR",
    "FarDice",
    "Measured",
    "far_dice",
    "mean_of",
    "memory_with_everything_kept",
    "time_exponent",
]

FAR = 48  # voxels between an object and its markers, the largest distance of the tasks


@dataclass(frozen=True)
class Measured:
    """A measured number.

    Attributes:
        value: The number.
        interval: Its interval at 95 %; nan with a single measurement.
        n: Number of measurements that it is from.
    """

    value: float
    interval: Interval
    n: int

    @property
    def doubled(self) -> "Measured":
        """Return the factor that this exponent makes of twice the length."""
        ends = Interval(2**self.interval.low, 2**self.interval.high)
        return Measured(2**self.value, ends, self.n)


def _mean_ratio(ratios: Sequence[float]) -> Measured | None:
    """Return the geometric mean, with Student's interval of the logarithms; `None` of none."""
    if not ratios:
        return None
    found = mean_of([math.log(ratio) for ratio in ratios])
    ends = Interval(math.exp(found.interval.low), math.exp(found.interval.high))
    return Measured(math.exp(found.value), ends, found.n)


def mean_of(values: Sequence[float]) -> Measured:
    """Return the mean of at least one value, with Student's interval."""
    mean, arm = float(np.mean(values)), math.nan
    if len(values) > 1:
        error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
        arm = error * float(stats.t.ppf(0.975, len(values) - 1))
    return Measured(mean, Interval(mean - arm, mean + arm), len(values))


def memory_with_everything_kept(file: Path, model: str, baseline: str) -> Measured | None:
    """Return the same ratio with no activation computed again, as in the authors' code.

    Args:
        file: What `benchmarks.evidence.memory` wrote.
        model: Name of the model.
        baseline: Name of the other model.

    Returns:
        The geometric mean over the networks of the data sets, with Student's interval of the
        logarithms; `None` if there is no such file.

    Raises:
        UMambaError: If the file is damaged.
    """
    if not file.is_file():
        return None
    peaks = load_json(file)["peak_bytes"].values()
    return _mean_ratio([of_set[model] / of_set[baseline] for of_set in peaks])


def time_exponent(scaling: Path, layer: str) -> Measured | None:
    """Return the exponent with which a layer's time grows, over the upper half of the lengths.

    Args:
        scaling: The `scaling.json` of `umamba benchmark scaling`.
        layer: Name of the layer, such as `mamba`.

    Returns:
        The slope of the logarithms by least squares, with Student's interval; `None` if there is no
        such file.

    Raises:
        UMambaError: If the file is damaged.
    """
    if not scaling.is_file():
        return None
    (found,) = (row for row in load_json(scaling)["layers"] if row["name"] == layer)
    points = found["points"][len(found["points"]) // 2 :]
    lengths, times = (np.log([p[key] for p in points]) for key in ("length", "median_ms"))
    fit = stats.linregress(lengths, times)
    arm = float(fit.stderr * stats.t.ppf(0.975, len(points) - 2))
    return Measured(float(fit.slope), Interval(fit.slope - arm, fit.slope + arm), len(points))


@dataclass(frozen=True)
class FarDice:
    """The Dice of objects that markers at the largest distance decide, of one network.

    Attributes:
        found: The mean over the trainings that count, with Student's interval, between 0 and 1.
        counted: Number of trainings that count, by number of image axes.
        left_out: Number of the others, which did not learn the task of the nearest markers.
    """

    found: Measured
    counted: dict[int, int]
    left_out: dict[int, int]


def far_dice(file: Path, model: str, n_stages: int = 3) -> FarDice | None:
    """Return the Dice of objects whose label depends on markers `FAR` voxels away.

    Args:
        file: The `long-range.json` of `umamba benchmark long-range`.
        model: Name of the model.
        n_stages: Its stages.

    Returns:
        That of the trainings in 2D and 3D that reach `SEEN` with the nearest markers: the others
        say nothing about range. `None` if there are none.

    Raises:
        UMambaError: If the file is damaged.
    """
    if not file.is_file():
        return None
    trials = LongRangeResult.from_dict(load_json(file)).trials
    of_network = [t for t in trials if (t.model, t.n_stages) == (model, n_stages) and FAR in t.dice]
    learned = [t for t in of_network if t.dice[min(t.dice)] >= SEEN]
    dice = [t.dice[FAR] for t in learned]
    if not dice:
        return None
    found = mean_of(dice)
    low, high = found.interval.low, found.interval.high
    ends = found.interval if math.isnan(low) else Interval(max(low, 0.0), min(high, 1.0))
    counted = Counter(t.dim for t in learned)
    left_out = Counter(t.dim for t in of_network) - counted
    return FarDice(Measured(found.value, ends, found.n), dict(counted), dict(left_out))
