"""Run kernels: their arguments, and the threads that they run on."""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from umamba.errors import BackendError
from umamba.ops.cpu.compilation import Compiled

__all__ = ["BLOCK", "SEQUENCE", "STATE", "Arguments", "blocks_in", "check_tensors", "run"]

BLOCK = 32  # channels per task, and steps per chunk: `ROW` and `CHUNK`
SEQUENCE = ("batch", "channel", "time")
STATE = ("batch", "channel", "state")

# Below so much work (multiply-adds, roughly) waking a thread costs more than it saves.
_WORK_PER_THREAD = 1 << 16

_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def _forget_pool() -> None:
    """Leave the parent's threads to the parent: a forked child has none of them."""
    global _pool, _pool_size
    _pool, _pool_size = None, 0


os.register_at_fork(after_in_child=_forget_pool)


def _threads(count: int) -> ThreadPoolExecutor:
    global _pool, _pool_size  # noqa: PLW0603
    if _pool is None or _pool_size < count:
        _pool = ThreadPoolExecutor(count, thread_name_prefix="umamba-scan")
        _pool_size = count
    return _pool


# Kept: a call takes dozens of names, which would be made anew each time.
@cache
def _stride_names(name: str, axes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{name}_{axis}" for axis in axes)


_known = cache(frozenset[str])


class Arguments(dict[str, int]):
    """The arguments of a kernel by name; those that are not given are zero."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Tensor] = []  # so that their memory outlives the call

    def tensor(self, name: str, x: Tensor | None, *axes: str) -> None:
        """Add a tensor's address and strides."""
        if x is None:
            return
        self.held.append(x)
        self[name] = x.data_ptr()
        if axes:
            self.update(zip(_stride_names(name, axes), x.stride(), strict=True))

    def projection(self, name: str, x: Tensor, d_inner: int) -> None:
        """Add `B` or `C`, in any of its layouts."""
        if x.dim() == 2:
            self.tensor(name, x, "group", "state")
        elif x.dim() == 3:
            self.tensor(name, x, "batch", "state", "time")
            self[f"{name}_channels"] = d_inner
        else:
            self.tensor(name, x, "batch", "group", "state", "time")
            self[f"{name}_channels"] = d_inner // x.shape[1]

    def packed(self, names: tuple[str, ...]) -> Any:
        """Return the array that the kernel reads."""
        if not self.keys() <= _known(names):
            unknown = sorted(self.keys() - _known(names))
            msg = f"a kernel does not take the arguments {', '.join(unknown)}"
            raise BackendError(msg)
        return (ctypes.c_int64 * len(names))(*map(self.get, names, repeat(0)))


def check_tensors(tensors: list[Tensor]) -> None:
    """Check types and devices of tensors, which a kernel does not do.

    Raises:
        BackendError: If types or devices differ, or are not the kernel's.
    """
    first = tensors[0]
    if any(x.dtype != first.dtype or x.device.type != "cpu" for x in tensors):
        found = ", ".join(f"{x.dtype} on {x.device}" for x in tensors)
        msg = f"the CPU kernel needs tensors of one type in main memory; got {found}"
        raise BackendError(msg)
    if first.dtype not in (torch.float32, torch.float64):
        msg = f"the CPU kernel computes in float32 or float64; got {first.dtype}"
        raise BackendError(msg)


def blocks_in(size: int) -> int:
    """Return how many blocks channels take, or chunks steps."""
    return -(-size // BLOCK)


def run(
    compiled: Compiled,
    kernel: Callable[[int, int, int], None],
    arguments: Arguments,
    depth: int,
    dtype: torch.dtype,
) -> None:
    """Run a kernel on as many threads as torch uses.

    Args:
        compiled: The module that the kernel belongs to.
        kernel: `compiled.forward` or `compiled.backward`.
        arguments: Its arguments.
        depth: `d_state` of a scan, or the width of a convolution.
        dtype: Type of the tensors.
    """
    if arguments["n_tasks"] == 0:
        return
    values = arguments.packed(compiled.arguments)
    work = arguments["n_tasks"] * BLOCK * arguments["length"] * depth
    threads = min(torch.get_num_threads(), arguments["n_tasks"], max(1, work // _WORK_PER_THREAD))
    scratch = torch.empty(threads, compiled.scratch_elements(depth), dtype=dtype)
    counter = ctypes.c_int64(0)
    places = [scratch[i].data_ptr() for i in range(threads)]
    call = (ctypes.addressof(values), ctypes.addressof(counter))
    others = [_threads(threads - 1).submit(kernel, *call, place) for place in places[1:]]
    kernel(*call, places[0])
    for other in others:
        other.result()
