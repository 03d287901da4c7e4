"""Tables, in Markdown, of what was measured on a GPU."""

import math
from typing import Any

from benchmarks.measurement import PASSES
from benchmarks.peers import GPU_OURS
from benchmarks.report import by_shape, errors_cell, memory_cell, targets_table, time_cell
from benchmarks.shapes import D_STATE
from benchmarks.targets import Verdict, gpu_verdicts
from umamba.reporting.tables import markdown_table

__all__ = ["to_markdown"]

Row = dict[str, Any]

_FLOORS = "floors: exponentials / memory traffic"


def to_markdown(report: Row) -> str:
    """Return conditions, targets, times beside their floors, and where networks spend theirs.

    Args:
        report: `machine`, `results` of scans and `networks`; what is not measured yet is empty.
    """
    scans, networks = report["results"], report["networks"]
    machine = "; ".join(f"{key} {value}" for key, value in report["machine"].items() if value)
    parts = ["# Scan and networks on a GPU", machine]
    targets = [*gpu_verdicts(scans), *map(_verdict, networks)]
    if targets:
        parts += ["## Targets", targets_table(targets)]
    return "\n\n".join([*parts, *_scans(scans), *_kernels(networks)]) + "\n"


def _verdict(network: Row) -> Verdict:
    target = f"{network['what']}: at most {network['at_most']}"
    if "measured" not in network:
        return Verdict(target, network["skipped"], met=None)
    measured = network["measured"]
    return Verdict(target, f"{measured:.2f}", measured <= network["at_most"])


def _scans(rows: list[Row]) -> list[str]:
    if not rows:
        return []
    explained = (
        f"Scans: shapes are (batch, d_inner, length), d_state {D_STATE}, float32, laid out as each "
        "implementation's own block has them: channels contiguous for ours, time for mamba_ssm's. "
        "Median milliseconds [smallest to largest of the rounds], launches included, then how "
        f"many times as long as {GPU_OURS} it takes. Kernels alone: what they take together, as in "
        "a training whose other work hides launches. Floors: one exponential per state and pass "
        "at the greatest clock, and the least memory traffic at the speed of a copy."
    )
    parts = [explained]
    for which in PASSES:
        chosen = [row for row in rows if row["pass"] == which]
        parts += [f"## {which}", by_shape(chosen + _floors(chosen), _time_or_floors)]
        parts += [f"## {which}, kernels alone, ms", by_shape(chosen, _kernels_cell)]
    parts += ["## Extra memory at the peak of forward+backward, MiB", by_shape(rows, memory_cell)]
    title = "## Worst error against float64: outputs / gradients, relative L2"
    return [*parts, title, by_shape(rows, errors_cell)]


def _floors(rows: list[Row]) -> list[Row]:
    """Return a row per shape that has floors."""
    return [row | {"peer": _FLOORS} for row in rows if "hbm_floor_ms" in row]


def _time_or_floors(row: Row) -> str:
    if row["peer"] == _FLOORS:
        return f"{row.get('mufu_floor_ms', math.nan):.3g} / {row['hbm_floor_ms']:.3g}"
    return time_cell(row)


def _kernels_cell(row: Row) -> str:
    spent = row.get("kernels_ms")
    return "-" if spent is None else f"{spent:.3g}"


def _kernels(networks: list[Row]) -> list[str]:
    """Return the time of a step in every group of kernels, of networks that were profiled."""
    parts = []
    for row in networks:
        for key, found in row.get("kernels", {}).items():
            total = found["total"] or math.nan  # nothing is recorded without rights to profile
            cells = [
                [group, f"{spent:.2f}", f"{spent / total:.1%}"]
                for group, spent in found["groups"].items()
            ]
            table = markdown_table([["kernels", "ms", "share"], *cells], [0])
            parts += [f"## UMambaEnc {key}, one step", "\n".join(table)]
    return parts
