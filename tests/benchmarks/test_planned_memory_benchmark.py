"""The memory that is counted for a CPU is what its allocator hands out."""

import platform
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.checkpointing import count, counted_table
from benchmarks.planned_memory import allocator_peak, measure
from umamba.layers.mixer_layer import MixerLayer
from umamba.profiling import estimate_training_memory
from umamba.profiling.cpu_convolutions import convolution_workspace

pytestmark = [
    pytest.mark.skipif(
        platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available(),
        reason="counted for oneDNN on x86",
    ),
]
CONVOLUTIONS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "wide": (nn.Conv3d(64, 16, 3, padding=1), (20, 20, 20)),
    "strided": (nn.Conv3d(64, 32, 3, padding=1, stride=2), (20, 20, 20)),
    "padded channels": (nn.Conv3d(64, 24, 3, padding=1), (20, 20, 20)),
    "few voxels": (nn.Conv3d(16, 16, 3, padding=1), (16, 16, 16)),
    "one channel": (nn.Conv3d(1, 16, 3, padding=1), (24, 24, 24)),
    "one voxel": (nn.Conv3d(32, 16, 1), (24, 24, 24)),
    "depthwise": (nn.Conv3d(32, 32, 5, padding=2, groups=32), (20, 20, 20)),
    "transposed": (nn.ConvTranspose3d(64, 32, 2, stride=2), (16, 16, 16)),
    "2D": (nn.Conv2d(32, 16, 3, padding=1), (96, 96)),
}


class _Counted(TorchDispatchMode):
    """The bytes that convolutions make, with what they need for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if "convolution" in str(func):
            results = sum(x.nbytes for x in tree_leaves(made) if isinstance(x, Tensor))
            self.bytes.append(results + convolution_workspace(func, args, made))
        return made


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_needs_what_is_counted(name: str) -> None:
    layer, shape = CONVOLUTIONS[name]
    x = torch.randn(1, layer.in_channels, *shape, requires_grad=True)
    layer(x).sum().backward()  # loads what oneDNN needs once
    made = layer(x)
    grad = torch.ones_like(made)
    inputs = [x, *layer.parameters()]
    forward = allocator_peak(lambda: layer(x))
    backward = allocator_peak(lambda: torch.autograd.grad(made, inputs, grad))

    with _Counted() as counted:
        torch.autograd.grad(layer(x), inputs, grad)
    assert counted.bytes == [pytest.approx(size, rel=0.03) for size in (forward, backward)]


def test_a_step_needs_what_is_estimated() -> None:
    row = measure("umamba_bot", "norms", 24, "cpu")
    assert row["estimated_bytes"] == pytest.approx(row["allocator_bytes"], rel=0.05)


def test_memory_is_counted_for_every_setting_and_both_devices() -> None:
    rows = [row for model in ("nnunet", "attention_unet") for row in count(model, 16)]
    kept = {(row["setting"], row["device"]): row["saved_bytes"] for row in rows[2:]}
    assert {device for _, device in kept} == {"cpu", "cuda"}
    for device in ("cpu", "cuda"):
        assert kept["norms", device] < kept["none", device] > kept["blocks", device]
    table = counted_table(rows)
    assert table.count("| attention_unet |") == 6
    assert table.count(" 1.00 |") >= 4  # of nnunet itself


def test_a_mamba_layer_is_counted_in_the_pieces_of_a_cpu() -> None:
    network = nn.Sequential(nn.Conv2d(1, 16, 1), MixerLayer(16), nn.Conv2d(16, 2, 1))
    shape = (192, 192)
    image, labels = torch.randn(1, 1, *shape), torch.zeros(1, *shape, dtype=torch.long)

    def step() -> None:
        F.cross_entropy(network(image), labels).backward()
        network.zero_grad()

    step()  # compiles the kernels
    measured = allocator_peak(step)
    network.to("meta")
    on_cpu, elsewhere = (
        estimate_training_memory(network, 1, shape, 1, device=device).peak_bytes
        for device in ("cpu", None)
    )
    assert on_cpu == pytest.approx(measured, rel=0.1)
    assert elsewhere > 1.2 * measured
