"""Activation checkpointing: blocks whose activations are computed again in the backward."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.checkpoint import checkpoint

from umamba.errors import PlansError, unknown_name
from umamba.layers.recomputation import keep, not_recomputing

__all__ = ["ACTIVATION_CHECKPOINTING", "apply_blocks", "check_activation_checkpointing"]

_RANDOM = (nn.RReLU, _DropoutNd)
ACTIVATION_CHECKPOINTING = ("none", "norms", "mamba", "blocks")


def check_activation_checkpointing(
    value: str,
    network: nn.Module,
    norm_op: type[nn.Module] | None = None,
    norm_op_kwargs: Mapping[str, Any] | None = None,
    nonlin: type[nn.Module] | None = None,
    choices: Sequence[str] = ("none", "norms", "blocks"),
) -> None:
    """Check the setting of activation checkpointing in a plan.

    Args:
        value: The setting.
        network: The network whose keyword it is.
        norm_op: Its normalisation; `None` stands for one without running statistics.
        norm_op_kwargs: Keywords of the normalisation.
        nonlin: Its nonlinearity; `None` stands for one without randomness.
        choices: The settings that the network has.

    Raises:
        PlansError: If there is no such setting, or it does not fit the network.
    """
    if value not in ACTIVATION_CHECKPOINTING:
        raise PlansError(unknown_name("activation_checkpointing", value, ACTIVATION_CHECKPOINTING))
    if value not in choices:
        msg = (
            f"activation_checkpointing {value!r} is not for {type(network).__name__}; choose "
            f"{' or '.join(choices)}"
        )
        raise PlansError(msg)
    if value not in ("norms", "blocks"):
        return
    keeps_statistics = bool((norm_op_kwargs or {}).get("track_running_stats"))
    if norm_op is not None and (issubclass(norm_op, _BatchNorm) or keeps_statistics):
        msg = (
            f"activation_checkpointing {value!r} would update the running statistics of "
            f"{norm_op.__name__} twice a step; give another norm_op, as nnU-Net's plans do, or "
            "leave checkpointing out"
        )
        raise PlansError(msg)
    if value == "norms" and nonlin is not None and issubclass(nonlin, _RANDOM):
        msg = (
            f"activation_checkpointing 'norms' would draw other random numbers for "
            f"{nonlin.__name__} in the backward; choose none or blocks"
        )
        raise PlansError(msg)


def apply_blocks(
    blocks: Iterable[nn.Module], x: Tensor, *, checkpointed: bool, keeps: bool = False
) -> Tensor:
    """Apply blocks in order.

    Args:
        blocks: Modules that map a tensor to a tensor.
        x: The first one's input.
        checkpointed: Whether only the inputs of the blocks are kept for the backward, which then
            computes each block once more. Results and gradients are the same.
        keeps: Whether what one block gives to the next is kept even within `recomputing`.

    Source:
        Chen et al. 2016, arXiv:1604.06174.
    """
    for n, block in enumerate(blocks):
        x = keep(x) if keeps and n else x
        if checkpointed and torch.is_grad_enabled():
            x = checkpoint(not_recomputing(block), x, use_reentrant=False)
        else:
            x = block(x)
    return x
