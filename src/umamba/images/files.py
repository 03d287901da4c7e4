"""Read and write one image or mask file, and see in it what nnU-Net will see."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.images.contents import (
    Geometry,
    LoadedImage,
    UnreadableFileError,
    check_size,
)
from umamba.images.file_names import GEOMETRY_ENDINGS, plain_ending, split_ending
from umamba.images.volumes import read_volume, write_volume
from umamba.system.path_names import is_utf8, no_plain_file, shown

__all__ = ["COLOUR_PNG_NOTE", "DROPPED_ALPHA_NOTE", "read_image", "write_image"]

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]

_FORMATS = {
    ".nii.gz": "NIfTI",
    ".nii": "NIfTI",
    ".nrrd": "NRRD",
    ".mha": "MetaImage",
    ".png": "PNG",
    ".tiff": "TIFF",
    ".tif": "TIFF",
}

DROPPED_ALPHA_NOTE = "the alpha channel is constant and is left out"
COLOUR_PNG_NOTE = "of 16-bit colour PNG nnU-Net reads 8 bits"


def read_image(path: Path, *, is_mask: bool = False, reader: str | None = None) -> LoadedImage:
    """Read all voxels of a file.

    Args:
        path: A file with one of `ENDINGS`.
        is_mask: Take the indices of a palette PNG instead of its colours.
        reader: nnU-Net's reader that will be used, which decides what can be read, and how; by
            default the one that nnU-Net has for the ending, of volumes SimpleITK's.

    Returns:
        The voxels, channels first.

    Raises:
        UnreadableFileError: If the file is empty, truncated, not what its ending says, or not what
            the reader takes.
    """
    try:
        loaded = _read(path, reader, is_mask=is_mask)
    except (UnreadableFileError, MemoryError):
        raise
    except Exception as error:
        log.debug("cannot read %s", path, exc_info=True)
        raise _explain(error, split_ending(path)[1]) from error
    if loaded.array.dtype.kind not in "buif":
        problem = f"the voxels are of type {loaded.array.dtype}"
        raise UnreadableFileError(problem, "save them as integers or real numbers")
    if loaded.array.ndim not in (3, 4) or 0 in loaded.array.shape:
        problem = f"the image has the shape {loaded.array.shape[1:]}"
        raise UnreadableFileError(problem, "give one 2D or 3D image per file")
    n_dims = {"NaturalImage2DIO": 2, "Tiff3DIO": 3}.get(reader or "", loaded.array.ndim - 1)
    if loaded.array.ndim - 1 != n_dims:
        problem = f"it is {loaded.array.ndim - 1}D, and nnU-Net's {reader} reads {n_dims}D images"
        fix = "name the right overwrite_image_reader_writer in dataset.json"
        raise UnreadableFileError(problem, fix)
    return loaded


def write_image(path: Path, array: Array, geometry: Geometry | None = None) -> None:
    """Write one 2D or 3D image without loss; colours go last and only into PNG and TIFF."""
    ending = split_ending(path)[1]
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if ending in GEOMETRY_ENDINGS:
        write_volume(path, array, geometry)
    elif ending == ".png":
        from skimage.io import imsave

        imsave(path, array, check_contrast=False)
    else:
        import tifffile

        is_colour = array.ndim == 3 and array.shape[-1] == 3
        photometric = "rgb" if is_colour else "minisblack"
        tifffile.imwrite(path, array, compression="zlib", photometric=photometric)


def _read(path: Path, reader: str | None, *, is_mask: bool) -> LoadedImage:
    ending = split_ending(path)[1]
    if not is_utf8(path):  # SimpleITK would end the process
        problem = f"its path is not UTF-8: {shown(path)}"
        raise UnreadableFileError(problem, "rename the file or its folder")
    if reason := no_plain_file(path):
        raise UnreadableFileError(reason, "put the image itself there, or remove it")
    if path.stat().st_size == 0:
        problem = "the file is empty"
        raise UnreadableFileError(problem, "replace the file")
    if ending in GEOMETRY_ENDINGS:
        with plain_ending(path) as named:
            return replace(read_volume(named, ending, reader), path=path)
    if ending == ".png":
        return _read_png(path, is_mask=is_mask)
    return _read_tiff(path)


def _explain(error: Exception, ending: str) -> UnreadableFileError:
    if isinstance(error, PermissionError):
        return UnreadableFileError("permission denied", "make the file readable")
    if isinstance(error, FileNotFoundError):
        return UnreadableFileError("the file is gone", "put it back, or repair the link")
    problem = f"cannot read it: truncated or not a {_FORMATS[ending]} image"
    return UnreadableFileError(problem, "replace the file")


def _read_png(path: Path, *, is_mask: bool) -> LoadedImage:
    from PIL import Image
    from skimage.io import imread

    with Image.open(path) as picture:
        is_indexed = is_mask and picture.mode == "P"
        indices = np.asarray(picture) if is_indexed else None
    array = imread(path) if indices is None else indices
    with path.open("rb") as file:
        bit_depth, colour_type = file.read(26)[24:26]
    notes = (COLOUR_PNG_NOTE,) if bit_depth == 16 and colour_type != 0 else ()
    departure = "nnU-Net reads the colours of its palette" if is_indexed else ""
    return _from_raster(path, array, departure, notes)


def _read_tiff(path: Path) -> LoadedImage:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        plain = series.keyframe.compression == tifffile.COMPRESSION.NONE
        if plain and series.nbytes > path.stat().st_size:
            problem = f"the file is truncated: its header claims {series.nbytes} bytes of voxels"
            raise UnreadableFileError(problem, "replace the file")
        check_size(series.nbytes)
        axes, array = series.axes, series.asarray()
    is_colour = axes in ("YXS", "SYX")
    for axis in "SC":
        if axis in axes:
            array = np.moveaxis(array, axes.index(axis), -1)
            axes = axes.replace(axis, "") + axis
    if is_colour:
        return _from_raster(path, array)
    n_spatial = len(axes.rstrip("SC"))
    departure = "" if n_spatial == len(axes) else "nnU-Net takes its channels for an axis"
    array = np.moveaxis(array.reshape(*array.shape[:n_spatial], -1), -1, 0)
    return LoadedImage(path, array, departure=departure)


def _from_raster(
    path: Path, array: Array, departure: str = "", notes: tuple[str, ...] = ()
) -> LoadedImage:
    """Move colours to the front, without an alpha channel that is constant."""
    if array.ndim == 2:
        return LoadedImage(path, array[None], departure=departure, notes=notes)
    array = np.moveaxis(array, -1, 0)
    alpha = array[-1]
    if len(array) in (2, 4) and (alpha == alpha.flat[0]).all():
        departure = departure or "nnU-Net reads the alpha channel as well"
        return LoadedImage(
            path, array[:-1], departure=departure, notes=(*notes, DROPPED_ALPHA_NOTE)
        )
    if len(array) not in (3, 4):
        departure = departure or f"nnU-Net does not read {len(array)} channels from one file"
    return LoadedImage(path, array, departure=departure, notes=notes)
