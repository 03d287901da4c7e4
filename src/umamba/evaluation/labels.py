"""Which labels to evaluate: named by the user, by a `dataset.json`, or all that references hold."""

import json
from collections.abc import Iterable
from pathlib import Path

from umamba.errors import EvaluationError
from umamba.evaluation.cases import Labels

__all__ = ["labels_from_dataset_json", "labels_from_values"]

_MANY_LABELS = 256


def labels_from_dataset_json(file: Path) -> tuple[Labels, int | None]:
    """Read labels and regions from nnU-Net's `dataset.json`.

    Args:
        file: The file.

    Returns:
        All labels but the background, and the value that marks voxels to ignore, if there is one.

    Raises:
        EvaluationError: If the file cannot be read, or names no label.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))["labels"]
        named = {str(name): _values(value) for name, value in content.items()}
    except OSError as error:
        msg = f"{file} cannot be read: {error.strerror}"
        raise EvaluationError(msg) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        msg = (
            f"{file}: labels are missing or malformed; they look like "
            '{"labels": {"background": 0, "tumour": 1, "whole": [1, 2]}}'
        )
        raise EvaluationError(msg) from None
    ignore = named.pop("ignore", None)
    labels = {name: values for name, values in named.items() if values != 0}
    if not labels or isinstance(ignore, tuple):
        msg = f"{file}: labels name nothing but background, or more than one value to ignore"
        raise EvaluationError(msg)
    return labels, ignore


def _values(value: object) -> int | tuple[int, ...]:
    given = value if isinstance(value, list) else [value]
    values = tuple(member for member in given if type(member) is int)
    if not values or len(values) < len(given):
        raise ValueError(value)
    return values[0] if len(values) == 1 else values


def labels_from_values(values: Iterable[int]) -> Labels:
    """Name every value in the references but 0 by itself.

    Args:
        values: All that the references hold.

    Raises:
        EvaluationError: If there is none, or so many that they seem to number objects.
    """
    found = sorted(set(values) - {0})
    if not found:
        msg = "the references hold nothing but background; name the labels with --labels"
        raise EvaluationError(msg)
    if len(found) > _MANY_LABELS:
        msg = (
            f"the references hold {len(found)} values from {found[0]} to {found[-1]}: if they "
            "number objects, say --instances; else name the labels with --labels"
        )
        raise EvaluationError(msg)
    return {str(value): value for value in found}
