"""The selective scan on a GPU, from tensors to tensors.

Three passes: every span of the sequence finds what it adds to the state, the states are carried
over the spans, and every span runs again from its true state. Where batch and channels alone fill
a GPU, there is one span, and only the last pass. The backward mirrors this from the end.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from umamba.errors import BackendError
from umamba.ops.precision import compute_dtype
from umamba.ops.scan_backend import ScanGradients, ScanTensors
from umamba.ops.triton import tiling as constants
from umamba.ops.triton.launches import Layout, plan_backward, plan_forward
from umamba.ops.triton.tiling import chunks, states_together

__all__ = ["restart_shape", "triton_scan", "triton_scan_backward"]


def restart_shape(given: ScanTensors) -> tuple[int, ...]:
    """Return the shape of the restart states: (batch, chunks, d_state, d_inner)."""
    batch, d_inner, length = given.u.shape
    return (batch, chunks(length), given.A.shape[1], d_inner)


def triton_scan(
    given: ScanTensors, *, softplus: bool, keep_states: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Run `umamba.selective_scan` on a GPU.

    Args:
        given: Each of any float type.
        softplus: Whether `softplus` makes the step size positive.
        keep_states: Whether the restart states are kept for `triton_scan_backward`.

    Returns:
        The outputs, laid out as `u`; the last state; the restart states, empty where not kept. The
        states have the type of the recurrence.

    Raises:
        BackendError: If devices differ.
    """
    _check_devices(*given)
    u, dt, A, B, C, D, z, dt_bias, initial_state = given
    by_state, D, dt_bias, initial_state = _contiguous(A.t(), D, dt_bias, initial_state)
    batch, d_inner, _ = u.shape
    d_state = A.shape[1]
    dtype = compute_dtype(u, A)
    # States that do not fit into registers together add their parts to the outputs.
    y = torch.empty_like(u, dtype=u.dtype if states_together(d_state) == d_state else dtype)
    last = u.new_empty((batch, d_inner, d_state), dtype=dtype)
    states = u.new_empty(restart_shape(given) if keep_states else (0,), dtype=dtype)
    if not u.numel():
        return y, last, states
    passed = (u, dt, z, by_state, B, C, D, dt_bias, initial_state, y)
    layouts = tuple(map(Layout.of, passed))
    plan = plan_forward(layouts, u.device, softplus=softplus, keep_states=keep_states)
    carry = u.new_empty(batch, plan.tiling.spans, d_state + 1, d_inner, dtype=dtype)
    with torch.cuda.device_of(u):  # type: ignore[no-untyped-call]
        if plan.tiling.spans > 1:
            plan.first(*passed, carry, states, last)
            plan.carry(by_state, initial_state, carry)
        plan.last(*passed, carry, states, last)
    return y.to(u.dtype), last, states


def triton_scan_backward(
    grad_y: Float[Tensor, "batch d_inner length"],
    grad_last: Float[Tensor, "batch d_inner d_state"] | None,
    given: ScanTensors,
    states: Float[Tensor, "batch chunks d_state d_inner"],
    *,
    softplus: bool,
    with_first: bool,
) -> ScanGradients:
    """Differentiate `triton_scan`.

    Args:
        grad_y: Gradient of the outputs.
        grad_last: Gradient of the last state, or `None` for zero.
        given: As given to `triton_scan`.
        states: The restart states that `triton_scan` returned.
        softplus: As given to `triton_scan`.
        with_first: Whether the gradient of the first state is wanted.

    Returns:
        The gradients; `None` where not given or not wanted. Those of sequences have their
        types, the others that of the recurrence.

    Raises:
        BackendError: If devices, or the shape of `states`, do not fit.
    """
    u, dt, A, B, C, D, z, dt_bias, _ = given
    _check_devices(*given[:8], grad_y, grad_last, states)
    if states.shape != restart_shape(given) or not states.is_contiguous():
        msg = f"restart states of shape {tuple(states.shape)} do not belong to this sequence"
        raise BackendError(msg)
    by_state, D, dt_bias, grad_last = _contiguous(A.t(), D, dt_bias, grad_last)
    batch, d_inner, length = u.shape
    d_state = A.shape[1]
    grad_u, grad_dt = torch.empty_like(u), torch.empty_like(u, dtype=dt.dtype)
    grad_z = None if z is None else torch.empty_like(u, dtype=z.dtype)
    grad_first = states.new_empty(batch, d_inner, d_state) if with_first else None
    passed = (grad_y, u, dt, z, by_state, B, C, D, dt_bias, states, grad_last)
    made = (grad_u, grad_dt, grad_z, grad_first)
    layouts = tuple(map(Layout.of, (*passed, *made)))
    plan, sum_up = plan_backward(layouts, u.device, softplus=softplus)
    spans, blocks = plan.tiling.spans, plan.tiling.parts * plan.tiling.blocks
    make = states.new_empty if u.numel() else states.new_zeros
    grad_A = make(A.shape)
    grad_D, grad_bias = (None if x is None else make(x.shape) for x in (D, dt_bias))
    # Of A, D and dt_bias a row per span; so of B and C where constant, else per block of channels.
    sums = states.new_empty(batch * spans, d_state + 2, d_inner)
    partial_B, partial_C = (
        states.new_empty(batch * spans, d_state, d_inner)
        if x.dim() == 2
        else states.new_empty(batch, blocks, d_state, length)
        for x in (B, C)
    )
    if u.numel():
        carry = states.new_empty(batch, spans, d_state + 1, d_inner)
        found_again = (
            constants.CHUNK // constants.PART - 1 + constants.PART // constants.GRADIENT_TILE - 1
        )
        scratch = states.new_empty(batch, spans, found_again, d_state, d_inner)
        with torch.cuda.device_of(u):  # type: ignore[no-untyped-call]
            if spans > 1:
                plan.first(grad_y, dt, z, by_state, C, dt_bias, carry)
                plan.carry(by_state, grad_last, carry)
            plan.last(*passed, *made, carry, scratch, sums, partial_B, partial_C)
            sum_up(sums, grad_A, grad_D, grad_bias)
    return ScanGradients(
        grad_u,
        grad_dt,
        grad_A,
        _whole_gradient(partial_B, B),
        _whole_gradient(partial_C, C),
        grad_D,
        grad_z,
        grad_bias,
        grad_first,
    )


def _check_devices(u: Tensor, *others: Tensor | None) -> None:
    """Refuse what a kernel would take for an address of this device."""
    for x in others:
        if x is not None and x.device != u.device:
            msg = f"the scan needs all tensors on one device; got {u.device} and {x.device}"
            raise BackendError(msg)


def _contiguous(*xs: Tensor | None) -> list[Any]:
    return [None if x is None else x.contiguous() for x in xs]


def _whole_gradient(partial: Tensor, projection: Tensor) -> Tensor:
    """Sum over images and spans, or over the blocks of a group, always in the same order."""
    if projection.dim() == 2:
        return partial.sum(0).t().contiguous()
    groups = projection.shape[1] if projection.dim() == 4 else 1
    batch, blocks, d_state, length = partial.shape
    split = partial.view(batch, groups, blocks // groups, d_state, length)
    return (split[:, :, 0] if blocks == groups else split.sum(2)).reshape(projection.shape)
