"""The figure of the learning curves: mean over folds, band over seeds."""

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
_SHOWN_FROM = 0.2  # of a training; what is below the Dice at that time is left out


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
            shown_from = min(shown_from, float(mean[int(_SHOWN_FROM * len(mean))]))
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
    times, by_seed = _mean_over_folds(curves, time)
    mean: Float[np.ndarray, " points"] = np.mean(list(by_seed.values()), axis=0)
    axes.plot(times, mean, color=style.colour, ls=style.line, lw=1.9)
    repeated = [curve for seed, curve in by_seed.items() if seed is not None]
    if len(repeated) > 1:
        band = np.min(repeated, axis=0), np.max(repeated, axis=0)
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
) -> tuple[Float[np.ndarray, " points"], dict[int | None, Float[np.ndarray, " points"]]]:
    """Average the folds of each seed on common points in time.

    Seeds that lack a fold that another one has are left out: they would differ by the fold.
    """
    folds: dict[int | None, set[int]] = {}
    for curve in curves:
        folds.setdefault(curve["seed"], set()).add(curve["fold"])
    complete = set().union(*folds.values())
    seeds = [seed for seed, found in folds.items() if found == complete] or list(folds)
    used = [curve for curve in curves if curve["seed"] in seeds]
    begin = max(curve[time][0] for curve in used)
    times = np.linspace(begin, min(curve[time][-1] for curve in used), _N_POINTS)
    values = {
        seed: np.mean(
            [np.interp(times, c[time], c["dice"]) for c in used if c["seed"] == seed], axis=0
        )
        for seed in seeds
    }
    return times, values
