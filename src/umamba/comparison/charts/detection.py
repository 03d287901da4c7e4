"""The chart of false alarms and misses."""

import math
from typing import Any

from umamba.comparison.charts.model_styles import ModelStyles
from umamba.comparison.charts.parts import interval_layers, model_axis, rounded
from umamba.comparison.records import Rate
from umamba.comparison.results import Results
from umamba.reporting.charts import Chart
from umamba.system.terminal import one_line

__all__ = ["detection_chart"]

_KINDS = {"false_alarm": "false alarms", "missed": "misses"}


def detection_chart(results: Results, styles: ModelStyles) -> Chart | None:
    """Return the chart of the rates of false alarms and misses; `None` if there was neither."""
    found = {
        title: [rate for rate in results.of(kind).rates if math.isfinite(rate.rate)]
        for kind, title in _KINDS.items()
    }
    found = {kind: rates for kind, rates in found.items() if any(r.n_events for r in rates)}
    if not found:
        return None
    told = [
        f"{title} of {one_line(r.model)}: {r.n_events} of {r.n_predictions}"
        for title, rates in found.items()
        for r in rates
    ]
    return Chart(
        name="false_alarms_and_misses",
        title="False alarms and misses",
        alt=f"Rates with 95 % intervals. {'; '.join(told)}.",
        caption="A false alarm is a label predicted in a case without it, a miss a label of a case "
        "that is not predicted at all: share of predictions with 95 % interval, over cases, "
        "labels and trainings.",
        spec={"hconcat": [_plot(title, rates, styles) for title, rates in found.items()]},
    )


def _plot(title: str, rates: list[Rate], styles: ModelStyles) -> dict[str, Any]:
    models = [rate.model for rate in rates]
    rows = [
        {
            "model": one_line(rate.model),
            "mean": rounded(rate.rate, 100.0),
            "low": rounded(rate.interval.low, 100.0),
            "high": rounded(rate.interval.high, 100.0),
            "events": f"{rate.n_events} of {rate.n_predictions}",
        }
        for rate in rates
    ]
    tooltip = [{"field": n} for n in ("model", "events", "mean", "low", "high")]
    layers = interval_layers(
        rows,
        {"y": model_axis(models)},
        styles.points(models),
        tooltip,
        title=f"{title}, % of predictions",
    )
    return {"height": {"step": 34}, "layer": layers}
