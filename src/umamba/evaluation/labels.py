"""The labels to evaluate: named by a `dataset.json`, or all values that references hold."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from umamba.datasets.description import read_labels, reversed_labels
from umamba.errors import EvaluationError, UMambaError
from umamba.evaluation.cases import Labels
from umamba.system.json_files import load_json

__all__ = ["labels_from_dataset_json", "labels_from_values", "sizes_of_cases"]

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
        content = load_json(file)
        flipped = reversed_labels(content)
        if flipped is None:
            found = read_labels(content, file, for_training=False)
    except UMambaError as error:
        raise EvaluationError(str(error)) from None
    if flipped is not None:
        named = shlex.join(f"{name}={value}" for name, value in flipped.items() if value)
        msg = f"{file}: `labels` maps values to names, as in nnU-Net 1; give --labels {named}"
        raise EvaluationError(msg)
    labels: Labels = {
        name: values[0] if len(values) == 1 else values
        for name, values in found.regions.items()
        if set(values) != {0}
    }
    if not labels:
        msg = f"{file}: `labels` names only the background, or more than one value to ignore"
        raise EvaluationError(msg)
    return labels, found.ignore


def labels_from_values(values: Iterable[int]) -> Labels:
    """Use every value in the references except 0 as a label, named by its number.

    Args:
        values: All that the references hold.

    Raises:
        EvaluationError: If there are no values, or so many that they seem to number objects.
    """
    found = sorted(set(values) - {0})
    if not found:
        msg = "the references contain only background; name the labels with --labels"
        raise EvaluationError(msg)
    if len(found) > _MANY_LABELS:
        msg = (
            f"the references hold {len(found)} values from {found[0]} to {found[-1]}: if they "
            "number objects, give --instances, or else name the labels with --labels"
        )
        raise EvaluationError(msg)
    return {str(value): value for value in found}


def sizes_of_cases(
    volumes: Mapping[tuple[str, str], float], labels: Mapping[str, Any]
) -> dict[str, float]:
    """Return the size of each case's objects: of its labels, or of its largest region.

    Regions overlap: their sum would count a voxel as often as there are regions that hold it.

    Args:
        volumes: Volume of the reference by case and label.
        labels: The value, or values, of each label.
    """
    regions = any(isinstance(value, list | tuple) and len(value) > 1 for value in labels.values())
    sizes: dict[str, float] = {}
    for (case, _), volume in volumes.items():
        before = sizes.get(case, 0.0)
        sizes[case] = max(before, volume) if regions else before + volume
    return sizes
