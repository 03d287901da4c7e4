"""`selective_scan`: checks its arguments, chooses a backend, and is one operator for torch.

The portable backend is registered as `umamba::selective_scan`, so that torch.compile,
torch.export, activation checkpointing and autocast see a single operation.
"""

import os
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from umamba.errors import BackendError
from umamba.ops.chunked import chunked_scan, chunked_scan_backward, segment_length
from umamba.ops.reference import selective_scan_reference

__all__ = ["BACKENDS", "resolve_backend", "selective_scan"]

BACKENDS = ("auto", "reference", "torch")
_VARIABLE = "UMAMBA_SCAN_BACKEND"


def resolve_backend(backend: str | None = None) -> str:
    """Return the backend that runs: the argument, else the environment variable, else `torch`.

    Args:
        backend: One of `BACKENDS`, or `None`.

    Returns:
        `reference` or `torch`.

    Raises:
        BackendError: If there is no such backend.
    """
    name = backend or os.environ.get(_VARIABLE) or "auto"
    if name not in BACKENDS:
        source = "backend" if backend else _VARIABLE
        msg = f"{source} {name!r} does not exist; choose one of {', '.join(BACKENDS)}"
        raise BackendError(msg)
    return "torch" if name == "auto" else name


def selective_scan(
    u: Float[Tensor, "batch d_inner length"],
    dt: Float[Tensor, "batch d_inner length"],
    A: Float[Tensor, "d_inner d_state"],
    B: Float[Tensor, "..."],
    C: Float[Tensor, "..."],
    D: Float[Tensor, " d_inner"] | None = None,
    z: Float[Tensor, "batch d_inner length"] | None = None,
    dt_bias: Float[Tensor, " d_inner"] | None = None,
    dt_softplus: bool = False,  # noqa: FBT002 - mamba_ssm's position
    *,
    initial_state: Float[Tensor, "batch d_inner d_state"] | None = None,
    return_last_state: bool = False,
    backend: str | None = None,
) -> (
    Float[Tensor, "batch d_inner length"]
    | tuple[Float[Tensor, "batch d_inner length"], Float[Tensor, "batch d_inner d_state"]]
):
    """Run the selective state-space recurrence of Mamba.

        dt_t = softplus(dt_t + dt_bias)                      (each part where asked for)
        h_t = exp(dt_t * A) * h_{t-1} + dt_t * B_t * u_t,    h_0 = initial_state or 0
        y_t = (sum_n C_t[n] * h_t[n] + D * u_t) * silu(z_t)  (D and z where given)

    Half-precision inputs are computed in float32 and the outputs returned in the dtype of `u`;
    float64 stays float64. Autocast does not touch the computation.

    Args:
        u: Input sequence.
        dt: Step size, before bias and softplus.
        A: Continuous-time decay, real; negative for a stable system.
        B: Input projection: `(d_inner, d_state)` constant, `(batch, d_state, length)`, or
            `(batch, groups, d_state, length)` with `groups` dividing `d_inner`.
        C: Output projection, in one of the same three layouts.
        D: Skip weight per channel.
        z: Gate, applied as `silu(z)`.
        dt_bias: Added to `dt`.
        dt_softplus: Whether `softplus` makes the step size positive.
        initial_state: State before the first step; `None` means zero.
        return_last_state: Whether the state after the last step is returned, too; it is
            differentiable, in the dtype of the computation.
        backend: `auto`, `reference` (step by step; slow, exact) or `torch` (chunk-parallel,
            any device). `None` takes the environment variable `UMAMBA_SCAN_BACKEND`.

    Returns:
        The outputs, and the last state where asked for.

    Raises:
        ValueError: If the shapes do not fit together, or the sequence is empty.
        BackendError: If there is no such backend.

    Source:
        Gu and Dao 2023, arXiv:2312.00752, Algorithm 2; `B` uses the Euler rule, as in the
        authors' code.
    """
    _check_shapes(u, dt, A, B, C, D, z, dt_bias, initial_state)
    compute = _compute_dtype(u, A)
    # On the meta device nothing is computed, and autocast, which the reference leaves, is unknown.
    if resolve_backend(backend) == "reference" and not u.is_meta:
        with torch.autocast(u.device.type, enabled=False):
            inputs = [None if x is None else x.to(compute) for x in (D, z, dt_bias, initial_state)]
            exact, last = selective_scan_reference(
                *(x.to(compute) for x in (u, dt, A, B, C)),
                *inputs[:3],
                dt_softplus=dt_softplus,
                initial_state=inputs[3],
            )
            y = exact.to(u.dtype)
    else:
        y, last, _ = _scan(u, dt, A, B, C, D, z, dt_bias, initial_state, dt_softplus)
    return (y, last) if return_last_state else y


def _check_shapes(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    initial_state: Tensor | None,
) -> None:
    """Raise `ValueError` naming the first argument that does not fit `u` and `A`."""
    if u.dim() != 3 or A.dim() != 2:
        msg = (
            f"selective_scan needs u of shape (batch, d_inner, length) and A of shape "
            f"(d_inner, d_state); got u {tuple(u.shape)} and A {tuple(A.shape)}"
        )
        raise ValueError(msg)
    if A.is_complex():
        msg = "selective_scan needs a real A; complex state matrices are not supported"
        raise ValueError(msg)
    batch, d_inner, length = u.shape
    d_state = A.shape[1]
    if length == 0:
        msg = "selective_scan needs a sequence of at least one step; u has length 0"
        raise ValueError(msg)
    wanted = {
        "dt": (dt, u.shape),
        "A": (A, (d_inner, d_state)),
        "D": (D, (d_inner,)),
        "z": (z, u.shape),
        "dt_bias": (dt_bias, (d_inner,)),
        "initial_state": (initial_state, (batch, d_inner, d_state)),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and tuple(tensor.shape) != tuple(shape):
            msg = (
                f"selective_scan: {name} has shape {tuple(tensor.shape)}, but u of shape "
                f"{tuple(u.shape)} and d_state {d_state} need {tuple(shape)}"
            )
            raise ValueError(msg)
    for name, tensor in {"B": B, "C": C}.items():
        groups = tensor.shape[1] if tensor.dim() == 4 else 1
        layouts = [
            (d_inner, d_state),
            (batch, d_state, length),
            (batch, groups, d_state, length),
        ]
        if tuple(tensor.shape) not in layouts or groups == 0 or d_inner % groups:
            msg = (
                f"selective_scan: {name} has shape {tuple(tensor.shape)}; what fits is "
                f"{layouts[0]}, {layouts[1]} or (batch, groups, d_state, length) with groups "
                f"dividing d_inner {d_inner}"
            )
            raise ValueError(msg)


def _compute_dtype(u: Tensor, A: Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(u.dtype, A.dtype), torch.float32)


def _step_size(dt: Tensor, dt_bias: Tensor | None, dtype: torch.dtype, softplus: bool) -> Tensor:
    """Return the positive step size in the dtype of the computation."""
    dt = dt.to(dtype)
    if dt_bias is not None:
        dt = dt + dt_bias.to(dtype)[:, None]
    return F.softplus(dt) if softplus else dt


@torch.library.custom_op("umamba::selective_scan", mutates_args=())
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
) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs, last state, and the states that the backward restarts from."""
    with torch.autocast(u.device.type, enabled=False):
        dtype = _compute_dtype(u, A)
        steps = _step_size(dt, dt_bias, dtype, dt_softplus)
        x = u.to(dtype)
        first = None if initial_state is None else initial_state.to(dtype)
        segment = segment_length(u, A.shape[1])
        y, states = chunked_scan(x, steps, A.to(dtype), B.to(dtype), C.to(dtype), first, segment)
        if D is not None:
            y.addcmul_(D.to(dtype)[:, None], x)
        if z is not None:
            y.mul_(F.silu(z.to(dtype)))
        return y.to(u.dtype), states[-1].clone(), states[:-1].clone()


@_scan.register_fake
def _(
    u: Tensor,
    dt: Tensor,  # noqa: ARG001 - the operator's signature
    A: Tensor,
    B: Tensor,  # noqa: ARG001
    C: Tensor,  # noqa: ARG001
    D: Tensor | None,  # noqa: ARG001
    z: Tensor | None,  # noqa: ARG001
    dt_bias: Tensor | None,  # noqa: ARG001
    initial_state: Tensor | None,  # noqa: ARG001
    dt_softplus: bool,  # noqa: ARG001
) -> tuple[Tensor, Tensor, Tensor]:
    batch, d_inner, length = u.shape
    state = (batch, d_inner, A.shape[1])
    segments = -(-length // segment_length(u, A.shape[1]))
    dtype = _compute_dtype(u, A)
    return (
        u.new_empty(u.shape),
        u.new_empty(state, dtype=dtype),
        u.new_empty((segments, *state), dtype=dtype),
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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of u, dt, A, B, C, D, z, dt_bias and the first state.

    Gradients of arguments that were not given are empty.
    """
    with torch.autocast(u.device.type, enabled=False):
        dtype = _compute_dtype(u, A)
        steps = _step_size(dt, dt_bias, dtype, dt_softplus)
        x, decay = u.to(dtype), A.to(dtype)
        B_, C_ = B.to(dtype), C.to(dtype)
        segment = segment_length(u, A.shape[1])
        dy = grad_y.to(dtype)
        grad_D, grad_z, grad_bias = u.new_empty(0), u.new_empty(0), u.new_empty(0)
        ungated = dy if z is None else dy * F.silu(z.to(dtype))
        grads = chunked_scan_backward(
            ungated,
            grad_last.to(dtype),
            x,
            steps,
            decay,
            B_,
            C_,
            states,
            segment,
            with_outputs=z is not None,
        )
        grad_u, grad_steps, y = grads.u, grads.dt, grads.outputs
        if D is not None:
            skip = D.to(dtype)[:, None]
            grad_D = (ungated * x).sum(dim=(0, 2)).to(D.dtype)
            grad_u.addcmul_(skip, ungated)
            if y is not None:
                y.addcmul_(skip, x)
        if z is not None and y is not None:
            gate = z.to(dtype)
            sigmoid = torch.sigmoid(gate)
            slope = sigmoid * (1 + gate * (1 - sigmoid))
            grad_z = y.mul_(dy).mul_(slope).to(z.dtype)
        if dt_softplus:
            grad_steps.mul_(-torch.expm1(-steps))  # softplus'(x) = 1 - exp(-softplus(x))
        if dt_bias is not None:
            grad_bias = grad_steps.sum(dim=(0, 2)).to(dt_bias.dtype)
        return (
            grad_u.to(u.dtype),
            grad_steps.to(dt.dtype),
            grads.A.to(A.dtype),
            grads.B.to(B.dtype),
            grads.C.to(C.dtype),
            grad_D,
            grad_z,
            grad_bias,
            grads.initial_state.clone(),
        )


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
) -> tuple[Tensor, ...]:
    like = [u.new_empty(0) if x is None else x.new_empty(x.shape) for x in (D, z, dt_bias)]
    whole = [x.new_empty(x.shape) for x in (u, dt, A, B, C)]
    return (*whole, *like, grad_last.new_empty(grad_last.shape))


def _setup_context(
    ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]
) -> None:
    *tensors, first, ctx.dt_softplus = inputs
    ctx.first_dtype = None if first is None else first.dtype
    ctx.given = tuple(x is not None for x in tensors)
    ctx.save_for_backward(*(x for x in tensors if x is not None), output[2])
    ctx.set_materialize_grads(True)


def _backward(
    ctx: Any,
    grad_y: Tensor,
    grad_last: Tensor,
    grad_states: Tensor,  # noqa: ARG001 - the restart states are not for users
) -> tuple[Tensor | None, ...]:
    *saved, states = ctx.saved_tensors
    kept = iter(saved)
    given = ctx.given
    tensors = [next(kept) if there else None for there in given]
    *grads, grad_first = torch.ops.umamba.selective_scan_backward(
        grad_y,
        grad_last,
        *tensors,
        states,
        ctx.dt_softplus,
    )
    first_dtype = ctx.first_dtype
    return (
        *(grad if there else None for grad, there in zip(grads, given, strict=True)),
        None if first_dtype is None else grad_first.to(first_dtype),
        None,
    )


_scan.register_autograd(_backward, setup_context=_setup_context)
