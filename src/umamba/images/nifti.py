"""Unpack a NIfTI file, and make sure that all of it is there."""

import errno
import gzip
import math
import os
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.images.contents import UnreadableFileError, check_size
from umamba.system.atomic_files import take_name
from umamba.system.limits import usable_memory

__all__ = [
    "NOT_COMPRESSED_NOTE",
    "NiftiFile",
    "check_complete",
    "has_false_claim",
    "nifti_header",
    "pack",
]

Array = npt.NDArray[Any]

NOT_COMPRESSED_NOTE = "it is not compressed, though its name ends in .nii.gz"
_GZIP = b"\x1f\x8b"
_SMALLEST_HEADER = 348  # of NIfTI-1
_LARGEST_HEADER = 540  # of NIfTI-2
_PACKED_HEADER = 4096  # bytes that certainly hold it
_MOST_RATIO = 1032  # to which deflate can shrink anything


@dataclass(frozen=True)
class NiftiFile:
    """An unpacked NIfTI file.

    Attributes:
        header: As nibabel parses it.
        content: All bytes, unpacked.
        is_compressed: Whether the file was packed.
    """

    path: Path
    header: Any
    content: bytes
    is_compressed: bool
    ending: str

    @classmethod
    def read(cls, path: Path, ending: str, reader: str) -> "NiftiFile":
        """Unpack a file, and make sure that no voxel is missing: ITK would read zeros."""
        packed = path.read_bytes()
        is_compressed = packed.startswith(_GZIP)
        if is_compressed and ending == ".nii":
            problem = "it is compressed, though its name ends in .nii: nnU-Net cannot read it"
            raise UnreadableFileError(problem, "name it .nii.gz")
        header = _parse(_unpack_beginning(packed) if is_compressed else packed)
        _check_claim(header, len(packed), is_compressed=is_compressed)
        content = _unpack(packed) if is_compressed else packed
        nifti = cls(path, header, content, is_compressed, ending)
        if not is_compressed and ending == ".nii.gz" and reader.startswith("Nibabel"):
            problem = f"{NOT_COMPRESSED_NOTE}: nnU-Net's {reader} cannot read it"
            raise UnreadableFileError(problem, "name it .nii, or compress it")
        if len(content) < (needed := _claimed_bytes(header)):
            problem = f"the file is truncated: {len(content)} of {needed} bytes"
            raise UnreadableFileError(problem, "replace the file")
        return nifti

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the user."""
        is_odd = self.ending == ".nii.gz" and not self.is_compressed
        return (NOT_COMPRESSED_NOTE,) if is_odd else ()

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the voxels in the file."""
        dtype: np.dtype[Any] = self.header.get_data_dtype()
        return dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of all axes, x first."""
        return tuple(map(int, self.header.get_data_shape()))

    @property
    def offset(self) -> int:
        """The position of the first voxel, in bytes."""
        return int(self.header.get_data_offset())

    @property
    def step(self) -> float:
        """The distance between neighbouring values, where integers are scaled."""
        slope = abs(float(self.header["scl_slope"]))
        return slope if self.dtype.kind in "iu" and not self.is_plain and slope < np.inf else 0.0

    @property
    def is_plain(self) -> bool:
        """True if the voxels are numbers that are not scaled."""
        slope, intercept = float(self.header["scl_slope"]), float(self.header["scl_inter"])
        is_number = self.dtype.kind in "iuf" and self.dtype.itemsize <= 8
        return is_number and slope in (0, 1) and intercept == 0

    def voxels(self) -> Array:
        """Return the voxels as they stand in the file, x first."""
        found = np.frombuffer(self.content, self.dtype, math.prod(self.shape), self.offset)
        native = found.astype(self.dtype.newbyteorder("="))
        return native.reshape(self.shape, order="F")

    @property
    def odd_spacing(self) -> tuple[float, ...] | None:
        """The voxel size in the header, if it is impossible; a single slice needs none."""
        n_dims, *shape = map(int, self.header["dim"])
        n_spatial = min(n_dims, 3)
        spacing = tuple(map(float, self.header["pixdim"][1 : n_spatial + 1]))
        fits = [0 < size < math.inf or n == 1 for size, n in zip(spacing, shape, strict=False)]
        return None if all(fits) else spacing


def check_complete(path: Path) -> None:
    """Check that a NIfTI file that is not compressed was written to its end.

    ITK cuts off what a full disk does not take, and does not say so.

    Args:
        path: The new file.

    Raises:
        OSError: If voxels are missing.
    """
    size = path.stat().st_size
    if size < _SMALLEST_HEADER or size < _claimed_bytes(nifti_header(path)):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def pack(plain: Path, path: Path) -> None:
    """Make the file of a name from a complete `.nii` file, packed where the name ends in `.gz`.

    The same voxels give the same bytes.
    """
    if not path.name.lower().endswith(".gz"):
        take_name(plain, path)
        return
    try:
        with (
            plain.open("rb") as source,
            path.open("wb") as target,
            gzip.GzipFile("", "wb", compresslevel=6, fileobj=target, mtime=0) as compressed,
        ):
            shutil.copyfileobj(source, compressed, 1 << 20)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _claimed_bytes(header: Any) -> int:
    """Return how large the unpacked file must be."""
    n_voxels = math.prod(map(int, header.get_data_shape()))
    return int(header.get_data_offset()) + n_voxels * int(header.get_data_dtype().itemsize)


def _check_claim(header: Any, size: int, *, is_compressed: bool) -> None:
    """Check that the voxels that the header announces fit into the file, and into memory.

    Args:
        header: The header.
        size: Size of the file in bytes.
        is_compressed: Whether it is packed.

    Raises:
        UnreadableFileError: If they do not.
    """
    claimed = _claimed_bytes(header)
    most = size * _MOST_RATIO if is_compressed else size
    if claimed > most:
        problem = f"the file is truncated: its header claims {claimed} bytes, it has at most {most}"
        raise UnreadableFileError(problem, "replace the file")
    check_size(claimed)


def _unpack_beginning(packed: bytes) -> bytes:
    """Unpack as much as the largest header needs, from several members if need be."""
    beginning, rest = b"", packed[:_PACKED_HEADER]
    while rest.startswith(_GZIP) and len(beginning) < _LARGEST_HEADER:
        member = zlib.decompressobj(wbits=31)
        try:
            beginning += member.decompress(rest, _LARGEST_HEADER - len(beginning))
        except zlib.error as error:
            raise _damaged(error) from None
        if not member.eof and len(beginning) < _LARGEST_HEADER:
            raise _endless()
        rest = member.unused_data
    return beginning


def _endless() -> UnreadableFileError:
    problem = "the file is truncated: the end of its compressed data is missing"
    return UnreadableFileError(problem, "replace the file")


def _damaged(error: zlib.error) -> UnreadableFileError:
    return UnreadableFileError(f"its compressed data are damaged ({error})", "replace the file")


def _unpack(packed: bytes) -> bytes:
    """Unpack all members of a gzip file; like zlib's own gzread, ignore what follows them."""
    parts = []
    left = usable_memory() // 2  # behind the voxels anything may follow
    while packed.startswith(_GZIP):
        member = zlib.decompressobj(wbits=31)
        try:
            parts.append(member.decompress(packed, left))
        except zlib.error as error:
            raise _damaged(error) from None
        left -= len(parts[-1])
        if member.unconsumed_tail and left <= 0:
            problem = "it unpacks to more than fits into the memory here"
            raise UnreadableFileError(problem, "replace the file")
        if not member.eof:
            raise _endless()
        packed = member.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def has_false_claim(path: Path) -> bool:
    """Return whether a NIfTI file announces more voxels than it, or the memory, can hold."""
    with path.open("rb") as file:
        packed = file.read(_PACKED_HEADER)
    is_compressed = packed.startswith(_GZIP)
    try:
        header = _parse(_unpack_beginning(packed) if is_compressed else packed)
        _check_claim(header, path.stat().st_size, is_compressed=is_compressed)
    except UnreadableFileError:
        return True
    return False


def nifti_header(path: Path) -> Any:
    """Read only the header, repaired as nibabel does, of a file that may be compressed.

    nibabel itself would trust the ending.
    """
    with path.open("rb") as file:
        is_compressed = file.read(2) == _GZIP
    with gzip.open(path) if is_compressed else path.open("rb") as stream:
        return _parse(stream.read(_LARGEST_HEADER), check=True)


def _parse(content: bytes, *, check: bool = False) -> Any:
    from nibabel import Nifti1Header, Nifti2Header

    for kind in (Nifti1Header, Nifti2Header):
        if kind.may_contain_header(content[: kind.sizeof_hdr]):
            return kind(content[: kind.sizeof_hdr], check=check)
    problem = "cannot read it: truncated or not a NIfTI image"
    raise UnreadableFileError(problem, "replace the file")
