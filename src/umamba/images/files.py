"""Read and write one image or mask file, and see in it what nnU-Net will see."""

import logging
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from umamba.images.contents import Array, FileToRead, Geometry, LoadedImage, UnreadableFileError
from umamba.images.file_names import ENDINGS, split_ending
from umamba.images.formats import FORMATS, READER_DIMS
from umamba.system.path_names import is_utf8, no_plain_file, shown

__all__ = ["read_image", "write_image"]

log = logging.getLogger(__name__)


@runtime_checkable
class _ImageModule(Protocol):
    """A module that reads and writes files of one or more formats."""

    def read(self, file: FileToRead) -> LoadedImage:
        """Read all voxels of a file."""
        ...

    def write(self, path: Path, array: Array, geometry: Geometry | None, /) -> None:
        """Write one 2D or 3D image without loss."""
        ...


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
    n_dims = READER_DIMS.get(reader or "", loaded.array.ndim - 1)
    if loaded.array.ndim - 1 != n_dims:
        problem = f"it is {loaded.array.ndim - 1}D, and nnU-Net's {reader} reads {n_dims}D images"
        fix = "name the right overwrite_image_reader_writer in dataset.json"
        raise UnreadableFileError(problem, fix)
    return loaded


def write_image(path: Path, array: Array, geometry: Geometry | None = None) -> None:
    """Write one 2D or 3D image without loss; colours go last and only into PNG and TIFF."""
    if array.dtype == bool:
        array = array.astype(np.uint8)
    _module(split_ending(path)[1]).write(path, array, geometry)


def _read(path: Path, reader: str | None, *, is_mask: bool) -> LoadedImage:
    ending = split_ending(path)[1]
    if not ending:
        problem = f"files that end in {shown(path.suffix)} are not read"
        raise UnreadableFileError(problem, f"convert it to one of {' '.join(ENDINGS)}")
    if not is_utf8(path):  # SimpleITK would end the process
        problem = f"its path is not UTF-8: {shown(path)}"
        raise UnreadableFileError(problem, "rename the file or its folder")
    if reason := no_plain_file(path):
        raise UnreadableFileError(reason, "put the image itself there, or remove it")
    if path.stat().st_size == 0:
        problem = "the file is empty"
        raise UnreadableFileError(problem, "replace the file")
    return _module(ending).read(FileToRead(path, ending, reader, is_mask))


def _module(ending: str) -> _ImageModule:
    module: Any = import_module(FORMATS[ending].module)
    return cast("_ImageModule", module)


def _explain(error: Exception, ending: str) -> UnreadableFileError:
    if isinstance(error, PermissionError):
        return UnreadableFileError("permission denied", "make the file readable")
    if isinstance(error, FileNotFoundError):
        return UnreadableFileError("the file is gone", "put it back, or repair the link")
    problem = f"cannot read it: truncated or not a {FORMATS[ending].name} image"
    return UnreadableFileError(problem, "replace the file")
