"""What is left to do of a comparison, and about how long that takes."""

from collections import Counter
from collections.abc import Iterable
from statistics import fmean
from typing import Any

from umamba.comparison.state import Comparison

__all__ = ["estimate_cells", "estimate_models"]


def estimate_cells(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a row per cell that is asked for: where it stands, and about what it takes.

    Hours are those of the model's finished cells, else they follow from the time of a training
    step, measured or estimated, to which augmentation adds where it is slower than the network.
    What an interrupted cell has behind it is not subtracted.

    Returns:
        `model`, `fold`, `seed`, `status`, `reason`, `epochs`, `memory_bytes`, `hours_left`.
    """
    hours = {model: _hours(comparison, model) for model in comparison.planned.models}
    lengths = comparison.lengths
    return [
        {
            **vars(cell),
            "status": state.status,
            "reason": state.reason,
            "epochs": lengths[cell.model].epochs if cell.model in lengths else None,
            "memory_bytes": comparison.costs[cell.model].memory_bytes,
            "hours_left": 0.0 if state.status == "done" else hours[cell.model],
        }
        for cell in comparison.asked
        for state in [comparison.states[cell]]
    ]


def estimate_models(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a row per model that is asked for, which sums up its cells.

    Returns:
        `model`, `cells`, `statuses` (how many cells have each), `epochs` of one cell,
        `memory_bytes` of one, `hours_left` of all, and `note`, what is to be said of its cost.
    """
    by_model: dict[str, list[dict[str, Any]]] = {}
    for cell in estimate_cells(comparison):
        by_model.setdefault(cell["model"], []).append(cell)
    return [
        {
            "model": model,
            "cells": len(cells),
            "statuses": dict(Counter(cell["status"] for cell in cells)),
            "epochs": cells[0]["epochs"],
            "memory_bytes": cells[0]["memory_bytes"],
            "hours_left": _sum(cell["hours_left"] for cell in cells),
            "note": comparison.costs[model].problem,
        }
        for model, cells in by_model.items()
    ]


def _sum(hours: Iterable[float | None]) -> float | None:
    known = [value for value in hours if value is not None]
    return sum(known) if known else None


def _hours(comparison: Comparison, model: str) -> float | None:
    finished = [f.train_hours for cell, f in comparison.finished.items() if cell.model == model]
    if finished:
        return fmean(finished)
    budget = comparison.request.budget
    if model not in comparison.lengths:
        return budget.amount if budget.kind == "hours" else None
    seconds = comparison.costs[model].seconds_with_validation
    return None if seconds is None else seconds * comparison.lengths[model].iterations / 3600
