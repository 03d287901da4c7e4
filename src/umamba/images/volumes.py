"""Read NIfTI, NRRD and MetaImage as nnU-Net's readers do, by SimpleITK or by nibabel."""

import functools
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from umamba.images.contents import (
    Array,
    FileToRead,
    Geometry,
    LoadedImage,
    SkewedAxesError,
    UnreadableFileError,
    check_size,
)
from umamba.images.file_names import plain_ending, split_ending
from umamba.images.headers import nifti_conflicts, ras_geometry, text_conflicts
from umamba.images.nifti import NiftiFile, check_complete, pack
from umamba.system.shared_contexts import shared_by_threads

__all__ = ["read", "silent_libraries", "turned", "write"]

# All fields from which ITK derives the grid.
_GRID_FIELDS = (
    *("dim", "pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)
_HEADER_BYTES = 2**16  # more than NRRD and MetaImage need for what we compare
_SKEWED_FIX = (
    'have nnU-Net read the data set by nibabel, with "overwrite_image_reader_writer": "NibabelIO" '
    "in dataset.json (NIfTI), or resample the image onto a rectangular grid, or repair the header"
)


def read(file: FileToRead) -> LoadedImage:
    """Read all voxels of a file, as its reader does.

    Raises:
        UnreadableFileError: If the reader would refuse the file.
    """
    with plain_ending(file.path) as named:
        return replace(_read(named, file.ending, file.reader), path=file.path)


def _read(path: Path, ending: str, reader: str | None) -> LoadedImage:
    by_nibabel = (reader or "").startswith("Nibabel")
    if ending in (".nii", ".nii.gz"):
        nifti = NiftiFile.read(path, ending, str(reader) if by_nibabel else "SimpleITKIO")
        loaded = _by_nibabel(nifti, str(reader)) if by_nibabel else _by_itk(nifti)
    elif by_nibabel:
        problem = f"nnU-Net's {reader} reads NIfTI only"
        raise UnreadableFileError(problem, "save it as .nii.gz, or name another reader")
    else:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
        loaded = replace(_read_itk(path), conflicts=text_conflicts(head, ending))
    return _reoriented_by_itk(loaded) if reader == "SimpleITKIOWithReorient" else loaded


def _by_nibabel(nifti: NiftiFile, reader: str) -> LoadedImage:
    """Read as nnU-Net's NibabelIO and NibabelIOWithReorient do."""
    if len(nifti.shape) != 3:
        problem = f"its shape is {nifti.shape}, and nnU-Net's {reader} reads 3 dimensions only"
        raise UnreadableFileError(problem, "save it with 3 dimensions, or name another reader")
    affine, spacing = _nibabel_grid(nifti, reader)
    geometry = _checked(ras_geometry(affine, spacing))
    conflicts = nifti_conflicts(nifti.header, geometry, by_itk=False)
    array = nifti.voxels() if nifti.is_plain else _scaled_by_nibabel(nifti)
    if reader.endswith("Reorient"):
        array, geometry = _reoriented(array, affine, spacing)
    return LoadedImage(
        path=nifti.path,
        array=array.T[None],
        geometry=_checked(geometry),
        notes=nifti.notes,
        odd_spacing=nifti.odd_spacing,
        conflicts=conflicts,
        step=nifti.step,
    )


def _nibabel_grid(nifti: NiftiFile, reader: str) -> tuple[Array, tuple[float, ...]]:
    """Return the affine and the voxel size; nibabel mends some headers, and refuses others."""
    from nibabel.imageglobals import LoggingOutputSuppressor
    from nibabel.spatialimages import HeaderDataError

    try:
        with LoggingOutputSuppressor():
            header = type(nifti.header)(nifti.content[: nifti.header.sizeof_hdr], check=True)
            affine = np.asarray(header.get_best_affine(), float)
    except (ValueError, HeaderDataError) as error:
        problem = f"nnU-Net's {reader} refuses its header: {error}"
        raise UnreadableFileError(problem, "repair the header") from None
    return affine, tuple(map(float, header.get_zooms()))


def _scaled_by_nibabel(nifti: NiftiFile) -> Array:
    import nibabel

    if nifti.dtype.kind not in "iuf":
        return nifti.voxels()
    return np.asarray(nibabel.load(nifti.path).get_fdata())


def _reoriented(array: Array, affine: Array, spacing: tuple[float, ...]) -> tuple[Array, Geometry]:
    """Turn the axes to right, front and up, with their voxel sizes, as nibabel does."""
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    turn = io_orientation(affine)
    turned = affine @ inv_ornt_aff(turn, array.shape)
    sizes = [0.0] * 3
    for size, axis in zip(spacing, turn[:, 0], strict=True):
        sizes[int(axis)] = size
    return apply_orientation(array, turn), ras_geometry(turned, sizes)


def _by_itk(nifti: NiftiFile) -> LoadedImage:
    """Read as nnU-Net's SimpleITKIO does, but the voxels of the most common files without ITK."""
    shape = nifti.shape
    while len(shape) > 3 and shape[-1] == 1:  # as ITK does
        shape = shape[:-1]
    if nifti.is_plain and len(shape) in (2, 3) and 0 not in shape:
        array = nifti.voxels().reshape(shape, order="F").T[None]
        loaded = LoadedImage(nifti.path, array, _itk_geometry(nifti))
    else:
        loaded = _read_itk(nifti.path)
        _put_back_oddities(loaded.array, nifti)
    geometry = loaded.geometry
    return replace(
        loaded,
        notes=nifti.notes,
        odd_spacing=nifti.odd_spacing,
        conflicts=nifti_conflicts(nifti.header, geometry, by_itk=True) if geometry else (),
        step=nifti.step,
    )


def _put_back_oddities(array: Array, nifti: NiftiFile) -> None:
    """Restore NaN and infinities, which ITK sets to zero."""
    if nifti.dtype.kind != "f" or array.size != math.prod(nifti.shape):
        return
    voxels = nifti.voxels()
    odd = ~np.isfinite(voxels)
    if odd.any():
        array.reshape(-1)[odd.ravel(order="F")] = voxels.ravel(order="F")[odd.ravel(order="F")]


def _itk_geometry(nifti: NiftiFile) -> Geometry:
    """Ask ITK, once for all headers that say the same of sizes, axes and units."""
    header = nifti.header
    key = b"".join(np.asarray(header[field]).tobytes() for field in _GRID_FIELDS)
    known = _known_geometries()
    if key not in known:
        if len(known) >= 512:
            known.clear()
        known[key] = _read_itk_geometry(nifti.path)
    return known[key]


@functools.cache
def _known_geometries() -> dict[bytes, Geometry]:
    return {}


def _read_itk_geometry(path: Path) -> Geometry:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    reader.SetFileName(str(path))
    with _itk_errors():
        reader.ReadImageInformation()
        # Of a negative voxel size only an image turns the axis.
        is_usual = min(reader.GetSpacing()) > 0
        return _geometry_of(reader if is_usual else reader.Execute())


def _read_itk(path: Path) -> LoadedImage:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    with _itk_errors():
        reader.ReadImageInformation()
        check_size(_claimed_bytes(reader))
        image = reader.Execute()
    array = SimpleITK.GetArrayFromImage(image)
    n_dims, n_components = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    departure = ""
    if n_components > 1:
        array = np.moveaxis(array, -1, 0)
        departure = f"it holds {n_components} values per voxel, which nnU-Net takes for an axis"
    elif n_dims <= 3:
        array = array[None]
    else:
        departure = "it is 4D, and nnU-Net cannot write segmentations of 4D files"
    return LoadedImage(path, np.ascontiguousarray(array), _geometry_of(image), departure)


def _claimed_bytes(reader: Any) -> int:
    import SimpleITK

    kind = SimpleITK.GetPixelIDValueAsString(reader.GetPixelID())  # such as "32-bit float"
    bits = re.search(r"([0-9]+)-bit", kind)
    n_values = math.prod(map(int, reader.GetSize())) * int(reader.GetNumberOfComponents())
    return n_values * (int(bits[1]) // 8 if bits else 8)


def _geometry_of(image: Any) -> Geometry:
    """Return what an image or a reader of SimpleITK knows of the grid."""
    n_dims = image.GetDimension()
    n_spatial = min(n_dims, 3)
    direction = np.reshape(image.GetDirection(), (n_dims, n_dims))[:n_spatial, :n_spatial]
    return _checked(
        Geometry(
            spacing=tuple(map(float, image.GetSpacing()[:n_spatial])),
            origin=tuple(map(float, image.GetOrigin()[:n_spatial])),
            direction=tuple(map(float, direction.ravel())),
        )
    )


def _checked(geometry: Geometry) -> Geometry:
    numbers = (*geometry.spacing, *geometry.origin, *geometry.direction)
    if not np.isfinite(numbers).all() or min(geometry.spacing) <= 0:
        problem = f"the header's voxel size, origin or axes are not numbers: {geometry}"
        raise UnreadableFileError(problem, "repair the header")
    return geometry


def _reoriented_by_itk(loaded: LoadedImage) -> LoadedImage:
    """Turn the axes as nnU-Net's SimpleITKIOWithReorient does."""
    import SimpleITK

    if loaded.geometry is None or loaded.array.ndim != 4 or len(loaded.array) > 1:
        problem = "it is not a 3D image, and nnU-Net's SimpleITKIOWithReorient reorients only those"
        raise UnreadableFileError(problem, "name SimpleITKIO as the reader")
    image = SimpleITK.DICOMOrient(_itk_image(loaded.array[0], loaded.geometry), "RAS")
    array = SimpleITK.GetArrayFromImage(image)[None]
    return replace(loaded, array=array, geometry=_geometry_of(image))


def turned(array: Array, geometry: Geometry, target: Geometry) -> Array:
    """Permute and flip the axes of a volume so that they point as those of another grid.

    Args:
        array: (z, y, x).
        geometry: Its grid.
        target: A grid that differs by the order and direction of its axes alone.

    Raises:
        UnreadableFileError: If it differs by more.
    """
    import SimpleITK

    given = _itk_image(array, geometry)
    named = SimpleITK.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(target.direction)
    image = SimpleITK.DICOMOrient(given, named)
    if differences := _geometry_of(image).differences(target):
        problem = f"its axes cannot be turned back: {'; '.join(differences.values())}"
        raise UnreadableFileError(problem, "reorient the image, or repair its header")
    voxels: Array = SimpleITK.GetArrayFromImage(image)
    return voxels


@shared_by_threads
@contextmanager
def silent_libraries() -> Iterator[None]:
    """Hide what C libraries write to file descriptor 2 from the user; we report instead.

    What other threads write there meanwhile is lost as well, so it should be short.
    """
    saved = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@contextmanager
def _itk_errors() -> Iterator[None]:
    """Explain in our own words what ITK refuses."""
    with silent_libraries():
        try:
            yield
        except RuntimeError as error:
            raise _explained(error) from error


def _explained(error: RuntimeError) -> UnreadableFileError | RuntimeError:
    text = str(error)
    if "Refusing to change spacing" in text:
        problem = "the voxel size in its header is not positive"
        return UnreadableFileError(problem, "write the true size in millimetres")
    if "orthonormal" in text:
        problem = "the axes in its header are not at right angles, which SimpleITK refuses"
        return SkewedAxesError(problem, _SKEWED_FIX)
    if "_nrrdFieldCheckSpaceInfo" in text:
        reason = text.strip().splitlines()[-1].partition("_nrrdFieldCheckSpaceInfo: ")[2]
        return UnreadableFileError(f"its header contradicts itself: {reason}", "repair the header")
    return error


def write(path: Path, array: Array, geometry: Geometry | None) -> None:
    """Write one 2D or 3D image without loss."""
    import SimpleITK

    array = array.astype(np.float32) if array.dtype == "f2" else array
    image = _itk_image(array, geometry)
    if split_ending(path)[1] not in (".nii", ".nii.gz"):
        SimpleITK.WriteImage(image, str(path), useCompression=True)
        return
    plain = path.with_name(f".{uuid4().hex}.nii")  # of a second ending, ITK drops the last one
    try:
        SimpleITK.WriteImage(image, str(plain))
        check_complete(plain)
        pack(plain, path)
    finally:
        plain.unlink(missing_ok=True)


def _itk_image(array: Array, geometry: Geometry | None) -> Any:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(array)
    if geometry is not None:
        image.SetSpacing(geometry.spacing)
        image.SetOrigin(geometry.origin)
        image.SetDirection(geometry.direction)
    return image
