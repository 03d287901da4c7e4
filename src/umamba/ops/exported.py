"""Operators that an exported network calls in place of many operations.

The recurrences of LTI and Mamba-2 are written for torch: with complex numbers, and in pieces whose
number follows from the length. Other engines know no complex numbers, and an exported network is to
take any length. So while torch exports a network, each is one operator of real tensors, as the
selective scan always is; `umamba.onnx_export` says what it is in ONNX.
"""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from umamba.ops.linear_ssm import causal_convolution, kernel_of_decays
from umamba.ops.state_space_duality import state_space_duality

__all__ = ["diagonal_recurrence", "duality", "exported_diagonal_ssm", "exported_duality"]


_LIBRARY: Any = torch.library.Library("umamba", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define(
    "diagonal_recurrence(Tensor u, Tensor log_real, Tensor log_imag, Tensor weight_real, "
    "Tensor weight_imag) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_LIBRARY.define(
    "state_space_duality(Tensor x, Tensor dt, Tensor A, Tensor B, Tensor C) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)


def _diagonal_recurrence(
    u: Tensor, log_real: Tensor, log_imag: Tensor, weight_real: Tensor, weight_imag: Tensor
) -> Tensor:
    log_decay, weight = torch.complex(log_real, log_imag), torch.complex(weight_real, weight_imag)
    return causal_convolution(u, kernel_of_decays(log_decay, weight, u.shape[-1])).contiguous()


def _duality(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    return state_space_duality(x, dt, A, B, C)[0].contiguous()


def _like_the_first(first: Tensor, *_: Tensor) -> Tensor:
    """Say what the operators return; compiled code relies on the order in memory."""
    return first.new_empty(first.shape)


for _name, _run in (
    ("diagonal_recurrence", _diagonal_recurrence),
    ("state_space_duality", _duality),
):
    _LIBRARY.impl(_name, _run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"umamba::{_name}", _like_the_first, lib=_LIBRARY)

diagonal_recurrence = torch.ops.umamba.diagonal_recurrence.default
duality = torch.ops.umamba.state_space_duality.default


def exported_diagonal_ssm(
    u: Float[Tensor, "batch d_inner length"],
    A_real: Float[Tensor, "d_inner pairs"],
    A_imag: Float[Tensor, "d_inner pairs"],
    C: Float[Tensor, "d_inner pairs 2"],
    dt: Float[Tensor, " d_inner"],
) -> Float[Tensor, "batch d_inner length"]:
    """Return `diagonal_ssm` of zero-order hold as one operator; its eigenvalues are in parts.

    Args:
        u: Inputs.
        A_real: Real parts of one eigenvalue of each pair.
        A_imag: Their imaginary parts.
        C: Output weights, real and imaginary.
        dt: Step sizes.
    """
    real, imag = dt[:, None] * A_real, dt[:, None] * A_imag
    # Bd = (exp(z) - 1) / A, without a difference of nearly equal numbers
    held_real = torch.expm1(real) * torch.cos(imag) - 2 * torch.sin(imag / 2) ** 2
    held_imag = torch.exp(real) * torch.sin(imag)
    size = A_real**2 + A_imag**2
    Bd_real = (held_real * A_real + held_imag * A_imag) / size
    Bd_imag = (held_imag * A_real - held_real * A_imag) / size
    C_real, C_imag = C.unbind(-1)
    weight_real = 2 * (C_real * Bd_real - C_imag * Bd_imag)
    weight_imag = 2 * (C_real * Bd_imag + C_imag * Bd_real)
    return cast("Tensor", diagonal_recurrence(u, real, imag, weight_real, weight_imag))


def exported_duality(
    x: Float[Tensor, "batch length heads headdim"],
    dt: Float[Tensor, "batch length heads"],
    A: Float[Tensor, " heads"],
    B: Float[Tensor, "batch length d_state"],
    C: Float[Tensor, "batch length d_state"],
) -> Float[Tensor, "batch length heads headdim"]:
    """Return the outputs of `state_space_duality` as one operator.

    Args:
        x: Input sequence.
        dt: Step size, positive.
        A: Decay of each head, real and negative.
        B: Input projection, that of all heads.
        C: Output projection, that of all heads.
    """
    return cast("Tensor", duality(x, dt, A, B, C))
