"""`status.html`: a page that shows how far a comparison is, and reloads itself.

It has no script and loads nothing; whoever opens the file in a browser sees the state of at most
ten seconds ago.
"""

import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from html import escape

from umamba.comparison.runs.live import Epoch, Live, hours_of_all, look_at
from umamba.comparison.runs.progress import format_hours
from umamba.comparison.runs.state import Comparison
from umamba.errors import UMambaError
from umamba.executors.jobs import Event
from umamba.system.atomic_files import write_whole

__all__ = ["StatusPage", "status_page"]

_FILE = "status.html"
_SECONDS = 10
_WIDTH, _HEIGHT = 120, 24
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 0.2rem 0.8rem 0.2rem 0; text-align: left; border-bottom: 1px solid #8886; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
svg { display: block; }
"""


class StatusPage:
    """The page of a comparison that is running.

    Args:
        n_at_a_time: How many trainings run at a time.
        interval: Seconds between two writings, at least.
    """

    def __init__(self, n_at_a_time: int, interval: float = _SECONDS) -> None:
        self._n_at_a_time, self._interval = n_at_a_time, interval
        self._written_at = -math.inf
        self._comparison: Comparison | None = None

    def update(self, comparison: Comparison, _: Event | None) -> None:
        """Write the page, unless that was done a moment ago."""
        self._comparison = comparison
        if time.monotonic() - self._written_at >= self._interval:
            self._write("running")

    def close(self) -> None:
        """Write that the comparison has ended, or was interrupted."""
        if self._comparison is None:
            return
        done = all(state.status == "done" for state in self._comparison.states.values())
        self._write("ended" if done else "ended; the same command continues")

    def _write(self, state: str) -> None:
        comparison = self._comparison
        if comparison is None:
            return
        page = status_page(comparison, state, self._n_at_a_time)
        try:
            write_whole(comparison.request.output / _FILE, page)
        except UMambaError as error:  # trainings are worth more
            sys.stderr.write(f"{error}\n")
        self._written_at = time.monotonic()


def status_page(comparison: Comparison, state: str, n_at_a_time: int) -> str:
    """Return the page.

    Args:
        comparison: The comparison.
        state: `running`, or how it ended.
        n_at_a_time: How many trainings run at a time.
    """
    source, found = comparison.planned.source, look_at(comparison)
    title = escape(f"{source.dataset}, {source.configuration}: {state}")
    running = state == "running"
    reload = f'<meta http-equiv="refresh" content="{_SECONDS}">' if running else ""
    killed = " If that is minutes ago, it no longer runs: the same command continues." * running
    rows = "\n".join(_row(one, comparison) for one in found)
    heads = ("model", "fold", "seed", "status", "epoch", "pseudo Dice", "its course", "time left")
    header = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
{reload}
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{escape(_summary(comparison, found, state, n_at_a_time))}</p>
<p>Written {time.strftime("%Y-%m-%d %H:%M:%S %z")}.{killed}</p>
<table>
<thead><tr>{header}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</main>
</body>
</html>
"""


def _summary(comparison: Comparison, found: Sequence[Live], state: str, n_at_a_time: int) -> str:
    counts = Counter(one.status for one in found)
    text = f"{len(found)} trainings: {', '.join(f'{n} {name}' for name, n in counts.items())}."
    if state == "running":
        hours = hours_of_all(found, n_at_a_time)
        text += f" About {format_hours(hours)} left, {n_at_a_time} at a time."
    if comparison.external is not None:
        text += f" {len(comparison.tested)} networks and ensembles have predicted the test set."
    return text


def _row(one: Live, comparison: Comparison) -> str:
    training, last = one.training, one.epochs[-1] if one.epochs else None
    reason = comparison.states[training].reason
    cells = [
        training.model,
        str(training.fold),
        "none" if training.seed is None else str(training.seed),
        f"{one.status}: {reason}" if reason else one.status,
        f"{last.number} of {last.of}" if last else "",
        f"{last.dice:.3f}" if last and math.isfinite(last.dice) else "",
    ]
    left = "" if one.status == "done" else format_hours(one.hours_left)
    shown = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr>{shown}<td>{_curve(one.epochs)}</td><td class="number">{escape(left)}</td></tr>'


def _curve(epochs: Sequence[Epoch]) -> str:
    """Return a small drawing of the pseudo Dice, from 0 to 1, over the epochs."""
    known = [epoch for epoch in epochs if math.isfinite(epoch.dice)]
    if len(known) < 2:
        return ""
    points = " ".join(
        f"{epoch.number / epoch.of * _WIDTH:.1f},{(1 - epoch.dice) * (_HEIGHT - 2) + 1:.1f}"
        for epoch in known
    )
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="pseudo Dice from '
        f'{known[0].dice:.2f} to {known[-1].dice:.2f}"><polyline points="{points}" fill="none" '
        f'stroke="currentColor"/></svg>'
    )
