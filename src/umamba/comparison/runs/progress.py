"""Progress of a comparison: a live table on a terminal, or else a line per event."""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence

from umamba.comparison.rows import Training
from umamba.comparison.runs.live import Live, look_at
from umamba.comparison.runs.state import Comparison
from umamba.executors.jobs import Event
from umamba.system.terminal import write_control

__all__ = ["ComparisonProgress", "format_hours", "table"]

_STATUSES = ("done", "running", "pending", "interrupted", "failed")
_SECONDS_BETWEEN_DRAWINGS = 1.0
_SHOWN = 3  # epochs of a training


class ComparisonProgress:
    """A display of progress on stderr; `run_comparison` calls its `update`."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._n_lines = 0
        self._drawn_at = 0.0
        self._started: dict[str, float] = {}

    def update(self, comparison: Comparison, event: Event | None) -> None:
        """Show an event; `None` is the beginning."""
        if event is not None and event.kind == "started":
            self._started[event.job.name] = time.monotonic()
        if event is None or event.kind in ("started", "ended"):
            self._say(self._line(comparison, event))
        if self._live and time.monotonic() - self._drawn_at > _SECONDS_BETWEEN_DRAWINGS:
            self._erase()
            width = (
                shutil.get_terminal_size().columns
            )  # lines that wrap would not be erased completely
            lines = [line[: width - 1] for line in table(comparison, look_at(comparison))]
            sys.stderr.write("".join(f"{line}\n" for line in lines))
            self._n_lines, self._drawn_at = len(lines), time.monotonic()

    def close(self) -> None:
        """Erase the table."""
        self._erase()

    def _say(self, line: str) -> None:
        self._erase()
        sys.stderr.write(line + "\n")
        self._drawn_at = 0.0

    def _erase(self) -> None:
        if self._n_lines:
            # Source: ECMA-48, cursor up and erase below.
            write_control(f"\x1b[{self._n_lines}A\x1b[0J")
        self._n_lines = 0

    def _line(self, comparison: Comparison, event: Event | None) -> str:
        counts = Counter(state.status for state in comparison.states.values())
        if event is None:
            counted = ", ".join(f"{counts[s]} {s}" for s in _STATUSES if counts[s])
            return f"{len(comparison.states)} trainings: {counted}{_others(comparison)}"
        total = f"[{counts['done']}/{len(comparison.states)}]"
        if event.kind == "started":
            return f"{total} {event.job.name} started, log in {event.job.log}"
        training = next(
            training for training in comparison.states if str(training) == event.job.name
        )
        state = comparison.states[training]
        now = time.monotonic()
        seconds = now - self._started.get(event.job.name, now)
        reason = f": {state.reason} (log in {event.job.log})" if state.reason else ""
        took = f"{format_hours(seconds / 3600)}{_dice(comparison, training)}"
        return f"{total} {event.job.name} {state.status} after {took}{reason}"


def table(comparison: Comparison, found: Sequence[Live]) -> list[str]:
    """Return the lines of a table: how many trainings of each model have which state.

    Args:
        comparison: The comparison.
        found: Its trainings as they are now.
    """
    width = max(len(model) for model in comparison.planned.models)
    header = f"{'model':<{width}}" + "".join(f"{status:>12}" for status in _STATUSES)
    lines = [header]
    for model in comparison.planned.models:
        its = [one for one in found if one.training.model == model]
        counts = Counter(one.status for one in its)
        row = f"{model:<{width}}" + "".join(f"{counts[s]:>12}" for s in _STATUSES)
        lines.append(row)
        lines += [
            f"  fold {one.training.fold} seed {one.training.seed}: {_course(one)}"
            for one in its
            if one.status == "running"
        ]
    return lines


def _others(comparison: Comparison) -> str:
    """Say which unfinished trainings of earlier calls this call leaves alone."""
    asked = set(comparison.asked)
    left = [state.status for training, state in comparison.states.items() if training not in asked]
    undone = len(left) - left.count("done")
    if not undone:
        return ""
    return (
        f"; this call trains {len(asked)} of them, and leaves {undone} of earlier calls as they "
        "are: to train those, ask for their models, folds and seeds"
    )


def _dice(comparison: Comparison, training: Training) -> str:
    finished = comparison.finished.get(training)
    return "" if finished is None or finished.dice is None else f", Dice {finished.dice:.3f}"


def _course(one: Live) -> str:
    """Say how far a training is."""
    if not one.epochs:
        return "starts"
    last, dice = one.epochs[-1], [epoch.dice for epoch in one.epochs[-_SHOWN:]]
    shown = " ".join(f"{value:.3f}" for value in dice)
    left = format_hours(one.hours_left)
    return f"epoch {last.number}/{last.of}, {left} left, pseudo Dice {shown}"


def format_hours(hours: float | None) -> str:
    """Return a time in words; "?" if unknown."""
    if hours is None:
        return "?"
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 2 else f"{hours:.1f} h"
