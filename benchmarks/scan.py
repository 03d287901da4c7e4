"""Measure the selective scan beside its peers: `python -m benchmarks.scan --help`."""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import environment
from benchmarks.measurement import (
    CLOCKS,
    PASSES,
    Problem,
    check_and_measure_memory,
    check_small,
    summarise,
    time_in_turn,
)
from benchmarks.peers import OURS, PEERS, Peer
from benchmarks.report import merge, read, to_markdown, write
from benchmarks.shapes import SHAPES, Shape
from benchmarks.targets import ONE_THREAD

log = logging.getLogger(__name__)

Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and write what was measured after every shape."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.clock == "cpu" and args.threads > 1:
        parser.error("--clock cpu adds up what all threads take; use --clock wall")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    peers = {name: PEERS[name] for name in dict.fromkeys((OURS, *args.peers))}
    unusable = {name: why for name, peer in peers.items() if (why := _why_unusable(peer))}
    if OURS in unusable:
        log.error("%s cannot be measured: %s", OURS, unusable[OURS])
        return 1
    about = {"threads": args.threads, "clock": args.clock, **environment()}
    rows: list[Row] = []
    for shape in args.shapes:
        found = _measure(shape, peers, unusable, args)
        rows = merge(rows, [row | about for row in found])
        if args.output is not None:
            write(merge(read(args.output), rows), args.output)
    sys.stdout.write(to_markdown(rows))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scan",
        description=__doc__,
        epilog="example: python -m benchmarks.scan --threads 1 --shapes 2,640,210",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shapes", type=Shape.parse, nargs="+", default=SHAPES, metavar="B,D,L")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=7, help="turns of every peer (default: 7)")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: time of the process on the CPU, for one thread on a machine that others use",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE.jsonl",
        help="where JSON goes, with tables beside it; other shapes in the file are kept",
    )
    return parser


def _why_unusable(peer: Peer) -> str | None:
    reason = peer.why_unavailable() or check_small(peer)
    if reason is not None:
        log.info("%s: %s", peer.name, reason)
    return reason


def _measure(
    shape: Shape, peers: dict[str, Peer], unusable: dict[str, str], args: argparse.Namespace
) -> Iterator[Row]:
    """Yield a row per peer and pass."""
    log.info("%s", shape)
    problem = Problem(shape, stepwise=False)
    skipped = {
        (name, which): reason
        for name, peer in peers.items()
        for which in PASSES
        if (reason := unusable.get(name) or peer.why_skipped(shape, which))
    }
    checked = {
        name: _check(problem, peer, skipped)
        for name, peer in peers.items()
        if (name, PASSES[1]) not in skipped
    }
    for which in PASSES:
        running = {
            name: (peer, args.threads)
            for name, peer in peers.items()
            if (name, which) not in skipped
        }
        if args.threads > 1 and OURS in running:
            running[ONE_THREAD] = (peers[OURS], 1)
        seconds = time_in_turn(problem, running, which, args.rounds, CLOCKS[args.clock])
        for name in dict.fromkeys((*peers, *running)):
            row = {"peer": name, "shape": list(shape), "pass": which}
            if name in seconds:
                row |= summarise(seconds[name], seconds.get(OURS, []))
            else:
                row["skipped"] = skipped[name, which]
            yield row | (checked.get(name, {}) if which == PASSES[1] else {})


def _check(problem: Problem, peer: Peer, skipped: dict[tuple[str, str], str]) -> Row:
    """Return errors and memory of a peer; if it is wrong, add why it is skipped."""
    checked, wrong = check_and_measure_memory(problem, peer)
    if wrong is not None:
        skipped |= {(peer.name, which): wrong for which in PASSES}
    return checked


if __name__ == "__main__":
    raise SystemExit(main())
