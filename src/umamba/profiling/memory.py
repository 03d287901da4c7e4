"""Memory of a training step: what autograd keeps, counted, and the peak of a call, measured."""

import ctypes
import gc
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "TrainingMemory",
    "estimate_training_memory",
    "peak_memory",
    "saved_bytes",
]


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that a training step holds at the end of its forward pass.

    `saved_bytes` is what autograd keeps for the backward. Workspaces of convolutions, the
    gradients in flight and the fragmentation of the allocator come on top, for every network
    alike, so the figures compare networks better than they predict a peak.
    """

    n_parameters: int
    saved_bytes: int

    @property
    def total_bytes(self) -> int:
        """Return saved activations, and weights, gradients and momentum in float32."""
        return self.saved_bytes + 3 * 4 * self.n_parameters


def estimate_training_memory(
    network: nn.Module, input_channels: int, patch_size: Sequence[int], batch_size: int
) -> TrainingMemory:
    """Measure what autograd saves in one forward pass, without computing it.

    Args:
        network: A network on the meta device, in training mode.
        input_channels: Channels of the image.
        patch_size: Spatial shape of a patch.
        batch_size: Patches in a batch.

    Returns:
        Parameters and saved bytes, in float32.
    """
    image = torch.empty(batch_size, input_channels, *patch_size, device="meta")
    return TrainingMemory(
        n_parameters=sum(p.numel() for p in network.parameters()),
        saved_bytes=saved_bytes(lambda: network(image), network.parameters()),
    )


def saved_bytes(function: Callable[[], object], parameters: Iterable[Tensor]) -> int:
    """Count what autograd keeps for the backward of one forward call.

    Args:
        function: Runs the forward once, on any device; what it returns is dropped.
        parameters: Tensors that exist anyway, and are not counted.

    Returns:
        Bytes. A storage counts once and in full, however many views of it are kept; inputs count
        where they are kept. What a function of its own hides from autograd is not seen.
    """
    with _record_saved(parameters) as saved:
        function()
    return sum(storage.nbytes() for storage in saved.values())


@contextmanager
def _record_saved(parameters: Iterable[Tensor]) -> Iterator[dict[int, torch.UntypedStorage]]:
    """Collect the storages that autograd saves, except those of the parameters."""
    own_keys = {p.untyped_storage()._cdata for p in parameters}
    saved: dict[int, torch.UntypedStorage] = {}  # held, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own_keys:
            saved[storage._cdata] = storage
        return tensor

    def unpack(tensor: Any) -> Any:
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield saved


def peak_memory(function: Callable[[], object], device: str = "cpu") -> int | None:
    """Measure how much memory a call needs at its peak, above what was in use before it.

    On CUDA that is what torch's allocator handed out; workspaces that libraries take past it are
    not counted. On Linux it is the resident memory of the whole process, of all its threads:
    memory that was only reserved does not count, but libraries that the call loads and code that it
    compiles do, so run it once before. Free memory that the C library keeps is given back first; as
    the kernel counts in pages, the figure is accurate to about a mebibyte.

    Args:
        function: The function, which is called once.
        device: Type of the device whose memory is measured, `cpu` or `cuda`.

    Returns:
        Bytes, or `None` where they cannot be measured (a CPU without Linux's `/proc`).
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    if not _reset_peak():
        return None
    resident = _process_status("VmRSS")
    function()
    return max(0, _process_status("VmHWM") - resident)


def _reset_peak() -> bool:
    """Set this process's VmHWM to what is resident now; return whether Linux did so.

    Free pages that glibc keeps are given back first: a call that got them would seem to need none.
    """
    if sys.platform != "linux":
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    try:
        # Source: proc_pid_clear_refs(5), value 5.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _process_status(field: str) -> int:
    """Read one memory field of this process, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024  # "VmRSS:    123 kB"
