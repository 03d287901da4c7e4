"""The facts about one file of a data set that are kept once its voxels are dropped."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.images.contents import Geometry, HeaderConflict
from umamba.images.files import read_image
from umamba.images.mask_values import MaskValues, mask_values

__all__ = ["ChannelFacts", "FileFacts"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ChannelFacts:
    """One channel: the value of its voxels if all have the same, and how many are odd."""

    constant: float | None
    n_nan: int
    n_infinite: int

    @classmethod
    def of(cls, channel: Array) -> "ChannelFacts":
        """Take the facts from the voxels."""
        first = channel.flat[0]
        constant = float(first) if all((part == first).all() for part in channel) else None
        if channel.dtype.kind != "f" or np.isfinite(channel).all():
            return cls(constant, 0, 0)
        return cls(constant, int(np.isnan(channel).sum()), int(np.isinf(channel).sum()))


@dataclass(frozen=True)
class FileFacts:
    """The facts about a file that its checks need.

    Attributes:
        departure: See `LoadedImage`.
        channels: One entry for each.
        has_equal_channels: Whether there are several, and all hold the same values.
        digest: A digest of an image; equal for files in which nnU-Net finds the same voxels.
        mask: The values of a mask; `None` for images.
    """

    path: Path
    shape: tuple[int, ...]
    n_channels: int
    dtype: str
    geometry: Geometry | None
    departure: str
    notes: tuple[str, ...]
    odd_spacing: tuple[float, ...] | None
    conflicts: tuple[HeaderConflict, ...]
    channels: tuple[ChannelFacts, ...]
    has_equal_channels: bool
    digest: str
    mask: MaskValues | None

    @classmethod
    def read(cls, path: Path, *, is_mask: bool = False, reader: str | None = None) -> "FileFacts":
        """Read a file; arguments and errors are those of `read_image`."""
        loaded = read_image(path, is_mask=is_mask, reader=reader)
        array = loaded.array
        return cls(
            path=loaded.path,
            shape=array.shape[1:],
            n_channels=len(array),
            dtype=str(array.dtype),
            geometry=loaded.geometry,
            departure=loaded.departure,
            notes=loaded.notes,
            odd_spacing=loaded.odd_spacing,
            conflicts=loaded.conflicts,
            channels=() if is_mask else tuple(map(ChannelFacts.of, array)),
            has_equal_channels=len(array) > 1 and _are_equal(array),
            digest="" if is_mask else _digest(array),
            mask=mask_values(loaded) if is_mask else None,
        )

    @property
    def constant(self) -> float | None:
        """The value of all voxels of all channels, if they have the same; else `None`."""
        values = {channel.constant for channel in self.channels}
        return values.pop() if len(values) == 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: all but the path, which says nothing about the content."""
        content = asdict(self)
        del content["path"]
        if self.mask is not None:
            content["mask"]["values"] = sorted(self.mask.values)
        return content

    @classmethod
    def from_dict(cls, path: Path, content: Mapping[str, Any]) -> "FileFacts":
        """Return the facts that `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: If it did not write them.
        """
        given = {key: _tuples(value) for key, value in content.items()}
        geometry, mask = content["geometry"], content["mask"]
        given["geometry"] = geometry and Geometry(**_tuples(geometry))
        given["conflicts"] = tuple(HeaderConflict(**one) for one in content["conflicts"])
        given["channels"] = tuple(ChannelFacts(**one) for one in content["channels"])
        given["mask"] = mask and MaskValues(
            **{**_tuples(mask), "values": frozenset(mask["values"])}
        )
        return cls(path=path, **given)


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(part) for key, part in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _are_equal(array: Array) -> bool:
    return all(np.array_equal(array[0], channel) for channel in array[1:])


def _digest(array: Array) -> str:
    """Hash shape and voxels as float32, which nnU-Net makes of them, a slice at a time."""
    content = hashlib.blake2b(repr(array.shape).encode(), digest_size=16)
    for channel in array:
        for part in channel:
            content.update(np.ascontiguousarray(part, dtype=np.float32).data)
    return content.hexdigest()
