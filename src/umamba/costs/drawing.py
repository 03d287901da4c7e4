"""The plot of the scaling, with logarithmic axes so that an exponent is a slope."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umamba.costs.machine import conditions
from umamba.costs.results import LayerScaling, Point, ScalingResult
from umamba.reporting.figures import TEXT, house_style, save_figure

__all__ = ["draw_scaling"]

# Colours of Okabe and Ito, which colour-blind people can tell apart.
_COLOURS = {"mamba": "#0072B2", "attention": "#D55E00", "convolution": "#009E73"}
_FAINT = "#8a8a8a"
_GUIDES = {1: "slope 1: cost doubles", 2: "slope 2: cost quadruples"}
_MARGIN = 0.31  # share of the range of lengths, on the right, for the labels
_NAME_HEIGHT = 42  # points, for a name with its exponent


@dataclass(frozen=True)
class _Panel:
    """A panel: one quantity against the length."""

    title: str
    cost: Callable[[Point], float]
    exponent: Callable[[LayerScaling], float | None]


_PANELS = (
    _Panel("{time}, ms", lambda point: point.median_ms, lambda layer: layer.time_exponent),
    _Panel(
        "Peak memory, MiB",
        lambda point: (point.peak_bytes or 0) / 2**20,
        lambda layer: layer.memory_exponent,
    ),
)


def draw_scaling(result: ScalingResult, folder: Path) -> list[Path]:
    """Draw time and peak memory against the length of the sequence.

    Args:
        result: The measurement.
        folder: Folder for `scaling.png` and `scaling.svg`; it must exist.

    Returns:
        Both files.
    """
    from matplotlib.figure import Figure

    paths = [folder / "scaling.png", folder / "scaling.svg"]
    headline = f"Forward and backward of one layer of width {result.d_model}"
    with house_style(12.0):
        figure = Figure(figsize=(13, 6.4), facecolor="white")
        axes = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.055, right=0.99, top=0.84, bottom=0.21, wspace=0.13)
        for one, panel in zip(axes, _PANELS, strict=True):
            _draw_panel(one, result, panel)
        figure.text(0.02, 0.945, headline, fontsize=17, weight="bold")
        figure.text(0.02, 0.03, _caption(result), fontsize=10.5, linespacing=1.5)
        save_figure(figure, *paths, dpi=120)
    return paths


def _draw_panel(axes: Any, result: ScalingResult, panel: _Panel) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    lengths = result.lengths
    curves = {
        layer: {p.length: panel.cost(p) for p in layer.points if panel.cost(p) > 0}
        for layer in result.layers
    }
    for layer, curve in curves.items():
        style = {"color": _COLOURS[layer.name], "marker": "o", "ms": 5.5, "lw": 2.4, "zorder": 3}
        if curve:
            axes.plot([*curve], [*curve.values()], **style)
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom / 1.3, top * 3)
    axes.set_xlim(lengths[0] / 1.25, lengths[-1] * (lengths[-1] / lengths[0]) ** _MARGIN)
    lifts = _lifts(axes, [curve.get(lengths[-1]) for curve in curves.values()])
    for (layer, curve), lift in zip(curves.items(), lifts, strict=True):
        if curve:
            colour, end = _COLOURS[layer.name], max(curve)
            name = _name(layer.title, panel.exponent(layer))
            highest = max(other.get(end, 0) for other in curves.values())
            place = _place(colour, lift, is_top=curve[end] == highest)
            axes.annotate(name, (end, curve[end]), color=colour, fontsize=13, **place)
    time = result.time_title
    _style_axes(axes, lengths, panel.title.format(time=time[0].upper() + time[1:]))
    _draw_guides(axes)


def _name(title: str, exponent: float | None) -> str:
    return title if exponent is None else f"{title}\n∝ length$^{{\\mathbf{{{exponent:.2f}}}}}$"


def _lifts(axes: Any, ends: list[float | None]) -> list[float | None]:
    """Return the shift in points of the name at each line's end that keeps names apart."""
    points = 72 / axes.figure.dpi
    heights = {
        at: float(axes.transData.transform((1, end))[1]) * points
        for at, end in enumerate(ends)
        if end is not None
    }
    clear, below = dict(heights), -math.inf
    for at in sorted(heights, key=heights.__getitem__):
        clear[at] = below = max(heights[at], below + _NAME_HEIGHT)
    shift = sum(clear[at] - heights[at] for at in heights) / max(1, len(heights))
    return [clear[at] - heights[at] - shift if at in heights else None for at in range(len(ends))]


def _place(colour: str, lift: float | None, *, is_top: bool) -> dict[str, Any]:
    """Write a name next to the end of a line, or above it, clear of the other lines."""
    place = {"textcoords": "offset points", "linespacing": 1.35}
    if lift is not None:
        return place | {"xytext": (11, lift), "ha": "left", "va": "center"}
    place |= {"va": "bottom"}
    if is_top:
        return place | {"xytext": (6, 10), "ha": "right"}
    leader = {"arrowstyle": "-", "color": colour, "lw": 0.8, "shrinkB": 5}
    return place | {"xytext": (-10, 62), "ha": "center", "arrowprops": leader}


def _style_axes(axes: Any, lengths: list[int], title: str) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    axes.set_title(title, loc="left", fontsize=14, pad=10)
    axes.set_xlabel("tokens in the sequence", color=TEXT)
    ticks = lengths if len(lengths) < 6 else lengths[::2]
    axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.grid(color="#e8e8e8")
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, labelsize=11, labelcolor=TEXT)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_guides(axes: Any) -> None:
    """Draw slopes 1 and 2 as guides, from one point into the empty lower right."""
    start = axes.transData.inverted().transform(axes.transAxes.transform((0.53, 0.03)))
    (right, top), here = axes.transAxes.transform((0.97, 0.43)), axes.transData.transform(start)
    for slope, says in _GUIDES.items():
        toward = axes.transData.transform((start[0] * 2, start[1] * 2**slope)) - here
        reach = min((right - here[0]) / toward[0], (top - here[1]) / toward[1])
        end = axes.transData.inverted().transform(here + toward * reach)
        line = {"color": _FAINT, "lw": 1.3, "ls": (0, (5, 4)), "zorder": 1}
        axes.plot([start[0], end[0]], [start[1], end[1]], scalex=False, scaley=False, **line)
        axes.annotate(
            says,
            end,
            xytext=(-3, 3),
            textcoords="offset points",
            rotation=math.degrees(math.atan2(toward[1], toward[0])),
            rotation_mode="anchor",
            ha="right",
            va="bottom",
            color=_FAINT,
            fontsize=10.5,
        )


def _caption(result: ScalingResult) -> str:
    """Say what the lines show, why some end early, and where they were measured."""
    ends = [
        f"{layer.title} after {layer.points[-1].length:,}"
        for layer in result.layers
        if layer.stopped_by and layer.points
    ]
    stops = f"; out of budget: {', '.join(ends)}" if ends else ""
    machine, _, versions = conditions(result.machine).partition("; ")
    return (
        f"Median of {result.rounds} runs, batch 1, float32. Exponents: upper half of each layer's "
        f"lengths{stops}.\n{machine}; {versions}."
    )
