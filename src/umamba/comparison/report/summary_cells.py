"""Formatted numbers, and tables of them, for the reports of a comparison."""

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

from umamba.comparison.records import (
    FoldTest,
    MeanEstimate,
    ModelComparison,
    ModelRank,
    ModelSummary,
)
from umamba.reporting.tables import Note, Table

__all__ = [
    "MISSING",
    "POINTS",
    "by_model",
    "difference",
    "evidence",
    "hours",
    "number",
    "p_value",
    "share",
    "table",
]

MISSING = "\N{EN DASH}"
POINTS = 100.0  # Dice points in a Dice of 1
_OfModel = TypeVar("_OfModel", ModelSummary, ModelComparison, ModelRank)


def number(
    value: float | int | None, decimals: int, *, sign: bool = False, factor: float = 1.0
) -> str:
    """Format a number with a true minus sign; a dash if it is missing."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{value * factor:{'+' if sign else ''},.{decimals}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def hours(value: float | None) -> str:
    """Format hours, of which short trainings have few: with at least two digits that are not 0."""
    if value is None or not math.isfinite(value):
        return MISSING
    decimals = 1 - math.floor(math.log10(value)) if 0 < value < 1 else 2
    return number(value, max(decimals, 2))


def share(estimate: MeanEstimate | None) -> str:
    """Format a mean of a metric from 0 to 1, with its interval clipped to this range."""
    if estimate is None or not math.isfinite(estimate.mean):
        return MISSING
    if not math.isfinite(estimate.interval.low):
        return number(estimate.mean, 3)
    low, high = (min(max(end, 0.0), 1.0) for end in (estimate.interval.low, estimate.interval.high))
    return f"{number(estimate.mean, 3)} [{number(low, 3)}, {number(high, 3)}]"


def difference(estimate: MeanEstimate | FoldTest, factor: float = POINTS, decimals: int = 2) -> str:
    """Format a mean difference, by default in Dice points."""
    if not math.isfinite(estimate.mean):
        return MISSING
    if not math.isfinite(estimate.interval.low):
        return number(estimate.mean, decimals, sign=True, factor=factor)
    mean, low, high = (
        number(value, decimals, sign=sign, factor=factor)
        for value, sign in (
            (estimate.mean, True),
            (estimate.interval.low, False),
            (estimate.interval.high, False),
        )
    )
    return f"{mean} [{low}, {high}]"


def evidence(
    comparison: ModelComparison | None,
    factor: float = POINTS,
    decimals: int = 2,
    *,
    detectable: bool = False,
) -> list[str]:
    """Format a comparison of two models: difference, p values and effect sizes.

    Args:
        comparison: The comparison; without one all cells are dashes.
        factor: From the metric's unit to that of the table.
        decimals: Of differences.
        detectable: Whether the smallest difference that would have been shown follows the first.
    """
    if comparison is None:
        return [MISSING] * (5 + detectable)
    smallest = number(comparison.smallest_detectable_difference, decimals, factor=factor)
    return [
        difference(comparison.difference, factor, decimals),
        *([smallest] if detectable else []),
        p_value(comparison.p_difference_holm),
        p_value(comparison.p_wilcoxon_holm),
        number(comparison.cohen_d_z, 2, sign=True),
        number(comparison.rank_biserial, 2, sign=True),
    ]


def p_value(p: float) -> str:
    """Format a p value; a dash if it is missing."""
    if not math.isfinite(p):
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def table(
    rows: Sequence[Sequence[str]],
    texts: Iterable[int] = (0,),
    *,
    title: str = "",
    notes: Iterable[str | Note] = (),
) -> Table:
    """Make a table of rows, the first of which is its header, leaving out empty columns.

    Args:
        rows: Formatted cells.
        texts: Columns that hold text.
        title: A line above.
        notes: Explanations below.
    """
    header, *body = rows
    known = [i for i in range(len(header)) if any(row[i] != MISSING for row in body)]
    return Table(
        header=tuple(header[i] for i in known),
        rows=tuple(tuple(row[i] for i in known) for row in body),
        texts=tuple(known.index(text) for text in texts if text in known),
        title=title,
        notes=tuple(Note(note) if isinstance(note, str) else note for note in notes),
    )


def by_model(rows: Iterable[_OfModel]) -> dict[str, _OfModel]:
    """Return records by model."""
    return {row.model: row for row in rows}
