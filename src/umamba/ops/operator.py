"""`umamba::selective_scan`: one operator for torch, whichever backend computes it.

torch.compile, torch.export, activation checkpointing and autocast see a single operation. Half
precision is computed in float32; Triton reads it as it is, the others take a copy. Sequences come
out laid out as `u`, everything else contiguous.

The operators are defined with `torch.library.Library` rather than `custom_op` and
`register_autograd`, whose wrappers take as long as all launches of a short scan together.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from umamba.ops import cpu, triton
from umamba.ops.chunked import chunked_scan, chunked_scan_backward, segment_length
from umamba.ops.precision import compute_dtype

__all__ = ["refuse_second_derivatives", "scan", "scan_backward"]


def _cast(dtype: torch.dtype, *tensors: Tensor | None) -> list[Any]:
    return [None if x is None else x.to(dtype) for x in tensors]


def _step_size(dt: Tensor, dt_bias: Tensor | None, softplus: bool) -> Tensor:
    if dt_bias is not None:
        dt = dt + dt_bias[:, None]
    return F.softplus(dt) if softplus else dt


_LIBRARY: Any = torch.library.Library("umamba", "FRAGMENT")  # type: ignore[no-untyped-call]
_GIVEN = "Tensor u, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? dt_bias"
_TAGS = (torch.Tag.pt2_compliant_tag,)
_LIBRARY.define(
    f"selective_scan({_GIVEN}, Tensor? initial_state, bool dt_softplus, bool keep_states, "
    "str backend) -> (Tensor, Tensor, Tensor)",
    tags=_TAGS,
)
_LIBRARY.define(
    f"selective_scan_backward(Tensor grad_y, Tensor? grad_last, {_GIVEN}, Tensor states, "
    f"bool dt_softplus, bool with_first, str backend) -> ({', '.join(['Tensor'] * 9)})",
    tags=_TAGS,
)


def _scan(
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
    if backend == "triton":
        return triton.triton_scan(*given, softplus=dt_softplus, keep_states=keep_states)
    with torch.autocast(u.device.type, enabled=False):
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


def _fake_scan(
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


def _scan_backward(
    grad_y: Tensor,
    grad_last: Tensor | None,
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
    with_first: bool,
    backend: str,
) -> tuple[Tensor, ...]:
    """Return the gradients of u, dt, A, B, C, D, z, dt_bias and the first state.

    Gradients of arguments that were not given are empty; that of the first state is where
    `with_first` does not ask for it. `grad_last` may be missing: zero.
    """
    given = (u, dt, A, B, C, D, z, dt_bias)
    grads: Any
    if backend == "triton":
        grads = triton.triton_scan_backward(
            grad_y, grad_last, *given, states, softplus=dt_softplus, with_first=with_first
        )
    else:
        with torch.autocast(u.device.type, enabled=False):
            dtype = compute_dtype(u, A)
            if grad_last is None:
                grad_last = u.new_zeros(u.shape[0], *A.shape, dtype=dtype)
            run = cpu.cpu_scan_backward if backend == "cpu" else _torch_scan_backward
            grads = run(*_cast(dtype, grad_y, grad_last, *given, states), softplus=dt_softplus)
    *grads, first = grads
    typed = [
        u.new_empty(0) if x is None or grad is None else grad.to(x.dtype)
        for x, grad in zip(given, grads, strict=True)
    ]
    return (*typed, first if with_first else u.new_empty(0))


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


def _fake_scan_backward(
    grad_y: Tensor,  # noqa: ARG001 - the operator's signature
    grad_last: Tensor | None,  # noqa: ARG001
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
    with_first: bool,
    backend: str,  # noqa: ARG001
) -> tuple[Tensor, ...]:
    def sequence(x: Tensor | None) -> Tensor:
        return u.new_empty(0) if x is None else torch.empty_like(u, dtype=x.dtype)

    def parameter(x: Tensor | None) -> Tensor:
        return u.new_empty(0) if x is None else x.new_empty(x.shape)

    first = (u.shape[0], *A.shape) if with_first else (0,)
    return (
        *(sequence(x) for x in (u, dt)),
        *(parameter(x) for x in (A, B, C, D)),
        sequence(z),
        parameter(dt_bias),
        u.new_empty(first, dtype=compute_dtype(u, A) if with_first else u.dtype),
    )


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            y, last, states = scan(*inputs)
        *tensors, first, ctx.dt_softplus, _, ctx.backend = inputs
        ctx.first_dtype = None if first is None else first.dtype
        ctx.save_for_backward(*tensors, states)
        ctx.set_materialize_grads(False)  # no zeros for the restart states: up to half a sequence
        return y, last, states

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor | None, grad_last: Tensor | None, _: None) -> Any:
        refuse_second_derivatives()
        # The restart states are not for users: nothing asks for their gradient.
        *tensors, states = ctx.saved_tensors
        if grad_y is None:
            grad_y = torch.zeros_like(tensors[0])
        first_dtype = ctx.first_dtype
        with_first = first_dtype is not None
        *grads, grad_first = scan_backward(
            grad_y, grad_last, *tensors, states, ctx.dt_softplus, with_first, ctx.backend
        )
        return (
            *(None if x is None else grad for grad, x in zip(grads, tensors, strict=True)),
            grad_first.to(first_dtype) if with_first else None,
            None,
            None,
            None,
        )


def refuse_second_derivatives() -> None:
    """Raise in a backward that is to be differentiated itself: the second part would be missing.

    Raises:
        RuntimeError: If gradients are recorded, as with `create_graph=True`.
    """
    if torch.is_grad_enabled():
        msg = (
            "the selective scan has no second derivatives, which create_graph=True asks for; its "
            "backend 'reference' has (a network's: UMAMBA_SCAN_BACKEND=reference)"
        )
        raise RuntimeError(msg)


def _differentiable_scan(*inputs: Any) -> Any:
    if torch.is_grad_enabled():
        return _Scan.apply(*inputs)
    with torch._C._AutoDispatchBelowAutograd():
        return scan(*inputs)


def _undifferentiable_scan_backward(*inputs: Any) -> Any:
    if any(isinstance(x, Tensor) and x.requires_grad for x in inputs):
        refuse_second_derivatives()
    with torch._C._AutoDispatchBelowAutograd():
        return scan_backward(*inputs)


def _register(name: str, run: Any, fake: Any, differentiable: Any) -> Any:
    _LIBRARY.impl(name, run, "CompositeExplicitAutograd")
    _LIBRARY.impl(name, differentiable, "Autograd")
    torch.library.register_fake(f"umamba::{name}", fake, lib=_LIBRARY)
    return getattr(torch.ops.umamba, name).default


scan = _register("selective_scan", _scan, _fake_scan, _differentiable_scan)
scan_backward = _register(
    *("selective_scan_backward", _scan_backward, _fake_scan_backward),
    _undifferentiable_scan_backward,
)
