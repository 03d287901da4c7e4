"""The segments of DICOM segmentations: names, codes and colours of a model's labels."""

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from umamba.errors import UMambaError, closest, quoted
from umamba.system.json_files import load_json
from umamba.system.path_names import listed

__all__ = ["PRIVATE_SCHEME", "Code", "Segment", "segments_of"]

PRIVATE_SCHEME = "99UMAMBA"
_LONGEST = {"value": 16, "scheme": 16, "meaning": 64}  # characters, of SH and LO
_KEYS = ("type", "category", "color", "roi_type")
_ROI_TYPES = (
    *("ORGAN", "GTV", "CTV", "PTV", "EXTERNAL", "AVOIDANCE", "CAVITY", "CONTROL", "SUPPORT"),
    *("BOLUS", "CONTRAST_AGENT", "TREATED_VOLUME", "IRRAD_VOLUME", "REGISTRATION", "FIXATION"),
)
_GOLDEN = 0.6180339887498949  # neighbouring numbers get hues that are far apart


@dataclass(frozen=True)
class Code:
    """A coded concept: the value that a coding scheme gives it, and its meaning in words."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Segment:
    """A label or region of a model.

    Attributes:
        number: Its number, from 1.
        name: Its name.
        values: The values of its voxels in the label map; several of a region.
        kind: The code of what it is.
        category: The code of the kind of thing that this is.
        color: Red, green and blue, from 0 to 255.
        roi_type: RT ROI Interpreted Type; "" if it is not known.
    """

    number: int
    name: str
    values: tuple[int, ...]
    kind: Code
    category: Code = field(default=Code("segment", PRIVATE_SCHEME, "Segment of a model"))
    color: tuple[int, int, int] = (255, 0, 0)
    roi_type: str = ""


def segments_of(
    labels: Mapping[str, Sequence[int]], codes: Path | None = None
) -> tuple[Segment, ...]:
    """Return a segment for each label, with its code and colour.

    Args:
        labels: The values of each label or region, without the background and what is ignored.
        codes: A JSON file that maps names of labels to `type` and `category`, each with `value`,
            `scheme` and `meaning`, to `color` (red, green, blue) and to `roi_type`; all may be
            missing. A label without a type gets a code of a private scheme.

    Raises:
        UMambaError: If the file is not of that kind, or names a label that does not exist.
    """
    given = {} if codes is None else load_json(codes)
    for name, entry in given.items():
        _check_entry(name, entry, labels, codes)
    return tuple(
        _segment(number, name, tuple(values), given.get(name, {}), codes)
        for number, (name, values) in enumerate(labels.items(), start=1)
    )


def _check_entry(
    name: str, entry: Any, labels: Mapping[str, Sequence[int]], codes: Path | None
) -> None:
    if name not in labels:
        msg = (
            f"{codes} names {quoted(name)}, which is not a label of the model; "
            f"{closest(name, labels)}its labels are {listed(labels)}"
        )
        raise UMambaError(msg)
    unknown = [key for key in entry if key not in _KEYS] if isinstance(entry, dict) else ["it"]
    if unknown:
        msg = (
            f"{codes}: of {quoted(name)}, {quoted(unknown[0])} is not understood; give an object "
            f"with {', '.join(_KEYS)}, as needed"
        )
        raise UMambaError(msg)


def _segment(
    number: int, name: str, values: tuple[int, ...], entry: Mapping[str, Any], codes: Path | None
) -> Segment:
    private = Code(str(number), PRIVATE_SCHEME, name[: _LONGEST["meaning"]])
    where = f"{codes}: {quoted(name)}"
    return Segment(
        number=number,
        name=name,
        values=values,
        kind=_code(entry["type"], f"{where}, type") if "type" in entry else private,
        category=_code(entry["category"], f"{where}, category")
        if "category" in entry
        else Segment.category,
        color=_color(entry["color"], where) if "color" in entry else _usual_color(number),
        roi_type=_roi_type(entry.get("roi_type", ""), where),
    )


def _code(entry: Any, where: str) -> Code:
    """Read a code.

    Raises:
        UMambaError: If it is not one, or too long for DICOM.
    """
    texts = [entry.get(key) for key in _LONGEST] if isinstance(entry, dict) else [None]
    fits = all(
        isinstance(text, str) and 0 < len(text) <= most and "\\" not in text
        for text, most in zip(texts, _LONGEST.values(), strict=False)
    )
    if not fits:
        example = '{"value": "10200004", "scheme": "SCT", "meaning": "Liver"}'
        msg = (
            f"{where}: {quoted(entry)} is not a code of DICOM; give one such as {example}, of at "
            "most 16, 16 and 64 characters"
        )
        raise UMambaError(msg)
    return Code(*texts)


def _color(entry: Any, where: str) -> tuple[int, int, int]:
    try:
        red, green, blue = entry
        if all(type(part) is int and 0 <= part <= 255 for part in entry):
            return red, green, blue
    except (TypeError, ValueError):
        pass
    msg = f"{where}: color {quoted(entry)} is not three whole numbers from 0 to 255"
    raise UMambaError(msg)


def _usual_color(number: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb((number - 1) * _GOLDEN % 1, 0.75, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _roi_type(entry: Any, where: str) -> str:
    if entry in ("", *_ROI_TYPES):
        return str(entry)
    msg = f"{where}: roi_type {quoted(entry)} does not exist; choose one of {', '.join(_ROI_TYPES)}"
    raise UMambaError(msg)
