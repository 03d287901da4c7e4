"""What is left to do of a comparison, and about how long that takes."""

from statistics import fmean
from typing import Any

from umamba.comparison.cells import Cell
from umamba.comparison.state import Comparison

__all__ = ["estimate_cells"]


def estimate_cells(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a row per cell: `model`, `fold`, `seed`, `status`, `epochs`, memory and hours left.

    Hours are those of the model's finished cells, else they follow from the measured time of a
    training step, to which augmentation adds where it is slower than the network. What
    an interrupted cell has behind it is not subtracted.
    """
    return [
        {
            **vars(cell),
            "status": state.status,
            "reason": state.reason,
            "epochs": comparison.lengths[cell.model].epochs,
            "memory_bytes": comparison.costs[cell.model].memory_bytes,
            "hours_left": 0.0 if state.status == "done" else _hours(comparison, cell),
        }
        for cell, state in comparison.states.items()
    ]


def _hours(comparison: Comparison, cell: Cell) -> float | None:
    finished = [
        finished.train_hours
        for other, finished in comparison.finished.items()
        if other.model == cell.model
    ]
    if finished:
        return fmean(finished)
    seconds = comparison.costs[cell.model].seconds_with_validation
    if seconds is None:
        return None
    return seconds * comparison.lengths[cell.model].iterations / 3600
