"""The chart of the learning curves: mean over folds, band over repeated trainings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Real

from umamba.comparison.charts.model_styles import ModelStyles
from umamba.comparison.charts.parts import quantity, rounded
from umamba.comparison.results import Results
from umamba.comparison.statistics.dynamics import smooth
from umamba.reporting.charts import Chart
from umamba.system.terminal import one_line

__all__ = ["learning_chart"]

_Line = Float[np.ndarray, " points"]
_TIMES = {"epoch": "epoch", "hours": "hours"}
_N_POINTS = 120


@dataclass(frozen=True)
class _Points:
    """The smoothed Dice of a training, with the epochs and hours at which it was reached."""

    fold: int
    times: Mapping[str, Real[np.ndarray, " points"]]
    dice: _Line


def learning_chart(results: Results, styles: ModelStyles) -> Chart | None:
    """Return the chart of the validation Dice over epochs and hours; `None` without a curve."""
    curves = _curves_by_model(results)
    plots = [_plot(curves, time, styles) for time in _TIMES]
    plots = [plot for plot in plots if plot]
    if not plots:
        return None
    ends = [
        f"{one_line(model)} {np.mean([one.dice[-1] for one in of_model]):.3f}"
        for model, of_model in curves.items()
    ]
    return Chart(
        name="learning_curves",
        title="Learning curves",
        alt=f"Smoothed pseudo Dice over training; at the end, on average: {', '.join(ends)}.",
        caption="nnU-Net's pseudo Dice on validation patches, smoothed as nnU-Net does: mean over "
        "folds; the bands span the lowest to the highest training of each fold. It is not the Dice "
        "of whole cases.",
        spec={
            "hconcat": plots,
            "resolve": {"scale": {"color": "shared", "strokeDash": "shared", "y": "shared"}},
        },
    )


def _plot(
    curves: Mapping[str, Sequence[_Points]], time: str, styles: ModelStyles
) -> dict[str, Any] | None:
    rows = [
        {"model": one_line(model), **row}
        for model, of_model in curves.items()
        for row in _rows(of_model, time)
    ]
    if not rows:
        return None
    models = list(curves)
    x = quantity("time", _TIMES[time], scale={"zero": False, "nice": False})
    y = quantity("dice", "validation Dice on patches, smoothed")
    return {
        "height": 280,
        "data": {"values": rows},
        "encoding": {"x": x, **styles.lines(models)},
        "layer": [
            {
                "transform": [{"filter": "isValid(datum.low)"}],
                "mark": {"type": "area", "fillOpacity": 0.15, "strokeOpacity": 0},
                "encoding": {
                    "y": quantity("low", y["title"]),
                    "y2": {"field": "high"},
                },
            },
            {
                "mark": {"type": "line", "strokeWidth": 2},
                "encoding": {"y": y},
            },
        ],
    }


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


def _rows(curves: Sequence[_Points], time: str) -> list[dict[str, Any]]:
    """Average trainings per fold, and the folds, on common points in time.

    The band reaches from the mean of each fold's lowest training to that of its highest, as a seed
    means nothing across folds. It is left out if nothing was repeated.
    """
    known = [curve for curve in curves if np.isfinite(curve.times[time]).all()]
    if not known:
        return []
    begin = max(curve.times[time][0] for curve in known)
    times = np.linspace(begin, min(curve.times[time][-1] for curve in known), _N_POINTS)
    by_fold: dict[int, list[_Line]] = {}
    for curve in known:
        values = np.interp(times, curve.times[time], curve.dice)
        by_fold.setdefault(curve.fold, []).append(values)
    low, mean, high = (
        np.mean([part(of_fold, axis=0) for of_fold in by_fold.values()], axis=0)
        for part in (np.min, np.mean, np.max)
    )
    repeated = any(len(of_fold) > 1 for of_fold in by_fold.values())
    columns = {"time": times, "dice": mean} | ({"low": low, "high": high} if repeated else {})
    return [
        {name: rounded(column[index]) for name, column in columns.items()}
        for index in range(len(times))
    ]
