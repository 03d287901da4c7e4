"""The portable backend `torch`: the recurrence of `chunked`, and Mamba's additions around it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from umamba.ops.chunked import chunked_scan, chunked_scan_backward, segment_length
from umamba.ops.scan_backend import ScanBackend, ScanGradients, ScanTensors

__all__ = ["BACKEND"]


def _step_size(given: ScanTensors, *, softplus: bool) -> Tensor:
    dt = given.dt if given.dt_bias is None else given.dt + given.dt_bias[:, None]
    return F.softplus(dt) if softplus else dt


def _segment(given: ScanTensors) -> int:
    return segment_length(given.u, given.A.shape[1])


def _restart_shape(given: ScanTensors) -> tuple[int, ...]:
    """Return the shape of the restart states: (segments, batch, d_inner, d_state)."""
    batch, d_inner, length = given.u.shape
    return (-(-length // _segment(given)), batch, d_inner, given.A.shape[1])


def _scan(
    given: ScanTensors, *, softplus: bool, keep_states: bool
) -> tuple[Tensor, Tensor, Tensor]:
    u, _, A, B, C, D, z, _, first = given
    steps = _step_size(given, softplus=softplus)
    y, states = chunked_scan(u, steps, A, B, C, first, _segment(given))
    if D is not None:
        y.addcmul_(D[:, None], u)
    if z is not None:
        y.mul_(F.silu(z))
    restart = states[:-1].clone() if keep_states else u.new_empty(0)
    return y, states[-1].clone(), restart


def _backward(
    grad_y: Tensor,
    grad_last: Tensor | None,
    given: ScanTensors,
    states: Tensor,
    *,
    softplus: bool,
    with_first: bool,
) -> ScanGradients:
    u, _, A, B, C, D, z, dt_bias, _ = given
    steps = _step_size(given, softplus=softplus)
    if grad_last is None:
        grad_last = u.new_zeros(u.shape[0], *A.shape)
    ungated = grad_y if z is None else grad_y * F.silu(z)
    recurrence = (u, steps, A, B, C, states, _segment(given))
    grads = chunked_scan_backward(ungated, grad_last, *recurrence, with_outputs=z is not None)
    grad_u, grad_steps, y = grads.u, grads.dt, grads.outputs
    grad_D, grad_z, grad_bias = None, None, None
    if D is not None:
        grad_D = (ungated * u).sum(dim=(0, 2))
        grad_u.addcmul_(D[:, None], ungated)
        if y is not None:
            y.addcmul_(D[:, None], u)
    if z is not None and y is not None:
        sigmoid = torch.sigmoid(z)
        grad_z = y.mul_(grad_y).mul_(sigmoid * (1 + z * (1 - sigmoid)))
    if softplus:
        grad_steps.mul_(-torch.expm1(-steps))  # softplus'(x) = 1 - exp(-softplus(x))
    if dt_bias is not None:
        grad_bias = grad_steps.sum(dim=(0, 2))
    first = grads.initial_state.clone() if with_first else None
    return ScanGradients(
        *(grad_u, grad_steps, grads.A, grads.B, grads.C, grad_D, grad_z, grad_bias, first)
    )


BACKEND = ScanBackend(
    name="torch",
    remark="portable, several times slower than native code",
    priority=1,
    devices=(),
    why_not=lambda _: None,
    scan=_scan,
    backward=_backward,
    restart_shape=_restart_shape,
)
