"""Layers of labels: images in which labels do not overlap, so that one pass finds them all."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["disjoint_layers", "paint"]

Array = npt.NDArray[Any]

_MOST_IN_TABLE = 2**16


def disjoint_layers(
    labels: Mapping[str, int | tuple[int, ...]],
) -> list[dict[str, tuple[int, ...]]]:
    """Sort labels and regions into layers, each into the first layer that has room for it.

    Args:
        labels: Value or values of each label, by name.

    Returns:
        Layers of labels that share no value.
    """
    layers: list[dict[str, tuple[int, ...]]] = []
    for name, given in labels.items():
        values = given if isinstance(given, tuple) else (given,)
        for layer in layers:
            if not any(set(values) & set(others) for others in layer.values()):
                layer[name] = values
                break
        else:
            layers.append({name: values})
    return layers


def paint(array: Array, labels: Collection[Sequence[int]]) -> Array:
    """Number labels from 1, in the order given.

    Args:
        array: Values of the voxels, as integers or booleans.
        labels: The values of each label; no value belongs to two labels.

    Returns:
        The number of each voxel's label, 0 for all other values; uint8 or uint16.
    """
    dtype = np.uint8 if len(labels) < 2**8 else np.uint16
    array = array.view(np.uint8) if array.dtype == bool else array
    numbers = {value: n for n, values in enumerate(labels, start=1) for value in values}
    if array.size and array.min() >= 0 and (highest := int(array.max())) < _MOST_IN_TABLE:
        table = np.zeros(highest + 1, dtype)
        for value, number in numbers.items():
            if 0 <= value <= highest:
                table[value] = number
        painted: Array = table[array]
        return painted
    painted = np.zeros(array.shape, dtype)
    for value, number in numbers.items():
        painted[array == value] = number
    return painted
