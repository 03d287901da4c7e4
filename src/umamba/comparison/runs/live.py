"""Progress of the trainings of a comparison: epochs, last pseudo Dice and time left."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from umamba.comparison.rows import Training
from umamba.comparison.runs.estimates import hours_left, prediction_hours
from umamba.comparison.runs.state import Comparison

__all__ = ["Epoch", "Live", "hours_of_all", "look_at", "read_epochs"]

# The line that a training writes at the end of an epoch.
_LINE = re.compile(r"^epoch (\d+)/(\d+)  .*pseudo Dice((?: [\d.]+| nan)*)  (\d+) s$", re.MULTILINE)
_MOST_BYTES = 2**20
_RECENT = 5


@dataclass(frozen=True)
class Epoch:
    """An epoch in the log of a training.

    Attributes:
        number: Its number, from 1 on.
        of: Number of epochs of the training.
        dice: Mean pseudo Dice of the labels; nan if it is undefined for one.
        seconds: Time that it took.
    """

    number: int
    of: int
    dice: float
    seconds: int


@dataclass(frozen=True)
class Live:
    """The present state of a training.

    Attributes:
        training: The training.
        status: Its status.
        epochs: The epochs in its log, in order; an epoch trained twice counts once.
        hours_left: Estimated hours until it is finished and its cases are predicted; `None` if
            unknown.
    """

    training: Training
    status: str
    epochs: tuple[Epoch, ...]
    hours_left: float | None


def read_epochs(log: Path) -> tuple[Epoch, ...]:
    """Return the epochs in a log, in order; of a very long log only the last ones."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _MOST_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    found: dict[int, Epoch] = {}
    for number, of, dice, seconds in _LINE.findall(text):
        of_labels = [float(value) for value in dice.split()]
        mean = fmean(of_labels) if of_labels else float("nan")
        found[int(number)] = Epoch(int(number), int(of), mean, int(seconds))
    return tuple(found[number] for number in sorted(found))


def look_at(comparison: Comparison) -> list[Live]:
    """Return the present state of every training."""
    found = []
    for training, state in comparison.states.items():
        epochs = read_epochs(comparison.log(str(training)))
        left = hours_left(comparison, training)
        if state.status == "running" and epochs:
            left = _at_this_pace(comparison, training, epochs)
        found.append(Live(training, state.status, epochs, left))
    return found


def _at_this_pace(comparison: Comparison, training: Training, epochs: Sequence[Epoch]) -> float:
    pace = fmean(epoch.seconds for epoch in epochs[-_RECENT:])
    trains = (epochs[-1].of - epochs[-1].number) * pace / 3600
    return trains + (prediction_hours(comparison, training.model, training.fold) or 0.0)


def hours_of_all(found: Sequence[Live], n_at_a_time: int) -> float | None:
    """Return the hours until all are done; `None` if that of one is unknown.

    Args:
        found: The trainings.
        n_at_a_time: How many train at a time.
    """
    left = [one.hours_left for one in found if one.status != "failed"]
    known = [hours for hours in left if hours is not None]
    if len(known) < len(left):
        return None
    return max([sum(known) / max(n_at_a_time, 1), *known], default=0.0)
