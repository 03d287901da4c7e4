"""`selective_scan`: checks its arguments, and hands them to the backend that runs here."""

import torch
from jaxtyping import Float
from torch import Tensor

from umamba.ops.backends import find_backend, resolve_backend
from umamba.ops.operator import run_backend, scan
from umamba.ops.scan_backend import ScanTensors

__all__ = ["selective_scan"]


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
        return_last_state: Whether the state after the last step is returned as well; it is
            differentiable, in the dtype of the computation.
        backend: `auto`, or a name of `umamba.ops.backends.BACKENDS`, which `umamba doctor` lists
            with what each needs. `None` takes the environment variable `UMAMBA_SCAN_BACKEND`. A
            backend that cannot run is replaced by `torch`, with a warning.

    Returns:
        The outputs, and the last state if requested.

    Raises:
        ValueError: If the shapes do not fit together, or the sequence is empty.
        BackendError: If the name of the backend is unknown.
        RuntimeError: In a backward with `create_graph=True`, except with `reference`.

    Source:
        Gu and Dao 2023, arXiv:2312.00752, Algorithm 2; `B` uses the Euler rule, as in the
        authors' code.
    """
    given = ScanTensors(u, dt, A, B, C, D, z, dt_bias, initial_state)
    _check_shapes(given)
    chosen = find_backend(resolve_backend(backend, u.device.type))
    if chosen.backward is None:
        y, last, _ = run_backend(chosen, given, softplus=dt_softplus, keep_states=False)
    else:
        trains = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in given)
        y, last, _ = scan(*given, dt_softplus, trains, chosen.name)
    return (y, last) if return_last_state else y


def _check_shapes(given: ScanTensors) -> None:
    """Raise `ValueError` naming the first argument that does not fit `u` and `A`."""
    u, dt, A, B, C, D, z, dt_bias, initial_state = given
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
    if length == 0 or d_state == 0:
        msg = (
            "selective_scan needs a sequence of at least one step, and at least one state; got u "
            f"{tuple(u.shape)} and A {tuple(A.shape)}"
        )
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
                f"selective_scan: {name} has shape {tuple(tensor.shape)}; it must be "
                f"{layouts[0]}, {layouts[1]} or (batch, groups, d_state, length) with groups "
                f"dividing d_inner {d_inner}"
            )
            raise ValueError(msg)
