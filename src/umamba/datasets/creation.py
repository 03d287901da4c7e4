"""Make a checked nnU-Net raw data set from a folder of images and a folder of masks."""

import gzip
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.datasets.cases import FileNaming, FoundCases, find_cases, other_files
from umamba.datasets.checks import (
    CaseFacts,
    DatasetProblemsError,
    Problem,
    errors_of,
    inspect_case,
)
from umamba.datasets.comparison import check_across, check_channel_count
from umamba.datasets.imaged_cases import are_dicom, paired_series
from umamba.datasets.labels import LabelRules
from umamba.dicom.roi_rules import RoiRules
from umamba.dicom.studies import StudyOptions
from umamba.errors import DatasetError
from umamba.images.checked_files import CheckedFiles, Reading
from umamba.images.colours import DROPPED_ALPHA_NOTE
from umamba.images.contents import Geometry, UnreadableFileError
from umamba.images.facts import FileFacts
from umamba.images.file_names import GEOMETRY_ENDINGS, split_ending
from umamba.images.files import read_image, write_image
from umamba.images.formats import FORMATS
from umamba.images.mask_values import integer_layer
from umamba.system.progress import ShowProgress
from umamba.system.publishing import publication

__all__ = ["CreatedDataset", "DatasetRequest", "create_dataset"]

Array = npt.NDArray[Any]

_NAME = re.compile(r"Dataset(\d{3})_[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)


@dataclass(frozen=True)
class DatasetRequest:
    """The data set to make, and the images and masks to make it from.

    Args:
        name: `DatasetXXX_Name`.
        images: Folder of images.
        masks: Folder of masks.
        raw: nnU-Net's folder `nnUNet_raw`.
        naming: The parts of file names that tell cases and channels apart.
        rules: The meaning of the values in the masks.
        spacing: Voxel size (z, y, x) of 3D TIFF stacks, in millimetres.
        overwrite: Replace an existing data set of this name.
        studies: The options of reading DICOM.
        rois: Patterns of the names of ROIs, by label, see `RoiRules`.
        rois_may_lack: Whether a label may have no ROI in a case.
    """

    name: str
    images: Path
    masks: Path
    raw: Path
    naming: FileNaming = field(default_factory=FileNaming)
    rules: LabelRules = field(default_factory=LabelRules)
    spacing: tuple[float, float, float] | None = None
    overwrite: bool = False
    studies: StudyOptions = field(default_factory=StudyOptions)
    rois: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rois_may_lack: bool = False


@dataclass(frozen=True)
class CreatedDataset:
    """The data set that was made."""

    name: str
    path: Path
    n_cases: int
    file_ending: str
    labels: Mapping[str, int]
    channels: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Return plain data for JSON."""
        return {
            "dataset": self.name,
            "cases": self.n_cases,
            "file_ending": self.file_ending,
            "labels": dict(self.labels),
            "channels": list(self.channels),
            "path": str(self.path),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class _Layout:
    """The format of the files of the new data set."""

    ending: str
    n_dims: int
    labels: Mapping[str, int]
    channels: tuple[str, ...]
    spacing: tuple[float, float, float] | None

    @property
    def reader(self) -> str | None:
        """The name of nnU-Net's reader, where nnU-Net would pick a wrong one by the ending."""
        return FORMATS[self.ending].reader_by_dims(self.n_dims)


def create_dataset(request: DatasetRequest, progress: ShowProgress | None = None) -> CreatedDataset:
    """Check all cases, then write `imagesTr`, `labelsTr` and `dataset.json`.

    Args:
        request: The data set to make.
        progress: Wraps a sequence to show how far its iteration is; called with a title.

    Returns:
        The data set that was made.

    Raises:
        DatasetError: If anything does not fit; nothing is written then. All problems of all
            cases are in one `DatasetProblemsError`.
    """
    progress = progress or (lambda items, _title: items)
    _check_name(request)
    final = request.raw / request.name
    remedy = "add --overwrite to replace it"
    with (
        publication(final, remedy, overwrite=request.overwrite) as work,
        _found(request, progress) as found,
    ):
        facts, problems = _check_cases(request, found, progress)
        if errors := errors_of(problems):
            raise DatasetProblemsError(errors, "nothing was written")
        layout = _layout(request, facts)
        warnings = [str(problem) for problem in problems]
        warnings += _remarks(facts, layout)
        if work.replaces:
            warnings.append(f"{request.name} was replaced: plans made from it are out of date")
        _write(request, facts, layout, work.new, progress)
        work.publish()
    return CreatedDataset(
        name=request.name,
        path=request.raw / request.name,
        n_cases=len(facts),
        file_ending=layout.ending,
        labels=layout.labels,
        channels=layout.channels,
        warnings=tuple(warnings),
    )


def _check_name(request: DatasetRequest) -> None:
    match = _NAME.fullmatch(request.name)
    if match is None:
        msg = (
            f"{request.name!r} is not a name for a data set: use DatasetXXX_Name, with three "
            "digits, and letters, digits, '_', '-' or '.', e.g. Dataset101_Nuclei"
        )
        raise DatasetError(msg)
    rivals = [
        path.name
        for path in request.raw.glob(f"Dataset{match[1]}*")
        if path.is_dir() and path.name != request.name
    ]
    if rivals:
        msg = (
            f"the number {match[1]} is taken by {rivals[0]} in {request.raw}, and nnU-Net needs "
            "it to be unique; use another number"
        )
        raise DatasetError(msg)


@contextmanager
def _found(request: DatasetRequest, progress: ShowProgress) -> Iterator[FoundCases]:
    """Find the cases, whose files are there while the context lasts."""
    images, masks, naming = request.images, request.masks, request.naming
    if not (masks.is_dir() and are_dicom(images, masks, naming)):
        if request.rois or request.rois_may_lack:
            msg = f"--rois and --rois-may-lack are for masks of DICOM images; {images} holds none"
            raise DatasetError(msg)
        yield find_cases(images, masks, naming)
        return
    target = request.raw / request.name
    values = {name: value for name, value in request.rules.names.items() if value}
    rois = RoiRules(values, request.rois, request.rois_may_lack)
    with paired_series(images, masks, naming, request.studies, rois, target, progress) as found:
        yield found


def _check_cases(
    request: DatasetRequest, found: FoundCases, progress: ShowProgress
) -> tuple[list[CaseFacts], list[Problem]]:
    problems = [*found.problems, *other_files(found.others)]
    facts = []
    reading = Reading(memory=CheckedFiles(request.raw / request.name))
    for case in progress(found.cases, "checking"):
        fact, case_problems = inspect_case(case, request.naming.names, reading=reading)
        facts.append(fact)
        problems += case_problems
    if reading.memory:
        reading.memory.save()
    problems += check_across(facts)
    problems += check_channel_count(facts, len(request.naming.names), "--channels")
    return facts, problems + request.rules.check(facts)


def _layout(request: DatasetRequest, facts: Sequence[CaseFacts]) -> _Layout:
    files = [file for fact in facts for file in fact.images]
    n_dims, n_channels = len(files[0].shape), facts[0].n_channels
    default = tuple(f"channel_{n}" for n in range(n_channels))
    if n_channels == 3 and len(facts[0].images) == 1 and n_dims == 2:
        default = ("R", "G", "B")
    ending = _choose_ending(files)
    is_stack = ending in (".tif", ".tiff") and n_dims == 3
    if request.spacing and not is_stack:
        msg = f"--spacing is for 3D TIFF stacks; for these files ({ending}, {n_dims}D) "
        msg += "it is already known or not needed: leave --spacing out"
        raise DatasetError(msg)
    return _Layout(
        ending=ending,
        n_dims=n_dims,
        labels=request.rules.labels(facts),
        channels=request.naming.names or default,
        spacing=request.spacing,
    )


def _choose_ending(images: Sequence[FileFacts]) -> str:
    """Keep the images' format where nnU-Net reads it; masks follow the images."""
    endings = {split_ending(file.path)[1] for file in images}
    endings = {FORMATS[ending].saved_as or ending for ending in endings}
    if len(endings) == 1:
        return endings.pop()
    if endings & set(GEOMETRY_ENDINGS):
        return ".nii.gz"
    fits_png = all(
        file.dtype in ("bool", "uint8") or (file.dtype == "uint16" and file.n_channels == 1)
        for file in images
    )
    return ".png" if fits_png and ".png" in endings else ".tif"


def _remarks(facts: Sequence[CaseFacts], layout: _Layout) -> list[str]:
    """Return remarks on changes to the files that the user may not expect."""
    remarks = []
    n_alpha = sum(any(DROPPED_ALPHA_NOTE in f.notes for f in fact.images) for fact in facts)
    if n_alpha:
        remarks.append(f"{DROPPED_ALPHA_NOTE} (images: {n_alpha} of {len(facts)} cases)")
    rounded = [fact.mask for fact in facts if fact.mask and fact.mask.mask]
    examples = [mask.mask.example for mask in rounded if mask.mask and mask.mask.n_rounded]
    if examples:
        what = f"values such as {examples[0]}, which is rounding; they are written as integers"
        remarks.append(f"{len(examples)} of {len(facts)} masks hold {what}")
    endings = {split_ending(file.path)[1] for fact in facts for file in fact.images}
    if endings != {layout.ending}:
        remarks.append(f"images ({', '.join(sorted(endings))}) are saved as {layout.ending}")
    is_stack = layout.reader == "Tiff3DIO"
    if is_stack and not layout.spacing and any(fact.geometry is None for fact in facts):
        remarks.append("TIFF stacks hold no voxel size: 1 1 1 mm is assumed (give --spacing)")
    return remarks


def _write(
    request: DatasetRequest,
    facts: Sequence[CaseFacts],
    layout: _Layout,
    folder: Path,
    progress: ShowProgress,
) -> None:
    """Write the files of the data set into a new folder."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    try:
        for fact in progress(facts, "writing"):
            _write_images(folder / "imagesTr", fact, layout)
            _write_mask(folder / "labelsTr", fact, layout, request.rules)
    except (RuntimeError, UnreadableFileError) as error:
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        msg = f"cannot make {request.raw / request.name}: {reason[0]}; nothing was changed there"
        raise DatasetError(msg) from error
    _write_dataset_json(folder, len(facts), layout)


def _write_images(folder: Path, fact: CaseFacts, layout: _Layout) -> None:
    index = 0
    for file in fact.images:
        if _can_copy(file, fact.geometry, layout):
            _copy(file.path, folder / f"{fact.case.case_id}_{index:04d}{layout.ending}")
            index += 1
            continue
        array = read_image(file.path).array
        holds_colours = layout.ending not in GEOMETRY_ENDINGS and file.n_channels == 3
        is_colour = holds_colours and layout.n_dims == 2
        for part in [np.moveaxis(array, 0, -1)] if is_colour else array:
            target = folder / f"{fact.case.case_id}_{index:04d}{layout.ending}"
            write_image(target, np.ascontiguousarray(part), fact.geometry)
            index += 1
    _write_spacing(folder, fact, layout)


def _write_mask(folder: Path, fact: CaseFacts, layout: _Layout, rules: LabelRules) -> None:
    target = folder / f"{fact.case.case_id}{layout.ending}"
    is_unchanged = all(rules.final(value, layout.labels) == value for value in fact.values)
    mask = fact.mask
    if mask is None:
        msg = f"{fact.case.mask} could not be read"
        raise DatasetError(msg)
    if is_unchanged and _can_copy(mask, fact.geometry, layout, is_mask=True):
        _copy(mask.path, target)
    else:
        layer = integer_layer(read_image(mask.path, is_mask=True))
        write_image(target, rules.apply(layer, layout.labels), fact.geometry)
    _write_spacing(folder, fact, layout)


def _can_copy(
    file: FileFacts, geometry: Geometry | None, layout: _Layout, *, is_mask: bool = False
) -> bool:
    """Return whether nnU-Net reads the file as it is exactly as it should."""
    ending = split_ending(file.path)[1]
    if ending != layout.ending and (ending, layout.ending) != (".nii", ".nii.gz"):
        return False
    has_geometry = layout.ending in GEOMETRY_ENDINGS
    return (
        not file.departure
        and not (file.mask and file.mask.n_rounded)
        and (file.n_channels == 1 or not is_mask)
        and (file.geometry == geometry or not has_geometry)
    )


def _copy(source: Path, target: Path) -> None:
    """Copy the bytes, which hold the geometry exactly, and compress them if only the target is."""
    is_nifti = target.name.endswith(".nii.gz")
    if not is_nifti or _is_packed(source):
        shutil.copyfile(source, target)
        return
    with (
        source.open("rb") as plain,
        target.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed,
    ):
        shutil.copyfileobj(plain, packed)


def _is_packed(source: Path) -> bool:
    with source.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _write_spacing(folder: Path, fact: CaseFacts, layout: _Layout) -> None:
    """Write the file in which nnU-Net looks for the voxel size of a TIFF stack."""
    if layout.reader != "Tiff3DIO":
        return
    spacing = layout.spacing or (fact.geometry.spacing[::-1] if fact.geometry else (1, 1, 1))
    text = json.dumps({"spacing": list(spacing)})
    (folder / f"{fact.case.case_id}.json").write_text(text, encoding="utf-8")


def _write_dataset_json(folder: Path, n_cases: int, layout: _Layout) -> None:
    content: dict[str, object] = {
        "channel_names": {str(n): name for n, name in enumerate(layout.channels)},
        "labels": dict(layout.labels),
        "numTraining": n_cases,
        "file_ending": layout.ending,
    }
    if layout.reader:
        content["overwrite_image_reader_writer"] = layout.reader
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (folder / "dataset.json").write_text(text, encoding="utf-8")
