"""The chart of false alarms and misses."""

import math
from typing import Any

from umamba.comparison.charts.model_styles import ModelStyles
from umamba.comparison.charts.parts import interval_layers, model_axis, points_of, rounded
from umamba.comparison.records import Interval
from umamba.comparison.results import Results
from umamba.evaluation.object_metrics import LESION_FALSE_POSITIVE_VOLUME, LESION_FALSE_POSITIVES
from umamba.reporting.charts import Chart
from umamba.system.terminal import one_line

__all__ = ["detection_chart"]

_KINDS = {"false_alarm": "false alarms, % of predictions", "missed": "misses, % of predictions"}


def detection_chart(results: Results, styles: ModelStyles) -> Chart | None:
    """Return the chart of false alarms and misses; `None` if there was nothing of the kind.

    Whole labels that are false or missed are rare where every case has an object; false objects
    beside it are then what tells models apart.
    """
    found = {title: _rates(results, kind) for kind, title in _KINDS.items()}
    units = results.dataset.spacing_unit, results.dataset.n_dims
    for metric in (LESION_FALSE_POSITIVES, LESION_FALSE_POSITIVE_VOLUME):
        found[f"{metric.heading(*units)}, per case"] = _means(results, metric.name)
    found = {title: rows for title, rows in found.items() if any(row["mean"] for row in rows)}
    if not found:
        return None
    told = [
        f"{title}: " + ", ".join(f"{row['model']} {row['told']}" for row in rows)
        for title, rows in found.items()
    ]
    return Chart(
        name="false_alarms_and_misses",
        title="False alarms and misses",
        alt=f"Rates and means with 95 % intervals. {'; '.join(told)}.",
        caption="A false alarm is a label predicted in a case without it, a miss a label of a case "
        "that is not predicted at all: share of predictions, over cases, labels and trainings. A "
        "false positive lesion is a predicted object without a voxel of the reference: mean over "
        "cases. All with 95 % intervals.",
        spec={"hconcat": [_plot(title, rows, results, styles) for title, rows in found.items()]},
    )


def _rates(results: Results, kind: str) -> list[dict[str, Any]]:
    rates = [rate for rate in results.of(kind).rates if math.isfinite(rate.rate)]
    return [
        {
            "model": one_line(rate.model),
            "mean": rounded(rate.rate, 100.0),
            "low": rounded(rate.interval.low, 100.0),
            "high": rounded(rate.interval.high, 100.0),
            "told": f"{rate.n_events} of {rate.n_predictions}",
        }
        for rate in rates
    ]


def _means(results: Results, metric: str) -> list[dict[str, Any]]:
    return [
        {
            "model": one_line(summary.model),
            **points_of(summary.estimate, 1.0, _positive(summary.estimate.interval)),
            "told": f"{summary.estimate.mean:.3g} in {summary.n_cases:,} cases",
        }
        for summary in results.of(metric).summaries
        if math.isfinite(summary.estimate.mean)
    ]


def _positive(interval: Interval) -> Interval:
    return Interval(max(interval.low, 0.0), interval.high)


def _plot(
    title: str, rows: list[dict[str, Any]], results: Results, styles: ModelStyles
) -> dict[str, Any]:
    drawn = {row["model"] for row in rows}
    models = [model for model in results.model_names if one_line(model) in drawn]
    tooltip = [{"field": n} for n in ("model", "told", "mean", "low", "high")]
    layers = interval_layers(
        rows, {"y": model_axis(models)}, styles.points(models), tooltip, title=title
    )
    return {"height": {"step": 34}, "layer": layers}
