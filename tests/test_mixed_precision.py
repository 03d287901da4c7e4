"""Mixed precision, counted on the meta device, against CUDA's own autocast on fake tensors."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from reference_cases import keywords
from umamba.networks import UMambaBot, UMambaMedNeXt, UMambaPrimus, UMambaSegResNet
from umamba.profiling import estimate_training_memory, saved_bytes

PATCH = (16, 24, 16)
# Primus and SegResNet keep their own topology.
OWN: dict[str, Any] = {
    "input_channels": 2,
    "num_classes": 3,
    "conv_op": nn.Conv3d,
    "strides": [[stride] * 3 for stride in (1, 2, 4)],
}
# MedNeXt has norms and activations of its own.
CHOSEN = ("conv_bias", "norm_op", "norm_op_kwargs", "dropout_op", "dropout_op_kwargs", "nonlin")


def mednext(setting: str) -> nn.Module:
    plan = {k: v for k, v in keywords(3).items() if k not in (*CHOSEN, "nonlin_kwargs")}
    return UMambaMedNeXt(**plan, expansion=[2, 3, 4], activation_checkpointing=setting)


def bot(setting: str, mixer: str = "mamba") -> nn.Module:
    return UMambaBot(**keywords(3, mixer=mixer, activation_checkpointing=setting))


CASES: dict[str, Callable[[], nn.Module]] = {
    "MedNeXt, none": lambda: mednext("none"),
    "MedNeXt, norms": lambda: mednext("norms"),
    "U-Mamba, norms": lambda: bot("norms"),
    "attention, blocks": lambda: bot("blocks", "attention"),
    "Primus": lambda: UMambaPrimus(**OWN, features_per_stage=[36], input_size=PATCH, n_blocks=2),
    "SegResNet": lambda: UMambaSegResNet(**OWN, features_per_stage=[8]),
}


@contextmanager
def autocast_of_cuda() -> Iterator[None]:
    """What torch.autocast("cuda") does, which refuses to where there is no GPU."""
    torch.set_autocast_enabled("cuda", True)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        torch.autocast_decrement_nesting()
        torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", False)


def on_cuda(network: nn.Module) -> None:
    for module in network.modules():
        for name, weight in module.named_parameters(recurse=False):
            module.register_parameter(name, nn.Parameter(empty(weight)))
        for name, buffer in module.named_buffers(recurse=False):
            module.register_buffer(name, empty(buffer))


def empty(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:the scan backend 'triton' cannot run:RuntimeWarning")
def test_what_a_step_keeps_is_what_cudas_autocast_keeps(name: str) -> None:
    if name == "SegResNet" and not importlib.util.find_spec("monai"):
        pytest.skip("monai is not installed")
    with torch.device("meta"):
        network = CASES[name]()
    estimate = estimate_training_memory(network, 2, PATCH, 2, device="cuda")
    with FakeTensorMode(allow_non_fake_inputs=True):
        on_cuda(network)
        image = torch.empty(2, 2, *PATCH, device="cuda")
        with autocast_of_cuda():
            kept = saved_bytes(lambda: network(image), network.parameters())
    layers = (nn.Linear, nn.Conv3d, nn.ConvTranspose3d)
    weights = [module.weight for module in network.modules() if isinstance(module, layers)]
    copies = 2 * sum(weight.numel() for weight in weights)  # in half precision; not all are kept
    assert 0.99 * estimate.saved_bytes < kept < 1.01 * estimate.saved_bytes + copies
    assert copies < 0.35 * kept
