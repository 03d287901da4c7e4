"""The rule by which a number with its interval becomes a verdict."""

from collections.abc import Sequence
from typing import Literal

from umamba.comparison.records import Interval

__all__ = ["MARGIN", "RATIO", "Verdict", "about", "at_least", "greater", "in_some", "not_in_all"]

Verdict = Literal["holds", "holds, by less than the margin", "does not hold", "not shown"]

MARGIN = 1.0  # the smallest difference that matters, in points of 100
RATIO = 1.25  # factor by which a ratio may miss what is claimed


def greater(interval: Interval, margin: float = MARGIN) -> Verdict:
    """Judge the claim that a difference is above 0.

    Args:
        interval: Interval of the difference at 95 %.
        margin: The smallest difference that matters; 0 where only the sign counts.

    Returns:
        `holds` if the interval lies above 0, `does not hold` if it lies below the margin, so that a
        difference that matters is ruled out, and `not shown` if neither is so. If both are, it
        holds by less than the margin.
    """
    if interval.low > 0:
        return "holds" if interval.high >= margin else "holds, by less than the margin"
    return "does not hold" if interval.high < margin else "not shown"


def in_some(intervals: Sequence[Interval], margin: float = MARGIN) -> Verdict:
    """Judge the claim that a difference is above 0 in some data sets.

    Args:
        intervals: Interval in each data set, corrected for the number of data sets.
        margin: The smallest difference that matters.

    Returns:
        `holds` if it holds in one, `does not hold` if it does not hold in any.
    """
    verdicts = {greater(interval, margin) for interval in intervals}
    for verdict in ("holds", "holds, by less than the margin"):
        if verdict in verdicts:
            return verdict
    return "does not hold" if verdicts == {"does not hold"} else "not shown"


def not_in_all(intervals: Sequence[Interval], margin: float = MARGIN) -> Verdict:
    """Judge the claim that a difference is not above 0 in all data sets.

    Args:
        intervals: Interval in each data set, corrected for the number of data sets.
        margin: The smallest difference that matters.

    Returns:
        `holds` if a difference that matters is ruled out in one, `does not hold` if the difference
        is above 0 in all.
    """
    verdicts = {greater(interval, margin) for interval in intervals}
    if "does not hold" in verdicts:
        return "holds"
    above = {"holds", "holds, by less than the margin"}
    return "does not hold" if verdicts and verdicts <= above else "not shown"


def about(interval: Interval, claimed: float) -> Verdict:
    """Judge the claim that a ratio is about some number.

    Args:
        interval: Interval of the ratio at 95 %.
        claimed: What is claimed; a number `RATIO` times as large, or as small, still counts.

    Returns:
        `holds` if the whole interval is about that, `does not hold` if none of it is.
    """
    low, high = claimed / RATIO, claimed * RATIO
    if low <= interval.low and interval.high <= high:
        return "holds"
    return "does not hold" if interval.high < low or interval.low > high else "not shown"


def at_least(interval: Interval, claimed: float) -> Verdict:
    """Judge the claim that a ratio is at least some number.

    Args:
        interval: Interval of the ratio at 95 %.
        claimed: What is claimed.

    Returns:
        `holds` if the whole interval is, `does not hold` if none of it is.
    """
    if interval.low >= claimed:
        return "holds"
    return "does not hold" if interval.high < claimed else "not shown"
