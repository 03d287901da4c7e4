"""`umamba::selective_scan`: one operator for torch, whichever backend computes it.

torch.compile, torch.export, activation checkpointing and autocast see a single operation. Half
precision is computed in float32; Triton reads it as it is, the others take a copy. Sequences come
out laid out as `u`, everything else contiguous.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from umamba.ops import cpu, triton
from umamba.ops.chunked import chunked_scan, chunked_scan_backward, segment_length
from umamba.ops.precision import compute_dtype

__all__ = ["scan"]


def _cast(dtype: torch.dtype, *tensors: Tensor | None) -> list[Any]:
    return [None if x is None else x.to(dtype) for x in tensors]


def _step_size(dt: Tensor, dt_bias: Tensor | None, softplus: bool) -> Tensor:
    if dt_bias is not None:
        dt = dt + dt_bias[:, None]
    return F.softplus(dt) if softplus else dt


@torch.library.custom_op("umamba::selective_scan", mutates_args=())
def scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    initial_state: Tensor | None,
    dt_softplus: bool,
    keep_states: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs, last state, and the states that the backward restarts from.

    Args:
        u: As in `umamba.selective_scan`, like all arguments up to `dt_softplus`.
        dt: Likewise.
        A: Likewise.
        B: Likewise.
        C: Likewise.
        D: Likewise.
        z: Likewise.
        dt_bias: Likewise.
        initial_state: Likewise.
        dt_softplus: Likewise.
        keep_states: Whether there will be a backward; else the restart states are empty.
        backend: `torch`, `cpu` or `triton`.
    """
    given: Sequence[Any] = (u, dt, A, B, C, D, z, dt_bias, initial_state)
    with torch.autocast(u.device.type, enabled=False):
        if backend == "triton":
            return triton.triton_scan(*given, softplus=dt_softplus, keep_states=keep_states)
        given = _cast(compute_dtype(u, A), *given)
        run = cpu.cpu_scan if backend == "cpu" else _torch_scan
        y, last, states = run(*given, softplus=dt_softplus, keep_states=keep_states)
        return y.to(u.dtype), last, states


def _torch_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    initial_state: Tensor | None,
    *,
    softplus: bool,
    keep_states: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    steps = _step_size(dt, dt_bias, softplus)
    y, states = chunked_scan(u, steps, A, B, C, initial_state, segment_length(u, A.shape[1]))
    if D is not None:
        y.addcmul_(D[:, None], u)
    if z is not None:
        y.mul_(F.silu(z))
    restart = states[:-1].clone() if keep_states else u.new_empty(0)
    return y, states[-1].clone(), restart


@scan.register_fake
def _(
    u: Tensor,
    dt: Tensor,  # noqa: ARG001 - the operator's signature
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,  # noqa: ARG001
    z: Tensor | None,  # noqa: ARG001
    dt_bias: Tensor | None,  # noqa: ARG001
    initial_state: Tensor | None,  # noqa: ARG001
    dt_softplus: bool,  # noqa: ARG001
    keep_states: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, d_inner, length = u.shape
    state = (batch, d_inner, A.shape[1])
    restart: tuple[int, ...] = (0,)
    if keep_states and backend == "cpu":
        restart = cpu.restart_shape(u, A, B, C)
    elif keep_states and backend == "triton":
        restart = triton.restart_shape(u, A)
    elif keep_states:
        restart = (-(-length // segment_length(u, A.shape[1])), *state)
    dtype = compute_dtype(u, A)
    return (
        torch.empty_like(u),
        u.new_empty(state, dtype=dtype),
        u.new_empty(restart, dtype=dtype),
    )


@torch.library.custom_op("umamba::selective_scan_backward", mutates_args=())
def _scan_backward(
    grad_y: Tensor,
    grad_last: Tensor,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    states: Tensor,
    dt_softplus: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of u, dt, A, B, C, D, z, dt_bias and the first state.

    Gradients of arguments that were not given are empty.
    """
    with torch.autocast(u.device.type, enabled=False):
        given = (u, dt, A, B, C, D, z, dt_bias)
        arguments: Sequence[Any] = (grad_y, grad_last, *given, states)
        run = _BACKWARDS[backend]
        if backend != "triton":
            arguments = _cast(compute_dtype(u, A), *arguments)
        *grads, grad_first = run(*arguments, softplus=dt_softplus)
        typed = [
            u.new_empty(0) if x is None or grad is None else grad.to(x.dtype)
            for x, grad in zip(given, grads, strict=True)
        ]
        return (*typed, grad_first)  # type: ignore[return-value]


def _torch_scan_backward(
    grad_y: Tensor,
    grad_last: Tensor,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    states: Tensor,
    *,
    softplus: bool,
) -> tuple[Tensor | None, ...]:
    steps = _step_size(dt, dt_bias, softplus)
    segment = segment_length(u, A.shape[1])
    ungated = grad_y if z is None else grad_y * F.silu(z)
    recurrence = (u, steps, A, B, C, states, segment)
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
    first = grads.initial_state.clone()
    return (grad_u, grad_steps, grads.A, grads.B, grads.C, grad_D, grad_z, grad_bias, first)


_BACKWARDS = {
    "torch": _torch_scan_backward,
    "cpu": cpu.cpu_scan_backward,
    "triton": triton.triton_scan_backward,
}


@_scan_backward.register_fake
def _(
    grad_y: Tensor,  # noqa: ARG001 - the operator's signature
    grad_last: Tensor,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    states: Tensor,  # noqa: ARG001
    dt_softplus: bool,  # noqa: ARG001
    backend: str,  # noqa: ARG001
) -> tuple[Tensor, ...]:
    def sequence(x: Tensor | None) -> Tensor:
        return u.new_empty(0) if x is None else torch.empty_like(u, dtype=x.dtype)

    def parameter(x: Tensor | None) -> Tensor:
        return u.new_empty(0) if x is None else x.new_empty(x.shape)

    return (
        *(sequence(x) for x in (u, dt)),
        *(parameter(x) for x in (A, B, C, D)),
        sequence(z),
        parameter(dt_bias),
        grad_last.new_empty(grad_last.shape, dtype=compute_dtype(u, A)),
    )


def _setup_context(
    ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]
) -> None:
    *tensors, first, ctx.dt_softplus, _, ctx.backend = inputs
    ctx.first_dtype = None if first is None else first.dtype
    ctx.given = tuple(x is not None for x in tensors)
    ctx.save_for_backward(*(x for x in tensors if x is not None), output[2])
    ctx.set_materialize_grads(False)  # zeros for the restart states would be half a sequence


def _backward(
    ctx: Any,
    grad_y: Tensor | None,
    grad_last: Tensor | None,
    grad_states: None,  # noqa: ARG001 - the restart states are not for users
) -> tuple[Tensor | None, ...]:
    *saved, states = ctx.saved_tensors
    kept = iter(saved)
    given = ctx.given
    tensors: list[Any] = [next(kept) if there else None for there in given]
    u, _, A, *_ = tensors
    if grad_y is None:
        grad_y = torch.zeros_like(u)
    if grad_last is None:
        grad_last = u.new_zeros(u.shape[0], *A.shape, dtype=compute_dtype(u, A))
    *grads, grad_first = torch.ops.umamba.selective_scan_backward(
        grad_y, grad_last, *tensors, states, ctx.dt_softplus, ctx.backend
    )
    first_dtype = ctx.first_dtype
    return (
        *(grad if there else None for grad, there in zip(grads, given, strict=True)),
        None if first_dtype is None else grad_first.to(first_dtype),
        None,
        None,
        None,
    )


scan.register_autograd(_backward, setup_context=_setup_context)
