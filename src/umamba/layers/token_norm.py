"""LayerNorm over the width of tokens, and its gradients, without copying channels-first maps.

torch's operator needs tokens in one piece each. On a CPU a map whose channels are planes is
normalised as it lies: bringing it into another order takes longer than the norm itself.

Source: Ba et al. 2016, arXiv:1607.06450.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from umamba.ops.counted_device import device_type_of

__all__ = ["Statistics", "normalise", "normalise_backward"]


class Statistics(NamedTuple):
    """The mean of every token and the inverse of its deviation, `(batch, length, 1)`."""

    mean: Tensor
    scale: Tensor


def normalise(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Statistics]:
    """Return normalised tokens, and their statistics.

    Args:
        x: Tokens `(batch, length, width)` of any strides.
        weight: As in `torch.nn.LayerNorm`.
        bias: As in `torch.nn.LayerNorm`; only with a weight.
        eps: Added to the variance.
    """
    if not _in_planes(x):
        tokens, mean, scale = torch.native_layer_norm(x, x.shape[-1:], weight, bias, eps)
        return tokens, Statistics(mean, scale)
    mean = x.mean(-1, keepdim=True)
    tokens = x - mean
    scale = tokens.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
    tokens *= scale
    if weight is not None:
        tokens *= weight
    if bias is not None:
        tokens += bias
    return tokens, Statistics(mean, scale)


def normalise_backward(
    grad: Tensor, x: Tensor, statistics: Statistics, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the gradients of `normalise`: of tokens, weight and bias.

    Args:
        grad: Gradient of its result.
        x: As given to it.
        statistics: As it returned them, or a stretch of each.
        weight: As given to it.
        bias: As given to it.
    """
    if not _in_planes(x):
        # Contiguous, since torch's operator takes that on trust.
        mean, scale = (number.contiguous() for number in statistics)
        wanted = [True, weight is not None, bias is not None]
        found: tuple[Tensor, Tensor | None, Tensor | None]
        found = torch.ops.aten.native_layer_norm_backward(
            grad, x, x.shape[-1:], mean, scale, weight, bias, wanted
        )
        return found
    tokens = (x - statistics.mean).mul_(statistics.scale)
    product = grad * tokens
    grad_weight = None if weight is None else product.sum((0, 1))
    grad_bias = None if bias is None else grad.sum((0, 1))
    if weight is not None:
        grad, product = grad * weight, product.mul_(weight)
    along = tokens.mul_(product.mean(-1, keepdim=True)).add_(grad.mean(-1, keepdim=True))
    return (grad - along).mul_(statistics.scale), grad_weight, grad_bias


def _in_planes(x: Tensor) -> bool:
    return device_type_of(x) == "cpu" and x.stride(-1) != 1
