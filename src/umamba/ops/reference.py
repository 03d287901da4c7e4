"""The definition of the selective scan: one time step after another, in any dtype."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from umamba.ops.scan_backend import ScanBackend, ScanTensors

__all__ = ["BACKEND", "selective_scan_reference"]


def selective_scan_reference(
    u: Float[Tensor, "batch d_inner length"],
    dt: Float[Tensor, "batch d_inner length"],
    A: Float[Tensor, "d_inner d_state"],
    B: Float[Tensor, "..."],
    C: Float[Tensor, "..."],
    D: Float[Tensor, " d_inner"] | None = None,
    z: Float[Tensor, "batch d_inner length"] | None = None,
    dt_bias: Float[Tensor, " d_inner"] | None = None,
    *,
    dt_softplus: bool = False,
    initial_state: Float[Tensor, "batch d_inner d_state"] | None = None,
) -> tuple[Float[Tensor, "batch d_inner length"], Float[Tensor, "batch d_inner d_state"]]:
    """Run the selective state-space recurrence one time step after another.

        dt_t = softplus(dt_t + dt_bias)                      (each part where asked for)
        h_t = exp(dt_t * A) * h_{t-1} + dt_t * B_t * u_t,    h_0 = initial_state or 0
        y_t = (sum_n C_t[n] * h_t[n] + D * u_t) * silu(z_t)  (D and z where given)

    Args:
        u: Input sequence.
        dt: Step size, before bias and softplus.
        A: Continuous-time decay, real; negative for a stable system.
        B: Input projection: `(d_inner, d_state)` constant, `(batch, d_state, length)`, or
            `(batch, groups, d_state, length)` with `groups` dividing `d_inner`.
        C: Output projection, in one of the same three layouts.
        D: Skip weight per channel; `None` means no skip.
        z: Gate; `None` means no gate.
        dt_bias: Added to `dt`.
        dt_softplus: Whether `softplus` makes the step size positive.
        initial_state: State before the first step; `None` means zero.

    Returns:
        The outputs and the last state. Nothing is upcast, so float64 stays exact; every
        argument receives its gradient by autograd.

    Raises:
        ValueError: If the sequence is empty.

    Source:
        Gu and Dao 2023, arXiv:2312.00752, Algorithm 2; `B` uses the Euler rule, as in the
        authors' code.
    """
    length = u.shape[-1]
    if length == 0:
        msg = "selective_scan needs a sequence of at least one step; u has length 0"
        raise ValueError(msg)
    if dt_bias is not None:
        dt = dt + dt_bias[:, None]
    if dt_softplus:
        dt = F.softplus(dt)
    # unbind, not indexing: the backward of an index writes a full-size zero gradient per step.
    u_steps, dt_steps = u.unbind(-1), dt.unbind(-1)
    B_steps = _per_channel_steps(B, u.shape[1], length)
    C_steps = _per_channel_steps(C, u.shape[1], length)
    h = u.new_zeros(*u.shape[:2], A.shape[1]) if initial_state is None else initial_state
    outputs = []
    for u_t, dt_t, B_t, C_t in zip(u_steps, dt_steps, B_steps, C_steps, strict=True):
        h = torch.exp(dt_t[..., None] * A) * h + (dt_t * u_t)[..., None] * B_t
        outputs.append((h * C_t).sum(-1))
    y = torch.stack(outputs, dim=-1)
    if D is not None:
        y = y + D[:, None] * u
    if z is not None:
        y = y * F.silu(z)
    return y, h


def _per_channel_steps(
    projection: Float[Tensor, "..."], d_inner: int, length: int
) -> tuple[Tensor, ...]:
    """Bring `B` or `C` to one tensor per step that broadcasts against the state."""
    if projection.dim() == 2:
        return (projection,) * length
    if projection.dim() == 3:
        return projection.unsqueeze(1).unbind(-1)
    return projection.repeat_interleave(d_inner // projection.shape[1], dim=1).unbind(-1)


def _scan(
    given: ScanTensors,
    *,
    softplus: bool,
    keep_states: bool,  # noqa: ARG001 - autograd keeps what it needs
) -> tuple[Tensor, Tensor, Tensor]:
    y, last = selective_scan_reference(**given._asdict(), dt_softplus=softplus)
    return y, last, y.new_empty(0)


BACKEND = ScanBackend(
    name="reference",
    remark="step by step: exact, for comparison only",
    priority=0,
    devices=(),
    why_not=lambda _: None,
    scan=_scan,
    backward=None,
    restart_shape=None,
)
