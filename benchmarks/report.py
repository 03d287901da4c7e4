"""Measurements as JSON, one object per line, and as Markdown tables."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measurement import PASSES
from benchmarks.shapes import D_STATE, Shape
from benchmarks.targets import Verdict, verdicts
from umamba.reporting.tables import markdown_table

__all__ = [
    "by_shape",
    "errors_cell",
    "memory_cell",
    "merge",
    "read",
    "targets_table",
    "time_cell",
    "to_markdown",
    "write",
]

Row = dict[str, Any]


def write(rows: list[Row], output: Path) -> None:
    """Write `output` as JSON lines, and the tables beside it as `.md`."""
    output.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(_without_nan(row), allow_nan=False, ensure_ascii=False) for row in rows]
    output.write_text("".join(f"{line}\n" for line in lines))
    output.with_suffix(".md").write_text(to_markdown(rows))


def _without_nan(row: Row) -> Row:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def read(path: Path) -> list[Row]:
    """Return the measurements in a file, none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def merge(old: list[Row], rows: list[Row]) -> list[Row]:
    """Return both; a shape measured again is replaced.

    Raises:
        ValueError: If they were not measured in the same way.
    """
    ways = {(row["threads"], row["clock"]) for row in old + rows}
    if len(ways) > 1:
        msg = f"one file holds one number of threads and one clock, not {sorted(ways)}; "
        raise ValueError(msg + "choose another --output")
    again = {tuple(row["shape"]) for row in rows}
    kept = [row for row in old if tuple(row["shape"]) not in again]
    return sorted(kept + rows, key=lambda row: row["shape"][2])  # stable: peers keep their order


def to_markdown(rows: list[Row]) -> str:
    """Return tables of targets, times, memory and errors."""
    threads = rows[0]["threads"]
    parts = [
        f"# Selective scan, {threads} thread{'s' if threads > 1 else ''}",
        _conditions(rows),
        "## Targets",
        targets_table(verdicts(rows)),
        *(part for which in PASSES for part in (f"## {which}", _times(rows, which))),
        "## Extra memory at the peak of forward+backward, MiB",
        by_shape(rows, memory_cell),
        "## Worst error against float64: outputs / gradients, relative L2",
        by_shape(rows, errors_cell),
    ]
    return "\n\n".join(parts) + "\n"


def _conditions(rows: list[Row]) -> str:
    keys = ("python", "torch", "umamba", "llvmlite", "mambapy")
    versions = ", ".join(f"{key} {rows[0][key]}" for key in keys)
    dates = sorted({row["date"] for row in rows})
    when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    clock = "of CPU time " if rows[0]["clock"] == "cpu" else ""
    return (
        f"CPU {rows[0]['cpu']} ({rows[0]['vector_extension']}); {versions}, {rows[0]['gcc']}; "
        f"{when}. Shapes are (batch, d_inner, length), d_state {D_STATE}, float32, channels-last. "
        f"Median milliseconds {clock}[smallest to largest of the rounds], then how many times as "
        "long as umamba cpu it takes: median of the ratios within each round."
    )


def _times(rows: list[Row], which: str) -> str:
    return by_shape([row for row in rows if row["pass"] == which], time_cell)


def time_cell(row: Row) -> str:
    """Return milliseconds and ratio, or why there are none."""
    if row.get("median_ms") is None:
        return f"- ({row['skipped']})"
    spread = f"{_digits(row['min_ms'])} to {_digits(row['max_ms'])}"
    return f"{_digits(row['median_ms'])} [{spread}], {_number(row['ratio'], '{:.3g}x')}"


def _digits(milliseconds: float) -> str:
    """Return three significant digits, and every digit before the point."""
    return f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


def memory_cell(row: Row) -> str:
    """Return extra memory, or a dash."""
    return _number(row.get("extra_memory_mib"), "{:.0f}")


def errors_cell(row: Row) -> str:
    """Return errors of outputs and gradients, or dashes."""
    return " / ".join(_number(row.get(f"error_{what}"), "{:.0e}") for what in ("y", "gradients"))


def _number(value: float | None, pattern: str) -> str:
    return "-" if value is None else pattern.format(value)


def by_shape(rows: list[Row], cell: Callable[[Row], str]) -> str:
    """Return a table of shapes by peers; the last row that a pair has something in counts."""
    peers = list(dict.fromkeys(row["peer"] for row in rows))
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in rows))
    cells = {(tuple(row["shape"]), row["peer"]): cell(row) for row in rows}
    body = [
        [str(Shape(*shape)), *(cells.get((shape, peer), "-") for peer in peers)] for shape in shapes
    ]
    return "\n".join(markdown_table([["shape", *peers], *body], [0]))


def targets_table(found: list[Verdict]) -> str:
    """Return a row per verdict."""
    said = {True: "yes", False: "**no**", None: "-"}
    body = [[v.target, v.measured, said[v.met]] for v in found]
    return "\n".join(markdown_table([["target", "measured", "met"], *body], [0, 1, 2]))
