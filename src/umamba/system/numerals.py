"""Numbers in what users type and in names of files: of ASCII digits, as nnU-Net has them."""

import re

__all__ = ["integer", "whole_number"]

_INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)


def integer(text: str) -> int:
    """Parse an integer of ASCII digits; Python's `int` also takes other scripts and underscores.

    Raises:
        ValueError: If it is not an integer, or longer than any number here.
    """
    if not _INTEGER.fullmatch(text):
        msg = f"{text!r} is not an integer"
        raise ValueError(msg)
    return int(text)


def whole_number(text: str) -> int | None:
    """Return the number that a text of digits is; `None` for any other text."""
    return integer(text) if _INTEGER.fullmatch(text) and text[0] != "-" else None
