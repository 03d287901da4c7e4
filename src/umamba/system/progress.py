"""The progress of a command through its cases, and about how long the rest takes."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = ["CaseProgress", "ShowProgress"]

# Passes items through, and shows on the way how far they are, under a title.
ShowProgress = Callable[[Sequence[Any], str], Iterable[Any]]

_MINUTE, _HOUR = 60, 3600


class CaseProgress:
    """The progress through a number of cases, beginning now.

    Args:
        total: How many cases there are.
        noun: The word for one of them.
    """

    def __init__(self, total: int, noun: str = "case") -> None:
        self._total, self._noun = total, noun
        self._began = time.monotonic()

    def at(self, number: int, *, done: int, left: int) -> str:
        """Return for example `case 3 of 10, about 4 min left`.

        Args:
            number: The number of the case, from 1.
            done: How many cases were worked on until now.
            left: How many still have to be worked on.
        """
        text = f"{self._noun} {number} of {self._total}"
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
