"""Do the statistics of `umamba compare` hold? Comparisons simulated with a known truth.

python -m benchmarks.comparison_statistics --repetitions 1000
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from umamba.comparison.records import ALPHA, ModelComparison
from umamba.comparison.statistics.detection import with_rates
from umamba.comparison.statistics.models import compare_models, summarize_models
from umamba.comparison.statistics.ranks import rank_stability
from umamba.comparison.statistics.scores import CaseScore, Structure
from umamba.comparison.statistics.verdicts import outcome
from umamba.reporting.tables import markdown_table

__all__ = [
    "ALARM_DESIGNS",
    "DESIGNS",
    "AlarmDesign",
    "Design",
    "Rates",
    "measure",
    "measure_alarms",
    "measure_one_rank",
    "simulate",
]

_HEADER = ["design", "cases", "interval holds the truth", "false: mean", "false: ranks"]
_HEADER += ["false: verdict", "false: one rank", "detectable", "found: mean", "found: verdict"]
_ALARM_HEADER = ["false alarms", "cases", "interval holds the truth", "false: verdict"]
_CASE_DEVIATION = 10.0  # how much harder some cases are than others, for both models alike


@dataclass(frozen=True)
class Design:
    """A comparison of two models; all deviations in Dice points.

    Attributes:
        cases: Number of cases, spread evenly over folds.
        folds: Number of folds.
        seeds: Trainings of the model per fold.
        difference: True mean difference of the two models.
        per_case: Standard deviation of the true difference between cases.
        per_training: Standard deviation of whole trainings.
        per_prediction: Standard deviation of one case's score between trainings.
        baseline_seeds: Trainings of the baseline, if others than `seeds`; one has no seed.
        model_instability: `per_training` of the model is that many times the baseline's.
        per_fold: Standard deviation of the difference between folds, common to all trainings of a
            fold: one model makes more of some training data.
        skewed: Whether the differences per case are lognormal, most small and some large.
        per_cluster: Cases of a patient; the true difference then varies between patients, by
            `per_case`, and between the cases of one by as much again.
        seeds_in_common: Correlation of the trainings of one seed in several folds, as where they
            start from the same weights.
    """

    cases: int
    folds: int
    seeds: int
    difference: float = 0.0
    per_case: float = 2.0
    per_training: float = 0.5
    per_prediction: float = 3.0
    baseline_seeds: int | None = None
    model_instability: float = 1.0
    per_fold: float = 0.0
    skewed: bool = False
    per_cluster: int = 1
    seeds_in_common: float = 0.0

    @property
    def structure(self) -> Structure:
        """Return what the analysis is told of it."""
        patients = {
            f"case_{case:03d}": f"patient_{self.patient(case)}" for case in range(self.cases)
        }
        return Structure(
            patients if self.per_cluster > 1 else {},
            ("model", "baseline") if self.seeds_in_common else (),
        )

    def patient(self, case: int) -> int:
        """Return the patient of a case; all of a patient's lie in one fold."""
        return case // self.folds // self.per_cluster * self.folds + case % self.folds


@dataclass(frozen=True)
class Rates:
    """Shares of the repetitions, from 0 to 1.

    Attributes:
        coverage: The interval holds the true difference; nan where it is not of the models, as one
            of them was trained once.
        mean_significant: The test of the mean is below 5 %.
        ranks_significant: Wilcoxon's test is below 5 %.
        verdict: The verdict is "better" or "worse".
        smallest_detectable_difference: Mean of it, in Dice points.
    """

    coverage: float
    mean_significant: float
    ranks_significant: float
    verdict: float
    smallest_detectable_difference: float


DESIGNS: dict[str, Design] = {
    "2 folds, 2 seeds": Design(40, 2, 2),
    "2 folds, 3 seeds": Design(40, 2, 3),
    "1 fold, 2 seeds": Design(40, 1, 2),
    "1 fold, 3 seeds": Design(40, 1, 3),
    "5 folds, 2 seeds": Design(60, 5, 2),
    "5 folds, 3 seeds": Design(60, 5, 3),
    "5 folds, 3 seeds, many cases": Design(200, 5, 3),
    "12 cases only": Design(12, 2, 2),
    "trainings do not differ": Design(60, 5, 3, per_training=0.0),
    "trainings differ by more": Design(60, 5, 3, per_training=1.5),
    "skewed differences": Design(40, 2, 3, skewed=True),
    "1 fold, trainings differ by more": Design(40, 1, 2, per_training=1.5),
    "trainings differ by 2.5 and 0.5": Design(60, 5, 3, model_instability=5.0),
    "the same, 2 seeds": Design(60, 5, 2, model_instability=5.0),
    "the same, 2 folds": Design(40, 2, 3, model_instability=5.0),
    "the same, 1 fold": Design(40, 1, 3, model_instability=5.0),
    "2 seeds against 5": Design(60, 5, 2, baseline_seeds=5, model_instability=5.0),
    "3 cases of each patient": Design(120, 5, 3, per_cluster=3),
    "seeds shared by folds": Design(60, 5, 3, per_training=1.0, seeds_in_common=0.5),
    "seeds shared by 2 folds": Design(40, 2, 2, per_training=1.0, seeds_in_common=0.5),
    "folds favour a model": Design(60, 5, 3, per_fold=1.0),
    "folds favour a model, many cases": Design(200, 5, 3, per_fold=1.0),
    "3 folds favour a model": Design(60, 3, 3, per_fold=1.0),
    "2 folds favour a model": Design(40, 2, 3, per_fold=1.0),
    "baseline trained once": Design(60, 5, 3, baseline_seeds=1),
    "all trained once": Design(60, 5, 1),
}


def simulate(design: Design, rng: np.random.Generator) -> list[CaseScore]:
    """Draw the scores of a model, `model`, and of a baseline, `baseline`.

    Args:
        design: The comparison.
        rng: Random numbers.

    Returns:
        Dice, around 0.8; not clipped, so that the true difference is known.
    """
    fold_of = np.arange(design.cases) % design.folds
    shared = 80 + rng.normal(0, _CASE_DEVIATION, design.cases)
    per_fold = rng.normal(0, design.per_fold, design.folds)[fold_of]
    ahead = design.difference + _case_differences(design, rng) + per_fold
    baseline_seeds = design.baseline_seeds or design.seeds
    instability = design.model_instability * design.per_training
    return [
        *_trained("model", shared + ahead, design.seeds, instability, design, rng),
        *_trained("baseline", shared, baseline_seeds, design.per_training, design, rng),
    ]


def _case_differences(design: Design, rng: np.random.Generator) -> np.ndarray:
    if design.per_cluster > 1:
        patients = np.array([design.patient(case) for case in range(design.cases)])
        of_patients = rng.normal(0, design.per_case, patients.max() + 1)
        return of_patients[patients] + rng.normal(0, design.per_case, design.cases)
    if not design.skewed:
        return rng.normal(0, design.per_case, design.cases)
    mean, deviation = np.exp(0.5), np.sqrt((np.e - 1) * np.e)
    return design.per_case * (rng.lognormal(0, 1, design.cases) - mean) / deviation


def _trained(
    model: str,
    expected: np.ndarray,
    n_seeds: int,
    per_training: float,
    design: Design,
    rng: np.random.Generator,
) -> list[CaseScore]:
    common = design.seeds_in_common
    trainings = np.sqrt(1 - common) * rng.normal(0, per_training, (n_seeds, design.folds))
    trainings += np.sqrt(common) * rng.normal(0, per_training, (n_seeds, 1))
    scores = []
    for seed in range(n_seeds):
        noise = rng.normal(0, design.per_prediction, design.cases)
        for case in range(design.cases):
            fold = case % design.folds
            value = float(expected[case] + trainings[seed, fold] + noise[case]) / 100
            name = None if n_seeds == 1 else seed
            scores.append(CaseScore(model, fold, name, f"case_{case:03d}", value))
    return scores


def measure(design: Design, repetitions: int, seed: int = 0) -> Rates:
    """Simulate a comparison many times, and count what the statistics say.

    Args:
        design: The comparison.
        repetitions: How often.
        seed: Of the random numbers.

    Returns:
        The rates.
    """
    rng = np.random.default_rng(seed)
    comparisons = []
    for index in range(repetitions):
        comparisons += compare_models(
            simulate(design, rng), "baseline", design.structure, n_bootstrap=500, seed=index
        )
    return Rates(
        coverage=_share([_covers(comparison, design) for comparison in comparisons])
        if all(comparison.difference.includes_seed_variance for comparison in comparisons)
        else float("nan"),
        mean_significant=_share([c.p_difference < ALPHA for c in comparisons]),
        ranks_significant=_share([c.p_wilcoxon < ALPHA for c in comparisons]),
        verdict=_share([outcome(c) in ("better", "worse") for c in comparisons]),
        smallest_detectable_difference=100
        * float(np.mean([c.smallest_detectable_difference for c in comparisons])),
    )


def measure_one_rank(design: Design, repetitions: int, seed: int = 0) -> float:
    """Return how often a model is given a range of one rank, as if it were beyond doubt.

    The comparisons are those that `measure` simulates.
    """
    rng = np.random.default_rng(seed)
    one_rank = []
    for _ in range(repetitions):
        ranks = rank_stability(simulate(design, rng), design.structure, n_bootstrap=2)
        one_rank.append(ranks is not None and ranks.models[0].rank_high == 1)
    return _share(one_rank)


def _covers(comparison: ModelComparison, design: Design) -> bool:
    interval = comparison.difference.interval
    return interval.low <= design.difference / 100 <= interval.high


def _share(outcomes: list[bool]) -> float:
    return float(np.mean(outcomes))


@dataclass(frozen=True)
class AlarmDesign:
    """False alarms of two models that are alike.

    Attributes:
        rate: How often an average case without the label gets one.
        cases: Cases without the label.
        folds: Number of folds.
        seeds: Trainings per fold.
        per_case: Standard deviation of the log-odds between cases, the same for both models.
        per_training: Standard deviation of the log-odds between trainings.
    """

    rate: float
    cases: int = 20
    folds: int = 5
    seeds: int = 3
    per_case: float = 1.0
    per_training: float = 0.5


ALARM_DESIGNS: dict[str, AlarmDesign] = {
    "alarms are rare": AlarmDesign(0.05),
    "alarms in one of five": AlarmDesign(0.2),
    "alarms in half": AlarmDesign(0.5),
    "1 fold, 2 seeds": AlarmDesign(0.2, folds=1, seeds=2),
    "trainings differ by more": AlarmDesign(0.2, per_training=1.5),
    "60 cases": AlarmDesign(0.2, cases=60),
}


def measure_alarms(design: AlarmDesign, repetitions: int, seed: int = 0) -> tuple[float, float]:
    """Return how often the interval of the difference holds 0, and how often a verdict is false."""
    rng = np.random.default_rng(seed)
    covered, found = [], []
    for index in range(repetitions):
        scores = _alarms(design, rng)
        summaries = summarize_models(scores, n_bootstrap=2, seed=index)
        comparisons = compare_models(
            scores, "baseline", higher_is_better=False, n_bootstrap=500, seed=index
        )
        (comparison,) = with_rates(comparisons, summaries)
        interval = comparison.difference.interval
        covered.append(interval.low <= 0 <= interval.high)
        found.append(outcome(comparison) in ("better", "worse"))
    return _share(covered), _share(found)


def _alarms(design: AlarmDesign, rng: np.random.Generator) -> list[CaseScore]:
    odds = np.log(design.rate / (1 - design.rate)) + rng.normal(0, design.per_case, design.cases)
    fold_of = np.arange(design.cases) % design.folds
    scores = []
    for model in ("model", "baseline"):
        trainings = rng.normal(0, design.per_training, (design.seeds, design.folds))
        for seed in range(design.seeds):
            chance = 1 / (1 + np.exp(-odds - trainings[seed, fold_of]))
            alarms = rng.random(design.cases) < chance
            scores += [
                CaseScore(model, int(fold), seed, f"case_{case:03d}", float(alarm))
                for case, (fold, alarm) in enumerate(zip(fold_of, alarms, strict=True))
            ]
    return scores


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables of `docs/explanation/statistics.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--only", default="", help="designs with this in their name")
    options = parser.parse_args(arguments)
    repetitions = options.repetitions
    chosen = {name: design for name, design in DESIGNS.items() if options.only in name}
    alarms = {name: design for name, design in ALARM_DESIGNS.items() if options.only in name}
    _print(_HEADER, [_row(name, design, repetitions) for name, design in chosen.items()])
    _print(_ALARM_HEADER, [_alarm_row(name, one, repetitions) for name, one in alarms.items()])
    return 0


def _row(name: str, design: Design, repetitions: int) -> list[str]:
    _tell(name)
    null = measure(design, repetitions)
    detectable = null.smallest_detectable_difference
    effect = measure(replace(design, difference=detectable), max(repetitions // 4, 1), seed=1)
    rates = [null.coverage, null.mean_significant, null.ranks_significant, null.verdict]
    shares = [_percent(rate) for rate in (*rates, measure_one_rank(design, repetitions))]
    found = [f"{100 * rate:.0f} %" for rate in (effect.mean_significant, effect.verdict)]
    return [name, str(design.cases), *shares, f"{detectable:.1f}", *found]


def _alarm_row(name: str, design: AlarmDesign, repetitions: int) -> list[str]:
    _tell(name)
    return [name, str(design.cases), *map(_percent, measure_alarms(design, repetitions))]


def _tell(name: str) -> None:
    sys.stderr.write(f"simulating: {name}\n")


def _print(header: list[str], rows: list[list[str]]) -> None:
    sys.stdout.write("\n".join(markdown_table([header, *rows], [0])) + "\n\n")


def _percent(rate: float) -> str:
    return "\N{EN DASH}" if np.isnan(rate) else f"{100 * rate:.1f} %"


if __name__ == "__main__":
    raise SystemExit(main())
