"""What is left to do of a comparison, and about how long that takes."""

from collections import Counter
from collections.abc import Iterable
from statistics import fmean
from typing import Any

from umamba.comparison.runs.cost import seconds_with_validation
from umamba.comparison.runs.state import Comparison

__all__ = ["estimate_models", "estimate_trainings"]


def estimate_trainings(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a row per training that is asked for: where it stands, and about what it takes.

    Hours are those of the model's finished trainings, else they follow from the time of a training
    step, measured or estimated, to which augmentation adds where it is slower than the network.
    What an interrupted training has behind it is not subtracted.

    Returns:
        `model`, `fold`, `seed`, `status`, `reason`, `epochs`, `memory_bytes`, `hours_left`.
    """
    hours = {model: _hours(comparison, model) for model in comparison.planned.models}
    lengths = comparison.lengths
    return [
        {
            **vars(training),
            "status": state.status,
            "reason": state.reason,
            "epochs": lengths[training.model].epochs if training.model in lengths else None,
            "memory_bytes": comparison.costs[training.model].memory_bytes,
            "hours_left": 0.0 if state.status == "done" else hours[training.model],
        }
        for training in comparison.asked
        for state in [comparison.states[training]]
    ]


def estimate_models(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a row per model that is asked for, which sums up its trainings.

    Returns:
        `model`, `trainings`, `statuses` (how many trainings have each), `epochs` of one training,
        `memory_bytes` of one, `hours_left` of all, and `note`, what is to be said of its cost.
    """
    by_model: dict[str, list[dict[str, Any]]] = {}
    for training in estimate_trainings(comparison):
        by_model.setdefault(training["model"], []).append(training)
    return [
        {
            "model": model,
            "trainings": len(trainings),
            "statuses": dict(Counter(training["status"] for training in trainings)),
            "epochs": trainings[0]["epochs"],
            "memory_bytes": trainings[0]["memory_bytes"],
            "hours_left": _sum(training["hours_left"] for training in trainings),
            "note": comparison.costs[model].problem,
        }
        for model, trainings in by_model.items()
    ]


def _sum(hours: Iterable[float | None]) -> float | None:
    known = [value for value in hours if value is not None]
    return sum(known) if known else None


def _hours(comparison: Comparison, model: str) -> float | None:
    finished = [
        f.train_hours for training, f in comparison.finished.items() if training.model == model
    ]
    if finished:
        return fmean(finished)
    budget = comparison.request.budget
    if model not in comparison.lengths:
        return budget.amount if budget.kind == "hours" else None
    seconds = seconds_with_validation(comparison.costs[model])
    return None if seconds is None else seconds * comparison.lengths[model].iterations / 3600
