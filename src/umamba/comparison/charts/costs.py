"""The chart of quality against the costs of training."""

import math
from collections.abc import Mapping
from typing import Any

from umamba.comparison.charts.model_styles import ModelStyles
from umamba.comparison.charts.parts import interval_layers, points_of, quantity, rounded
from umamba.comparison.records import Interval, MeanEstimate
from umamba.comparison.results import Results
from umamba.reporting.charts import Chart
from umamba.system.terminal import one_line

__all__ = ["cost_chart"]

_GIB = 2**30
_LOG_FROM = 8  # ratio of the largest to the smallest cost


def cost_chart(results: Results, styles: ModelStyles) -> Chart | None:
    """Return the chart of Dice against memory and time of training; `None` if neither is known."""
    dice = {
        summary.model: summary.estimate
        for summary in results.dice.summaries
        if math.isfinite(summary.estimate.mean)
    }
    panels = {
        title: {model: costs[model] for model in dice if model in costs}
        for title, costs in (_memory(results), _time(results))
    }
    panels = {title: costs for title, costs in panels.items() if costs}
    if not panels:
        return None
    told = [
        f"{one_line(model)}: Dice {dice[model].mean:.3f}"
        + "".join(
            f", {costs[model]:.3g} {title}" for title, costs in panels.items() if model in costs
        )
        for model in sorted(dice, key=lambda model: -dice[model].mean)
    ]
    plots = [_plot(title, costs, dice, styles) for title, costs in panels.items()]
    channels = ("color", "stroke", "fill", "shape")
    return Chart(
        name="dice_against_cost",
        title="Dice against the cost of training",
        alt=f"A point for each model. {'; '.join(told)}.",
        caption="Mean Dice with its 95 % interval against memory and time of training; up and to "
        "the left is better.",
        spec={
            "hconcat": plots,
            "resolve": {"scale": dict.fromkeys(channels, "shared")},
        },
    )


def _memory(results: Results) -> tuple[str, dict[str, float]]:
    """Return the measured peaks or, if one is missing, the estimated memory of all models."""
    measured = _costs(results, "peak_memory_bytes", 1 / _GIB)
    if len(measured) == len(results.cost):
        return "GiB at the peak of a training step", measured
    return "GiB for a training step, estimated", _costs(results, "memory_bytes", 1 / _GIB)


def _time(results: Results) -> tuple[str, dict[str, float]]:
    return "s for a training iteration", _costs(results, "seconds_per_iteration", 1.0)


def _costs(results: Results, name: str, factor: float) -> dict[str, float]:
    """Return one kind of cost for the models for which it is known."""
    found = {model: getattr(cost, name) for model, cost in results.cost.items()}
    return {model: cost * factor for model, cost in found.items() if cost is not None}


def _plot(
    title: str,
    costs: Mapping[str, float],
    dice: Mapping[str, MeanEstimate],
    styles: ModelStyles,
) -> dict[str, Any]:
    models = list(costs)
    rows = [
        {
            "model": one_line(m),
            "cost": rounded(costs[m]),
            **points_of(dice[m], 1.0, _clipped(dice[m])),
        }
        for m in models
    ]
    is_wide = max(costs.values()) > _LOG_FROM * min(costs.values())
    scale = {"type": "log", "base": 2, "nice": True} if is_wide else {"zero": True}
    place = {"x": quantity("cost", title, zero=True, scale=scale)}
    tooltip = [{"field": name} for name in ("model", "mean", "low", "high", "cost")]
    points = styles.points(models, legend=True)
    layers = interval_layers(rows, place, points, tooltip, across="y", title="Dice")
    return {"height": 280, "layer": layers}


def _clipped(estimate: MeanEstimate) -> Interval:
    return Interval(max(estimate.interval.low, 0.0), min(estimate.interval.high, 1.0))
