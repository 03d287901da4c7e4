"""How far a command has come in its cases, and about how long the rest takes."""

import time

__all__ = ["CaseProgress"]

_MINUTE, _HOUR = 60, 3600


class CaseProgress:
    """The way through a number of cases, beginning now.

    Args:
        total: How many cases there are.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._began = time.monotonic()

    def at(self, number: int, *, done: int, left: int) -> str:
        """Return for example `case 3 of 10, about 4 min left`.

        Args:
            number: Which case it is, from 1.
            done: How many cases were worked on until now.
            left: How many are still to be worked on.
        """
        text = f"case {number} of {self._total}"
        if not done or not left:
            return text
        each = (time.monotonic() - self._began) / done
        return f"{text}, about {_duration(each * left)} left"


def _duration(seconds: float) -> str:
    if seconds < 1.5 * _MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < 1.5 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h"
