"""Measured ratios: memory of the compared networks, and how cost grows with length."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from umamba.comparison.records import Interval
from umamba.comparison.results import Results

__all__ = [
    "SEEN",
    "Measured",
    "far_dice",
    "memory_ratio",
    "memory_with_everything_kept",
    "time_exponent",
]

SEEN = 0.75  # Dice half-way between labels by chance and all right, as `umamba.reach` has it


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
    def interval_or_value(self) -> Interval:
        """Return the interval or, of a single measurement, the value as one."""
        return Interval(self.value, self.value) if self.n == 1 else self.interval

    @property
    def doubled(self) -> "Measured":
        """Return the factor that this exponent makes of twice the length."""
        ends = Interval(2**self.interval.low, 2**self.interval.high)
        return Measured(2**self.value, ends, self.n)


def memory_ratio(results: Mapping[str, Results], model: str, baseline: str) -> Measured | None:
    """Return how much memory a training step of a model needs, in units of that of another.

    Args:
        results: The comparison of each data set, which measured the peak with its patch and batch.
        model: Name of the model.
        baseline: Name of the other model.

    Returns:
        The geometric mean over data sets, with Student's interval of the logarithms; `None` if no
        comparison has measured both.
    """
    costs = [(r.cost.get(model), r.cost.get(baseline)) for r in results.values()]
    peaks = [(a.peak_memory_bytes, b.peak_memory_bytes) for a, b in costs if a and b]
    found = _mean([math.log(a / b) for a, b in peaks if a and b])
    if found is None:
        return None
    ends = Interval(math.exp(found.interval.low), math.exp(found.interval.high))
    return Measured(math.exp(found.value), ends, found.n)


def _mean(values: Sequence[float]) -> Measured | None:
    """Return a mean with Student's interval."""
    if not values:
        return None
    mean, arm = float(np.mean(values)), math.nan
    if len(values) > 1:
        error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
        arm = error * float(stats.t.ppf(0.975, len(values) - 1))
    return Measured(mean, Interval(mean - arm, mean + arm), len(values))


def memory_with_everything_kept(
    file: Path, model: str, baseline: str
) -> tuple[Measured, int] | None:
    """Return the same ratio with no activation computed again, as in the authors' code.

    Args:
        file: What `benchmarks.checkpointing` wrote.
        model: Name of the model.
        baseline: Name of the other model.

    Returns:
        The ratio on the largest patch that both were measured with, and its edge in voxels; `None`
        if there is none.
    """
    lines = file.read_text().splitlines() if file.is_file() else []
    peaks = {
        (row["edge"], row["model"]): row["peak_bytes"]
        for row in map(json.loads, lines)
        if row["setting"] == "none"
    }
    edges = [edge for edge, name in peaks if name == model and (edge, baseline) in peaks]
    if not edges:
        return None
    edge = max(edges)
    nan = Interval(math.nan, math.nan)
    return Measured(peaks[edge, model] / peaks[edge, baseline], nan, 1), edge


def time_exponent(scaling: Path, layer: str) -> Measured:
    """Return the exponent with which a layer's time grows, over the upper half of the lengths.

    Args:
        scaling: The `scaling.json` of `umamba benchmark scaling`.
        layer: Name of the layer, such as `mamba`.

    Returns:
        The slope of the logarithms by least squares, with Student's interval.
    """
    (found,) = (row for row in json.loads(scaling.read_text())["layers"] if row["name"] == layer)
    points = found["points"][len(found["points"]) // 2 :]
    lengths, times = (np.log([p[key] for p in points]) for key in ("length", "median_ms"))
    fit = stats.linregress(lengths, times)
    arm = float(fit.stderr * stats.t.ppf(0.975, len(points) - 2))
    return Measured(float(fit.slope), Interval(fit.slope - arm, fit.slope + arm), len(points))


def far_dice(file: Path, model: str) -> Measured | None:
    """Return the Dice of objects whose label depends on markers at the largest distance.

    Args:
        file: The `long-range.json` of `umamba benchmark long-range`.
        model: Name of the model.

    Returns:
        The mean over trainings in 2D and 3D, with Student's interval; `None` if there are none.
        Trainings that fail even with the nearest markers say nothing about range, and are left out.
    """
    trials = json.loads(file.read_text())["trials"] if file.is_file() else []
    of_model = [trial["dice"] for trial in trials if trial["model"] == model]
    learned = [dice for dice in of_model if dice[min(dice, key=int)] >= SEEN]
    return _mean([dice[max(dice, key=int)] for dice in learned])
