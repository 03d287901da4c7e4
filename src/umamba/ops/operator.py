"""`umamba::selective_scan`: one operator for torch, whichever backend computes it.

torch.compile, torch.export, activation checkpointing and autocast see a single operation. Half
precision is computed in float32; Triton reads it as it is, the others take a copy. Sequences come
out laid out as `u`, everything else contiguous.

The operators are defined with `torch.library.Library` rather than `custom_op` and
`register_autograd`, whose wrappers take as long as all launches of a short scan together.
"""

from typing import Any

import torch
from torch import Tensor

from umamba.ops.backends import find_backend
from umamba.ops.precision import compute_dtype, full_precision
from umamba.ops.scan_backend import ScanBackend, ScanTensors

__all__ = ["refuse_second_derivatives", "run_backend", "scan", "scan_backward"]


def _cast(dtype: torch.dtype, *tensors: Tensor | None) -> list[Any]:
    return [x if x is None or x.dtype == dtype else x.to(dtype) for x in tensors]


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


def run_backend(
    backend: ScanBackend, given: ScanTensors, *, softplus: bool, keep_states: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs, last state, and the states that the backward restarts from.

    Args:
        backend: The backend that computes them, in full precision.
        given: Tensors of any float types.
        softplus: Whether `softplus` makes the step size positive.
        keep_states: Whether there will be a backward; if not, the restart states are empty.
    """
    if not backend.casts:
        return backend.scan(given, softplus=softplus, keep_states=keep_states)
    u = given.u
    with full_precision(u.device.type):
        cast = ScanTensors(*_cast(compute_dtype(u, given.A), *given))
        y, last, states = backend.scan(cast, softplus=softplus, keep_states=keep_states)
        return y.to(u.dtype), last, states


def _scan(*inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    *tensors, softplus, keep_states, name = inputs
    given = ScanTensors(*tensors)
    return run_backend(find_backend(name), given, softplus=softplus, keep_states=keep_states)


def _fake_scan(*inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    *tensors, _, keep_states, name = inputs
    given = ScanTensors(*tensors)
    u, A = given.u, given.A
    shape_of = find_backend(name).restart_shape
    restart = shape_of(given) if keep_states and shape_of is not None else (0,)
    dtype = compute_dtype(u, A)
    return (
        torch.empty_like(u),
        u.new_empty((*u.shape[:2], A.shape[1]), dtype=dtype),
        u.new_empty(restart, dtype=dtype),
    )


def _scan_backward(grad_y: Tensor, grad_last: Tensor | None, *inputs: Any) -> tuple[Tensor, ...]:
    """Return the gradients of u, dt, A, B, C, D, z, dt_bias and the first state.

    Gradients of arguments that were not given are empty, and so is that of the first state if
    it is not requested by `with_first`. Without `grad_last` that gradient is zero.
    """
    *tensors, states, softplus, with_first, name = inputs
    given, backend = ScanTensors(*tensors), find_backend(name)
    u = given.u
    differentiate: Any = backend.backward
    flags = {"softplus": softplus, "with_first": with_first}
    if backend.casts:
        with full_precision(u.device.type):
            dtype = compute_dtype(u, given.A)
            ours = _cast(dtype, grad_y, grad_last, *tensors, states)
            cast = ScanTensors(*ours[2:-1])
            *grads, first = differentiate(ours[0], ours[1], cast, ours[-1], **flags)
    else:
        *grads, first = differentiate(grad_y, grad_last, given, states, **flags)
    typed = [
        u.new_empty(0) if x is None or grad is None else grad.to(x.dtype)
        for x, grad in zip(tensors, grads, strict=True)
    ]
    return (*typed, first if with_first else u.new_empty(0))


def _fake_scan_backward(*inputs: Any) -> tuple[Tensor, ...]:
    _, _, *tensors, _, _, with_first, _ = inputs
    given = ScanTensors(*tensors)
    u, A = given.u, given.A

    def sequence(x: Tensor | None) -> Tensor:
        return u.new_empty(0) if x is None else torch.empty_like(u, dtype=x.dtype)

    def parameter(x: Tensor | None) -> Tensor:
        return u.new_empty(0) if x is None else x.new_empty(x.shape)

    first = (u.shape[0], *A.shape) if with_first else (0,)
    return (
        *(sequence(x) for x in (u, given.dt)),
        *(parameter(x) for x in (A, given.B, given.C, given.D)),
        sequence(given.z),
        parameter(given.dt_bias),
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
    """Raise in a backward that is to be differentiated itself, as second derivatives are missing.

    Raises:
        RuntimeError: If gradients are recorded, as with `create_graph=True`.
    """
    if torch.is_grad_enabled():
        msg = (
            "this backend of the selective scan has no second derivatives (create_graph=True); use "
            "backend 'reference', for networks, set UMAMBA_SCAN_BACKEND=reference"
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
