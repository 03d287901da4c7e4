"""Pair the mask files of two folders by name, and read a pair."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.errors import EvaluationError
from umamba.nnunet.dataset_checks import integer_layer, short, values_in
from umamba.nnunet.dataset_images import Geometry, UnreadableFileError, read_image
from umamba.nnunet.file_names import (
    ENDINGS,
    is_image,
    listed,
    path_below,
    shown,
    split_ending,
    visible_files,
    why_no_name,
)

__all__ = ["MaskPair", "MaskPairs", "find_pairs", "read_pair", "read_values"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class MaskPair:
    """The two files of one case."""

    case: str
    prediction: Path
    reference: Path


@dataclass(frozen=True)
class MaskPairs:
    """What two folders have in common, and what only one of them has.

    Attributes:
        pairs: In alphabetical order.
        missing: Cases without a prediction.
        extra: Cases without a reference.
        failed: Why other cases cannot be paired.
        unused: Files that are no masks.
    """

    pairs: tuple[MaskPair, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    failed: Mapping[str, str]
    unused: tuple[Path, ...]


def find_pairs(predictions: Path, references: Path) -> MaskPairs:
    """Pair files by their path below the two folders, without the ending.

    Args:
        predictions: A folder, searched with its subfolders.
        references: Likewise.

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
            called = f": predictions are called like {extra[0]}, references like {missing[0]}"
        msg = (
            f"{shown(predictions)} and {shown(references)} have no file name in common{called}; "
            f"a prediction needs the name of its reference, but for the ending{reasons}"
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
    """What a folder holds: masks by case, why other files cannot be masks, and other files."""

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
        if not is_image(path):
            unused.append(path)
        elif not ending:
            failed[path_below(folder, path)] = f"these are read: {' '.join(ENDINGS)}; convert it"
        elif reason := why_no_name(path.name):
            failed[case] = f"{reason}; rename it"
        else:
            found.setdefault(case, []).append(path)
    for case, paths in found.items():
        if len(paths) > 1:
            failed[case] = f"{listed(map(short, paths))} claim to be the same case: keep one"
    if not found and not failed:
        others = f" (but {listed(map(short, unused))})" if unused else ""
        msg = f"there is no mask in {shown(folder)}{others}; these are read: {' '.join(ENDINGS)}"
        raise EvaluationError(msg)
    masks = {case: paths[0] for case, paths in found.items() if case not in failed}
    return _Masks(masks, failed, tuple(unused))


def read_pair(
    pair: MaskPair, spacing: tuple[float, ...] | None = None
) -> tuple[Array, Array, tuple[float, ...]]:
    """Read a prediction and its reference.

    Args:
        pair: The files.
        spacing: Distance of voxels along each axis, for references whose format has none; by
            default 1.

    Returns:
        Prediction and reference as integers, (z, y, x) or (y, x), and the reference's spacing.

    Raises:
        UnreadableFileError: If one cannot be read or is no mask, or their grids differ.
    """
    prediction, prediction_geometry = _read_mask(pair.prediction)
    reference, geometry = _read_mask(pair.reference)
    if prediction.shape != reference.shape:
        problem = f"the prediction has the shape {prediction.shape}, not {reference.shape}"
        raise UnreadableFileError(problem, "bring it onto the grid of the reference")
    if geometry is None:
        steps = spacing or (1.0,) * reference.ndim
        if len(steps) != reference.ndim:
            problem = f"the image has {reference.ndim} dimensions, the given spacing {len(steps)}"
            raise UnreadableFileError(problem, "give one number per axis, in the order z y x")
        return prediction, reference, steps
    if prediction_geometry is not None:
        for text in prediction_geometry.differences(geometry).values():
            problem = f"the prediction has the {text} in the reference"
            fix = "bring it onto the grid of the reference, or correct the header that is wrong"
            raise UnreadableFileError(problem, fix)
    return prediction, reference, geometry.spacing[::-1]


def read_values(path: Path) -> frozenset[int]:
    """Return the values that a mask holds.

    Raises:
        UnreadableFileError: If it cannot be read or is no mask.
    """
    return values_in(_read_mask(path)[0])


def _read_mask(path: Path) -> tuple[Array, Geometry | None]:
    try:
        loaded = read_image(path, is_mask=True)
        layer = integer_layer(loaded)
    except UnreadableFileError as error:
        problem = f"{short(path)}: {error.problem}"
        raise UnreadableFileError(problem, error.fix) from error
    if layer.dtype.kind == "f":
        layer = layer.astype(np.int64)
    return layer, loaded.geometry
