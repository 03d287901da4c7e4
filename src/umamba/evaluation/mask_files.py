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
from umamba.nnunet.file_names import ENDINGS, split_ending

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
    """

    pairs: tuple[MaskPair, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]


def find_pairs(predictions: Path, references: Path) -> MaskPairs:
    """Pair files by their path below the two folders, without the ending.

    Args:
        predictions: A folder, searched with its subfolders.
        references: Likewise.

    Raises:
        EvaluationError: If a folder is missing or holds no mask, two files have the same name, or
            the folders have no name in common.
    """
    predicted, referred = _masks_below(predictions), _masks_below(references)
    common = sorted(predicted.keys() & referred.keys())
    missing = sorted(referred.keys() - predicted.keys())
    extra = sorted(predicted.keys() - referred.keys())
    if not common:
        msg = (
            f"{predictions} and {references} have no file name in common: predictions are called "
            f"like {extra[0]}, references like {missing[0]}; a prediction needs the name of its "
            "reference, but for the ending"
        )
        raise EvaluationError(msg)
    pairs = tuple(MaskPair(case, predicted[case], referred[case]) for case in common)
    return MaskPairs(pairs, tuple(missing), tuple(extra))


def _masks_below(folder: Path) -> Mapping[str, Path]:
    if not folder.is_dir():
        msg = f"{folder}: there is no such folder"
        raise EvaluationError(msg)
    masks: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        stem, ending = split_ending(path)
        if not ending or not path.is_file() or any(part.startswith(".") for part in name.parts):
            continue
        case = name.with_name(stem).as_posix()
        if case in masks:
            msg = f"{masks[case]} and {path} claim to be the same case: keep one of them"
            raise EvaluationError(msg)
        masks[case] = path
    if not masks:
        msg = f"there is no mask in {folder}; these are read: {' '.join(ENDINGS)}"
        raise EvaluationError(msg)
    return masks


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
