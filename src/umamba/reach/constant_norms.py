"""Norms whose statistics are constants to the gradient."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["ConstantNorms"]


class ConstantNorms(TorchFunctionMode):
    """Leave the statistics of instance and group norms out of gradients, while it is active.

    What such a norm does to one voxel depends on all voxels, through mean and variance. The values
    stay what they are, and the gradient is that of convolutions and mixers alone.
    """

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if function is F.instance_norm:
            return _instance_norm(*args, **named)
        if function is F.group_norm:
            return _group_norm(*args, **named)
        return function(*args, **named)


def _instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,  # noqa: FBT001, FBT002 - torch's signature
    momentum: float = 0.1,  # noqa: ARG001 - torch's signature
    eps: float = 1e-5,
) -> Tensor:
    if not use_input_stats and running_mean is not None and running_var is not None:
        mean, variance = (_per_channel(known, x) for known in (running_mean, running_var))
        return _scaled(x, mean, variance, weight, bias, eps)
    axes = tuple(range(2, x.dim()))
    variance, mean = torch.var_mean(x.detach(), axes, correction=0, keepdim=True)
    return _scaled(x, mean, variance, weight, bias, eps)


def _group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    per_group = x.shape[1] // num_groups
    grouped = x.detach().reshape(len(x), num_groups, -1)
    variance, mean = (
        _per_channel(one.repeat_interleave(per_group, 1), x)
        for one in torch.var_mean(grouped, 2, correction=0)
    )
    return _scaled(x, mean, variance, weight, bias, eps)


def _scaled(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    normalised = (x - mean) * torch.rsqrt(variance + eps)
    if weight is not None:
        normalised = normalised * _per_channel(weight, x)
    return normalised if bias is None else normalised + _per_channel(bias, x)


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    """Return values of channels, with or without a batch axis, in the shape of a feature map."""
    return values.reshape(-1, x.shape[1], *[1] * (x.dim() - 2))
