"""The remaining work of a comparison, with estimates of time and memory."""

from collections import Counter
from collections.abc import Iterable
from statistics import fmean
from typing import Any

from umamba.comparison.runs.cost import seconds_with_validation
from umamba.comparison.runs.state import Comparison

__all__ = ["estimate_models", "estimate_trainings", "hours_of"]


def estimate_trainings(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a row per requested training: its state, and estimates of time and memory.

    Hours are those of the model's finished trainings, or else follow from the time of a training
    step, measured or estimated, which does not include augmentation if that is slower than the
    network. The progress of an interrupted training is not subtracted.

    Returns:
        `model`, `fold`, `seed`, `status`, `reason`, `epochs`, `memory_bytes`, `hours_left`.
    """
    hours = {model: hours_of(comparison, model) for model in comparison.planned.models}
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
    """Return a row per requested model, which summarises its trainings.

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


def hours_of(comparison: Comparison, model: str) -> float | None:
    """Return the hours of one training of a model; `None` if they are unknown."""
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
