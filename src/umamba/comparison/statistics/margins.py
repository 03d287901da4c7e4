"""Differences that matter: judged by a margin, with costs, and what would settle the question."""

import math
from collections.abc import Mapping

from scipy import stats

from umamba.comparison.records import (
    ALPHA,
    POWER,
    Margin,
    MarginOutcome,
    ModelComparison,
    VariancePart,
)
from umamba.comparison.rows import Cost
from umamba.comparison.statistics.pairs import interval_of
from umamba.comparison.statistics.variance import mean_variance
from umamba.comparison.statistics.verdicts import Unit

__all__ = ["against_margin", "margin_probabilities", "margin_verdict"]

_SAME_COST = 0.05  # measured times and memory vary by this much between runs
_COSTS = {"seconds_per_iteration": "time of a training step", "peak_memory_bytes": "memory"}
_SETTLE = {"seeds": "seeds per fold", "folds": "folds as large", "cases": "cases in all"}
_MOST = {"seeds": 100, "folds": 100, "cases": 100_000}
_STEP = 1.05  # large numbers are determined to within 5 %


def against_margin(
    comparison: ModelComparison, margin: float, cost: Mapping[str, Cost]
) -> Margin | None:
    """Judge a comparison by a margin.

    One interval answers all questions: two-sided 95 %, and simultaneous for all comparisons
    (Bonferroni, as the intervals of Holm's steps only hold for the hypothesis of no difference).
    Equivalence thus means two one-sided tests at 2.5 % each (Schuirmann 1987), as in the guideline
    ICH E9.

    Args:
        comparison: A result of `compare_models`.
        margin: The smallest difference that matters, in the metric's own unit.
        cost: `cost` of the results.

    Returns:
        The judgement; `None` if there is no interval.
    """
    interval = interval_of(comparison, 1 - ALPHA / max(comparison.n_comparisons, 1))
    if not math.isfinite(interval.low):
        return None
    sign = 1 if comparison.higher_is_better else -1
    low, high = sorted((sign * interval.low, sign * interval.high))
    mean = sign * comparison.difference.mean
    outcome = _outcome(low, high, margin)
    cheaper = _cheaper(cost.get(comparison.model), cost.get(comparison.baseline))
    alike = outcome in ("equivalent", "not inferior")
    return Margin(
        model=comparison.model,
        baseline=comparison.baseline,
        margin=margin,
        interval=interval,
        outcome=outcome,
        probability=_probability(comparison, mean - margin),
        cheaper=cheaper,
        same_at_less_cost=alike and bool(cheaper),
        to_settle=_to_settle(comparison, mean, margin) if outcome == "undecided" else {},
    )


def margin_verdict(judged: Margin, unit: Unit, *, repeated: bool) -> str:
    """Return a clause on how a comparison compares with a margin.

    Args:
        judged: A result of `against_margin`.
        unit: Unit of the metric.
        repeated: Whether trainings of both were repeated, so that the clause is about the models.
    """
    networks = "" if repeated else ", these trained networks"
    probability = f"better by more than that with a probability of {judged.probability:.0%}"
    said = f"by a margin of {unit.amount(judged.margin * unit.factor)}{networks}: {judged.outcome}"
    said = f"{said} ({probability.replace('%', ' %')})"
    if judged.same_at_less_cost:
        costs = [f"{ratio:.0%} of the {_COSTS[n]}" for n, ratio in judged.cheaper.items()]
        said += f", the same quality at less cost: {' and '.join(costs)}".replace("%", " %")
    if judged.to_settle and repeated:
        enough = [f"{n} {_SETTLE[name]}" for name, n in judged.to_settle.items() if n is not None]
        of_all = "neither seeds nor folds nor cases alone"
        alone = of_all if len(judged.to_settle) > 1 else "no number of cases alone"
        often = " or ".join(enough) if enough else alone
        said += f", which {often} would settle in four of five such comparisons"
    return said


def margin_probabilities(comparison: ModelComparison, margin: float) -> tuple[float, float, float]:
    """Return the probabilities that a model is better by more than a margin, alike, and worse.

    They are shares of the confidence distribution of the difference; "alike" is within the margin.

    Args:
        comparison: A result of `compare_models`, with an interval.
        margin: The smallest difference that matters, in the metric's own unit.
    """
    mean = (1 if comparison.higher_is_better else -1) * comparison.difference.mean
    better = _probability(comparison, mean - margin)
    not_worse = _probability(comparison, mean + margin)
    return better, not_worse - better, 1.0 - not_worse


def _outcome(low: float, high: float, margin: float) -> MarginOutcome:
    if low > margin:
        return "superior by the margin"
    if high < -margin:
        return "inferior by the margin"
    if low > -margin:
        return "equivalent" if high < margin else "not inferior"
    return "undecided"


def _probability(comparison: ModelComparison, beyond: float) -> float:
    difference = comparison.difference
    if difference.standard_error == 0:
        return float(beyond > 0)
    t = beyond / difference.standard_error
    return float(stats.t.cdf(t, difference.degrees_of_freedom))


def _cheaper(model: Cost | None, baseline: Cost | None) -> dict[str, float]:
    """Return ratios of costs if all that matter are known, none is higher and one is lower."""
    if model is None or baseline is None:
        return {}
    pairs = {name: (getattr(model, name), getattr(baseline, name)) for name in _COSTS}
    ratios = {
        name: own / other for name, (own, other) in pairs.items() if own is not None and other
    }
    known = len(ratios) == len(_COSTS) or (ratios and not baseline.peak_memory_bytes)
    higher = any(ratio > 1 + _SAME_COST for ratio in ratios.values())
    lower = any(ratio < 1 - _SAME_COST for ratio in ratios.values())
    return ratios if known and lower and not higher else {}


def _to_settle(comparison: ModelComparison, mean: float, margin: float) -> dict[str, int | None]:
    """Return how many seeds, folds or cases would narrow the interval enough.

    Enough means that, with a probability of 80 %, it shows the conclusion nearest to the finding:
    that the model is not inferior, or that it is inferior by the margin.
    """
    gap = max(mean + margin, -margin - mean)
    level = ALPHA / 2 / max(comparison.n_comparisons, 1)
    counts = {
        "seeds": min(comparison.n_seeds, comparison.n_baseline_seeds),
        "folds": comparison.fold_test.n_folds,
        "cases": comparison.n_cases,
    }
    if comparison.repeats != "trainings per fold":  # more of them need not be more training data
        counts = {"cases": comparison.n_cases}
    parts = comparison.difference.parts
    found: dict[str, int | None] = {}
    for name, now in counts.items():
        found[name] = None
        n = now
        while n < _MOST[name]:
            n = max(n + 1, math.floor(n * _STEP))
            variance = mean_variance([_with(part, name, now, n) for part in parts])
            degrees = variance.degrees_of_freedom
            reach = float(stats.t.isf(level, degrees) + stats.t.ppf(POWER, degrees))
            if reach * variance.standard_error <= gap:
                found[name] = n
                break
    return found


def _with(part: VariancePart, name: str, now: int, n: int) -> VariancePart:
    """Return a part of the variance as it would be with more seeds, folds or cases.

    The part of cases falls with their number, that of trainings with the number of seeds and folds,
    and that of training data with the number of folds; more folds also bring their own cases.
    """
    if name != "folds" and (name, part.source) not in (("seeds", "trainings"), ("cases", "cases")):
        return part
    of_one_less = name == "seeds" or part.source == "folds"
    more = (n - 1) / max(now - 1, 1) if of_one_less else n / now
    return VariancePart(
        part.source,
        part.variance * now / n,
        part.mean_square * now / n,
        part.degrees_of_freedom * more,
    )
