"""The forest plot: every question's effect in each data set, and over all of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.evidence.claims import signed
from benchmarks.evidence.meta_analysis import Combined
from benchmarks.evidence.questions import Answer
from benchmarks.evidence.sets import SETS
from umamba.comparison.charts.parts import quantity, rounded, vertical_line
from umamba.comparison.records import Interval
from umamba.reporting.charts import Chart, Layer

__all__ = ["forest_chart"]

_X = "Points of 100; right of 0 the first model has more"
_WIDEST = 12.0  # points to each side; what lies beyond is cut there, and has an arrow
_COLOURS = {"set": "#4477aa", "all": "#882255"}


def forest_chart(answers: Mapping[str, Answer]) -> Chart | None:
    """Return the forest plot of the questions that it is to show; `None` without any effect."""
    shown = [(a, a.combined) for a in answers.values() if a.question.in_figure and a.combined]
    if not shown:
        return None
    rows = [row for answered, combined in shown for row in _rows(answered, combined)]
    over_all = (row for row in rows if row["kind"] == "all")
    told = "; ".join(f"{row['question']} {signed(row['mean'], 1)}" for row in over_all)
    return Chart(
        name="forest",
        title="What each data set shows, and all of them",
        alt=f"Forest plot. Over all data sets, in points: {told}.",
        caption="Points are data sets, larger where they weigh more, with intervals at 95 %; "
        "diamonds are the mean over data sets (random effects, Hartung and Knapp), and the thin "
        "lines where the effect in another such data set would be. Arrows point to what lies "
        f"beyond {_WIDEST:.0f} points.",
        spec={"height": {"step": 19}, "layer": _layers(rows)},
    )


def _rows(answered: Answer, combined: Combined) -> list[dict[str, Any]]:
    """Return a heading, the data sets, and the estimate over them."""
    title = answered.question.title
    rows: list[dict[str, Any]] = [{"row": f"!|{title}", "kind": "head", "question": title}]
    for name, effect in answered.effects.items():
        row = _row(
            title, SETS[name].title if name in SETS else name, effect.estimate, effect.interval
        )
        rows.append({**row, "kind": "set", "weight": rounded(combined.weights[name])})
    over = _row(title, f"all {combined.k}", combined.estimate, combined.interval)
    ends = _cut(combined.prediction)
    return [*rows, {**over, "kind": "all", "weight": 1.0, "new_low": ends[0], "new_high": ends[1]}]


def _row(title: str, name: str, estimate: float, interval: Interval) -> dict[str, Any]:
    low, high = _cut(interval)
    mean = rounded(estimate)
    return {"row": f"{title}|{name}", "question": title, "mean": mean, "low": low, "high": high}


def _cut(interval: Interval) -> tuple[float | None, float | None]:
    low, high = (min(max(end, -_WIDEST), _WIDEST) for end in (interval.low, interval.high))
    return rounded(low), rounded(high)


def _layers(rows: Sequence[dict[str, Any]]) -> list[Layer]:
    data = [row for row in rows if row["kind"] != "head"]
    place = {"y": _axis([row["row"] for row in rows])}
    colour = {"domain": list(_COLOURS), "range": list(_COLOURS.values())}
    look = {"field": "kind", "type": "nominal", "scale": colour, "legend": None}
    shape = look | {"scale": {"domain": list(_COLOURS), "range": ["circle", "diamond"]}}
    size = {"field": "weight", "type": "quantitative", "legend": None}
    size["scale"] = {"domain": [0, 1], "range": [30, 130]}
    predicted = [row for row in data if row.get("new_low") is not None]
    return [
        vertical_line(0.0),
        _lines(predicted, place, look, ("new_low", "new_high"), 1.0),
        _lines([row for row in data if row["low"] is not None], place, look, ("low", "high"), 2.5),
        {
            "data": {"values": [row for row in data if abs(row["mean"]) <= _WIDEST]},
            "mark": {"type": "point", "filled": True, "opacity": 1},
            "encoding": {
                **place,
                "x": quantity("mean", _X),
                "color": look,
                "shape": shape,
                "size": size,
            },
        },
        *_arrows(data, place, look),
    ]


def _arrows(
    rows: Sequence[dict[str, Any]], place: Mapping[str, Any], look: Mapping[str, Any]
) -> Iterator[Layer]:
    """Yield the arrows at each edge, where an interval or a mean goes beyond it."""
    for edge, shape, ends in (
        (-_WIDEST, "triangle-left", ("low", "new_low")),
        (_WIDEST, "triangle-right", ("high", "new_high")),
    ):
        beyond = [
            {"row": row["row"], "kind": row["kind"], "edge": edge}
            for row in rows
            if edge in [row.get(end) for end in ends] or row["mean"] / edge > 1
        ]
        yield {
            "data": {"values": beyond},
            "mark": {"type": "point", "shape": shape, "filled": True, "opacity": 1, "size": 60},
            "encoding": {**place, "x": quantity("edge", _X), "color": look},
        }


def _lines(
    rows: Sequence[dict[str, Any]],
    place: Mapping[str, Any],
    look: Mapping[str, Any],
    ends: tuple[str, str],
    width: float,
) -> Layer:
    return {
        "data": {"values": list(rows)},
        "mark": {"type": "rule", "strokeWidth": width},
        "encoding": {**place, "x": quantity(ends[0], _X), "x2": {"field": ends[1]}, "color": look},
    }


def _axis(names: Sequence[str]) -> dict[str, Any]:
    """Return the rows, of which headings are bold and have no data."""
    bold = {"condition": {"test": "datum.value[0] === '!'", "value": "bold"}, "value": "normal"}
    axis = {
        "labelExpr": "split(datum.value, '|')[1]",
        "labelFontWeight": bold,
        "labelLimit": 420,
        "grid": False,
    }
    scale = {"domain": list(names)}
    return {"field": "row", "type": "nominal", "title": None, "scale": scale, "axis": axis}
