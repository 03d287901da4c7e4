"""The files that `torch.save` writes, read as tensors and plain data by a reader of our own."""

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from umamba.nnunet.checkpoints.pickled_data import (
    PLAIN_NAMES,
    Function,
    check_plain,
    refuse,
    run_pickle,
)

__all__ = ["read_torch_file"]

_MOST_RECORDS = 100_000
_MOST_DESCRIPTION_BYTES = 32 * 2**20
# Tensors share memory: nnU-Net's decoders hold the encoder, and blocks list their layers twice.
_MOST_SHARING = 64
_MOST_AXES = 64  # as torch has
_LONGEST_AXIS = 2**62
_SMALL = 2**20  # tensors of so many bytes may share as they like

_STORAGES = {
    "BFloat16": torch.bfloat16,
    "Bool": torch.bool,
    "Byte": torch.uint8,
    "Char": torch.int8,
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "Int": torch.int32,
    "Long": torch.int64,
    "Short": torch.int16,
}
_DTYPES = (*_STORAGES.values(), torch.uint16, torch.uint32, torch.uint64)


@dataclass(frozen=True)
class _Storage:
    """Memory of tensors; if it has no type, each tensor has its own."""

    content: Tensor
    dtype: torch.dtype | None


def read_torch_file(path: Path) -> Any:
    """Read a file of `torch.save`.

    Args:
        path: The file.

    Returns:
        Its content, on the CPU. Tensors that shared memory do so again.

    Raises:
        ForeignContentError: If it holds anything but real tensors and plain data, or more of
            either than a file of its size should.
        zipfile.BadZipFile: If it is torn or flipped, or is not a zip file at all.
        OSError, ValueError, LookupError, TypeError, ArithmeticError, RuntimeError: If it is
            damaged otherwise.
    """
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        _check_records(records, path.stat().st_size)
        described = [r for r in records if r.filename.split("/")[1:] == ["data.pkl"]]
        if len(described) != 1:
            refuse("it has no data.pkl")
        if described[0].file_size > _MOST_DESCRIPTION_BYTES:
            refuse(f"its description has {described[0].file_size} bytes")
        folder = described[0].filename.removesuffix("data.pkl")
        order = f"{folder}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            refuse("it was written on a machine with another order of bytes")
        memory = _Memory(archive, folder, sum(record.file_size for record in records))
        content = run_pickle(archive.read(described[0]), _names(memory), memory.load)
    check_plain(content, (Tensor, torch.device, torch.dtype))
    return content


def _check_records(records: Sequence[zipfile.ZipInfo], size: int) -> None:
    """Check that records are stored as torch stores them, each of them once."""
    if len(records) > _MOST_RECORDS:
        refuse(f"it has {len(records)} records")
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        refuse("it is compressed inside, which torch never does, and could fill the memory")
    if len({record.filename for record in records}) < len(records):
        refuse("it has two records of the same name")
    total = sum(record.file_size for record in records)
    if len({record.header_offset for record in records}) < len(records) or total > size:
        refuse(f"its records overlap, or claim {total} bytes in a file of {size}")


def _names(memory: "_Memory") -> dict[str, Any]:
    return (
        PLAIN_NAMES
        | {f"torch {name}Storage": dtype for name, dtype in _STORAGES.items()}
        | {str(dtype).replace(".", " "): dtype for dtype in _DTYPES}
        | {
            "torch Size": Function(_size),
            "torch device": Function(_device),
            "torch.storage UntypedStorage": None,
            "torch._utils _rebuild_parameter": Function(_parameter),
            "torch._utils _rebuild_tensor_v2": Function(memory.tensor),
            "torch._utils _rebuild_tensor_v3": Function(memory.tensor_of_type),
        }
    )


class _Memory:
    """The memory of a file's tensors, read when it is first asked for.

    Args:
        archive: The file.
        folder: Folder inside, below which the memory is.
        size: Bytes of all its records.
    """

    def __init__(self, archive: zipfile.ZipFile, folder: str, size: int) -> None:
        self.archive = archive
        self.folder = folder
        self.left = _MOST_SHARING * size + _SMALL  # bytes that tensors may take from it
        self.contents: dict[str, Tensor] = {}

    def load(self, identifier: Any) -> _Storage:
        """Return memory by `("storage", type, record, device, elements)`."""
        if type(identifier) is not tuple or len(identifier) != 5 or identifier[0] != "storage":
            refuse("it refers to something other than the memory of a tensor")
        _, dtype, key, _, count = identifier
        if type(key) is not str or type(count) is not int:
            refuse("it refers to memory by something other than a name")
        if dtype is not None and type(dtype) is not torch.dtype:
            refuse("it refers to memory of an unknown type")
        if key not in self.contents:
            read = bytearray(self.archive.read(f"{self.folder}data/{key}"))
            empty = torch.empty(0, dtype=torch.uint8)
            self.contents[key] = torch.frombuffer(read, dtype=torch.uint8) if read else empty
        content = self.contents[key]
        if count * (1 if dtype is None else dtype.itemsize) != len(content):
            refuse(f"it claims {count} elements in {len(content)} bytes")
        return _Storage(content, dtype)

    def tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
        """Return a tensor of its memory's type; further arguments are hooks and the like."""
        if type(storage) is not _Storage or storage.dtype is None:
            refuse("it has a tensor without memory")
        return self._view(storage.content, storage.dtype, offset, shape, strides)

    def tensor_of_type(self, *arguments: Any) -> Tensor:
        """Return a tensor whose type is given separately from its memory."""
        storage, offset, shape, strides, _, _, dtype, *_ = arguments
        if type(storage) is not _Storage or type(dtype) is not torch.dtype:
            refuse("it has a tensor without memory or type")
        return self._view(storage.content, dtype, offset, shape, strides)

    def _view(
        self, content: Tensor, dtype: torch.dtype, offset: Any, shape: Any, strides: Any
    ) -> Tensor:
        if not isinstance(shape, tuple) or not isinstance(strides, tuple):
            refuse("it has a tensor without a shape")
        numbers = (offset, *shape, *strides)
        if len(shape) > _MOST_AXES or not all(
            type(n) is int and 0 <= n < _LONGEST_AXIS for n in numbers
        ):
            refuse("it has a tensor of an impossible shape")
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        count = math.prod(shape)
        if count and last >= len(content) // dtype.itemsize:
            refuse("it has a tensor that is larger than its memory")
        self.left -= count * dtype.itemsize
        if self.left < 0:
            refuse("its tensors are far larger than the file")
        if not count:
            return torch.empty(shape, dtype=dtype)
        return content.view(dtype).as_strided(shape, strides, offset)


def _size(numbers: Any) -> torch.Size:
    return torch.Size(numbers)


def _device(kind: Any, index: Any = 0) -> torch.device:
    if type(kind) is not str or type(index) is not int:
        refuse("it names a device that does not exist")
    return torch.device(kind if index == 0 else f"{kind}:{index}")


def _parameter(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        refuse("it has a parameter that is not a tensor")
    return data
