"""Read and write one image or mask file, and see in it what nnU-Net will see."""

import gzip
import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.nnunet.file_names import (
    GEOMETRY_ENDINGS,
    no_plain_file,
    plain_ending,
    shown,
    split_ending,
)

__all__ = [
    "COLOUR_PNG_NOTE",
    "DROPPED_ALPHA_NOTE",
    "Geometry",
    "LoadedImage",
    "UnreadableFileError",
    "numbers",
    "read_image",
    "write_image",
]

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

# A misfit below these is rounding in a header: relative, in voxels, and absolute.
_SPACING_TOLERANCE = 1e-4
_ORIGIN_TOLERANCE = 1e-2
_DIRECTION_TOLERANCE = 1e-3


class UnreadableFileError(Exception):
    """A file that cannot be used at all; the two arguments say why, and what to do."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem}; {fix}")
        self.problem = problem
        self.fix = fix


@dataclass(frozen=True)
class Geometry:
    """Where the voxels lie in space, in millimetres and in the file's order (x, y, z)."""

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]

    def differences(self, other: "Geometry") -> dict[str, str]:
        """Name what differs by more than rounding; the texts have both values, ours first."""
        if len(self.spacing) != len(other.spacing):
            return {"dimensions": f"{len(self.spacing)} dimensions but {len(other.spacing)}"}
        smallest = min(self.spacing)
        limits = (
            ("spacing", _SPACING_TOLERANCE * smallest),
            ("origin", _ORIGIN_TOLERANCE * smallest),
            ("direction", _DIRECTION_TOLERANCE),
        )
        return {
            name: f"{name} {numbers(getattr(self, name))} but {numbers(getattr(other, name))}"
            for name, limit in limits
            if not np.allclose(getattr(self, name), getattr(other, name), rtol=0, atol=limit)
        }


@dataclass(frozen=True)
class LoadedImage:
    """One file in memory.

    Attributes:
        array: The voxels as (channels, z, y, x) or (channels, y, x).
        geometry: `None` for formats that carry none.
        faithful: Whether nnU-Net's own reader finds the same channels in this file, so
            that it can be copied as it is.
        notes: Remarks for the user.
        odd_spacing: The voxel size in the header, if nnU-Net's readers replace it because it is
            not positive.
    """

    path: Path
    array: Array
    geometry: Geometry | None = None
    faithful: bool = True
    notes: tuple[str, ...] = ()
    odd_spacing: tuple[float, ...] | None = None


def read_image(path: Path, *, is_mask: bool = False) -> LoadedImage:
    """Read all voxels of a file.

    Args:
        path: A file with one of `ENDINGS`.
        is_mask: Take the indices of a palette PNG instead of its colours.

    Returns:
        The voxels, channels first.

    Raises:
        UnreadableFileError: If the file is empty, truncated, or not what its ending says.
    """
    try:
        loaded = _read(path, is_mask=is_mask)
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
    return loaded


def write_image(path: Path, array: Array, geometry: Geometry | None = None) -> None:
    """Write one 2D or 3D image without loss; colours go last and only into PNG and TIFF."""
    ending = split_ending(path)[1]
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if ending in GEOMETRY_ENDINGS:
        _write_itk(path, array, geometry)
    elif ending == ".png":
        from skimage.io import imsave

        imsave(path, array, check_contrast=False)
    else:
        import tifffile

        is_colour = array.ndim == 3 and array.shape[-1] == 3
        photometric = "rgb" if is_colour else "minisblack"
        tifffile.imwrite(path, array, compression="zlib", photometric=photometric)


def _read(path: Path, *, is_mask: bool) -> LoadedImage:
    ending = split_ending(path)[1]
    if str(path) != shown(path):  # SimpleITK would end the process
        problem = f"its path is not UTF-8: {shown(path)}"
        raise UnreadableFileError(problem, "rename the file or its folder")
    if reason := no_plain_file(path):
        raise UnreadableFileError(reason, "put the image itself there, or take it away")
    if path.stat().st_size == 0:
        problem = "the file is empty"
        raise UnreadableFileError(problem, "replace the file")
    if ending in GEOMETRY_ENDINGS:
        with plain_ending(path) as named:
            return replace(_read_itk(named, ending), path=path)
    if ending == ".png":
        return _read_png(path, is_mask=is_mask)
    return _read_tiff(path)


def _explain(error: Exception, ending: str) -> UnreadableFileError:
    if isinstance(error, PermissionError):
        return UnreadableFileError("permission denied", "make the file readable")
    if isinstance(error, FileNotFoundError):
        return UnreadableFileError("the file is gone", "put it back, or repair the link")
    if "Refusing to change spacing" in str(error):
        return UnreadableFileError(
            "the voxel size in its header is not positive", "write the true size in millimetres"
        )
    if "orthonormal" in str(error):
        return UnreadableFileError(
            "the axes in its header are not at right angles",
            "resample the image onto a rectangular grid, or repair the header",
        )
    problem = f"cannot read it: truncated or not a {_FORMATS[ending]} image"
    return UnreadableFileError(problem, "replace the file")


@contextmanager
def _silent_libraries() -> Iterator[None]:
    """Keep what C libraries write to file descriptor 2 from the user; we report instead."""
    saved = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _read_itk(path: Path, ending: str) -> LoadedImage:
    import SimpleITK

    is_nifti = ending in (".nii", ".nii.gz")
    oddities = _nifti_oddities(path) if is_nifti else _Oddities()
    with _silent_libraries():
        image = SimpleITK.ReadImage(str(path))
    array = SimpleITK.GetArrayFromImage(image)
    n_dims = image.GetDimension()
    is_vector = image.GetNumberOfComponentsPerPixel() > 1
    n_spatial = min(n_dims, 3)
    direction = np.reshape(image.GetDirection(), (n_dims, n_dims))[:n_spatial, :n_spatial]
    geometry = Geometry(
        spacing=tuple(map(float, image.GetSpacing()[:n_spatial])),
        origin=tuple(map(float, image.GetOrigin()[:n_spatial])),
        direction=tuple(map(float, direction.ravel())),
    )
    numbers = (*geometry.spacing, *geometry.origin, *geometry.direction)
    if not np.isfinite(numbers).all() or min(geometry.spacing) <= 0:
        problem = f"the header's voxel size, origin or axes are no numbers: {geometry}"
        raise UnreadableFileError(problem, "repair the header")
    if is_vector:
        array = np.moveaxis(array, -1, 0)
    elif n_dims <= 3:
        array = array[None]
    if oddities.positions.size:
        array = np.ascontiguousarray(array)
        array.reshape(-1)[oddities.positions] = oddities.values
    faithful = n_dims <= 3 and not is_vector
    return LoadedImage(path, array, geometry, faithful, odd_spacing=oddities.spacing)


@dataclass(frozen=True)
class _Oddities:
    """What ITK replaces in NIfTI: voxels that are no finite number (in the file's order), sizes."""

    positions: Array = field(default_factory=lambda: np.empty(0, np.intp))
    values: Array = field(default_factory=lambda: np.empty(0))
    spacing: tuple[float, ...] | None = None


def _nifti_oddities(path: Path) -> _Oddities:
    """Find what ITK hides in NIfTI: it sets missing bytes, NaN and infinities to zero."""
    import nibabel
    from nibabel.imageglobals import LoggingOutputSuppressor

    with LoggingOutputSuppressor():
        header = nibabel.load(path).header
    dtype, n_voxels = header.get_data_dtype(), math.prod(header.get_data_shape())
    offset = int(header.get_data_offset())
    with path.open("rb") as file:
        is_compressed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if is_compressed else path.open("rb") as stream:
        content = stream.read()
    needed = offset + n_voxels * dtype.itemsize
    if len(content) < needed:
        problem = f"the file is truncated: {len(content)} of {needed} bytes"
        raise UnreadableFileError(problem, "replace the file")
    spacing = _odd_spacing(type(header)(content[: header.sizeof_hdr], check=False))
    if dtype.kind != "f":
        return _Oddities(spacing=spacing)
    voxels = np.frombuffer(content, dtype, n_voxels, offset)
    positions = np.flatnonzero(~np.isfinite(voxels))
    return _Oddities(positions, voxels[positions], spacing)


def _odd_spacing(header: Any) -> tuple[float, ...] | None:
    """Return the voxel size that a header states, if it cannot be; a single slice needs none."""
    n_dims, *shape = map(int, header["dim"])
    n_spatial = min(n_dims, 3)
    spacing = tuple(map(float, header["pixdim"][1 : n_spatial + 1]))
    fits = [size > 0 or n == 1 for size, n in zip(spacing, shape, strict=False)]
    return None if all(fits) else spacing


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
    return _from_raster(path, array, faithful=not is_indexed, notes=notes)


def _read_tiff(path: Path) -> LoadedImage:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        axes, array = series.axes, series.asarray()
    is_colour = axes in ("YXS", "SYX")
    for axis in "SC":
        if axis in axes:
            array = np.moveaxis(array, axes.index(axis), -1)
            axes = axes.replace(axis, "") + axis
    if is_colour:
        return _from_raster(path, array)
    n_spatial = len(axes.rstrip("SC"))
    array = np.moveaxis(array.reshape(*array.shape[:n_spatial], -1), -1, 0)
    return LoadedImage(path, array, faithful=n_spatial == len(axes))


def _from_raster(
    path: Path, array: Array, *, faithful: bool = True, notes: tuple[str, ...] = ()
) -> LoadedImage:
    """Move colours to the front, without an alpha channel that says nothing."""
    if array.ndim == 2:
        return LoadedImage(path, array[None], faithful=faithful, notes=notes)
    array = np.moveaxis(array, -1, 0)
    alpha = array[-1]
    if len(array) in (2, 4) and (alpha == alpha.flat[0]).all():
        return LoadedImage(path, array[:-1], faithful=False, notes=(*notes, DROPPED_ALPHA_NOTE))
    return LoadedImage(path, array, faithful=faithful and len(array) in (3, 4), notes=notes)


def _write_itk(path: Path, array: Array, geometry: Geometry | None) -> None:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(array.astype(np.float32) if array.dtype == "f2" else array)
    if geometry is not None:
        image.SetSpacing(geometry.spacing)
        image.SetOrigin(geometry.origin)
        image.SetDirection(geometry.direction)
    SimpleITK.WriteImage(image, str(path), useCompression=True)


def numbers(values: Sequence[float]) -> str:
    """Show a few numbers as a tuple, without superfluous digits."""
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
