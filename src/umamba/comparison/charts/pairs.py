"""The chart of all pairs of models: which was shown to be better than which."""

from collections.abc import Mapping, Sequence
from typing import Any

from umamba.comparison.charts.parts import rounded, signed
from umamba.comparison.records import ModelComparison
from umamba.comparison.statistics.verdicts import Outcome, Unit, outcome_of_networks
from umamba.reporting.charts import Chart
from umamba.system.terminal import one_line

__all__ = ["pairs_chart", "won_by"]

_MOST_NUMBERS = 12  # models, above which cells have no numbers
_STEPS = (64, 15)  # pixels of a cell with, and without, a number
# Colour, and text. Greys are transparent, as they lie on a background of either theme.
_KINDS: dict[str, tuple[str, str]] = {
    "better": ("#0072B2", "row better than column"),
    "worse": ("#E69F00", "row worse than column"),
    "tests disagree": ("rgba(128, 128, 128, 0.5)", "tests disagree"),
    "no difference shown": ("rgba(128, 128, 128, 0.18)", "no difference shown"),
    "too few cases": ("rgba(128, 128, 128, 0.04)", "too few cases"),
}


def won_by(pairs: Sequence[ModelComparison]) -> dict[tuple[str, str], Outcome]:
    """Return what is shown of every model against every other, at least of the networks."""
    swapped: dict[Outcome, Outcome] = {"better": "worse", "worse": "better"}
    found: dict[tuple[str, str], Outcome] = {}
    for pair in pairs:
        shown = outcome_of_networks(pair)
        found[pair.model, pair.baseline] = shown
        found[pair.baseline, pair.model] = swapped.get(shown, shown)
    return found


def pairs_chart(
    pairs: Sequence[ModelComparison], order: Sequence[str], unit: Unit, decimals: int = 1
) -> Chart | None:
    """Return the chart with a cell for every pair of models.

    Args:
        pairs: Comparisons of all pairs, corrected for their number.
        order: Names of the models, the best first.
        unit: Unit of the scores.
        decimals: Number of decimals of the differences.

    Returns:
        The chart; `None` with fewer than two models.
    """
    if len(order) < 2 or not pairs:
        return None
    rows = _rows(pairs, unit, decimals)
    names, few = [one_line(name) for name in order], len(order) <= _MOST_NUMBERS
    used = [kind for kind in _KINDS if any(row["kind"] == _KINDS[kind][1] for row in rows)]
    scale = {"domain": [_KINDS[k][1] for k in used], "range": [_KINDS[k][0] for k in used]}
    legend = {"title": f"{unit.name}, row minus column", "orient": "bottom", "columns": 2}
    kind = {"field": "kind", "type": "nominal", "scale": scale, "legend": legend}
    axis = {"orient": "top", "labelAngle": -60, "labelAlign": "left", "domain": False}
    nominal = {"type": "nominal", "title": None, "scale": {"domain": names, "padding": 0.04}}
    colour = {"test": f"datum.kind === '{_KINDS['better'][1]}'", "value": "#ffffff"}
    dark = {"test": f"datum.kind === '{_KINDS['worse'][1]}'", "value": "#101010"}
    won = [
        f"{r['row']} better than {r['column']}" for r in rows if r["kind"] == _KINDS["better"][1]
    ]
    step = _STEPS[0] if few else _STEPS[1]
    return Chart(
        name="significance_map",
        title="Every model against every other",
        alt=f"A cell for every pair of models. Shown: {'; '.join(won) or 'no difference'}.",
        caption="After Holm's correction for the number of pairs; better or worse if the test of "
        "the mean and that of the ranks of the cases both say so.",
        spec={
            "data": {"values": rows},
            "height": {"step": min(step, 34)},
            "encoding": {
                "x": {"field": "column", **nominal, "axis": axis},
                "y": {"field": "row", **nominal},
            },
            "layer": [
                {
                    "mark": "rect",
                    "encoding": {
                        "color": kind,
                        "tooltip": [
                            {"field": n} for n in ("row", "column", "kind", "difference", "cases")
                        ],
                    },
                },
                *(
                    [
                        {
                            "mark": {"type": "text", "style": "note"},
                            "encoding": {
                                "text": {"field": "told"},
                                "color": {"condition": [colour, dark]},
                            },
                        }
                    ]
                    if few
                    else []
                ),
            ],
        },
    )


def _rows(pairs: Sequence[ModelComparison], unit: Unit, decimals: int) -> list[Mapping[str, Any]]:
    shown = won_by(pairs)
    return [
        {
            "row": one_line(row),
            "column": one_line(column),
            "kind": _KINDS[shown[row, column]][1],
            "difference": rounded(sign * pair.difference.mean, unit.factor),
            "told": signed(sign * pair.difference.mean * unit.factor, decimals),
            "cases": pair.n_cases,
        }
        for pair in pairs
        for sign, row, column in (
            (1, pair.model, pair.baseline),
            (-1, pair.baseline, pair.model),
        )
    ]
