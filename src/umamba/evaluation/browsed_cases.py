"""Cases with images and masks for the page of a report."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from umamba.datasets.checks import Case, short
from umamba.evaluation.case_images import AXIS_LETTERS, CaseVolumes, find_images, read_volumes
from umamba.evaluation.cases import CaseEvaluation
from umamba.evaluation.folders import FolderEvaluation
from umamba.evaluation.mask_files import find_pairs
from umamba.images.contents import UnreadableFileError
from umamba.reporting.page.case_data import CaseData, Channel, Mask, encode_case, encode_problem
from umamba.reporting.page.content import CaseBrowser
from umamba.system.path_names import listed

__all__ = ["BrowsedCase", "BrowsedMask", "browse_cases", "evaluated_cases"]

_MOST_BYTES = 20_000_000  # of the image of a case, as a browser can load and keep it
_MOST_TOTAL = 2_000_000_000  # of all images together
_TILTED = 5.0  # degrees, from which letters are said to be approximate


@dataclass(frozen=True)
class BrowsedMask:
    """A segmentation of a case.

    Attributes:
        model: Name of the model.
        path: Its file.
        seed: Seed of the training; `None` if it has none.
        dice: Dice by label; "" stands for the mean over labels.
    """

    model: str
    path: Path
    seed: int | None = None
    dice: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class BrowsedCase:
    """A case: its files, and the segmentations to show.

    Attributes:
        case: Images and reference; `None` if there are none.
        masks: The segmentations.
        masks_alone: Whether no image was asked for, so that none is missing.
    """

    case: Case | None
    masks: Sequence[BrowsedMask]
    masks_alone: bool = False


def browse_cases(
    cases: Mapping[str, BrowsedCase],
    labels: Mapping[str, tuple[int, ...]],
    *,
    unit: str = "mm",
    spacing: tuple[float, ...] | None = None,
    ignore: int | None = None,
    channels: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> CaseBrowser:
    """Return the cases for a page; files are read one case at a time when the page is written.

    Args:
        cases: Cases by name.
        labels: The values of each label.
        unit: Unit of the spacing.
        spacing: Distance between voxels along each axis, for masks whose format has none.
        ignore: The value in references that is not a label.
        channels: Names of the channels.
        notes: Remarks on all cases for the reader.
    """
    index = {
        "cases": list(cases),
        "labels": [[name, list(values)] for name, values in labels.items()],
        "unit": unit,
        "notes": list(notes),
    }
    most_bytes = min(_MOST_BYTES, _MOST_TOTAL // max(len(cases), 1))
    shown = _Shown(ignore, tuple(channels), most_bytes, spacing)
    return CaseBrowser(index, ((name, _encode(case, shown)) for name, case in cases.items()))


def evaluated_cases(
    evaluation: FolderEvaluation, predictions: Path, references: Path, images: Path | None = None
) -> CaseBrowser:
    """Return the cases of an evaluation: predictions, references and, if given, images.

    Args:
        evaluation: The evaluation.
        predictions: The folder of the predictions.
        references: The folder of the references.
        images: The folder of the images, as `find_images` finds them; `None` shows masks alone.

    Raises:
        EvaluationError: If the folders have changed so much that no case is left.
    """
    found = find_images(images, evaluation.cases) if images is not None else {}
    cases = {
        pair.case: BrowsedCase(
            Case(pair.case, found.get(pair.case, ()), pair.reference),
            (BrowsedMask("prediction", pair.prediction, None, _dice(evaluation.cases[pair.case])),),
            masks_alone=images is None,
        )
        for pair in find_pairs(predictions, references).pairs
        if pair.case in evaluation.cases
    }
    labels = {
        name: (values,) if isinstance(values, int) else tuple(values)
        for name, values in (evaluation.labels or {}).items()
    }
    return browse_cases(
        cases,
        labels,
        unit=evaluation.unit,
        spacing=evaluation.spacing,
        ignore=evaluation.settings.ignore,
        notes=("Masks are shown without images, as none were named (--images).",) * (not images),
    )


def _dice(case: CaseEvaluation) -> dict[str, float | None]:
    """Return Dice by label; if there is one label only, it is that of the case as well."""
    values = {found.label: found.metrics.get("dice", math.nan) for found in case.labels}
    known = {name: dice if math.isfinite(dice) else None for name, dice in values.items()}
    return known | {"": next(iter(known.values()))} if len(known) == 1 else known


@dataclass(frozen=True)
class _Shown:
    """The part of `browse_cases`' arguments that is the same for each case."""

    ignore: int | None
    channels: tuple[str, ...]
    most_bytes: int
    spacing: tuple[float, ...] | None


def _encode(browsed: BrowsedCase, shown: _Shown) -> bytes:
    if browsed.case is None:
        return encode_problem("The case is not in the raw data set any more.")
    files = {str(number): mask.path for number, mask in enumerate(browsed.masks)}
    try:
        found = read_volumes(browsed.case, files, shown.most_bytes, shown.spacing)
    except UnreadableFileError as error:
        return encode_problem(_names_only(f"{error}.", browsed))
    masks = [
        Mask(mask.model, found.predictions[number], mask.seed, mask.dice)
        for number, mask in zip(files, browsed.masks, strict=True)
        if number in found.predictions
    ]
    data = CaseData(
        channels=_channels(found, shown.channels),
        reference=found.reference,
        masks=masks,
        spacing=found.spacing,
        letters=AXIS_LETTERS if found.oriented else (),
        notes=tuple(_notes(found, browsed)),
        ignore=shown.ignore,
    )
    try:
        return encode_case(data)
    except (ArithmeticError, MemoryError, ValueError) as error:  # not worth losing the page
        return encode_problem(f"The case cannot be shown: {error}.")


def _names_only(text: str, browsed: BrowsedCase) -> str:
    """Return text in which files are without their whole paths, as pages are sent to others."""
    case = browsed.case
    paths = [mask.path for mask in browsed.masks]
    if case is not None:
        paths += [*case.images, *([case.mask] if case.mask is not None else ())]
    for path in paths:
        text = text.replace(str(path), short(path))
    return text


def _channels(found: CaseVolumes, names: tuple[str, ...]) -> list[Channel]:
    made: list[Channel] = []
    for number, values in enumerate(found.channels):
        name = names[number] if number < len(names) else f"channel {number}"
        if values.ndim == found.reference.ndim:
            made.append(Channel(name, values))
        elif (values == values[..., :1]).all():  # a grey image saved with colours
            made.append(Channel("grey values", values[..., 0]))
        elif values.dtype == np.uint8:
            made.append(Channel("colours", values, colours=True))
        else:
            made += [
                Channel(colour, values[..., i]) for i, colour in enumerate(("red", "green", "blue"))
            ]
    return made


def _notes(found: CaseVolumes, browsed: BrowsedCase) -> Iterator[str]:
    if found.problem and not browsed.masks_alone:
        yield _names_only(f"The image cannot be shown: {found.problem}.", browsed)
    yield from found.notes
    missing = [m.model for i, m in enumerate(browsed.masks) if str(i) not in found.predictions]
    if missing:
        yield f"There is no segmentation file of {listed(dict.fromkeys(missing))}."
    if max(found.steps, default=1) > 1:
        kept = " x ".join(map(str, found.steps))
        yield (
            f"Too large for a page: one voxel in {kept} is shown, so that small objects may be "
            "missing here. Scores are those of all voxels."
        )
    if found.oriented and found.tilt > _TILTED:
        yield (
            f"The volume is tilted by {found.tilt:.0f} degrees against the axes of the body; its "
            "slices are shown as stored, and letters name the nearest direction."
        )
