"""Progress of a comparison: a live table on a terminal, or else a line per event."""

import shutil
import sys
import time
from collections import Counter
from pathlib import Path

from umamba.comparison.rows import Training
from umamba.comparison.runs.state import Comparison
from umamba.executors.jobs import Event
from umamba.system.terminal import write_control

__all__ = ["ComparisonProgress", "format_hours", "table"]

_STATUSES = ("done", "running", "pending", "interrupted", "failed")
_SECONDS_BETWEEN_DRAWINGS = 1.0
_TAIL_BYTES = 4096


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
            lines = [line[: width - 1] for line in table(comparison)]
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


def table(comparison: Comparison) -> list[str]:
    """Return the lines of a table: how many trainings of each model have which state."""
    width = max(len(model) for model in comparison.planned.models)
    header = f"{'model':<{width}}" + "".join(f"{status:>12}" for status in _STATUSES)
    lines = [header]
    for model in comparison.planned.models:
        states = {c: s for c, s in comparison.states.items() if c.model == model}
        counts = Counter(state.status for state in states.values())
        row = f"{model:<{width}}" + "".join(f"{counts[s]:>12}" for s in _STATUSES)
        running = [training for training, state in states.items() if state.status == "running"]
        lines.append(row)
        lines += [
            f"  fold {t.fold} seed {t.seed}: {_last_epoch(comparison.log(str(t)))}" for t in running
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


def _last_epoch(log: Path) -> str:
    """Return the last line about an epoch in a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return "starts"
    return next((line for line in reversed(lines) if line.startswith("epoch ")), "starts")


def format_hours(hours: float | None) -> str:
    """Return a time in words; "?" if unknown."""
    if hours is None:
        return "?"
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 2 else f"{hours:.1f} h"
