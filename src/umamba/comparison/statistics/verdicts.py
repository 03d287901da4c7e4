"""Verdicts: a sentence per comparison, made from its numbers and never stronger than they are."""

import math
from dataclasses import dataclass
from typing import Literal

from umamba.comparison.records import ALPHA, ModelComparison, Rate, Repeats
from umamba.comparison.statistics.detection import Kind
from umamba.comparison.statistics.variance import FEWEST_FOLDS

__all__ = [
    "DICE_POINTS",
    "Outcome",
    "Unit",
    "detection_differs",
    "detection_verdict",
    "outcome",
    "outcome_of_networks",
    "verdict",
]

_ROUNDING = 1e-9
_DETECTION: dict[Kind, tuple[str, str]] = {
    "false_alarm": ("false alarms", "a label that is not there"),
    "missed": ("misses", "a label that is there"),
}
# What is repeated, in the singular, and what follows its number.
_REPEATS: dict[Repeats, tuple[str, str]] = {
    "trainings per fold": ("training", " per fold"),
    "folds": ("fold", ""),
    "trainings": ("training", ""),
    "ensembles": ("ensemble", ""),
}

Outcome = Literal[
    "better", "worse", "no difference shown", "tests disagree", "too few cases", "trained once"
]


@dataclass(frozen=True)
class Unit:
    """The unit in which a metric is written.

    Attributes:
        name: Name of the unit, such as `Dice points` or `mm`.
        factor: Factor from the metric's own unit: 100 for Dice points.
    """

    name: str
    factor: float | int = 1

    def amount(self, size: float | int) -> str:
        """Return a size with the name of the unit; one point is "1 Dice point"."""
        is_one = size == 1 and self.name.endswith("points")
        return f"{size:g} {self.name.removesuffix('s') if is_one else self.name}"


DICE_POINTS = Unit("Dice points", 100.0)


def outcome(comparison: ModelComparison) -> Outcome:
    """Return in a word what a comparison shows about the models.

    A difference is shown if the interval excludes zero and both tests, all after Holm's correction,
    are below 5 %: that of the mean, which accounts for the luck of training, and that of the ranks,
    which a few extreme cases cannot decide. If only one is, they disagree. If a model was not
    trained again with another seed, nothing is shown about the models.

    Args:
        comparison: A result of `compare_models` or `compare_with_controls`.
    """
    if not comparison.enough_cases:
        return "too few cases"
    if not comparison.difference.includes_seed_variance:
        return "trained once"
    return _shown(comparison)


def outcome_of_networks(comparison: ModelComparison) -> Outcome:
    """Return in a word what a comparison shows at least about these trained networks."""
    return _shown(comparison) if comparison.enough_cases else "too few cases"


def _shown(comparison: ModelComparison) -> Outcome:
    """Return what is shown about the models, or about these networks if nothing was repeated."""
    interval = comparison.corrected_interval
    by_mean = comparison.p_difference_holm < ALPHA and not interval.low <= 0 <= interval.high
    by_ranks = comparison.p_wilcoxon_holm < ALPHA
    same_side = comparison.difference.mean * comparison.rank_biserial > 0
    if by_mean and by_ranks and same_side:
        higher = comparison.difference.mean > 0
        return "better" if higher == comparison.higher_is_better else "worse"
    return "tests disagree" if by_mean or by_ranks else "no difference shown"


def verdict(comparison: ModelComparison, unit: Unit, *, differ_otherwise: bool = False) -> str:
    """Return one sentence on what a comparison shows.

    Args:
        comparison: A result of `compare_models` or `compare_with_controls`.
        unit: Unit of the metric.
        differ_otherwise: Whether the models were found to differ in something else, so that it
            would be misleading to say that no difference is shown.

    Returns:
        The sentence, without a full stop and without the names of model and baseline.
    """
    result = outcome(comparison)
    if result == "too few cases":
        cases = _count(comparison.n_cases, "case")
        return f"too few cases to show any difference, however large ({cases} in common)"
    if result == "trained once":
        return (
            f"no verdict on the models, as {_trained_once(comparison)}; these trained networks: "
            f"{_says(_shown(comparison), comparison, unit, differ_otherwise)}"
        )
    return _says(result, comparison, unit, differ_otherwise)


def _says(
    result: Outcome,
    comparison: ModelComparison,
    unit: Unit,
    differ_otherwise: bool,  # noqa: FBT001 - as `verdict` was told
) -> str:
    if result in ("better", "worse"):
        size = _number(abs(comparison.difference.mean), comparison, unit)
        evidence = f"{result} by {size} {unit.name} ({_evidence(comparison, unit)})"
        return evidence + _reservation(comparison)
    if result == "tests disagree":
        return f"no clear difference: {_disagreement(comparison)} ({_signed(comparison, unit)})"
    if differ_otherwise:
        where = " in the cases for which both have a score" * (
            comparison.n_informative_left_out > 0
        )
        return f"means not told apart{where} ({_signed(comparison, unit)})"
    return f"no difference shown{_sensitivity(comparison, unit)} ({_signed(comparison, unit)})"


def detection_differs(comparison: ModelComparison) -> bool:
    """Return whether rates were found to differ, even if only for these trained networks."""
    return outcome_of_networks(comparison) in ("better", "worse")


def detection_verdict(kind: Kind, comparison: ModelComparison, of: tuple[Rate, Rate]) -> str:
    """Return a clause on whether a model has more false alarms, or misses, than the baseline.

    Args:
        kind: False alarms or misses.
        comparison: Comparison of the rates.
        of: The rates of the model and of the baseline.
    """
    what, where = _DETECTION[kind]
    numbers = f"{what} in {_times(of[0])} predictions of {where} against {_times(of[1])}"
    if not detection_differs(comparison):
        return f"{numbers}, which shows no difference"
    shown = _shown(comparison)
    networks = "" if outcome(comparison) == shown else "these trained networks: "
    side = "fewer" if shown == "better" else "more"
    return f"{networks}{side} {numbers} ({_signed(comparison, Unit('points', 100.0))})"


def _times(rate: Rate) -> str:
    return f"{rate.n_events} of {rate.n_predictions}"


def _trained_once(comparison: ModelComparison) -> str:
    counts = {
        comparison.model: comparison.n_seeds,
        comparison.baseline: comparison.n_baseline_seeds,
    }
    once = [name for name, count in counts.items() if count == 1]
    if comparison.repeats == "ensembles":
        who = once[0] if len(once) == 1 else "each model"
        return f"{who} has only one ensemble"
    if comparison.repeats == "folds":
        who = once[0] if len(once) == 1 else "each model"
        return f"{who} was trained on only one fold"
    if len(once) == 1:
        per_fold = _REPEATS[comparison.repeats][1]
        return f"{once[0]} was trained once{per_fold}"
    return "no training was repeated with another seed"


def _reservation(comparison: ModelComparison) -> str:
    """Say that fewer than three folds tell nothing about other training data."""
    n_folds, repeats = comparison.fold_test.n_folds, comparison.repeats
    if not comparison.difference.includes_seed_variance:
        return ""
    if repeats == "folds":
        n_folds = min(comparison.n_seeds, comparison.n_baseline_seeds)
    elif repeats != "trainings per fold":
        return ", for these training data"
    if n_folds >= FEWEST_FOLDS:
        return ""
    return f", for the training data of {'this fold' if n_folds == 1 else f'these {n_folds} folds'}"


def _sensitivity(comparison: ModelComparison, unit: Unit) -> str:
    """Say how large a difference would have been shown.

    The text is empty if the difference found is larger than that, or if informative cases are left
    out, as a difference in those would not have been shown, however large.
    """
    if comparison.n_informative_left_out:
        return " in the cases for which both have a score"
    smallest = comparison.smallest_detectable_difference
    if not abs(comparison.difference.mean) < smallest:
        return ""
    step = 10.0 ** -_decimals(comparison, unit)
    size = _number(math.ceil(smallest * unit.factor / step) * step / unit.factor, comparison, unit)
    return f"; a difference above {size} {unit.name} would have been, at 80 % power"


def _disagreement(comparison: ModelComparison) -> str:
    if comparison.p_wilcoxon_holm >= ALPHA:
        return "the means differ, but the ranks of the cases do not confirm it"
    if comparison.difference.mean * comparison.rank_biserial > 0:
        return "the ranks of the cases differ, but the mean does not confirm it"
    return "the mean and the ranks of the cases point in opposite directions"


def _evidence(comparison: ModelComparison, unit: Unit) -> str:
    """Return the interval in the direction of the result, and its evidence."""
    interval = comparison.corrected_interval
    ends = sorted([abs(interval.low), abs(interval.high)])
    return _interval_and_numbers(ends, comparison, unit)


def _signed(comparison: ModelComparison, unit: Unit) -> str:
    """Return the difference, model minus baseline, and its evidence."""
    interval = comparison.corrected_interval
    mean = _number(comparison.difference.mean, comparison, unit, sign="+")
    numbers = _interval_and_numbers([interval.low, interval.high], comparison, unit)
    return f"{mean} {unit.name}, {numbers}"


def _interval_and_numbers(ends: list[float], comparison: ModelComparison, unit: Unit) -> str:
    low, high = (_number(end, comparison, unit) for end in ends)
    p = max(comparison.p_difference_holm, comparison.p_wilcoxon_holm)
    p_text = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    noun, per_fold = _REPEATS[comparison.repeats]
    trainings = _count(comparison.n_baseline_seeds, noun) + per_fold
    if comparison.n_seeds != comparison.n_baseline_seeds:
        trainings = f"{comparison.n_seeds} against {trainings}"
    cases = _count(comparison.n_cases, "case")
    if comparison.n_clusters != comparison.n_cases:
        cases += f" of {_count(comparison.n_clusters, 'cluster')}"
    if comparison.n_informative_left_out:
        cases += f" ({comparison.n_informative_left_out} without a score for both left out)"
    return f"95 % interval {low} to {high}, {p_text}, after Holm; n = {cases}, {trainings}"


def _number(value: float, comparison: ModelComparison, unit: Unit, sign: str = "") -> str:
    text = f"{value * unit.factor:{sign}.{_decimals(comparison, unit)}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _decimals(comparison: ModelComparison, unit: Unit) -> int:
    """Return the number of decimals that the width of the interval allows, at least one.

    If its width is only a rounding error, this is one.
    """
    interval = comparison.corrected_interval
    arm = (interval.high - interval.low) / 2 * unit.factor
    return max(1, -math.floor(math.log10(arm))) if arm > _ROUNDING else 1


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
