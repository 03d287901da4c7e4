"""The chart of objects by size: the share found, and how well they are outlined."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from umamba.comparison.charts.model_styles import ModelStyles
from umamba.comparison.charts.parts import interval_layers, points_of
from umamba.comparison.records import Interval, ModelSummary
from umamba.comparison.results import Results
from umamba.comparison.statistics.analysis import scores_by_metric
from umamba.comparison.statistics.scores import CaseScore, ScoreTable
from umamba.evaluation.instances import ALL_SIZES, stratum_names
from umamba.reporting.charts import Chart, Layer, link_params
from umamba.system.terminal import one_line

__all__ = ["MOST_ROWS", "counted_strata", "size_chart"]

_TITLES = {"f1": "found: F1 of objects", "dice": "outlined: Dice of matches"}
MOST_ROWS = 20_000  # of objects, above which a chart does not follow the chosen cases


def counted_strata(results: Results) -> dict[str, int]:
    """Return the number of reference objects of each size, without sizes that have none."""
    counts: dict[str, dict[tuple[str, str], int]] = {}
    for row in results.instances:
        counts.setdefault(row.stratum, {})[row.case, row.label] = row.n_reference
    totals = {stratum: sum(of.values()) for stratum, of in counts.items()}
    return {stratum: n for stratum, n in totals.items() if n}


def size_chart(results: Results, styles: ModelStyles) -> Chart | None:
    """Return the chart of how well objects of each size were found and outlined.

    Sizes without a reference object are left out: a score would be that of false alarms alone.

    Returns:
        The chart; `None` if objects were not grouped by size.
    """
    strata = {name: n for name, n in counted_strata(results).items() if name != ALL_SIZES}
    titles = {name: _stratum_title(results, name, n) for name, n in strata.items()}
    plots, told = [], []
    for metric, title in _TITLES.items():
        found = {name: _summaries(results, metric, name) for name in strata}
        if any(found.values()):
            plots.append(_plot(results, metric, titles, found, styles))
            told += [
                f"{title}, {name}: "
                + ", ".join(f"{one_line(s.model)} {s.estimate.mean:.2f}" for s in of_stratum)
                for name, of_stratum in found.items()
                if of_stratum
            ]
    if not plots:
        return None
    scores = scores_by_metric(results)
    rows = {metric: _case_rows(scores, metric, titles) for metric in _TITLES}
    few = sum(map(len, rows.values())) <= MOST_ROWS
    return Chart(
        name="size_strata",
        title="Objects by size",
        alt=f"Means by size of the reference object. {'; '.join(told)}.",
        caption="Objects by size, mean over cases with 95 % interval, where there are two cases or "
        "more; n is the number of reference objects."
        + ("" if few else " With so many cases the means do not follow chosen ones."),
        spec={
            "params": link_params(),
            "datasets": rows if few else {metric: [] for metric in rows},
            "hconcat": plots,
            "resolve": {"scale": dict.fromkeys(("color", "stroke", "fill", "shape"), "shared")},
        },
    )


def _summaries(results: Results, metric: str, stratum: str) -> list[ModelSummary]:
    found = results.of(f"object_{metric}_{stratum}").summaries
    return [summary for summary in found if math.isfinite(summary.estimate.mean)]


def _plot(
    results: Results,
    metric: str,
    titles: Mapping[str, str],
    found: Mapping[str, Sequence[ModelSummary]],
    styles: ModelStyles,
) -> dict[str, Any]:
    drawn = {s.model for of_stratum in found.values() for s in of_stratum}
    models = [model for model in results.model_names if model in drawn]
    rows = [
        {
            "model": one_line(summary.model),
            "size": titles[stratum],
            "cases": summary.n_cases,
            **points_of(summary.estimate, 1.0, _clipped(summary.estimate.interval)),
        }
        for stratum, of_stratum in found.items()
        for summary in of_stratum
    ]
    axis = {"labelAngle": 0, "labelExpr": "split(datum.label, '\\n')"}
    place = {
        "x": {
            "field": "size",
            "type": "ordinal",
            "title": _size_title(results),
            "scale": {"domain": list(titles.values())},
            "axis": axis,
        },
        "xOffset": {
            "field": "model",
            "type": "nominal",
            "scale": {"domain": [one_line(m) for m in models]},
        },
    }
    tooltip = [{"field": name} for name in ("model", "cases", "mean", "low", "high")]
    points = styles.points(models, legend=True)
    layers = interval_layers(rows, place, points, tooltip, across="y", title=_TITLES[metric])
    layers.append(_of_chosen(metric, place, styles.colour(models)))
    return {"height": 280, "layer": layers}


def _of_chosen(metric: str, place: Mapping[str, Any], colour: Mapping[str, Any]) -> Layer:
    """Return the means over the cases that a page has chosen, as ticks."""
    mean = {"aggregate": "mean", "field": "value", "type": "quantitative"}
    return {
        "data": {"name": metric},
        "transform": [{"filter": "chosen && indexof(chosen, datum.case) >= 0"}],
        "mark": {"type": "tick", "thickness": 3, "size": 16},
        "encoding": {**place, "y": mean, "color": dict(colour)},
    }


def _case_rows(
    scores: Mapping[str, Sequence[CaseScore]], metric: str, titles: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return the mean of every case, model and size as the statistics have it."""
    tables = {
        stratum: ScoreTable.from_scores(scores[name])
        for stratum in titles
        if (name := f"object_{metric}_{stratum}") in scores
    }
    return [
        {"case": case, "model": one_line(model), "size": titles[stratum], "value": round(value, 3)}
        for stratum, table in tables.items()
        for model in table.models
        for case, value in zip(table.cases, table.case_means(model).tolist(), strict=True)
        if math.isfinite(value)
    ]


def _clipped(interval: Interval) -> Interval:
    low, high = (min(max(end, 0.0), 1.0) for end in (interval.low, interval.high))
    return Interval(low, high)


def _stratum_title(results: Results, stratum: str, n_objects: int) -> str:
    lines = (stratum.replace("_", " "), _size_range(results, stratum))
    return "\n".join([*filter(None, lines), f"n = {n_objects:,}"])


def _size_title(results: Results) -> str:
    if _cuts(results):
        return f"diameter of the reference object, {results.dataset.spacing_unit}"
    return "size of the reference object"


def _cuts(results: Results) -> tuple[float, ...]:
    """Return the diameters that divide sizes if they are the same for all labels."""
    settings = results.settings.evaluation
    cuts = {tuple(cuts) for cuts in settings.size_cut_points.values() if cuts}
    return cuts.pop() if len(cuts) == 1 and settings.size_measure == "diameter" else ()


def _size_range(results: Results, stratum: str) -> str:
    """Return the diameters in a stratum if they are the same for all labels, or else nothing."""
    cuts = _cuts(results)
    if not cuts:
        return ""
    ends = [f"{cut:.3g}" for cut in cuts]
    ranges = [f"< {ends[0]}", *map(" to ".join, itertools.pairwise(ends)), f"> {ends[-1]}"]
    return dict(zip(stratum_names(len(ends)), ranges, strict=True))[stratum]
