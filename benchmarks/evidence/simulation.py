"""Simulated data sets with a known truth: how often the intervals over data sets hold it."""

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from benchmarks.evidence.effects import Effect
from benchmarks.evidence.meta_analysis import combine
from umamba.comparison.records import Interval
from umamba.reporting.tables import markdown_table

__all__ = ["coverage", "main", "simulation_table"]

TRUTH = 0.5
_ERRORS = (0.4, 0.8, 1.5, 1.0)  # true standard errors of the data sets, in points
_DESIGNS = ((4, 0.0), (4, 0.5), (4, 2.0), (3, 0.5), (2, 0.5))
_DEGREES = (3, 30)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=200, metavar="N")
    sys.stdout.write(simulation_table(parser.parse_args().repetitions) + "\n")


def simulation_table(repetitions: int) -> str:
    """Return how often intervals hold, for every design, as a table in Markdown and a sentence."""
    head = ("data sets", "tau", "degrees of freedom", "interval holds the truth",
            "prediction holds a new data set")  # fmt: skip
    rows: list[Sequence[str]] = [head]
    means, news = [], []
    for k, tau in _DESIGNS:
        for degrees in _DEGREES:
            mean, new = coverage(k, tau, degrees, repetitions)
            means.append(mean)
            news += [new] if k > 2 else []
            told = f"{new:.1%}" if k > 2 else ""
            rows.append((str(k), f"{tau:.1f}", str(degrees), f"{mean:.1%}", told))
    said = (
        f"The intervals of the mean hold in {_range(means)}, those of a new data set in "
        f"{_range(news)}."
    )
    return "\n".join([*markdown_table(rows), "", said])


def _range(shares: Sequence[float]) -> str:
    return f"{min(shares) * 100:.0f} to {max(shares) * 100:.0f} %"


def coverage(k: int, tau: float, degrees: int, repetitions: int) -> tuple[float, float]:
    """Return the shares of simulations in which the intervals hold.

    Args:
        k: Number of data sets.
        tau: Standard deviation of true effects between data sets.
        degrees: Degrees of freedom from which each standard error is estimated.
        repetitions: Number of simulations.

    Returns:
        That of the interval of the mean, and that of the prediction of a new data set's true
        effect.
    """
    rng = np.random.default_rng(0)
    errors = np.array(_ERRORS[:k])
    held = predicted = 0
    for _ in range(repetitions):
        true, new = np.split(TRUTH + tau * rng.standard_normal(k + 1), [k])
        estimates = true + errors * rng.standard_normal(k)
        estimated = errors * np.sqrt(rng.chisquare(degrees, k) / degrees)
        found = combine(
            {
                str(n): Effect(float(e), float(s), Interval(np.nan, np.nan), 0, degrees)
                for n, (e, s) in enumerate(zip(estimates, estimated, strict=True))
            }
        )
        held += found.interval.low <= TRUTH <= found.interval.high
        predicted += found.prediction.low <= new[0] <= found.prediction.high
    return held / repetitions, predicted / repetitions


if __name__ == "__main__":
    main()
