"""Causal depthwise convolution with SiLU, as Mamba has it in front of the scan.

Off the CPU it is a sum of shifted sequences, which torch.compile fuses: cuDNN's depthwise
convolution wants time contiguous, which the scan does not, and torch's gradient of its weight
takes one block per channel and tap, however long the sequence.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from umamba.ops.backends import resolve_backend
from umamba.ops.cpu import MAX_WIDTH, cpu_conv_silu, cpu_conv_silu_backward

__all__ = ["conv_silu", "conv_silu_backward", "shifted_conv_silu", "shifted_conv_silu_backward"]


def conv_silu(
    x: Float[Tensor, "batch d_inner length"],
    weight: Float[Tensor, "d_inner width"],
    bias: Float[Tensor, " d_inner"] | None,
    backend: str | None = None,
) -> Float[Tensor, "batch d_inner length"]:
    """Return `silu(bias + sum_k weight[k] x[t - width + 1 + k])`; earlier steps are zero.

    Args:
        x: Sequences, in the type of the weight or a lower one; the result has that of the weight.
        weight: One filter per channel.
        bias: Added before the activation.
        backend: As in `selective_scan`; native code is for calls that need no autograd.
    """
    x = _as_weight(x, weight)
    if _native(x, weight, backend):
        return cpu_conv_silu(x, weight, bias)
    if not _on_cpu(x):
        return shifted_conv_silu(x, weight, bias)
    width = weight.shape[1]
    convolved = F.conv1d(x, weight[:, None], bias, padding=width - 1, groups=x.shape[1])
    return F.silu(convolved[..., : x.shape[-1]])


def conv_silu_backward(
    grad_y: Float[Tensor, "batch d_inner length"],
    x: Float[Tensor, "batch d_inner length"],
    weight: Float[Tensor, "d_inner width"],
    bias: Float[Tensor, " d_inner"] | None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the gradients of `x`, `weight` and `bias`.

    Args:
        grad_y: Gradient of the outputs.
        x: As given to `conv_silu`.
        weight: As given to `conv_silu`.
        bias: As given to `conv_silu`.
        backend: As given to `conv_silu`.
    """
    x = _as_weight(x, weight)
    if _native(x, weight, backend):
        grad_x, grad_weight, grad_bias = cpu_conv_silu_backward(grad_y, x, weight, bias)
        return grad_x, grad_weight, None if bias is None else grad_bias
    if not _on_cpu(x):
        return shifted_conv_silu_backward(grad_y, x, weight, bias)
    own_x, own_weight = (tensor.detach().requires_grad_() for tensor in (x, weight))
    own_bias = None if bias is None else bias.detach().requires_grad_()
    with torch.enable_grad():
        y = conv_silu(own_x, own_weight, own_bias, "torch")
    inputs = [own_x, own_weight] if own_bias is None else [own_x, own_weight, own_bias]
    grads = torch.autograd.grad(y, inputs, grad_y)
    return grads[0], grads[1], None if own_bias is None else grads[2]


def shifted_conv_silu(
    x: Float[Tensor, "batch d_inner length"],
    weight: Float[Tensor, "d_inner width"],
    bias: Float[Tensor, " d_inner"] | None,
) -> Float[Tensor, "batch d_inner length"]:
    """Return `conv_silu` as it is computed off the CPU, by a sum of shifted sequences."""
    return F.silu(_shifted_sum(_steps_before(x, weight), weight, bias)).transpose(1, 2)


def _steps_before(x: Tensor, weight: Tensor) -> Tensor:
    """Return `(batch, length + width - 1, channels)`: zeros, then the sequence, channels last."""
    return F.pad(x.transpose(1, 2), (0, 0, weight.shape[1] - 1, 0))


def _shifted_sum(steps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return `bias + sum_k weight[k] steps[t + k]`, `(batch, length, channels)`."""
    width = weight.shape[1]
    length = steps.shape[1] - width + 1
    first = steps[:, :length] * weight[:, 0]
    total = first if bias is None else first + bias
    for k in range(1, width):
        total = torch.addcmul(total, steps[:, k : k + length], weight[:, k])
    return total


def shifted_conv_silu_backward(
    grad_y: Float[Tensor, "batch d_inner length"],
    x: Float[Tensor, "batch d_inner length"],
    weight: Float[Tensor, "d_inner width"],
    bias: Float[Tensor, " d_inner"] | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the gradients of `shifted_conv_silu`, as `conv_silu_backward` does."""
    width, length = weight.shape[1], x.shape[2]
    steps = _steps_before(x, weight)
    convolved = _shifted_sum(steps, weight, bias)
    sigmoid = torch.sigmoid(convolved)
    grad = grad_y.transpose(1, 2) * sigmoid * (1 + convolved * (1 - sigmoid))
    taps = [(grad * steps[:, k : k + length]).sum((0, 1)) for k in range(width)]
    # The gradient of a step comes from those that follow it: the same sum from the other end.
    after = F.pad(grad, (0, 0, 0, width - 1))
    grad_x = _shifted_sum(after, weight.flip(1), None).transpose(1, 2)
    return grad_x, torch.stack(taps, 1), None if bias is None else grad.sum((0, 1))


def _as_weight(x: Tensor, weight: Tensor) -> Tensor:
    """Return the sequences in the type of the weight on a CPU; elsewhere kernels convert."""
    return x.to(weight.dtype) if _on_cpu(x) else x


def _on_cpu(x: Tensor) -> bool:
    return x.device.type in ("cpu", "meta")  # where costs are counted, as those of a convolution


def _native(x: Tensor, weight: Tensor, backend: str | None) -> bool:
    recorded = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return (
        not recorded
        and not torch.compiler.is_compiling()
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.float64)
        and weight.shape[1] <= MAX_WIDTH
        and resolve_backend(backend, x.device.type) == "cpu"
    )
