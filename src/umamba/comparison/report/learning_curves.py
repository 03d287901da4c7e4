"""The figure of the learning curves: mean over folds, band over repeated trainings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Real

from umamba.comparison.report.plotting import WIDTH, ModelStyle, label_ends, name_width, style_axes
from umamba.comparison.results import Results
from umamba.comparison.statistics.dynamics import smooth

__all__ = ["draw_learning_curves"]

_Line = Float[np.ndarray, " points"]
_TITLES = {"hours": ("Over time", "hours"), "epoch": ("Over epochs", "epoch")}
_N_POINTS = 200
_SHOWN_FROM = 0.2  # share of a training; lower Dice from before is cut off


@dataclass(frozen=True)
class _Points:
    """The smoothed Dice of a training, with the epochs and hours at which it was reached."""

    fold: int
    times: Mapping[str, Real[np.ndarray, " points"]]
    dice: _Line


def draw_learning_curves(results: Results, styles: Mapping[str, ModelStyle]) -> Any:
    """Draw the smoothed validation Dice against epochs and against hours.

    Args:
        results: Results of the comparison.
        styles: Style of each model.

    Returns:
        A figure of matplotlib; `None` if there is no curve.
    """
    from matplotlib.figure import Figure

    curves = _curves_by_model(results)
    if not curves:
        return None
    figure = Figure(figsize=(WIDTH, 4.4), facecolor="white")
    all_axes = dict(zip(_in_order(curves), figure.subplots(1, 2, sharey=True), strict=True))
    beside = name_width(curves) / WIDTH
    figure.subplots_adjust(0.075, 0.14, 0.985 - beside, 0.91, wspace=0.09)
    shown_from = 1.0
    for time, axes in all_axes.items():
        ends = {}
        for model, of_model in curves.items():
            times, mean = _draw_model(axes, of_model, time, styles[model])
            shown_from = min(shown_from, float(np.nanmin(mean[int(_SHOWN_FROM * len(mean)) :])))
            ends[model] = (float(times[-1]), float(mean[-1]))
        style_axes(axes, *_TITLES[time])
        axes.margins(x=0.02)
    for axes in all_axes.values():
        axes.set_ylim(bottom=shown_from)
    next(iter(all_axes.values())).set_ylabel("validation Dice on patches, smoothed")
    label_ends(axes, ends, styles)
    return figure


def _in_order(curves: Mapping[str, Sequence[_Points]]) -> list[str]:
    """Return `epoch` and `hours`; last the one in which trainings end together, near the names."""

    def spread(time: str) -> float:
        ends = [curve.times[time][-1] for of_model in curves.values() for curve in of_model]
        return float((max(ends) - min(ends)) / max(ends))

    return sorted(_TITLES, key=spread, reverse=True)


def _draw_model(
    axes: Any, curves: Sequence[_Points], time: str, style: ModelStyle
) -> tuple[_Line, _Line]:
    times, mean, band = _mean_over_folds(curves, time)
    axes.plot(times, mean, color=style.colour, ls=style.line, lw=1.9)
    if band is not None:
        axes.fill_between(times, *band, color=style.colour, alpha=0.15, lw=0)
    return times, mean


def _curves_by_model(results: Results) -> dict[str, list[_Points]]:
    """Return the smoothed curves of compared trainings that have at least one point."""
    curves: dict[str, list[_Points]] = {}
    for curve in results.curves:
        values = smooth(curve.dice)
        defined = np.isfinite(values)
        if curve.training in results.compared and defined.any():
            times = {"epoch": curve.epoch, "hours": curve.hours}
            points = {name: np.asarray(column)[defined] for name, column in times.items()}
            of_model = curves.setdefault(curve.model, [])
            of_model.append(_Points(curve.fold, points, values[defined]))
    return curves


def _mean_over_folds(
    curves: Sequence[_Points], time: str
) -> tuple[
    _Line,
    _Line,
    tuple[_Line, _Line] | None,
]:
    """Average trainings per fold, and the folds, on common points in time.

    Returns:
        The times, the mean, and a band from the mean of each fold's lowest training to that of its
        highest, as a seed means nothing across folds. The band is `None` if nothing was repeated.
    """
    begin = max(curve.times[time][0] for curve in curves)
    times = np.linspace(begin, min(curve.times[time][-1] for curve in curves), _N_POINTS)
    by_fold: dict[int, list[_Line]] = {}
    for curve in curves:
        values = np.interp(times, curve.times[time], curve.dice)
        by_fold.setdefault(curve.fold, []).append(values)
    low, mean, high = (
        np.mean([part(of_fold, axis=0) for of_fold in by_fold.values()], axis=0)
        for part in (np.min, np.mean, np.max)
    )
    repeated = any(len(of_fold) > 1 for of_fold in by_fold.values())
    return times, mean, (low, high) if repeated else None
