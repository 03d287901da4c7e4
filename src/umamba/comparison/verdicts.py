"""A sentence per comparison, generated from its numbers and never stronger than they are."""

import math
from dataclasses import dataclass
from typing import Literal

from umamba.comparison.statistics import ALPHA, ModelComparison

__all__ = ["Outcome", "Unit", "outcome", "verdict"]

_ROUNDING = 1e-9

Outcome = Literal["better", "worse", "no difference shown", "tests disagree", "too few cases"]


@dataclass(frozen=True)
class Unit:
    """How a metric is written.

    Attributes:
        name: What the numbers are, such as `Dice points` or `mm`.
        factor: What the metric's own unit is multiplied by: 100 for Dice points.
    """

    name: str
    factor: float | int = 1


def outcome(comparison: ModelComparison) -> Outcome:
    """Say in a word what a comparison shows.

    A difference is shown where the interval leaves out zero and both tests, after Holm's
    correction, are below 5 %: that of the mean, which knows of the luck of training, and that of
    the ranks, which a few extreme cases do not carry. Where one alone is, they disagree.

    Args:
        comparison: What `compare_models` or `compare_with_controls` returned.

    Returns:
        The outcome. Without repeated trainings (`includes_seed_variance` of its `difference`)
        "better" and "worse" hold for the trained networks only.
    """
    if not comparison.enough_cases:
        return "too few cases"
    interval = comparison.difference.interval
    by_mean = comparison.p_difference_holm < ALPHA and not interval.low <= 0 <= interval.high
    by_ranks = comparison.p_wilcoxon_holm < ALPHA
    same_side = comparison.difference.mean * comparison.rank_biserial > 0
    if by_mean and by_ranks and same_side:
        higher = comparison.difference.mean > 0
        return "better" if higher == comparison.higher_is_better else "worse"
    return "tests disagree" if by_mean or by_ranks else "no difference shown"


def verdict(comparison: ModelComparison, unit: Unit) -> str:
    """Say in one sentence what a comparison shows.

    Args:
        comparison: What `compare_models` or `compare_with_controls` returned.
        unit: Of the metric.

    Returns:
        The sentence, without a full stop; it does not name the model or the baseline.
    """
    result = outcome(comparison)
    if result == "too few cases":
        cases = _count(comparison.n_cases, "case")
        return f"too few cases to show any difference, however large ({cases} in common)"
    if result in ("better", "worse"):
        size = _number(abs(comparison.difference.mean), comparison, unit)
        if comparison.difference.includes_seed_variance:
            return f"{result} by {size} {unit.name} ({_evidence(comparison, unit)})"
        return (
            f"these trained networks: {result} by {size} {unit.name} "
            f"({_evidence(comparison, unit)}); of the models it shows nothing, as no "
            "training was repeated with another seed"
        )
    if result == "tests disagree":
        return f"no clear difference: {_disagreement(comparison)} ({_signed(comparison, unit)})"
    return f"no difference shown{_sensitivity(comparison, unit)} ({_signed(comparison, unit)})"


def _sensitivity(comparison: ModelComparison, unit: Unit) -> str:
    """Say what would have been shown; nothing where the difference found is larger than that."""
    networks = "" if comparison.difference.includes_seed_variance else " between these networks"
    smallest = comparison.smallest_detectable_difference
    if not abs(comparison.difference.mean) < smallest:
        return networks
    step = 10.0 ** -_decimals(comparison, unit)
    size = _number(math.ceil(smallest * unit.factor / step) * step / unit.factor, comparison, unit)
    return f"{networks}; a difference above {size} {unit.name} would have been, at 80 % power"


def _disagreement(comparison: ModelComparison) -> str:
    if comparison.p_wilcoxon_holm >= ALPHA:
        return "the means differ, but the ranks of the cases do not confirm it"
    if comparison.difference.mean * comparison.rank_biserial > 0:
        return "the ranks of the cases differ, but the mean does not confirm it"
    return "mean and ranks of the cases point to opposite sides"


def _evidence(comparison: ModelComparison, unit: Unit) -> str:
    """Return the interval in the direction of the result, and what it rests on."""
    interval = comparison.difference.interval
    ends = sorted([abs(interval.low), abs(interval.high)])
    return _interval_and_numbers(ends, comparison, unit)


def _signed(comparison: ModelComparison, unit: Unit) -> str:
    """Return the difference, model less baseline, and what it rests on."""
    interval = comparison.difference.interval
    mean = _number(comparison.difference.mean, comparison, unit, sign="+")
    numbers = _interval_and_numbers([interval.low, interval.high], comparison, unit)
    return f"{mean} {unit.name}, {numbers}"


def _interval_and_numbers(ends: list[float], comparison: ModelComparison, unit: Unit) -> str:
    low, high = (_number(end, comparison, unit) for end in ends)
    p = max(comparison.p_difference_holm, comparison.p_wilcoxon_holm)
    p_text = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    trainings = _count(comparison.n_baseline_seeds, "training") + " per fold"
    if comparison.n_seeds != comparison.n_baseline_seeds:
        trainings = f"{comparison.n_seeds} against {trainings}"
    cases = _count(comparison.n_cases, "case")
    return f"95 % interval {low} to {high}; {p_text} after Holm, n = {cases}, {trainings}"


def _number(value: float, comparison: ModelComparison, unit: Unit, sign: str = "") -> str:
    text = f"{value * unit.factor:{sign}.{_decimals(comparison, unit)}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _decimals(comparison: ModelComparison, unit: Unit) -> int:
    """Return how many decimals the width of the interval allows, one at least.

    Where it has none but that of rounding errors: one.
    """
    interval = comparison.difference.interval
    arm = (interval.high - interval.low) / 2 * unit.factor
    return max(1, -math.floor(math.log10(arm))) if arm > _ROUNDING else 1


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
