"""The cost of a network on a plan: counted without computing it, or one step to measure."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from umamba.profiling.memory import estimate_training_memory
from umamba.profiling.multiply_adds import count_multiply_adds

__all__ = [
    "NetworkProfile",
    "prediction_multiply_adds",
    "prediction_step",
    "profile_network",
    "training_step",
]


@dataclass(frozen=True)
class NetworkProfile:
    """The cost of a network, counted from its shapes.

    Args:
        n_parameters: Weights.
        multiply_adds: Multiply-adds to predict one patch, as papers state them: without the
            heads of deep supervision. See `count_multiply_adds` for what counts.
        saved_bytes: Bytes that autograd keeps for the backward of one batch, in float32, with deep
            supervision.
        training_bytes: Memory of a training step; see `TrainingMemory.total_bytes`.
    """

    n_parameters: int
    multiply_adds: int
    saved_bytes: int
    training_bytes: int

    def to_dict(self) -> dict[str, int]:
        """Return plain data."""
        return asdict(self)


def profile_network(
    network: nn.Module,
    input_channels: int,
    patch_size: Sequence[int],
    batch_size: int,
    *,
    moments: int = 1,
) -> NetworkProfile:
    """Count the cost of a network, without computing it.

    Args:
        network: A network on the meta device, in training mode, with nnU-Net's switch
            `network.decoder.deep_supervision` on.
        input_channels: Channels of the image.
        patch_size: Spatial shape of a patch.
        batch_size: Patches in a training batch.
        moments: Numbers that the optimiser keeps per weight; see `Recipe`.

    Returns:
        Its parameters, multiply-adds and memory.
    """
    memory = estimate_training_memory(
        network, input_channels, patch_size, batch_size, moments=moments
    )
    multiply_adds = prediction_multiply_adds(network, input_channels, patch_size)
    return NetworkProfile(
        memory.n_parameters, multiply_adds, memory.saved_bytes, memory.total_bytes
    )


def prediction_multiply_adds(
    network: nn.Module, input_channels: int, patch_size: Sequence[int]
) -> int:
    """Count the multiply-adds of the prediction of one patch, without computing it.

    Args:
        network: A network as `profile_network` takes it.
        input_channels: Channels of the image.
        patch_size: Spatial shape of a patch.
    """
    patch = torch.empty(1, input_channels, *patch_size, device="meta")
    with _prediction(network):
        return count_multiply_adds(lambda: network(patch))


@contextmanager
def _prediction(network: Any) -> Iterator[None]:
    """Switch a network in training to prediction, and back."""
    network.decoder.deep_supervision = False
    network.eval()
    try:
        yield
    finally:
        network.train()
        network.decoder.deep_supervision = True


def training_step(
    network: nn.Module, input_channels: int, patch_size: Sequence[int], batch_size: int
) -> Callable[[], None]:
    """Return one training step, to be timed or to have its peak memory measured.

    It is forward and backward in float32 on random images; the loss is the sum of the mean
    squares of the outputs. There is no optimizer, no augmentation and no loading of data, which
    cost about the same for every network. Gradients are dropped at the end.

    Args:
        network: A network in training mode, on the device to measure.
        input_channels: Channels of the image.
        patch_size: Spatial shape of a patch.
        batch_size: Patches in a batch.
    """
    device = next(network.parameters()).device
    images = torch.randn(batch_size, input_channels, *patch_size, device=device)

    def step() -> None:
        outputs = network(images)
        logits = outputs if isinstance(outputs, list | tuple) else [outputs]
        loss = torch.stack([x.square().mean() for x in logits]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        network.zero_grad(set_to_none=True)

    return step


def prediction_step(
    network: nn.Module,
    input_channels: int,
    patch_size: Sequence[int],
    batch_size: int,  # noqa: ARG001 - so that it takes a planned network as `training_step` does
) -> Callable[[], None]:
    """Return the prediction of one patch, in float32, to be timed.

    Args:
        network: A network in training mode, on the device to measure; it is so again after calls.
        input_channels: Channels of the image.
        patch_size: Spatial shape of a patch.
        batch_size: Not used: nnU-Net predicts one patch at a time.
    """
    patch = torch.randn(1, input_channels, *patch_size, device=next(network.parameters()).device)

    def step() -> None:
        with _prediction(network), torch.inference_mode():
            network(patch)

    return step
