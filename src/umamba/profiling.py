"""What a network costs: parameters and the memory that a training step needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["TrainingMemory", "estimate_training_memory"]


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
    own_keys = {p.untyped_storage()._cdata for p in network.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}  # held, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own_keys:
            saved[storage._cdata] = storage
        return tensor

    def unpack(tensor: Any) -> Any:
        return tensor

    image = torch.empty(batch_size, input_channels, *patch_size, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        outputs = network(image)
    del outputs
    return TrainingMemory(
        n_parameters=sum(p.numel() for p in network.parameters()),
        saved_bytes=sum(storage.nbytes() for storage in saved.values()),
    )
