"""The causal convolution with SiLU on the CPU."""

import torch
from jaxtyping import Float
from torch import Tensor

from umamba.errors import BackendError
from umamba.ops.cpu.compilation import compile_conv
from umamba.ops.cpu.launch import BLOCK, SEQUENCE, Arguments, blocks_in, check_tensors, run

__all__ = ["MAX_WIDTH", "cpu_conv_silu", "cpu_conv_silu_backward"]

MAX_WIDTH = BLOCK + 1  # the steps before a chunk come from one chunk


def cpu_conv_silu(
    x: Float[Tensor, "batch d_inner length"],
    weight: Float[Tensor, "d_inner width"],
    bias: Float[Tensor, " d_inner"] | None,
) -> Float[Tensor, "batch d_inner length"]:
    """Return `silu(bias + sum_k weight[k] x[t - width + 1 + k])`, laid out as `x`.

    Args:
        x: Sequences of any strides; steps before the first are zero.
        weight: One filter per channel, at most `MAX_WIDTH` long.
        bias: Added before the activation.

    Raises:
        BackendError: If types or devices differ, or the filter is too long.
    """
    arguments = _common(x, weight, bias)
    y = torch.empty_like(x)
    arguments.tensor("y", y, *SEQUENCE)
    kernels = compile_conv(x.dtype.itemsize * 8)
    run(kernels, kernels.forward, arguments, weight.shape[1], x.dtype)
    return y


def cpu_conv_silu_backward(
    grad_y: Float[Tensor, "batch d_inner length"],
    x: Float[Tensor, "batch d_inner length"],
    weight: Float[Tensor, "d_inner width"],
    bias: Float[Tensor, " d_inner"] | None,
) -> tuple[
    Float[Tensor, "batch d_inner length"], Float[Tensor, "d_inner width"], Float[Tensor, " d_inner"]
]:
    """Return the gradients of `x`, `weight` and `bias`; the convolution is computed again.

    Args:
        grad_y: Gradient of the outputs.
        x: As given to `cpu_conv_silu`.
        weight: As given to `cpu_conv_silu`.
        bias: As given to `cpu_conv_silu`.

    Raises:
        BackendError: As `cpu_conv_silu`.
    """
    arguments = _common(x, weight, bias)
    check_tensors([x, grad_y])
    grad_x = torch.empty_like(x)
    grad_weight = x.new_empty(x.shape[0], *weight.shape)
    grad_bias = x.new_empty(x.shape[:2])
    arguments.tensor("grad_y", grad_y, *SEQUENCE)
    arguments.tensor("grad_x", grad_x, *SEQUENCE)
    arguments.tensor("grad_weight", grad_weight)
    arguments.tensor("grad_bias", grad_bias)
    kernels = compile_conv(x.dtype.itemsize * 8)
    run(kernels, kernels.backward, arguments, weight.shape[1], x.dtype)
    return grad_x, grad_weight.sum(0), grad_bias.sum(0)


def _common(x: Tensor, weight: Tensor, bias: Tensor | None) -> Arguments:
    """Check the arguments, which the kernel does not do, and return them by name."""
    check_tensors([tensor for tensor in (x, weight, bias) if tensor is not None])
    batch, d_inner, length = x.shape
    width = weight.shape[1]
    if width > MAX_WIDTH:
        msg = f"the CPU kernel convolves with at most {MAX_WIDTH} taps; got {width}"
        raise BackendError(msg)
    blocks = blocks_in(d_inner)
    arguments = Arguments()
    arguments.update(
        n_tasks=batch * blocks,
        n_blocks=blocks,
        blocks_per_part=blocks,
        part_channels=d_inner,
        d_inner=d_inner,
        length=length,
        width=width,
    )
    arguments.tensor("x", x, *SEQUENCE)
    arguments.tensor("weight", weight, "channel", "tap")
    arguments.tensor("bias", None if bias is None else bias.contiguous())
    return arguments
