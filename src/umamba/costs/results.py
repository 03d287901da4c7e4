"""Results of the scaling measurement: exponents, a table for people, data for machines."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from umamba.costs.machine import conditions
from umamba.reporting.tables import markdown_table

__all__ = ["LayerScaling", "Point", "ScalingResult", "fit_exponent"]

_MIB = 2**20


@dataclass(frozen=True)
class Point:
    """One layer at one length: milliseconds (median and interquartile range) and peak bytes.

    `peak_bytes` excludes memory that was in use before; `None` if it cannot be measured.
    """

    length: int
    median_ms: float
    spread_ms: float
    peak_bytes: int | None


def fit_exponent(lengths: Sequence[int], costs: Sequence[float | int | None]) -> float | None:
    """Fit `cost = factor * length ** exponent` on the upper half of the lengths.

    Short sequences cost what any call costs, whatever the layer does, so they tell no growth.

    Args:
        lengths: Lengths in ascending order.
        costs: Cost of each length; those that are not positive are left out.

    Returns:
        The exponent, by least squares of the logarithms; `None` with fewer than two points.
    """
    half = len(lengths) // 2 if len(lengths) > 2 else 0
    pairs = zip(lengths[half:], costs[half:], strict=True)
    logs = [(math.log(length), math.log(cost)) for length, cost in pairs if cost and cost > 0]
    if len(logs) < 2:
        return None
    return statistics.linear_regression(*zip(*logs, strict=True)).slope


@dataclass(frozen=True)
class LayerScaling:
    """One layer over all its lengths.

    Args:
        name: Name in files.
        title: Name for people.
        points: Measurements, by ascending length.
        stopped_by: `time` or `memory` if it stopped before the longest length, or else "".
        reason: Reason why it stopped, for people.
    """

    name: str
    title: str
    points: tuple[Point, ...]
    stopped_by: str = ""
    reason: str = ""

    @property
    def time_exponent(self) -> float | None:
        """Return the exponent of the time."""
        points = self.points
        return fit_exponent([p.length for p in points], [p.median_ms for p in points])

    @property
    def memory_exponent(self) -> float | None:
        """Return the exponent of the peak memory."""
        points = self.points
        return fit_exponent([p.length for p in points], [p.peak_bytes for p in points])


@dataclass(frozen=True)
class ScalingResult:
    """Measurements of all layers, and the conditions that they depend on."""

    layers: tuple[LayerScaling, ...]
    d_model: int
    budget_s: float
    rounds: int
    clock: str
    machine: dict[str, Any]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ScalingResult":
        """Read the output of `to_dict`."""
        layers = [
            LayerScaling(
                layer["name"],
                layer["title"],
                tuple(Point(**point) for point in layer["points"]),
                layer["stopped_by"],
                layer["reason"],
            )
            for layer in content["layers"]
        ]
        rest = {name: value for name, value in content.items() if name != "layers"}
        return cls(tuple(layers), **rest)

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can hold, with the exponents."""
        content = asdict(self)
        for plain, layer in zip(content["layers"], self.layers, strict=True):
            plain["time_exponent"] = layer.time_exponent
            plain["memory_exponent"] = layer.memory_exponent
        return content

    @property
    def time_title(self) -> str:
        """The kind of time that was measured, in words."""
        return "time" if self.clock == "wall" else "processor time of all threads"

    @property
    def lengths(self) -> list[int]:
        """All lengths at which any layer was measured."""
        return sorted({point.length for layer in self.layers for point in layer.points})

    def to_markdown(self) -> str:
        """Return the table with its explanation."""
        titles = [layer.title for layer in self.layers]
        header = ["length", *(f"{t}, ms" for t in titles), *(f"{t}, MiB" for t in titles)]
        exponents = [
            *(layer.time_exponent for layer in self.layers),
            *(layer.memory_exponent for layer in self.layers),
        ]
        last = ["exponent", *("-" if x is None else f"**{x:.2f}**" for x in exponents)]
        rows = [header, *map(self._row, self.lengths), last]
        return "\n".join([*markdown_table(rows), "", *self._notes(), ""])

    def _row(self, length: int) -> list[str]:
        times, peaks = [], []
        for layer in self.layers:
            found = [point for point in layer.points if point.length == length]
            if found:
                times.append(f"{found[0].median_ms:,.1f}")
                peak = found[0].peak_bytes
                peaks.append("-" if peak is None else f"{peak / _MIB:,.1f}")
            else:
                times.append(f"stopped ({layer.stopped_by})")
                peaks.append("-")
        return [f"{length:,}", *times, *peaks]

    def _notes(self) -> list[str]:
        stops = [
            f"{layer.title[0].upper()}{layer.title[1:]} stopped: {layer.reason}."
            for layer in self.layers
            if layer.stopped_by
        ]
        return [
            f"Forward and backward of one layer of width {self.d_model}, batch 1, float32: "
            f"{self.time_title} (median of {self.rounds} runs, layers in turn), and peak memory "
            "without that in use before.",
            "An exponent of 1 means that twice the length costs twice as much; 2, four times.",
            "Exponents are fitted to the upper half of the lengths of each layer.",
            *stops,
            f"Measured on {conditions(self.machine)}.",
        ]
