"""Time and peak memory of `umamba rank` on a simulated table of many algorithms and cases."""

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.environment import environment
from umamba.api import rank


def main() -> None:
    """Measure what the command line asks for, and add it to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--algorithms", type=int, default=50)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/ranking.jsonl"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, get_context("spawn").Pool(1) as pool:
        file = Path(name) / "scores.csv"
        _write_scores(file, args.algorithms, args.cases)
        measured = pool.apply(_rank, (file,))
    row = {"algorithms": args.algorithms, "cases": args.cases, **measured, **environment()}
    with args.output.open("a") as results:
        results.write(json.dumps(row) + "\n")
    sys.stdout.write(json.dumps(row, indent=2) + "\n")


def _write_scores(file: Path, n_algorithms: int, n_cases: int) -> None:
    """Write a wide table in which every algorithm is a little better than the one before."""
    rng = np.random.default_rng(0)
    scores = rng.beta(8, 2, (n_cases, 1)) + rng.normal(0, 0.05, (n_cases, n_algorithms))
    scores = np.clip(scores + np.linspace(0, 0.05, n_algorithms), 0, 1)
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case", *(f"algorithm_{number:03d}" for number in range(n_algorithms))])
        writer.writerows([f"case_{n:05d}", *row.round(6)] for n, row in enumerate(scores))


def _rank(file: Path) -> dict[str, object]:
    """Rank, and draw and write everything."""
    import resource

    began = time.monotonic()
    found = rank(scores=file, output=file.with_name("ranked")).ranking
    return {
        "seconds": time.monotonic() - began,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
        "pairs": len(found.tasks[0].pairs),
        "cores": len(os.sched_getaffinity(0)),
    }


if __name__ == "__main__":
    main()
