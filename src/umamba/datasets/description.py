"""The contents of a `dataset.json`: channels, labels, regions, files and their reader."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umamba.datasets.checks import Problem
from umamba.errors import DatasetError
from umamba.images.file_names import ENDINGS
from umamba.images.formats import READERS
from umamba.system.path_names import listed

__all__ = [
    "DescribedLabels",
    "channel_names",
    "check_description",
    "check_trained_regions",
    "file_ending",
    "named_channels",
    "names_by_values",
    "read_labels",
    "reversed_labels",
    "values_of",
]

_MOST_LABELS = 2**16  # of masks of 16 bits
# Without these, nnU-Net's own converter fails.
_OLD_NNUNET_KEYS = {"tensorImageSize", "numTest", "training", "test", "modality"}


@dataclass(frozen=True)
class DescribedLabels:
    """The labels of a `dataset.json`.

    Attributes:
        regions: The values of every label or region in order, without background and ignore.
        ignore: The value that marks voxels to be left out.
        has_regions: Whether nnU-Net trains regions, because a label has several values.
    """

    regions: Mapping[str, tuple[int, ...]]
    ignore: int | None
    has_regions: bool

    @property
    def values(self) -> list[int]:
        """All values that masks may hold, without the ignore label's."""
        return sorted({0}.union(*self.regions.values()))

    def flat(self) -> dict[str, int]:
        """Give every value a name of its own: a mask holds values, not regions."""
        names = {
            value: "+".join(name for name, values in self.regions.items() if value in values)
            for value in self.values
            if value
        }
        shared = Counter(names.values())
        return {f"{n}({v})" if shared[n] > 1 else n: v for v, n in names.items()}

    def holders(self, value: int) -> frozenset[str]:
        """Return the names of all regions that a value belongs to."""
        return frozenset(name for name, values in self.regions.items() if value in values)

    def painted(self, value: int, order: Iterable[int]) -> int:
        """Return the value that nnU-Net writes where it predicts just the regions of a value."""
        result = 0
        for members, written in zip(self.regions.values(), order, strict=False):
            if value in members:
                result = written
        return result

    def misread(self, order: Iterable[int]) -> dict[int, int]:
        """Return the values that perfect predictions would turn into a value of other regions."""
        painted = {value: self.painted(value, order) for value in self.values}
        return {v: back for v, back in painted.items() if self.holders(v) != self.holders(back)}

    def merged(self, order: Iterable[int], found: Iterable[int]) -> dict[int, int]:
        """Return the values that would turn into another value of exactly the same regions."""
        painted = {value: self.painted(value, order) for value in found}
        return {
            value: back
            for value, back in painted.items()
            if value != back and self.holders(value) == self.holders(back)
        }


def values_of(label: object) -> tuple[int, ...]:
    """Return the values of a label or region, be it 1, "1", [1, 2] or "(1, 2)"."""
    return tuple(int(number) for number in re.findall(r"\d+", str(label), re.ASCII))


def names_by_values(dataset_json: Mapping[str, Any]) -> dict[tuple[int, ...], str]:
    """Return the names of labels and regions by their values: nnU-Net's summary has only those."""
    return {values_of(value): name for name, value in dataset_json["labels"].items()}


def channel_names(dataset_json: Mapping[str, Any]) -> list[str]:
    """Return the names of the channels; nnU-Net v1 calls them modalities."""
    return list((dataset_json.get("channel_names") or dataset_json["modality"]).values())


def read_labels(
    description: Mapping[str, Any], file: Path, *, for_training: bool = True
) -> DescribedLabels:
    """Read the labels of a `dataset.json`.

    Args:
        description: Its content.
        file: The file, for messages.
        for_training: Whether background and a label besides it are required, as nnU-Net needs.

    Raises:
        DatasetError: If they are missing or malformed.
    """
    labels = description.get("labels")
    is_whole = isinstance(labels, dict) and _is_zero(labels.get("background")) and len(labels) > 1
    if not isinstance(labels, dict) or (for_training and not is_whole):
        msg = (
            f"{file}: labels is {labels!r}; nnU-Net needs the value of every name, and background, "
            'e.g. {"background": 0, "tumour": 1}'
        )
        raise DatasetError(msg)
    if len(labels) > _MOST_LABELS:
        most = f"more than {_MOST_LABELS}"
        msg = f"{file}: it has {len(labels)} labels, {most}; name only those in the masks"
        raise DatasetError(msg)
    values: dict[str, tuple[int, ...]] = {}
    for name, given in labels.items():
        members = given if isinstance(given, list) else [given]
        if not members or any(type(value) is not int for value in members):
            msg = f"{file}: label {name} is {given!r}; give an integer, or a list of them"
            raise DatasetError(msg)
        values[name] = tuple(members)
    has_regions = any(len(members) > 1 for members in values.values())
    ignore = values.pop("ignore", None)
    if ignore is not None and isinstance(labels["ignore"], list):
        msg = f"{file}: label ignore is {labels['ignore']!r}; give it one integer"
        raise DatasetError(msg)
    if values.get("background") == (0,):
        del values["background"]
    return DescribedLabels(values, ignore[0] if ignore else None, has_regions)


def _is_zero(value: Any) -> bool:
    return type(value) is int and value == 0


def reversed_labels(description: Mapping[str, Any]) -> dict[str, int] | None:
    """Return the labels of nnU-Net 1, which maps values to names, by name; else `None`."""
    labels = description.get("labels")
    if not isinstance(labels, dict) or not labels:
        return None
    if not all(re.fullmatch(r"\d{1,6}", key, re.ASCII) for key in labels):
        return None
    if not all(isinstance(name, str) for name in labels.values()):
        return None
    return {name: int(value) for value, name in labels.items()}


def check_description(description: Mapping[str, Any], file: Path) -> list[Problem]:
    """Check labels, regions and reader, as far as that needs no image.

    Args:
        description: Content of a `dataset.json`.
        file: The file, for messages.

    Returns:
        The problems.

    Raises:
        DatasetError: If its format is an older one, or labels or channels cannot be read.
    """
    _check_format(description, file)
    named_channels(description, file)
    labels = read_labels(description, file)
    return [
        *_check_values(labels, file),
        *_check_order(labels, description.get("regions_class_order"), file),
        *_check_reader(description, file),
    ]


def named_channels(description: Mapping[str, Any], file: Path) -> tuple[str, ...]:
    """Return the names of the channels in the order of their numbers.

    Raises:
        DatasetError: If they are not numbered 0, 1, 2, ...
    """
    named = description.get("channel_names")
    names = named if isinstance(named, dict) else {}
    wanted = [str(n) for n in range(len(names))]
    if not names or set(names) != set(wanted):
        missing = [n for n in wanted if n not in names]
        hole = f" without number {listed(missing)}" if missing else ""
        msg = (
            f"{file}: channel_names is {named!r}{hole}; nnU-Net needs the name of every channel by "
            'its number, without gaps, e.g. {"0": "T1", "1": "T2"}'
        )
        raise DatasetError(msg)
    return tuple(str(names[n]) for n in wanted)


def file_ending(description: Mapping[str, Any], file: Path) -> str:
    """Return the ending of all images and masks.

    Raises:
        DatasetError: If we cannot read such files.
    """
    ending = description.get("file_ending")
    if isinstance(ending, str) and ending.lower() in ENDINGS:
        return ending
    msg = f"{file}: file_ending is {ending!r}; these can be checked: {' '.join(ENDINGS)}"
    raise DatasetError(msg)


def _check_values(labels: DescribedLabels, file: Path) -> list[Problem]:
    problems = []
    for name, members in labels.regions.items():
        if 0 in members:
            text, fix = f"label {name} holds 0, which is the background", "remove 0 from it"
            problems.append(Problem("", file, text, fix))
        if labels.ignore in members:
            text = f"label {name} holds {labels.ignore}, which is the value to ignore"
            problems.append(Problem("", file, text, "remove it from one of the two"))
    used = [*labels.values, *([] if labels.ignore is None else [labels.ignore])]
    if not problems and used != list(range(len(used))):
        text = f"the values of the labels are {', '.join(map(str, sorted(used)))}"
        fix = "nnU-Net needs 0, 1, 2, ... without gaps, and the highest one for ignore"
        problems.append(Problem("", file, text, fix))
    return problems


def _check_order(
    labels: DescribedLabels, order: Any, file: Path, *, trained: bool = False
) -> list[Problem]:
    """Check that values survive when nnU-Net turns them into regions and back."""
    if not labels.has_regions:
        return []
    n_regions = len(labels.regions)
    if order is None:
        text = "labels has regions, but regions_class_order is missing"
    elif not isinstance(order, list) or any(type(value) is not int for value in order):
        text = f"regions_class_order is {order!r}, not a list of integers"
    elif len(order) != n_regions:
        text = f"regions_class_order {order} has {len(order)} values for {n_regions} regions"
    else:
        misread = labels.misread(order)
        if not misread:
            return []
        wrong = listed(f"{value} as {back}" for value, back in misread.items())
        text = (
            f"regions_class_order {order} does not restore the values of the masks: from perfect "
            f"regions nnU-Net would write {wrong}"
        )
    return [Problem("", file, text, _fitting_order(labels, trained=trained))]


def check_trained_regions(description: Mapping[str, Any], file: Path) -> str:
    """Check in which order a trained model's regions are written; it may be corrected any time.

    Args:
        description: The `dataset.json` of the model, whose values were checked.
        file: The file, for messages.

    Returns:
        The problem, and what to do; "" if there is none.

    Raises:
        DatasetError: If the labels cannot be read.
    """
    order = description.get("regions_class_order")
    if isinstance(order, list):  # nnU-Net takes "1" for 1
        order = [int(value) for value in order]
    given = {name: _as_integers(value) for name, value in description["labels"].items()}
    labels = read_labels({"labels": given}, file, for_training=False)
    problems = _check_order(labels, order, file, trained=True)
    return str(problems[0]) if problems else ""


def _as_integers(value: Any) -> Any:
    return [int(member) for member in value] if isinstance(value, list) else int(value)


def _fitting_order(labels: DescribedLabels, *, trained: bool) -> str:
    """Name an order that restores every value, if there is one; a model's channels stay."""
    by_size = dict(sorted(labels.regions.items(), key=lambda item: -len(set(item[1]))))
    for regions in (labels.regions,) if trained else (labels.regions, by_size):
        ordered = DescribedLabels(regions, labels.ignore, labels.has_regions)
        places = range(1, len(regions) + 1)
        last = {value: ordered.painted(value, places) for value in labels.values}
        order = [
            min((value for value in last if last[value] == place), default=min(members))
            for place, members in zip(places, regions.values(), strict=True)
        ]
        if not ordered.misread(order):
            listing = "" if regions is labels.regions else f"list them as {listed(regions)} and "
            return f'{listing}write "regions_class_order": {order}'
    if trained:
        return "no order would: list larger regions first, and train again"
    return "no order would: of two regions that overlap, one must hold the other"


def _check_reader(description: Mapping[str, Any], file: Path) -> list[Problem]:
    reader, ending = (
        description.get("overwrite_image_reader_writer"),
        description.get("file_ending"),
    )
    if reader in (None, "None") or not isinstance(ending, str):
        return []
    fitting = [name for name, endings in READERS.items() if ending.lower() in endings]
    if reader in fitting or not fitting:
        return []
    known = isinstance(reader, str) and reader in READERS
    text = f"overwrite_image_reader_writer is {reader!r}, which " + (
        f"does not read {ending}" if known else "is not a reader of nnU-Net"
    )
    fix = f"remove it, or name one that reads {ending}: {', '.join(fitting)}"
    return [Problem("", file, text, fix)]


def _check_format(description: Mapping[str, Any], file: Path) -> None:
    """Refuse the `dataset.json` of nnU-Net 1 and of the Decathlon, and show how to convert it."""
    flipped = reversed_labels(description)
    if "channel_names" in description or "modality" not in description:
        if flipped is None:
            return
        msg = (
            f"{file}: `labels` maps values to names, as in nnU-Net 1; nnU-Net 2 needs names "
            f'mapped to values: write "labels": {json.dumps(flipped, ensure_ascii=False)}'
        )
        raise DatasetError(msg)
    folder = file.parent
    name = _free_name(folder)
    command = ["umamba", "dataset", name, "--raw", str(folder.parent)]
    command += ["--images", str(folder / "imagesTr"), "--masks", str(folder / "labelsTr")]
    named = description.get("modality")
    if isinstance(named, dict) and not any("=" in str(channel) for channel in named.values()):
        command += ["--channels", *map(str, named.values())]
    if flipped and len(flipped) == len(description["labels"]):
        command += ["--labels", *(f"{label}={value}" for label, value in flipped.items())]
    others = f"nnUNetv2_convert_MSD_dataset -i TaskXX_{name[11:]} (the Decathlon's own folder)"
    if description.keys() >= _OLD_NNUNET_KEYS:
        others = shlex.join(["nnUNetv2_convert_old_nnUNet_dataset", str(folder), name])
    msg = (
        f"{file}: this is the format of nnU-Net 1 and of the Medical Segmentation Decathlon, and "
        f"nnU-Net 2 needs another one. Convert the data set with: {shlex.join(command)}  or with "
        f"nnU-Net's own: {others}"
    )
    raise DatasetError(msg)


def _free_name(folder: Path) -> str:
    """Return a name for the converted data set, with a number above all others."""
    numbers = [
        int(path.name[7:10])
        for path in folder.parent.glob("Dataset[0-9][0-9][0-9]_*")
        if path.name[7:10].isascii()
    ]
    return f"Dataset{min(max(numbers, default=0) + 1, 999):03d}_{folder.name[11:] or 'Converted'}"
