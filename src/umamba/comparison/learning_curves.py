"""The figure of the learning curves: mean over folds, band over repeated trainings."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from umamba.comparison.dynamics import smooth
from umamba.comparison.plotting import (
    WIDTH,
    ModelStyle,
    label_ends,
    name_width,
    style_axes,
)

__all__ = ["draw_learning_curves"]

_TITLES = {"hours": ("Over time", "hours"), "epoch": ("Over epochs", "epoch")}
_N_POINTS = 200
_SHOWN_FROM = 0.2  # of a training; what is below all Dice from that time on is left out


def draw_learning_curves(results: Mapping[str, Any], styles: Mapping[str, ModelStyle]) -> Any:
    """Draw the smoothed validation Dice over epochs and over hours.

    Args:
        results: The contents of `results.json`.
        styles: By model.

    Returns:
        A figure of matplotlib; `None` where there is no curve.
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


def _in_order(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Return `epoch` and `hours`; last the one where trainings end together, beside the names."""

    def spread(time: str) -> float:
        ends = [curve[time][-1] for of_model in curves.values() for curve in of_model]
        return float((max(ends) - min(ends)) / max(ends))

    return sorted(_TITLES, key=spread, reverse=True)


def _draw_model(
    axes: Any, curves: Sequence[Mapping[str, Any]], time: str, style: ModelStyle
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    times, mean, band = _mean_over_folds(curves, time)
    axes.plot(times, mean, color=style.colour, ls=style.line, lw=1.9)
    if band is not None:
        axes.fill_between(times, *band, color=style.colour, alpha=0.15, lw=0)
    return times, mean


def _curves_by_model(results: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the curves of compared trainings that have a point, smoothed."""
    compared = {(c["model"], c["fold"], c["seed"]) for c in results["cells"] if c["compared"]}
    curves: dict[str, list[Mapping[str, Any]]] = {}
    for curve in results["curves"]:
        values = smooth([np.nan if value is None else value for value in curve["dice"]])
        defined = np.isfinite(values)
        is_compared = (curve["model"], curve["fold"], curve["seed"]) in compared
        if is_compared and defined.any():
            columns = {"epoch": curve["epoch"], "hours": curve["hours"], "dice": values}
            points = {name: np.asarray(column)[defined] for name, column in columns.items()}
            curves.setdefault(curve["model"], []).append({**curve, **points})
    return curves


def _mean_over_folds(
    curves: Sequence[Mapping[str, Any]], time: str
) -> tuple[
    Float[np.ndarray, " points"],
    Float[np.ndarray, " points"],
    tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]] | None,
]:
    """Average trainings per fold, and the folds, on common points in time.

    Returns:
        The times, the mean, and a band from the mean of the lowest training of each fold to that of
        the highest: a seed is not the same in another fold. `None` where nothing was repeated.
    """
    begin = max(curve[time][0] for curve in curves)
    times = np.linspace(begin, min(curve[time][-1] for curve in curves), _N_POINTS)
    by_fold: dict[int, list[Float[np.ndarray, " points"]]] = {}
    for curve in curves:
        values = np.interp(times, curve[time], curve["dice"])
        by_fold.setdefault(curve["fold"], []).append(values)
    low, mean, high = (
        np.mean([part(of_fold, axis=0) for of_fold in by_fold.values()], axis=0)
        for part in (np.min, np.mean, np.max)
    )
    repeated = any(len(of_fold) > 1 for of_fold in by_fold.values())
    return times, mean, (low, high) if repeated else None
