"""Text in CSV files that spreadsheets must not take for a formula, and its way back."""

import re

__all__ = ["guarded", "unguarded"]

_FORMULA = ("=", "+", "-", "@")
_GUARDED = re.compile(r"'(?=[=+\-@])")


def guarded(cell: object) -> object:
    """Return a cell such that a spreadsheet shows it, and computes nothing.

    Args:
        cell: A number, which stays one, or text. Text that begins like a formula is given the
            apostrophe by which spreadsheets mark text, unless it is a number.
    """
    if not isinstance(cell, str) or not cell.startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def unguarded(text: str) -> str:
    """Return the text of a cell without the apostrophe of `guarded`."""
    return _GUARDED.sub("", text, count=1) if text.startswith("'") else text
