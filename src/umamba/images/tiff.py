"""Read and write TIFF: grey or colour, a picture or a stack."""

from pathlib import Path

import numpy as np

from umamba.images.colours import colours_first
from umamba.images.contents import (
    Array,
    FileToRead,
    Geometry,
    LoadedImage,
    UnreadableFileError,
    check_size,
)

__all__ = ["read", "write"]


def read(file: FileToRead) -> LoadedImage:
    """Read all voxels of a file."""
    import tifffile

    path = file.path
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
        return colours_first(path, array)
    n_spatial = len(axes.rstrip("SC"))
    departure = "" if n_spatial == len(axes) else "nnU-Net takes its channels for an axis"
    array = np.moveaxis(array.reshape(*array.shape[:n_spatial], -1), -1, 0)
    return LoadedImage(path, array, departure=departure)


def write(path: Path, array: Array, _geometry: Geometry | None) -> None:
    """Write one 2D or 3D image without loss; colours go last."""
    import tifffile

    is_colour = array.ndim == 3 and array.shape[-1] == 3
    photometric = "rgb" if is_colour else "minisblack"
    tifffile.imwrite(path, array, compression="zlib", photometric=photometric)
