"""Pairs of mask files with the same name in two folders, and reading them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from umamba.datasets.checks import short
from umamba.dicom.output_formats import DICOM_ENDINGS
from umamba.errors import EvaluationError
from umamba.images.contents import (
    Geometry,
    LoadedImage,
    SkewedAxesError,
    UnreadableFileError,
    numbers,
)
from umamba.images.file_names import ENDINGS, is_image, split_ending, visible_files, why_no_name
from umamba.images.files import read_image
from umamba.images.mask_values import rounded_layer, values_in
from umamba.system.path_names import listed, path_below, shown

__all__ = [
    "LoadedPair",
    "MaskPair",
    "MaskPairs",
    "find_pairs",
    "load_pair",
    "read_all",
    "read_any",
    "read_pair",
    "read_values",
]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class MaskPair:
    """The two files of one case."""

    case: str
    prediction: Path
    reference: Path


@dataclass(frozen=True)
class MaskPairs:
    """The files that two folders have in common, and those that only one of them has.

    Attributes:
        pairs: In alphabetical order.
        missing: Cases without a prediction.
        extra: Cases without a reference.
        failed: Reasons why other cases cannot be paired.
        unused: Files that are not masks.
    """

    pairs: tuple[MaskPair, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    failed: Mapping[str, str]
    unused: tuple[Path, ...]


def find_pairs(predictions: Path, references: Path) -> MaskPairs:
    """Pair files by their path below the two folders, without the ending.

    Args:
        predictions: A folder; subfolders are searched as well.
        references: The same for the references.

    Raises:
        EvaluationError: If a folder is missing or holds no mask, or the folders have no name in
            common.
    """
    predicted, referred = _masks_below(predictions), _masks_below(references)
    failed = {**predicted.failed, **referred.failed}
    common = sorted(predicted.masks.keys() & referred.masks.keys())
    missing = sorted(referred.masks.keys() - predicted.masks.keys() - failed.keys())
    extra = sorted(predicted.masks.keys() - referred.masks.keys() - failed.keys())
    if not common:
        reasons = "".join(f"; {name}: {reason}" for name, reason in failed.items())
        called = ""
        if extra and missing:
            called = f": predictions have names such as {extra[0]}, references such as {missing[0]}"
        msg = (
            f"{shown(predictions)} and {shown(references)} have no file name in common{called}; "
            f"a prediction needs the name of its reference, apart from the ending{reasons}"
        )
        raise EvaluationError(msg)
    return MaskPairs(
        tuple(MaskPair(case, predicted.masks[case], referred.masks[case]) for case in common),
        tuple(missing),
        tuple(extra),
        failed,
        (*predicted.unused, *referred.unused),
    )


@dataclass(frozen=True)
class _Masks:
    """Contents of a folder: masks by case, failed masks with reasons, and other files."""

    masks: Mapping[str, Path]
    failed: Mapping[str, str]
    unused: tuple[Path, ...]


def _masks_below(folder: Path) -> _Masks:
    if not folder.is_dir():
        msg = f"{shown(folder)}: there is no such folder"
        raise EvaluationError(msg)
    found: dict[str, list[Path]] = {}
    failed, unused = {}, []
    for path in visible_files(folder, deep=True):
        stem, ending = split_ending(path)
        case = path_below(folder, path.with_name(stem))
        if not is_image(path) or path.name.endswith(DICOM_ENDINGS):  # beside the same as NIfTI
            unused.append(path)
        elif not ending:
            failed[path_below(folder, path)] = (
                f"readable formats are {' '.join(ENDINGS)}; convert it"
            )
        elif reason := why_no_name(path.name):
            failed[case] = f"{reason}; rename it"
        else:
            found.setdefault(case, []).append(path)
    for case, paths in found.items():
        if len(paths) > 1:
            failed[case] = (
                f"{listed(map(short, paths))} are masks of the same case: keep one of them"
            )
    if not found and not failed:
        others = f" (but {listed(map(short, unused))})" if unused else ""
        msg = (
            f"there is no mask in {shown(folder)}{others}; readable formats are {' '.join(ENDINGS)}"
        )
        raise EvaluationError(msg)
    masks = {case: paths[0] for case, paths in found.items() if case not in failed}
    return _Masks(masks, failed, tuple(unused))


@dataclass(frozen=True)
class LoadedPair:
    """A prediction and its reference in memory.

    Attributes:
        prediction: Integers, (z, y, x) or (y, x).
        reference: The same for the reference, of the same shape.
        spacing: Distance of voxels along each axis.
        notes: Remarks on the files for the user, by kind.
        geometry: Place of the reference in space; `None` if its format has none.
    """

    prediction: Array
    reference: Array
    spacing: tuple[float, ...]
    notes: Mapping[str, str]
    geometry: Geometry | None = None


def read_pair(pair: MaskPair) -> tuple[Array, Array, tuple[float, ...]]:
    """Read a pair as `load_pair` does; return prediction, reference and spacing."""
    loaded = load_pair(pair)
    return loaded.prediction, loaded.reference, loaded.spacing


def load_pair(pair: MaskPair, spacing: tuple[float, ...] | None = None) -> LoadedPair:
    """Read a prediction and its reference.

    Args:
        pair: The files.
        spacing: Distance of voxels along each axis, for references whose format has none; by
            default 1.

    Raises:
        UnreadableFileError: If one cannot be read or is not a mask, or their grids differ.
    """
    return _paired(_read_mask(pair.prediction), _read_mask(pair.reference), spacing)


def _paired(
    predicted: "_Mask", referred: "_Mask", spacing: tuple[float, ...] | None = None
) -> LoadedPair:
    notes = {**predicted.notes, **referred.notes}
    prediction, reference = predicted.array, referred.array
    if prediction.shape != reference.shape:
        problem = f"the prediction has the shape {prediction.shape}, not {reference.shape}"
        raise UnreadableFileError(problem, "bring it onto the grid of the reference")
    own, geometry = predicted.geometry, referred.geometry
    if geometry is None:
        steps = spacing or (1.0,) * reference.ndim
        if len(steps) != reference.ndim:
            problem = (
                f"the image has {reference.ndim} dimensions, but the given spacing has {len(steps)}"
            )
            raise UnreadableFileError(problem, "give one number per axis, in the order z y x")
        if own is not None:
            text = f"only the prediction has a voxel size, {numbers(own.spacing[::-1])}"
            notes["one voxel size"] = f"{text}; distances use {numbers(steps)} (--spacing)"
        return LoadedPair(prediction, reference, steps, notes)
    if own is None:
        text = f"the prediction has no voxel size; distances use {numbers(geometry.spacing[::-1])}"
        notes["one voxel size"] = f"{text}, that of the reference"
    for text in own.differences(geometry).values() if own else ():
        problem = f"the prediction has the {text} in the reference"
        fix = "resample it onto the grid of the reference, or correct the header that is wrong"
        raise UnreadableFileError(problem, fix)
    return LoadedPair(prediction, reference, geometry.spacing[::-1], notes, geometry)


def read_all(
    reference: Path, predictions: Mapping[str, Path], spacing: tuple[float, ...] | None = None
) -> Iterator[tuple[str | None, LoadedPair]]:
    """Read a reference once, and then predictions of it one after another.

    Args:
        reference: The file.
        predictions: Files by name.
        spacing: Distance of voxels along each axis, for references whose format has none; by
            default 1.

    Yields:
        Name of each prediction, with the reference; first, without a name, the reference twice.

    Raises:
        UnreadableFileError: If one cannot be read or is not a mask, or their grids differ.
    """
    referred = _read_mask(reference)
    yield None, _paired(referred, referred, spacing)
    for name, path in predictions.items():
        yield name, _paired(_read_mask(path), referred, spacing)


def read_values(path: Path) -> frozenset[int]:
    """Return the values that a mask holds.

    Raises:
        UnreadableFileError: If it cannot be read or is not a mask.
    """
    return values_in(_read_mask(path).array)


@dataclass(frozen=True)
class _Mask:
    array: Array
    geometry: Geometry | None
    notes: Mapping[str, str]


def _read_mask(path: Path) -> _Mask:
    name = short(path)
    try:
        loaded, notes = read_any(path, is_mask=True)
        layer, rounded = rounded_layer(loaded)
    except UnreadableFileError as error:
        problem = f"{name}: {error.problem}"
        raise UnreadableFileError(problem, error.fix) from error
    used = loaded.geometry and numbers(loaded.geometry.spacing[::-1])
    for conflict in loaded.conflicts:
        text = f"{name}: {conflict.text}; distances use {used} mm (z y x)"
        notes[f"header, {conflict.kind}"] = text
    if loaded.odd_spacing:
        text = f"{name}: the header gives the voxel size {numbers(loaded.odd_spacing)}"
        notes["header, odd voxel size"] = f"{text}; distances use {used} mm (z y x)"
    if rounded:
        notes["rounded"] = f"{name}: {rounded}; they were rounded"
    return _Mask(layer, loaded.geometry, notes)


def read_any(path: Path, *, is_mask: bool = False) -> tuple[LoadedImage, dict[str, str]]:
    """Read a file with SimpleITK or, if its axes are skewed, with nibabel, as nnU-Net may do.

    Args:
        path: The file.
        is_mask: Whether it is a mask.

    Returns:
        The file, and remarks for the user, by kind.

    Raises:
        UnreadableFileError: If it cannot be read.
    """
    try:
        return read_image(path, is_mask=is_mask), {}
    except SkewedAxesError:
        if split_ending(path)[1] not in (".nii", ".nii.gz"):
            raise
        loaded = read_image(path, is_mask=is_mask, reader="NibabelIO")
    text = (
        f"{short(path)}: its axes are not at right angles; as in nnU-Net's NibabelIO, voxel sizes "
        "are taken along the axes, so distances are not those in space"
    )
    return loaded, {"skewed axes": text}
