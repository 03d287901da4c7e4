"""Images and masks of a case as bytes that a page's scripts read.

A gzip stream of: the length of a header (4 bytes), the header as JSON, and arrays, each beginning
at a multiple of 8 bytes. Numbers are little-endian.
"""

import gzip
import io
import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "CaseData",
    "Channel",
    "Mask",
    "encode_case",
    "encode_problem",
    "read_header",
    "with_dice",
]

Array = npt.NDArray[Any]

_ALIGNED = 8  # bytes
_LEVEL = 6  # of gzip; higher ones take longer, and save 1 %
_DISPLAYED = (0.5, 99.5)  # percentiles of grey values shown as black and white
_MOST_GREY = 65_535
_MOST_SHORT = 255
_SAMPLED = 200_000  # values of which percentiles are taken


@dataclass(frozen=True)
class Channel:
    """A channel of an image.

    Attributes:
        name: Its name.
        values: Grey values, (z, y, x) or (y, x), or colours of 8 bits on one axis more, the last.
        colours: Whether they are colours.
    """

    name: str
    values: Array
    colours: bool = False


@dataclass(frozen=True)
class Mask:
    """A segmentation.

    Attributes:
        model: Name of the model.
        values: Integers, (z, y, x) or (y, x).
        seed: Seed of the training; `None` if it has none.
        dice: Dice by label; "" stands for the mean over labels.
    """

    model: str
    values: Array
    seed: int | None = None
    dice: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class CaseData:
    """A case as it is shown.

    Attributes:
        channels: Its channels; there may be none.
        reference: The reference mask.
        masks: Masks of the models.
        spacing: Distance between voxels along each axis.
        letters: What each axis runs from and to, such as inferior and superior; may be empty.
        notes: Remarks for the reader.
        ignore: The value in the reference that is not a label.
    """

    channels: Sequence[Channel]
    reference: Array
    masks: Sequence[Mask]
    spacing: tuple[float, ...]
    letters: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    ignore: int | None = None


def encode_case(case: CaseData) -> bytes:
    """Return a case as bytes.

    Masks are kept without loss, as are images of integers that differ by less than 65,536. Other
    images are rounded to 65,536 steps, which the notes say.

    Args:
        case: Masks and images of one shape.

    Raises:
        ValueError: If the values of an image span more than numbers can express.
        ArithmeticError: If they differ by less.
    """
    arrays: list[Array] = []
    notes = list(case.notes)
    channels = []
    for channel in case.channels:
        described, stored, said = _stored_channel(channel)
        channels.append(described)
        arrays.append(stored)
        notes.extend(said)
    masks = [{"model": m.model, "seed": m.seed, "dice": dict(m.dice)} for m in case.masks]
    arrays.append(_stored_mask(case.reference))
    arrays.extend(_stored_mask(mask.values) for mask in case.masks)
    flat = case.reference.ndim == 2
    header = {
        "shape": [1] * flat + list(case.reference.shape),
        "spacing": [1.0] * flat + [float(mm) for mm in case.spacing],
        "letters": [list(pair) for pair in case.letters],
        "ignore": case.ignore,
        "channels": channels,
        "masks": masks,
        "notes": notes,
    }
    return _packed(header, arrays)


def encode_problem(problem: str) -> bytes:
    """Return the bytes of a case that cannot be shown.

    Args:
        problem: The reason.
    """
    return _packed({"problem": problem}, [])


def read_header(data: bytes) -> dict[str, Any]:
    """Return what describes an encoded case, without its images.

    Args:
        data: What `encode_case` or `encode_problem` returned; anything else raises `OSError`,
            `ValueError`, `EOFError`, `struct.error` or `zlib.error`.
    """
    with gzip.open(io.BytesIO(data)) as stream:
        (length,) = struct.unpack("<I", stream.read(4))
        header: dict[str, Any] = json.loads(stream.read(length))
    return header


def with_dice(
    data: bytes, dice: Mapping[tuple[str, int | None], Mapping[str, float | None]]
) -> bytes:
    """Return an encoded case with other Dice, as after another evaluation.

    Args:
        data: What `encode_case` or `encode_problem` returned.
        dice: Dice by label of each mask, by its model and seed; other masks keep theirs.
    """
    header = read_header(data)
    masks = [
        {**mask, "dice": dict(dice.get((mask["model"], mask["seed"]), mask["dice"]))}
        for mask in header.get("masks", ())
    ]
    if masks == header.get("masks", []):
        return data
    content = gzip.decompress(data)
    (length,) = struct.unpack_from("<I", content)
    return _compressed({**header, "masks": masks}, [content[4 + length :]])


def _packed(header: Mapping[str, Any], arrays: Sequence[Array]) -> bytes:
    kinds = [array.dtype.str.lstrip("|<") for array in arrays]
    offsets, at = [], 0
    for array in arrays:
        offsets.append(at)
        at += -(-array.nbytes // _ALIGNED) * _ALIGNED
    full = {**header, "arrays": [list(pair) for pair in zip(kinds, offsets, strict=True)]}
    return _compressed(full, _parts(arrays))


def _compressed(header: Mapping[str, Any], parts: Iterable[bytes]) -> bytes:
    text = json.dumps(header, allow_nan=False).encode()
    text += b" " * (-(len(text) + 4) % _ALIGNED)
    whole = b"".join([struct.pack("<I", len(text)), text, *parts])
    return gzip.compress(whole, _LEVEL, mtime=0)


def _parts(arrays: Sequence[Array]) -> Iterator[bytes]:
    for array in arrays:
        yield array.tobytes()
        yield b"\0" * (-array.nbytes % _ALIGNED)


def _stored_channel(channel: Channel) -> tuple[dict[str, Any], Array, list[str]]:
    """Return what describes a channel, its stored numbers, and remarks."""
    values, notes = channel.values, list[str]()
    if channel.colours:
        return {"name": channel.name, "colours": True}, np.ascontiguousarray(values), notes
    finite = np.isfinite(values)
    n_odd = int(values.size - np.count_nonzero(finite))
    if n_odd:
        notes.append(f"{n_odd:,} values of {channel.name} are not finite; they are shown as black.")
    known = values[finite].astype(np.float64) if n_odd < values.size else np.zeros(1)
    low, high = float(known.min()), float(known.max())
    if not math.isfinite(high - low):
        msg = f"{channel.name} has values from {low:.3g} to {high:.3g}, which cannot be drawn"
        raise ValueError(msg)
    whole = high - low <= _MOST_GREY and bool((known == np.rint(known)).all())
    slope = 1.0 if whole or high == low else (high - low) / _MOST_GREY
    if slope != 1.0:
        notes.append(f"{channel.name} is rounded to steps of {slope:.3g}.")
    stored = np.zeros(values.shape, "u1" if (high - low) / slope <= _MOST_SHORT else "<u2")
    if n_odd < values.size:
        stored[finite] = np.rint((known - low) / slope)
    shown = np.percentile(known[:: max(known.size // _SAMPLED, 1)], _DISPLAYED)
    described = {
        "name": channel.name,
        "slope": slope,
        "intercept": low,
        "range": [low, high],
        "shown": [float(edge) for edge in shown],
    }
    return described, stored, notes


def _stored_mask(values: Array) -> Array:
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    kind = "<i4" if low < 0 or high > _MOST_GREY else "u1" if high <= _MOST_SHORT else "<u2"
    return np.ascontiguousarray(values.astype(np.dtype(kind)))
