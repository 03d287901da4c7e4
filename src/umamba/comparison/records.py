"""Results as plain data for JSON, which has no number that is not finite."""

import dataclasses
import math
from typing import Any

import numpy as np

__all__ = ["Record", "to_plain"]


class Record:
    """A dataclass of results that turns into plain data."""

    def to_dict(self) -> dict[str, Any]:
        """Return dicts, lists, strings and numbers; what is undefined is `None`."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {field.name: to_plain(getattr(self, field.name)) for field in fields}


def to_plain(value: Any) -> Any:
    """Turn records, arrays and numbers of numpy into what JSON knows.

    Args:
        value: A record, a mapping, a sequence, an array or a scalar.

    Returns:
        The same as dicts with string keys, lists and scalars; nan and infinity as `None`.
    """
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return to_plain(value.tolist())
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
