"""The remaining work of a comparison, with estimates of time and memory."""

from collections import Counter
from collections.abc import Iterable
from statistics import fmean
from typing import Any

from umamba.comparison.rows import Training
from umamba.comparison.runs.cost import n_mirrorings, seconds_with_validation
from umamba.comparison.runs.state import Comparison

__all__ = [
    "estimate_models",
    "estimate_trainings",
    "hours_left",
    "prediction_hours",
    "training_hours",
]

_FOLDS = 5  # of the splits that nnU-Net makes


def estimate_trainings(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a row per requested training: its state, and estimates of time and memory.

    Hours are those of the model's finished trainings, or else follow from the time of a training
    step, measured or estimated, which does not include augmentation if that is slower than the
    network; those of whole cases follow from the time of a patch and the patches of the median
    case. The progress of an interrupted training is only subtracted if its last epoch is over.

    Returns:
        `model`, `fold`, `seed`, `status`, `reason`, `epochs`, `memory_bytes`, `hours_left`, and
        `prediction_hours`, the part of them that predicts whole cases.
    """
    lengths = comparison.lengths
    rows = []
    for training in comparison.asked:
        state = comparison.states[training]
        trains, predicts = _hours_left(comparison, training)
        rows.append(
            {
                **vars(training),
                "status": state.status,
                "reason": state.reason,
                "epochs": lengths[training.model].epochs if training.model in lengths else None,
                "memory_bytes": comparison.costs[training.model].memory_bytes,
                "hours_left": None if trains is None else trains + (predicts or 0.0),
                "prediction_hours": predicts,
            }
        )
    return rows


def _hours_left(comparison: Comparison, training: Training) -> tuple[float | None, float | None]:
    """Return the hours to train, and those to predict whole cases; `None` if unknown."""
    state = comparison.states[training]
    trains = training_hours(comparison, training.model)
    predicts = prediction_hours(comparison, training.model, training.fold)
    if state.status == "done":
        if not comparison.lacks_test(training):
            return 0.0, 0.0
        return 0.0, prediction_hours(comparison, training.model, None)
    return (0.0 if state.option == "--val" else trains), predicts


def hours_left(comparison: Comparison, training: Training) -> float | None:
    """Return the hours until a training is finished and its cases are predicted."""
    trains, predicts = _hours_left(comparison, training)
    return None if trains is None else trains + (predicts or 0.0)


def estimate_models(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a row per requested model, which summarises its trainings.

    Returns:
        `model`, `trainings`, `statuses` (how many trainings have each), `epochs` of one training,
        `memory_bytes` of one, `hours_left` and `prediction_hours` of all, and `note`, what is to be
        said of its cost.
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
            "prediction_hours": _sum(training["prediction_hours"] for training in trainings),
            "note": comparison.costs[model].problem,
        }
        for model, trainings in by_model.items()
    ]


def _sum(hours: Iterable[float | None]) -> float | None:
    known = [value for value in hours if value is not None]
    return sum(known) if known else None


def training_hours(comparison: Comparison, model: str) -> float | None:
    """Return the hours of one training of a model without its validation; `None` if unknown."""
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


def prediction_hours(comparison: Comparison, model: str, fold: int | None) -> float | None:
    """Return the hours in which a training predicts whole cases; `None` if unknown.

    They are the validation cases, with mirroring or without, and those of a test set: twice where
    an ensemble predicts them again.

    Args:
        comparison: The comparison.
        model: Name of the model.
        fold: The fold to validate; `None` leaves the validation out.
    """
    seconds = comparison.costs[model].seconds_per_case
    if seconds is None:
        return None
    request, n_cases = comparison.request, 0
    if not request.mirroring:
        seconds /= n_mirrorings(comparison.planned, model)
    if fold is not None:
        expected = -(-int(comparison.planned.source.dataset_json["numTraining"]) // _FOLDS)
        limit = request.validation_cases or expected
        n_cases += len(comparison.cases[fold]) or min(expected, limit)
    if comparison.external is not None:
        n_cases += len(comparison.external.cases) * (2 if len(request.folds) > 1 else 1)
    return seconds * n_cases / 3600
