"""Memory of a training step: what autograd keeps, counted, and the peak of a call, measured."""

import ctypes
import gc
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from umamba.layers.recomputation import emulated_autocast, observed_saving
from umamba.ops.counted_device import meta_stands_for
from umamba.profiling.cpu_convolutions import convolution_workspace
from umamba.profiling.mixed_precision import MixedPrecision, in_mixed_precision

__all__ = [
    "TrainingMemory",
    "estimate_training_memory",
    "peak_memory",
    "saved_bytes",
]

# Returns the bytes of an operation besides arguments and results, given it and both.
_Workspace = Callable[[Any, tuple[Any, ...], Any], int]


@dataclass(frozen=True)
class TrainingMemory:
    """Memory of a training step, in bytes.

    Attributes:
        n_parameters: Weights, which are kept in float32.
        saved_bytes: What autograd keeps for the backward.
        peak_bytes: Activations and gradients at the moment at which most of them exist.
        moments: Numbers that the optimiser keeps per weight, in float32.
    """

    n_parameters: int
    saved_bytes: int
    peak_bytes: int
    moments: int = 1

    @property
    def total_bytes(self) -> int:
        """Return the peak with weights and what the optimiser keeps.

        Workspaces of convolutions and the fragmentation of the allocator come on top.
        """
        return self.peak_bytes + (1 + self.moments) * 4 * self.n_parameters


def estimate_training_memory(
    network: nn.Module,
    input_channels: int,
    patch_size: Sequence[int],
    batch_size: int,
    *,
    device: str | None = None,
    moments: int = 1,
) -> TrainingMemory:
    """Count the memory of one training step, without computing it.

    Forward, loss and backward run on the meta device, where tensors have a size but no content;
    every tensor is counted from the operation that makes it to its end.

    Args:
        network: A network on the meta device, in training mode.
        input_channels: Channels of the image.
        patch_size: Spatial shape of a patch.
        batch_size: Patches in a batch.
        device: Type of the device that it is counted for: `cuda`, where feature maps are in half
            precision under autocast; `cpu`, where layers work in smaller pieces and convolutions
            make copies; any other is float32 without what only some devices do.
        moments: Numbers that the optimiser keeps per weight; see `Recipe`.

    Returns:
        Parameters, saved bytes and peak.
    """
    image = torch.empty(batch_size, input_channels, *patch_size, device="meta")
    n_parameters = sum(p.numel() for p in network.parameters())
    half, on_cpu = device == "cuda", device == "cpu"
    measured, n_halved = in_mixed_precision(network) if half else (network, 0)
    with (
        emulated_autocast(MixedPrecision) if half else nullcontext(),
        meta_stands_for("cpu") if on_cpu else nullcontext(),
    ):
        has_workspace = on_cpu and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        workspace = convolution_workspace if has_workspace else None
        saved, peak = _step_memory(measured, image, workspace)
    # Autocast's weights in half precision are copies, and gradients are in float32 nevertheless.
    peak += 2 * 2 * n_halved
    return TrainingMemory(n_parameters, saved, peak, moments)


def _step_memory(
    network: nn.Module, image: Tensor, workspace: _Workspace | None
) -> tuple[int, int]:
    """Return the bytes that the backward needs, and those of all tensors at their peak."""
    there = [*network.parameters(), *network.buffers(), image]
    with _LiveMemory(there, workspace) as live:
        with _record_saved(network.parameters()) as saved:
            outputs = network(image)
        loss = _segmentation_loss(outputs)
        del outputs
        loss.backward()  # type: ignore[no-untyped-call]
    for parameter in network.parameters():
        parameter.grad = None
    return saved.total, int(live.peak)


def _segmentation_loss(outputs: Tensor | Sequence[Tensor]) -> Tensor:
    """Return a loss that holds as much as nnU-Net's: cross-entropy and overlap of each output."""
    losses = []
    for output in [outputs] if isinstance(outputs, Tensor) else outputs:
        logits = output.float()  # as autocast has losses computed
        labels = torch.empty(logits[:, 0].shape, dtype=torch.long, device=logits.device)
        overlap = logits.softmax(1) * logits.new_empty(logits.shape)
        losses.append(F.cross_entropy(logits, labels) - overlap.mean())
    return torch.stack(losses).sum()


class _LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the bytes of the tensors that operations make, for as long as these exist."""

    def __init__(self, there: Iterable[Tensor], workspace: _Workspace | None) -> None:
        """Take tensors that exist before, which operations may return anew."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._workspace = workspace
        self._known = {tensor.untyped_storage()._cdata for tensor in there}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        if self._workspace is not None:
            self.peak = max(self.peak, self.now + self._workspace(func, args, made))
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, key, storage.nbytes()).atexit = False

    def _remove(self, key: int, n_bytes: int) -> None:
        self._known.remove(key)
        self.now -= n_bytes


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
    return saved.total


class _Saved:
    """Count the bytes of storages, each once; none is kept alive."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        """Take tensors that do not count."""
        self.total = 0
        self._known = {p.untyped_storage()._cdata for p in parameters}

    def add(self, tensor: Tensor) -> Tensor:
        """Count a tensor's storage, and return the tensor."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._known:
            self._known.add(key)
            self.total += storage.nbytes()
            # Its address may be that of another storage afterwards.
            weakref.finalize(storage, self._known.discard, key).atexit = False
        return tensor


@contextmanager
def _record_saved(parameters: Iterable[Tensor]) -> Iterator[_Saved]:
    """Count the storages that autograd saves, except those of the parameters."""
    saved = _Saved(parameters)

    def unpack(tensor: Any) -> Any:
        return tensor

    with observed_saving(saved.add), torch.autograd.graph.saved_tensors_hooks(saved.add, unpack):
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
