"""The case whose labels an export compares: an image of the user, or one of the data set."""

import math
import pickle
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from umamba.datasets.checks import Case
from umamba.datasets.inputs import check_case, find_inputs
from umamba.errors import DatasetError, UMambaError
from umamba.images.file_names import split_ending
from umamba.runtime.folders import read_case
from umamba.runtime.pipeline import ComparedCase, Pipeline
from umamba.runtime.preprocessing import NetworkInput, checked_image, prepare

__all__ = ["CaseSources", "compared_case", "middle_patch", "preprocessed_case"]

# What readers of arrays and properties raise for files that are missing or torn.
_TORN = (
    OSError,
    ValueError,
    RuntimeError,
    EOFError,
    KeyError,
    zipfile.BadZipFile,
    zlib.error,
    pickle.UnpicklingError,
)


@dataclass(frozen=True)
class CaseSources:
    """The places where a case may be found, in this order.

    Args:
        images: The files of an image, one for each channel.
        preprocessed: The data set's folder of preprocessed cases.
        raw: Its folder of raw ones.
    """

    images: tuple[Path, ...] = ()
    preprocessed: Path | None = None
    raw: Path | None = None


def compared_case(
    sources: CaseSources, pipeline: Pipeline, dataset_json: Mapping[str, Any], identifier: str
) -> tuple[NetworkInput, ComparedCase]:
    """Return a case, preprocessed, and what it is: of a data set the smallest.

    Args:
        sources: Where to look; without any, the case is of random numbers.
        pipeline: The steps of the prediction.
        dataset_json: The model's `dataset.json`.
        identifier: The name of the folder of cases that were preprocessed for its configuration.

    Raises:
        DatasetError: If the image that was given does not fit the model.
    """
    origin: Literal["an image", "a training case", "random numbers"] = "a training case"
    image = None if sources.images else preprocessed_case(sources, identifier)
    if sources.images:
        origin, name = "an image", split_ending(sources.images[0])[0].removesuffix("_0000")
        case = _read(Case(name, sources.images, None), pipeline, dataset_json)
    elif image is not None:
        case = _on_the_grid(image)
    else:
        raw = _raw_case(sources, pipeline, dataset_json)
        origin = "random numbers" if raw is None else origin
        case = raw or _on_the_grid(_random_image(pipeline))
    return case, ComparedCase(origin=origin, voxels=math.prod(case.shape))


def _raw_case(
    sources: CaseSources, pipeline: Pipeline, dataset_json: Mapping[str, Any]
) -> NetworkInput | None:
    folder = sources.raw and sources.raw / "imagesTr"
    if folder is None or not folder.is_dir():
        return None
    try:
        cases = find_inputs(folder, dataset_json, pipeline.image_reader).cases
        if not cases:
            msg = "none of its images fits the model"
            raise DatasetError(msg)
        smallest = min(cases, key=lambda case: sum(_size(path) for path in case.images))
        return _read(smallest, pipeline, dataset_json)
    except (UMambaError, OSError, ValueError) as error:
        sys.stderr.write(f"note: no case of {folder} is compared: {error}\n")
        return None


def _random_image(pipeline: Pipeline) -> npt.NDArray[np.float32]:
    """Return an image of a patch and a half, (channels, z, y, x)."""
    *sizes, last = pipeline.patch_size
    shape = (len(pipeline.channels), *[1] * (2 - len(sizes)), *sizes, last + last // 2)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _size(path: Path) -> int:
    return path.stat().st_size


def _read(case: Case, pipeline: Pipeline, dataset_json: Mapping[str, Any]) -> NetworkInput:
    facts, problems = check_case(case, dataset_json, pipeline.image_reader)
    if problems:
        msg = f"{case.images[0]} cannot be compared: {'; '.join(problems)}"
        raise DatasetError(msg)
    image, spacing, _ = read_case(facts, pipeline.image_reader)
    names = [channel.name for channel in pipeline.channels]
    return prepare(*checked_image(image, spacing, names), pipeline)


def _on_the_grid(image: npt.NDArray[np.float32]) -> NetworkInput:
    shape, unit = image.shape[1:], (1.0,) * 3
    return NetworkInput(image, shape, tuple(slice(0, size) for size in shape), unit, unit)


def preprocessed_case(sources: CaseSources, identifier: str) -> npt.NDArray[np.float32] | None:
    """Return the smallest preprocessed case that can be read, (channels, z, y, x), or `None`.

    Those that cannot be read, such as the rest of an interrupted preprocessing, are noted.

    Args:
        sources: Where to look.
        identifier: As of `compared_case`.
    """
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    folder = sources.preprocessed and sources.preprocessed / identifier
    if folder is None or not (any(folder.glob("*.b2nd")) or any(folder.glob("*.npz"))):
        return None
    try:
        kind = infer_dataset_class(str(folder))
    except (AssertionError, KeyError):  # it goes by the only ending that is there
        sys.stderr.write(
            f"note: {folder} holds files of several kinds ({', '.join(_endings(folder))}), so that "
            "no case in it is compared; remove what does not belong there, or preprocess again\n"
        )
        return None
    sizes = {
        case: sum(map(_size, folder.glob(f"{escape(case)}.*")))
        for case in kind.get_identifiers(str(folder))
    }
    in_order = sorted(sizes, key=lambda case: (sizes[case], case))
    images = (_preprocessed(kind, folder, case) for case in in_order)
    return next((image for image in images if image is not None), None)


def _endings(folder: Path) -> list[str]:
    """Return the endings by which nnU-Net tells kinds apart, or the name of a file without one."""
    return sorted({f.suffix or f.name for f in folder.iterdir() if f.is_file()} - {".pkl", ".npy"})


def _preprocessed(kind: Any, folder: Path, case: str) -> npt.NDArray[np.float32] | None:
    """Return a preprocessed case; `None`, with a note, if it cannot be read."""
    try:
        return np.asarray(kind(str(folder), [case]).load_case(case)[0][:], np.float32)
    except _TORN as error:
        sys.stderr.write(f"note: {case} in {folder} is not compared: {error}\n")
        return None


def middle_patch(image: npt.NDArray[np.float32], patch_size: Sequence[int]) -> Tensor:
    """Return the middle of an image, with zeros where it is smaller than a patch.

    Args:
        image: (channels, z, y, x).
        patch_size: Two or three sizes.
    """
    patch = torch.from_numpy(image)
    if len(patch_size) == 2:
        patch = patch[:, patch.shape[1] // 2]
    for axis, size in enumerate(patch_size, 1):
        before = (patch.shape[axis] - size) // 2
        if before > 0:
            patch = patch.narrow(axis, before, size)
        missing = size - patch.shape[axis]
        if missing > 0:
            shape = [*patch.shape[:axis], missing, *patch.shape[axis + 1 :]]
            patch = torch.cat([patch, patch.new_zeros(shape)], axis)
    return patch
