"""Charts of models against a baseline: the verdicts, and the difference in every case."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from umamba.comparison.charts.model_styles import ModelStyles
from umamba.comparison.charts.parts import (
    drawn_cases,
    interval_layers,
    interval_text,
    model_axis,
    points_of,
    quantity,
    rounded,
    vertical_line,
)
from umamba.comparison.records import Margin, ModelComparison
from umamba.comparison.statistics.scores import ScoreTable
from umamba.comparison.statistics.verdicts import Outcome, Unit, outcome
from umamba.reporting.charts import (
    CASES,
    BaselineChart,
    Chart,
    Layer,
    link_params,
    linked_dots,
)
from umamba.system.terminal import one_line

__all__ = ["for_each_baseline", "paired_differences", "verdict_chart"]

_MOST_OTHER_DOTS = 20_000  # of all other baselines together, about 2 MB in a page
_GOLDEN = 0.618034  # its multiples modulo 1 are the most even jitter
_SAID: dict[Outcome, str] = {"trained once": "trained once: no verdict on the models"}


def _known(comparisons: Sequence[ModelComparison]) -> list[ModelComparison]:
    return [c for c in comparisons if math.isfinite(c.difference.mean)]


def paired_differences(
    comparisons: Sequence[ModelComparison],
    table: ScoreTable,
    styles: ModelStyles,
    unit: Unit,
    decimals: int = 1,
) -> Chart | None:
    """Return the chart of the difference to the baseline in each case.

    Args:
        comparisons: Comparisons with one baseline.
        table: The scores.
        styles: Style of each model.
        unit: Unit of the scores.
        decimals: Number of decimals of the means.

    Returns:
        The chart; `None` if no mean is known.
    """
    found = _known(comparisons)
    if not found:
        return None
    baseline, models = found[0].baseline, [c.model for c in found]
    means = [{"model": one_line(c.model), **points_of(c.difference, unit.factor)} for c in found]
    place = {"y": model_axis(models)}
    title = f"{unit.name} above {one_line(baseline)}"
    jitter = {"domain": [-0.7, 0.7]}
    dots = {
        **place,
        "x": quantity("difference", title),
        "yOffset": {"field": "jitter", "type": "quantitative", "scale": jitter},
        "color": styles.colour(models),
        "tooltip": [{"field": "case"}, {"field": "model"}, {"field": "difference", "title": title}],
    }
    cases, thinned = drawn_cases(table.cases, len(models))
    drawn = {*cases}
    rows = [row for c in found for row in _case_rows(c, table, drawn, unit)]
    told = [f"{row['model']} {interval_text(row, decimals)}" for row in means]
    tooltip = [{"field": name} for name in ("model", "mean", "low", "high")]
    return Chart(
        name="paired_differences",
        title=f"Difference from {one_line(baseline)} in every case",
        alt=f"A dot for each case and model. Mean {title} with 95 % interval: {'; '.join(told)}.",
        caption="Each dot is a case, mean over trainings. The marks are the means with their 95 % "
        "intervals, over cases and, where trainings were repeated, seeds; they are not corrected "
        f"for the number of models, unlike the p values.{thinned}",
        spec={
            "params": link_params(),
            "datasets": {CASES: rows},
            "height": {"step": 52},
            "layer": [
                *linked_dots(dots, ["x"]),
                vertical_line(0.0),
                _halo(means, place, title),
                *interval_layers(means, place, styles.points(models), tooltip, title=title),
            ],
        },
    )


def for_each_baseline(chart: Chart, others: Mapping[str, Chart | None]) -> Chart:
    """Return a chart of differences that follows the baseline which a reader chooses.

    Args:
        chart: The chart for the first baseline.
        others: The same for other baselines; `None` where no mean is known.

    Returns:
        The chart with the others or, if they have too many dots for a page, only a sentence more.
    """
    known = {name: other for name, other in others.items() if other is not None}
    if sum(len(other.spec["datasets"][CASES]) for other in known.values()) <= _MOST_OTHER_DOTS:
        return BaselineChart(**vars(chart), others=known)
    said = " Choosing another baseline in the table leaves this chart as it is."
    return replace(chart, caption=chart.caption + said)


def _halo(means: Sequence[dict[str, Any]], place: dict[str, Any], title: str) -> Layer:
    """Return what sets intervals off from the dots below them."""
    known = [row for row in means if row["low"] is not None]
    ends = {"x": quantity("low", title), "x2": {"field": "high"}}
    mark = {"type": "rule", "strokeWidth": 7, "style": "halo"}
    return {"data": {"values": known}, "mark": mark, "encoding": {**place, **ends}}


def _case_rows(
    comparison: ModelComparison, table: ScoreTable, cases: Collection[str], unit: Unit
) -> list[dict[str, Any]]:
    differences = table.case_means(comparison.model) - table.case_means(comparison.baseline)
    is_drawn = np.array([case in cases for case in table.cases])
    known = np.flatnonzero(np.isfinite(differences) & is_drawn)
    return [
        {
            "case": table.cases[index],
            "model": one_line(comparison.model),
            "difference": rounded(differences[index], unit.factor),
            "jitter": round(rank * _GOLDEN % 1 - 0.5, 3),
        }
        for rank, index in enumerate(known[np.argsort(differences[known], kind="stable")])
    ]


def verdict_chart(
    comparisons: Sequence[ModelComparison],
    margins: Sequence[Margin],
    styles: ModelStyles,
    unit: Unit,
    decimals: int = 1,
) -> Chart | None:
    """Return the chart of what is shown of each model, and of what could have been shown.

    Args:
        comparisons: Comparisons with the baseline and with controls.
        margins: The same by the smallest difference that matters; empty without a margin.
        styles: Style of each model.
        unit: Unit of the scores.
        decimals: Number of decimals of the means.

    Returns:
        The chart; `None` if no mean is known.
    """
    found = list({(c.model, c.baseline): c for c in _known(comparisons)}.values())
    if not found:
        return None
    rows = [_verdict_row(c, unit, decimals) for c in found]
    pairs, models = [row["pair"] for row in rows], list(dict.fromkeys(c.model for c in found))
    place, title = {"y": model_axis(pairs, "pair")}, f"{unit.name}, first minus second model"
    tooltip = [{"field": n} for n in ("pair", "mean", "low", "high", "detectable", "shown")]
    told = {**place, "x": quantity("mean", title), "text": {"field": "told"}}
    margin = margins[0].margin * unit.factor if margins else None
    lines = [vertical_line(side * margin, dashed=True) for side in (-1, 1)] if margin else []
    return Chart(
        name="verdicts",
        title="What was shown, and what could have been",
        alt="Mean differences with their 95 % intervals, corrected for the number of comparisons: "
        + "; ".join(f"{row['pair']} {row['told']}" for row in rows)
        + ".",
        caption="The intervals are those of the verdicts, corrected for the number of comparisons "
        "(Holm). A true difference within the grey span had less than an 80 % chance of being "
        "shown by these cases and trainings. Choosing another baseline in a table changes none of "
        "these pairs."
        + (f" The dashed lines are the margin, ±{unit.amount(margin)}." if margin else ""),
        spec={
            "height": {"step": 46},
            "layer": [
                _detectable(rows, place, title),
                vertical_line(0.0),
                *lines,
                *interval_layers(rows, place, styles.points(models), tooltip, title=title),
                *(
                    {
                        "data": {"values": rows},
                        "mark": {"type": "text", "fontSize": 11, "dy": -14} | look,
                        "encoding": told,
                    }
                    for look in ({"style": "halo", "strokeWidth": 3}, {"style": "note"})
                ),
            ],
        },
    )


def _verdict_row(comparison: ModelComparison, unit: Unit, decimals: int) -> dict[str, Any]:
    smallest, shown = comparison.smallest_detectable_difference, outcome(comparison)
    row: dict[str, Any] = {
        "pair": f"{one_line(comparison.model)} \N{MINUS SIGN} {one_line(comparison.baseline)}",
        "model": one_line(comparison.model),
        **points_of(comparison.difference, unit.factor, comparison.corrected_interval),
        "detectable": rounded(smallest, unit.factor),
        "below": rounded(-smallest, unit.factor),
        "shown": _SAID.get(shown, shown),
        "cases": comparison.n_cases,
    }
    return {**row, "told": f"{interval_text(row, decimals)}: {row['shown']}"}


def _detectable(rows: Sequence[dict[str, Any]], place: dict[str, Any], title: str) -> Layer:
    known = [row for row in rows if row["detectable"] is not None]
    ends = {"x": quantity("below", title), "x2": {"field": "detectable"}}
    mark = {"type": "bar", "style": "span", "height": {"band": 0.5}}
    return {"data": {"values": known}, "mark": mark, "encoding": {**place, **ends}}
