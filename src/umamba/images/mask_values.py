"""The values that a mask holds, as integers: one per label."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.images.contents import LoadedImage, UnreadableFileError

__all__ = ["MaskValues", "integer_layer", "mask_values", "rounded_layer", "values_in"]

Array = npt.NDArray[Any]

# nnU-Net reads masks as float32. A value may be off by a few of its roundings: one each for
# scaling, for an intercept, and for a tool that wrote float32 before.
_ROUNDINGS = 4
# Of scaled integers a value is off by up to half a step, if the step is small beside a label.
_LARGEST_STEP = 0.05
_MANY_VALUES = 20


@dataclass(frozen=True)
class MaskValues:
    """The values of a mask, and what is odd about them.

    Attributes:
        values: All values, rounded.
        n_rounded: How many voxels are not integers, but so close to one that it must be meant.
        example: One of them, with all its digits.
        is_blurred: Whether the values between the lowest and the highest seem to be blurred edges.
        refusal: Why it is not a mask, and what to do; there are no values then.
    """

    values: frozenset[int] = frozenset()
    n_rounded: int = 0
    example: str = ""
    is_blurred: bool = False
    refusal: tuple[str, str] | None = None


def mask_values(loaded: LoadedImage) -> MaskValues:
    """Return the values of a loaded mask."""
    try:
        layer, n_rounded, example = _integers(loaded)
    except UnreadableFileError as error:
        return MaskValues(refusal=(error.problem, error.fix))
    values = values_in(layer)
    return MaskValues(values, n_rounded, example, _is_blurred(layer, values))


def integer_layer(loaded: LoadedImage) -> Array:
    """Return the mask as integers, without its channel axis.

    Raises:
        UnreadableFileError: If it holds different channels, or anything but whole numbers.
    """
    return _integers(loaded)[0]


def rounded_layer(loaded: LoadedImage) -> tuple[Array, str]:
    """Return the mask as `integer_layer` does, and what was rounded; "" if nothing."""
    layer, n_rounded, example = _integers(loaded)
    return layer, f"{n_rounded} voxels are not integers, e.g. {example}" if n_rounded else ""


def values_in(layer: Array) -> frozenset[int]:
    """Return the values that a mask holds."""
    if layer.dtype not in (np.bool_, np.uint8, np.uint16):
        return frozenset(int(v) for part in layer for v in np.unique(part))
    seen = np.zeros(2 ** (8 * layer.dtype.itemsize), bool)
    for part in layer:
        seen[part.astype(np.uint8) if part.dtype == bool else part] = True
    return frozenset(np.flatnonzero(seen).tolist())


def _integers(loaded: LoadedImage) -> tuple[Array, int, str]:
    """Return the mask as integers, how many voxels were rounded, and one of their values."""
    layer = _one_layer(loaded)
    if layer.dtype.kind != "f":
        return layer, 0, ""
    seen = layer if layer.dtype == np.float16 else layer.astype(np.float32, copy=False)
    with np.errstate(invalid="ignore"):
        whole = np.rint(seen)
        off = np.abs(seen - whole)  # NaN for infinities
    if not off.any():  # NaN counts as true
        return whole.astype(np.int64), 0, ""
    rounding = _ROUNDINGS * float(np.finfo(seen.dtype).eps)
    step = loaded.step if loaded.step <= _LARGEST_STEP else 0.0
    allowed = rounding * np.maximum(1, np.abs(whole)) + 0.5 * step
    odd = ~(off <= allowed)
    if odd.any():
        shown = _all_digits(layer[odd].flat[0])
        problem = f"the mask holds {np.count_nonzero(odd)} non-integer values, e.g. {shown}"
        raise UnreadableFileError(problem, "save labels, not probabilities")
    example = _all_digits(seen[off > 0].flat[0])
    return whole.astype(np.int64), int(np.count_nonzero(off)), example


def _all_digits(value: Any) -> str:
    """Show a number with as many digits as distinguish it from its neighbours."""
    return np.format_float_positional(value, unique=True, trim="0")


def _one_layer(loaded: LoadedImage) -> Array:
    first: Array = loaded.array[0]
    if all(np.array_equal(first, layer) for layer in loaded.array[1:]):
        return first
    n_layers = len(loaded.array)
    if loaded.path.name.lower().endswith(".nrrd") and loaded.array.dtype.kind in "bui":
        problem = (
            f"it holds {n_layers} layers of masks, as 3D Slicer saves a segmentation whose "
            "segments overlap"
        )
        fix = "export it as a labelmap: one layer, one integer per segment"
        raise UnreadableFileError(problem, fix)
    problem = f"the mask has {n_layers} channels that differ"
    raise UnreadableFileError(problem, "save one channel with one integer per label")


def _is_blurred(layer: Array, values: frozenset[int]) -> bool:
    """Return whether values look interpolated: thin layers, or many values with few voxels each."""
    lowest, highest = min(values), max(values)
    if len(values) < 3 or highest - lowest < len(values):
        return False
    between = (layer > lowest) & (layer < highest)
    if np.count_nonzero(between) > np.count_nonzero(layer == highest):
        return False
    return len(values) > _MANY_VALUES or not _has_interior(between)


def _has_interior(mask: Array) -> bool:
    """Return whether any voxel and both its neighbours along every axis belong to a mask."""
    inner = mask
    for axis, size in enumerate(mask.shape):
        if size >= 3:
            rows = np.moveaxis(inner, axis, 0)
            inner = np.moveaxis(rows[1:-1] & rows[:-2] & rows[2:], 0, axis)
    return bool(inner.any())
