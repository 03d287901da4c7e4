"""The Mamba block as one differentiable function that keeps little for its backward.

Autograd would keep every intermediate: over sixteen times the tokens. Here the tokens, the scan's
restart states and its outputs are kept, and what lies between is computed again: two cheap
projections and a short convolution, but not the scan.

Source: Gu and Dao 2023, arXiv:2312.00752, section 3.3.2, on recomputation.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from umamba.ops.backends import resolve_backend
from umamba.ops.causal_conv import conv_silu, conv_silu_backward
from umamba.ops.operator import scan

__all__ = ["MixerParameters", "ScanInputs", "lean_mixer", "scan_inputs"]


class MixerParameters(NamedTuple):
    """The parameters of a Mamba block; biases may be absent."""

    in_proj: Tensor
    in_proj_bias: Tensor | None
    conv: Tensor  # (d_inner, d_conv)
    conv_bias: Tensor | None
    x_proj: Tensor
    dt_proj: Tensor
    dt_bias: Tensor
    A_log: Tensor
    D: Tensor
    out_proj: Tensor
    out_proj_bias: Tensor | None


class ScanInputs(NamedTuple):
    """What the scan takes; sequences are `(batch, channels, length)`, channels last in memory."""

    u: Tensor
    dt: Tensor
    B: Tensor
    C: Tensor
    z: Tensor
    x: Tensor  # before the convolution
    dt_low: Tensor  # (batch, length, dt_rank): before its projection


def scan_inputs(hidden: Tensor, p: MixerParameters, backend: str | None) -> ScanInputs:
    """Project and convolve `(batch, length, d_model)` tokens into what the scan takes.

    Args:
        hidden: The tokens.
        p: The block's parameters.
        backend: As in `selective_scan`.
    """
    x, z = F.linear(hidden, p.in_proj, p.in_proj_bias).transpose(1, 2).chunk(2, dim=1)
    u = conv_silu(x, p.conv, p.conv_bias, backend)
    d_state = p.A_log.shape[1]
    projected = F.linear(u.transpose(1, 2), p.x_proj)
    sizes = [p.dt_proj.shape[1], d_state, d_state]
    dt_low, B, C = torch.split(projected, sizes, dim=-1)
    # The bias is added inside the scan, in the dtype of the recurrence.
    dt = F.linear(dt_low, p.dt_proj)
    return ScanInputs(u, dt.transpose(1, 2), B.transpose(1, 2), C.transpose(1, 2), z, x, dt_low)


def lean_mixer(hidden: Tensor, p: MixerParameters, backend: str | None) -> Tensor:
    """Run a Mamba block outside autocast, keeping little for the backward.

    Args:
        hidden: Tokens `(batch, length, d_model)`, in the type of the parameters.
        p: The block's parameters.
        backend: As in `selective_scan`, but not `reference`.
    """
    chosen = resolve_backend(backend, hidden.device.type)
    mixed: Tensor = _LeanMixer.apply(hidden, chosen, *p)
    return mixed


class _LeanMixer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, backend: str, *parameters: Any) -> Tensor:
        p = MixerParameters(*parameters)
        s = scan_inputs(hidden, p, backend)
        A = -torch.exp(p.A_log)
        given = (s.u, s.dt, A, s.B, s.C, p.D, s.z, p.dt_bias)
        y, _, states = scan(
            *given, initial_state=None, dt_softplus=True, keep_states=True, backend=backend
        )
        ctx.save_for_backward(hidden, y, states, *parameters)
        ctx.backend = backend
        return F.linear(y.transpose(1, 2), p.out_proj, p.out_proj_bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, y, states, *parameters = ctx.saved_tensors
        p = MixerParameters(*parameters)
        s = scan_inputs(hidden, p, ctx.backend)
        A = -torch.exp(p.A_log)
        grad_out_proj, grad_out_bias = _of_linear(grad, y.transpose(1, 2), p.out_proj_bias)
        grad_y = (grad @ p.out_proj).transpose(1, 2)
        no_state = A.new_zeros(hidden.shape[0], *A.shape)
        given = (s.u, s.dt, A, s.B, s.C, p.D, s.z, p.dt_bias)
        scanned = torch.ops.umamba.selective_scan_backward(
            grad_y, no_state, *given, states, dt_softplus=True, backend=ctx.backend
        )
        grad_u, grad_dt, grad_A, grad_B, grad_C, grad_D, grad_z, grad_dt_bias, _ = scanned
        del grad_y, scanned

        grad_dt = grad_dt.transpose(1, 2)
        grad_dt_proj, _ = _of_linear(grad_dt, s.dt_low, None)
        parts = (grad_dt @ p.dt_proj, grad_B.transpose(1, 2), grad_C.transpose(1, 2))
        grad_projected = torch.cat(parts, dim=-1)
        del grad_dt, parts
        grad_x_proj, _ = _of_linear(grad_projected, s.u.transpose(1, 2), None)
        grad_u = grad_u.transpose(1, 2).add_(grad_projected @ p.x_proj).transpose(1, 2)

        convolved = conv_silu_backward(grad_u, s.x, p.conv, p.conv_bias, ctx.backend)
        grad_x, grad_conv, grad_conv_bias = convolved
        del grad_u, convolved, s
        halves = [g.transpose(1, 2) for g in (grad_x, grad_z)]
        weights = p.in_proj.chunk(2)
        of_in_proj = [_of_linear(g, hidden, p.in_proj_bias) for g in halves]
        grad_hidden = (halves[0] @ weights[0]).add_(halves[1] @ weights[1])
        grad_in_bias = None
        if p.in_proj_bias is not None:
            grad_in_bias = torch.cat([bias for _, bias in of_in_proj if bias is not None])
        return (
            grad_hidden,
            None,
            torch.cat([weight for weight, _ in of_in_proj]),
            grad_in_bias,
            grad_conv,
            grad_conv_bias,
            grad_x_proj,
            grad_dt_proj,
            grad_dt_bias,
            grad_A * A,  # A = -exp(A_log)
            grad_D,
            grad_out_proj,
            grad_out_bias,
        )


def _of_linear(grad: Tensor, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of the weight and the bias of a linear layer."""
    flat = grad.flatten(0, -2)
    return flat.t() @ x.flatten(0, -2), None if bias is None else flat.sum(0)
