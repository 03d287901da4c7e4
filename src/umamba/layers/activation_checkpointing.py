"""Activation checkpointing: blocks whose activations are computed again in the backward."""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from umamba.errors import PlansError, unknown_name

__all__ = ["ACTIVATION_CHECKPOINTING", "apply_blocks", "check_activation_checkpointing"]

ACTIVATION_CHECKPOINTING = ("none", "mamba", "blocks")


def check_activation_checkpointing(
    value: str, network: nn.Module, choices: Sequence[str] = ("none", "blocks")
) -> None:
    """Check the setting of activation checkpointing in a plan.

    Args:
        value: The setting.
        network: The network whose keyword it is.
        choices: The settings that the network has.

    Raises:
        PlansError: If there is no such setting, or the network does not have it.
    """
    if value not in ACTIVATION_CHECKPOINTING:
        raise PlansError(unknown_name("activation_checkpointing", value, ACTIVATION_CHECKPOINTING))
    if value not in choices:
        msg = (
            f"activation_checkpointing {value!r} is not for {type(network).__name__}; choose "
            f"{' or '.join(choices)}"
        )
        raise PlansError(msg)


def apply_blocks(blocks: Iterable[nn.Module], x: Tensor, *, checkpointed: bool) -> Tensor:
    """Apply blocks in order.

    Args:
        blocks: Modules that map a tensor to a tensor.
        x: The first one's input.
        checkpointed: Whether only the inputs of the blocks are kept for the backward, which then
            computes each block once more. Results and gradients are the same.

    Source:
        Chen et al. 2016, arXiv:1604.06174.
    """
    for block in blocks:
        if checkpointed and torch.is_grad_enabled():
            x = cast("Tensor", checkpoint(block, x, use_reentrant=False))
        else:
            x = block(x)
    return x
