"""Do the statistics hold on a test set, where every training predicts every case? A simulation.

python -m benchmarks.external_statistics --repetitions 1000
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from umamba.comparison.records import Repeats
from umamba.comparison.rows import Training
from umamba.comparison.statistics.crossed import crossed_scores, repeats_of
from umamba.comparison.statistics.models import compare_models
from umamba.comparison.statistics.scores import CaseScore
from umamba.comparison.statistics.verdicts import outcome
from umamba.reporting.tables import markdown_table

__all__ = ["DESIGNS", "CrossedDesign", "measure_crossed"]

_HEADER = ["design", "cases", "folds", "seeds", "interval holds the truth", "false: verdict"]
_HEADER += ["trainings taken as independent: interval", "verdict"]
_CASE_DEVIATION = 10.0


@dataclass(frozen=True)
class CrossedDesign:
    """A test set predicted by all trainings of two equal models; deviations in Dice points.

    Attributes:
        cases: Number of cases.
        folds: Number of folds that train.
        seeds: Trainings per fold.
        per_case: Standard deviation of the true difference between cases.
        per_training: Standard deviation of whole trainings.
        per_prediction: Standard deviation of one case's score between trainings.
        per_fold: Standard deviation of what training data do to one model.
        of_both: The same for what they do to both alike.
    """

    cases: int = 40
    folds: int = 5
    seeds: int = 3
    per_case: float = 2.0
    per_training: float = 0.5
    per_prediction: float = 3.0
    per_fold: float = 0.0
    of_both: float = 0.0


DESIGNS: dict[str, CrossedDesign] = {
    "trainings differ": CrossedDesign(),
    "trainings differ by more": CrossedDesign(per_training=1.5),
    "trainings do not differ": CrossedDesign(per_training=0.0),
    "12 cases": CrossedDesign(cases=12),
    "200 cases": CrossedDesign(cases=200),
    "training data matter": CrossedDesign(per_fold=1.0),
    "training data matter, 200 cases": CrossedDesign(cases=200, per_fold=1.0),
    "training data matter, one seed": CrossedDesign(seeds=1, per_fold=1.0),
    "training data matter to both alike": CrossedDesign(per_fold=1.0, of_both=2.0),
    "3 folds": CrossedDesign(folds=3, per_fold=1.0),
    "2 folds": CrossedDesign(folds=2),
    "1 fold": CrossedDesign(folds=1),
}


def simulate(design: CrossedDesign, rng: np.random.Generator) -> list[CaseScore]:
    """Draw the scores of two equal models, `model` and `baseline`, in no particular unit."""
    shared = 80 + rng.normal(0, _CASE_DEVIATION, design.cases)
    of_both = rng.normal(0, design.of_both, design.folds)
    scores = []
    for model in ("model", "baseline"):
        cases = shared + rng.normal(0, design.per_case / np.sqrt(2), design.cases)
        folds = of_both + rng.normal(0, design.per_fold, design.folds)
        for fold, seed in np.ndindex(design.folds, design.seeds):
            training = folds[fold] + rng.normal(0, design.per_training)
            noise = rng.normal(0, design.per_prediction, design.cases)
            scores += [
                CaseScore(model, fold, seed, f"case_{case:03d}", float(value) / 100)
                for case, value in enumerate(cases + training + noise)
            ]
    return scores


def measure_crossed(
    design: CrossedDesign, repetitions: int, repeats: Repeats | None = None, seed: int = 0
) -> tuple[float, float]:
    """Return how often the interval holds the truth, and how often a verdict is false.

    Args:
        design: The comparison.
        repetitions: Number of simulations.
        repeats: What counts as one repetition; `None` is as on a test set.
        seed: Seed of the random numbers.
    """
    rng = np.random.default_rng(seed)
    if repeats is None:
        models = ("baseline", "model")
        repeats = repeats_of(Training(m, fold, 0) for m in models for fold in range(design.folds))
    covered, found = [], []
    for index in range(repetitions):
        scores = crossed_scores(simulate(design, rng), repeats)
        (comparison,) = compare_models(scores, "baseline", n_bootstrap=500, seed=index)
        interval = comparison.difference.interval
        covered.append(interval.low <= 0 <= interval.high)
        found.append(outcome(comparison) in ("better", "worse"))
    return float(np.mean(covered)), float(np.mean(found))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of `docs/explanation/statistics.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1000)
    repetitions = parser.parse_args(arguments).repetitions
    rows = [_HEADER]
    for name, design in DESIGNS.items():
        sys.stderr.write(f"simulating: {name}\n")
        measured = [
            *measure_crossed(design, repetitions),
            *measure_crossed(design, repetitions, "trainings"),
        ]
        sizes = [str(n) for n in (design.cases, design.folds, design.seeds)]
        rows.append([name, *sizes, *(f"{100 * rate:.1f} %" for rate in measured)])
    sys.stdout.write("\n".join(markdown_table(rows, [0])) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
