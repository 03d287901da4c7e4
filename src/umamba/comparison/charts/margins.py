"""The chart of the probabilities that differences exceed a margin."""

from collections.abc import Sequence
from typing import Any

from umamba.comparison.charts.parts import model_axis, rounded
from umamba.comparison.records import Margin, ModelComparison
from umamba.comparison.statistics.margins import margin_probabilities
from umamba.comparison.statistics.verdicts import Unit
from umamba.reporting.charts import Chart
from umamba.system.terminal import one_line

__all__ = ["margin_chart"]

_COLOURS = {"better": "#0072B2", "within": "#9a9a9a", "worse": "#E69F00"}
_LEAST = 0.04  # share whose bar is wide enough for a number


def margin_chart(
    comparisons: Sequence[ModelComparison], margins: Sequence[Margin], unit: Unit
) -> Chart | None:
    """Return the chart of how probable it is that models differ by more than a margin.

    Args:
        comparisons: Comparisons with the baseline and with controls.
        margins: The same by the smallest difference that matters.
        unit: Unit of the scores.

    Returns:
        The chart; `None` without a margin.
    """
    of_pair = {(c.model, c.baseline): c for c in comparisons}
    judged = [
        (of_pair[m.model, m.baseline], m) for m in margins if (m.model, m.baseline) in of_pair
    ]
    if not judged:
        return None
    size = unit.amount(judged[0][1].margin * unit.factor)
    kinds = {
        "better": f"better by more than {size}",
        "within": "difference within the margin",
        "worse": f"worse by more than {size}",
    }
    rows = [row for one in judged for row in _rows(*one, kinds)]
    pairs = list(dict.fromkeys(row["pair"] for row in rows))
    told = [
        f"{row['pair']} {row['kind']}: {row['probability']:.0%}".replace("%", " %") for row in rows
    ]
    place: dict[str, Any] = {"y": model_axis(pairs, "pair")}
    place["x"] = {
        "field": "from",
        "type": "quantitative",
        "title": "probability",
        "axis": {"labelExpr": "round(100 * datum.value) + ' %'", "tickCount": 5},
        "scale": {"domain": [0, 1]},
    }
    place["x2"] = {"field": "to"}
    scale = {"domain": list(kinds.values()), "range": list(_COLOURS.values())}
    legend = {"title": None, "orient": "bottom", "columns": 3}
    colour = {"field": "kind", "type": "nominal", "scale": scale, "legend": legend}
    tooltip = [
        {"field": "pair"},
        {"field": "kind"},
        {"field": "probability", "type": "quantitative", "format": ".1%"},
    ]
    return Chart(
        name="margin_probabilities",
        title=f"Probability of a difference of more than {size}",
        alt=f"Shares of the confidence distribution of each difference. {'; '.join(told)}.",
        caption="How much of the confidence distribution of each difference lies beyond the "
        "margin, on either side; not corrected for the number of comparisons.",
        spec={
            "data": {"values": rows},
            "height": {"step": 34},
            "encoding": place,
            "layer": [
                {
                    "mark": {"type": "bar", "height": {"band": 0.72}},
                    "encoding": {"color": colour, "tooltip": tooltip},
                },
                {
                    "transform": [{"filter": f"datum.probability >= {_LEAST}"}],
                    "mark": {"type": "text", "color": "#101010", "fontWeight": "bold"},
                    "encoding": {
                        "x": {"field": "middle", "type": "quantitative"},
                        "x2": None,
                        "text": {"field": "told"},
                        "color": {
                            "condition": {"test": "datum.dark", "value": "#ffffff"},
                            "value": "#101010",
                        },
                    },
                },
            ],
        },
    )


def _rows(
    comparison: ModelComparison, margin: Margin, kinds: dict[str, str]
) -> list[dict[str, Any]]:
    """Return a row for each kind, from left to right."""
    shares = margin_probabilities(comparison, margin.margin)
    rows, start = [], 0.0
    for name, share in zip(kinds, shares, strict=True):
        rows.append(
            {
                "pair": f"{one_line(margin.model)} \N{MINUS SIGN} {one_line(margin.baseline)}",
                "kind": kinds[name],
                "probability": rounded(share),
                "told": f"{100 * share:.0f} %",
                "from": rounded(start),
                "to": rounded(start + share),
                "middle": rounded(start + share / 2),
                "dark": name == "better",
            }
        )
        start += share
    return rows
