"""Measure the scan and networks on a GPU: `python -m benchmarks.gpu --help`."""

import argparse
import json
import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import environment
from benchmarks.gpu_report import to_markdown
from benchmarks.measurement import (
    PASSES,
    Problem,
    check_and_measure_memory,
    check_small,
    kernel_seconds,
    summarise,
    time_in_turn,
)
from benchmarks.peers import GPU_OURS, GPU_PEERS, Peer
from benchmarks.shapes import D_STATE, GPU_SHAPES, Shape

log = logging.getLogger(__name__)

Row = dict[str, Any]

_PARTS = ("scan", "networks")
_EXPONENTIALS_PER_CLOCK = 16  # of one multiprocessor
# Sequences of float32 that have to move at least: u, dt, y; with the backward once more u, dt,
# and dy, du, ddt.
_SEQUENCES = {"forward": 3, "forward+backward": 8}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is asked for, or say that there is nothing to measure on."""
    args = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not torch.cuda.is_available():
        sys.stdout.write("no CUDA device: unmeasured\n")
        return 0
    torch.backends.cudnn.benchmark = True  # as nnU-Net trains
    measure(args, environment() | _device())
    return 0


def measure(args: argparse.Namespace, machine: Row, device: str = "cuda") -> None:
    """Measure what is asked for, and write and print the results.

    Args:
        args: The options.
        machine: What the floors depend on, and versions.
        device: `cuda`, or `cpu` to try the code.
    """
    report: Row = {"machine": machine, "results": [], "networks": []}
    if "scan" in args.parts:
        for shape in args.shapes:
            log.info("%s", shape)
            report["results"] += _measure_scan(shape, args.rounds, machine, device)
            _write(report, args.output)
    if "networks" in args.parts:
        from benchmarks.gpu_networks import measure_networks  # needs nnU-Net
        from umamba.nnunet.plans.example import example_plans

        for row in measure_networks(example_plans(), device):
            report["networks"].append(row)
            _write(report, args.output)
    rows = report["results"] + report["networks"]
    sys.stdout.write("".join(f"{json.dumps(row)}\n" for row in rows))


def _write(report: Row, output: Path | None) -> None:
    """Write what is measured so far, and as Markdown beside it."""
    if output is None:
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")
    output.with_suffix(".md").write_text(to_markdown(report))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    options.add_argument("--parts", nargs="+", choices=_PARTS, default=_PARTS, help="default: both")
    options.add_argument(
        "--shapes", type=Shape.parse, nargs="+", default=GPU_SHAPES, metavar="B,D,L"
    )
    options.add_argument("--rounds", type=int, default=3, help="turns of every peer (default: 3)")
    options.add_argument("--output", type=Path, metavar="FILE.json", help="where results go")
    return options


def _device() -> Row:
    """Return what the floors depend on, and versions."""
    properties = torch.cuda.get_device_properties(0)
    query = "driver_version,clocks.max.sm"
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    command += [f"--id=GPU-{properties.uuid}"]  # torch may number others
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        driver, clock = said.strip().split(", ")
    except (OSError, subprocess.CalledProcessError, ValueError):
        driver, clock = "unknown", ""
    return {
        "driver": driver,
        "cuda": torch.version.cuda,
        "multiprocessors": properties.multi_processor_count,
        "max_clock_mhz": int(clock) if clock.isdigit() else None,
        "copy_gb_s": _copy_bytes_per_second() / 1e9,
    }


def _copy_bytes_per_second() -> float:
    """Measure how many bytes a copy reads and writes."""
    source = torch.empty(1 << 28, device="cuda")
    target = torch.empty_like(source)
    seconds = []
    for _ in range(5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 2 * source.numel() * source.element_size() / min(seconds)


def _floors_ms(shape: Shape, which: str, machine: Row) -> Row:
    """Return what one exponential per state and pass, and the least memory traffic take."""
    exponentials = shape.states * (1 + PASSES.index(which))
    moved = _SEQUENCES[which] * 4 * shape.states / D_STATE
    floors = {"hbm_floor_ms": moved / machine["copy_gb_s"] / 1e6}
    if machine["max_clock_mhz"] is not None:  # virtual GPUs do not tell
        clock = machine["multiprocessors"] * machine["max_clock_mhz"] * 1e3
        floors["mufu_floor_ms"] = exponentials / (_EXPONENTIALS_PER_CLOCK * clock)
    return floors


def _measure_scan(shape: Shape, rounds: int, machine: Row, device: str) -> list[Row]:
    """Return a row per peer and pass; a peer that is missing or wrong gets its reason."""
    problem = Problem(shape, stepwise=False, device=device)
    skipped: dict[str, str] = {}
    checked: dict[str, Row] = {}
    for name, peer in GPU_PEERS.items():
        checked[name], wrong = _check(problem, peer)
        if wrong is not None:
            log.info("%s: %s", name, wrong)
            skipped[name] = wrong
    running = {name: (peer, 1) for name, peer in GPU_PEERS.items() if name not in skipped}
    rows: list[Row] = []
    for which in PASSES:
        seconds = time_in_turn(problem, running, which, rounds)
        floors = _floors_ms(shape, which, machine)
        for name in GPU_PEERS:
            row: Row = {"shape": list(shape), "pass": which, "peer": name}
            if name in skipped:
                row["skipped"] = skipped[name]
            else:
                row |= summarise(seconds[name], seconds.get(GPU_OURS, [])) | floors
                row |= checked[name] if which == PASSES[1] else {}
                alone = kernel_seconds(problem, GPU_PEERS[name], which)
                row["kernels_ms"] = None if alone is None else alone * 1e3
            rows.append(row)
    return rows


def _check(problem: Problem, peer: Peer) -> tuple[Row, str | None]:
    """Return errors and memory, and why a peer is not measured or `None`."""
    try:
        wrong = peer.why_unavailable() or check_small(peer)
        if wrong is not None:
            return {}, wrong
        check_and_measure_memory(problem, peer)  # compiles: not part of the memory
        return check_and_measure_memory(problem, peer)
    except Exception as error:  # drivers raise anything; the other peers still count
        log.exception("%s", peer.name)
        return {}, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


if __name__ == "__main__":
    raise SystemExit(main())
