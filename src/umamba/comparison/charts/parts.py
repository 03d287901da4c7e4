"""Parts that several charts of a comparison share: numbers, rows of models, intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from umamba.comparison.records import Interval, MeanEstimate
from umamba.reporting.charts import Layer
from umamba.system.terminal import one_line

__all__ = [
    "drawn_cases",
    "interval_layers",
    "interval_text",
    "model_axis",
    "points_of",
    "quantity",
    "rounded",
    "signed",
    "vertical_line",
]

_DIGITS = 6  # of numbers in charts
_MOST_DOTS = 10_000


def rounded(value: float, factor: float | int = 1.0) -> float | None:
    """Return a number with as many digits as a chart shows; `None` if it is undefined."""
    return float(f"{value * factor:.{_DIGITS}g}") if math.isfinite(value) else None


def points_of(
    estimate: MeanEstimate, factor: float | int = 1.0, interval: Interval | None = None
) -> dict[str, float | None]:
    """Return the fields `mean`, `low` and `high` of a row of data."""
    interval = interval or estimate.interval
    return {
        "mean": rounded(estimate.mean, factor),
        "low": rounded(interval.low, factor),
        "high": rounded(interval.high, factor),
    }


def signed(value: float, decimals: int, *, plus: bool = True) -> str:
    """Return a number with a true minus sign."""
    return f"{value:{'+' if plus else ''},.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def interval_text(row: Mapping[str, Any], decimals: int) -> str:
    """Return mean and interval of a row of data."""
    text = signed(row["mean"], decimals)
    if row["low"] is None or row["high"] is None:
        return text
    ends = (signed(row[end], decimals, plus=False) for end in ("low", "high"))
    return f"{text} [{', '.join(ends)}]"


def drawn_cases(cases: Sequence[str], n_models: int) -> tuple[list[str], str]:
    """Return the cases that get a dot for each model, and a sentence if these are not all.

    More dots than a browser moves smoothly are thinned out, to the same cases for all models.
    """
    most = max(_MOST_DOTS // n_models, 1)
    if len(cases) <= most:
        return list(cases), ""
    chosen = [cases[index * len(cases) // most] for index in range(most)]
    return chosen, f" Dots are those of {most:,} of the {len(cases):,} cases, evenly chosen."


def quantity(field: str, title: str, *, zero: bool = False, **more: Any) -> dict[str, Any]:
    """Return a channel of a number."""
    channel = {"field": field, "type": "quantitative", "title": title}
    return {**channel, "scale": {"zero": zero, "nice": True}, **more}


def model_axis(models: Sequence[str], field: str = "model") -> dict[str, Any]:
    """Return the channel `y` of charts with a row for each model, in this order."""
    scale = {"domain": [one_line(m) for m in models]}
    return {"field": field, "type": "nominal", "title": None, "scale": scale}


def vertical_line(at: float, *, dashed: bool = False) -> Layer:
    """Return a line across all rows."""
    mark: dict[str, Any] = {"type": "rule", "style": "reference"}
    if dashed:
        mark["strokeDash"] = [5, 4]
    return {"data": {"values": [{}]}, "mark": mark, "encoding": {"x": {"datum": at}}}


def interval_layers(
    rows: Sequence[Mapping[str, Any]],
    place: Mapping[str, Any],
    points: Mapping[str, Any],
    tooltip: Sequence[Mapping[str, Any]] = (),
    *,
    across: str = "x",
    title: str,
) -> list[Layer]:
    """Return layers of intervals with points at their means.

    Args:
        rows: Data with the fields `mean`, `low`, `high`, and those of the channels.
        place: Channels that place a row, such as `y`.
        points: Channels of the points, with their `stroke`, which is that of the intervals.
        tooltip: Fields that are told when a point is pointed at.
        across: The channel of the numbers, `x` or `y`.
        title: Title of its axis.
    """
    known = [row for row in rows if row["low"] is not None and row["high"] is not None]
    ends = {across: quantity("low", title), f"{across}2": {"field": "high"}}
    return [
        {
            "data": {"values": known},
            "mark": {"type": "rule", "strokeWidth": 2.5},
            "encoding": {**place, **ends, "stroke": points["stroke"]},
        },
        {
            "data": {"values": list(rows)},
            "mark": {"type": "point", "size": 90, "strokeWidth": 2, "opacity": 1},
            "encoding": {
                **place,
                across: quantity("mean", title),
                **points,
                "tooltip": list(tooltip),
            },
        },
    ]
