"""The portable backend's recurrence: chunk-parallel, with a backward that recomputes the states.

The sequence is cut into segments, and only the state before each segment is kept for the
backward. Inside a segment, chunks advance side by side: a first pass finds what every chunk
adds to its last state, a short carry over the chunks gives each its true first state, and a
second pass runs with it. Time and memory are linear in the length; no quotient and no
logarithm of a decay is formed, so large steps and fast decays stay finite.

Axes: `(time in chunk, batch, chunk, d_inner, d_state)`, so that one time step of all chunks is
contiguous.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["RecurrenceGradients", "chunked_scan", "chunked_scan_backward", "segment_length"]

# States (of batch x d_inner x d_state x time) that are materialised together. On a CPU the
# buffers of a segment should stay near the cache; a GPU wants fewer, larger launches.
_CPU_STATES = 1 << 21
_GPU_STATES = 1 << 24


class RecurrenceGradients(NamedTuple):
    """Gradients in the order of the arguments of `chunked_scan`, and its outputs if asked for."""

    u: Float[Tensor, "batch d_inner length"]
    dt: Float[Tensor, "batch d_inner length"]
    A: Float[Tensor, "d_inner d_state"]
    B: Float[Tensor, "..."]
    C: Float[Tensor, "..."]
    initial_state: Float[Tensor, "batch d_inner d_state"]
    outputs: Float[Tensor, "batch d_inner length"] | None


def segment_length(u: Float[Tensor, "batch d_inner length"], d_state: int) -> int:
    """Return how many steps are materialised together."""
    batch, d_inner, length = u.shape
    budget = _CPU_STATES if u.device.type == "cpu" else _GPU_STATES
    return max(1, min(length, max(64, budget // max(1, batch * d_inner * d_state))))


def chunked_scan(
    u: Float[Tensor, "batch d_inner length"],
    dt: Float[Tensor, "batch d_inner length"],
    A: Float[Tensor, "d_inner d_state"],
    B: Float[Tensor, "..."],
    C: Float[Tensor, "..."],
    initial_state: Float[Tensor, "batch d_inner d_state"] | None,
    segment: int,
) -> tuple[
    Float[Tensor, "batch d_inner length"], Float[Tensor, "n_segments batch d_inner d_state"]
]:
    """Run the plain recurrence `h = exp(dt A) h + dt B u`, `y = C h`.

    Args:
        u: Input sequence, in the dtype of the computation like every other argument.
        dt: Step size, after bias and softplus.
        A: Decay.
        B: Input projection in any layout of `selective_scan`.
        C: Output projection in any layout of `selective_scan`.
        initial_state: State before the first step; `None` means zero.
        segment: Steps per segment.

    Returns:
        The outputs, and the state before every segment with the last state appended.
    """
    batch, d_inner, length = u.shape
    h = u.new_zeros(batch, d_inner, A.shape[1]) if initial_state is None else initial_state
    y = torch.empty_like(u)
    states = [h]
    for start in range(0, length, segment):
        piece = slice(start, min(start + segment, length))
        view = _Segment(u[..., piece], dt[..., piece])
        _, hs = _advance(view, A, _steps(B, piece, view, d_inner), h)
        h = view.last(hs).clone()
        states.append(h)
        y[..., piece] = view.to_sequence(hs.mul_(_steps(C, piece, view, d_inner)).sum(-1))
    return y, torch.stack(states)


def chunked_scan_backward(
    grad_y: Float[Tensor, "batch d_inner length"],
    grad_last: Float[Tensor, "batch d_inner d_state"],
    u: Float[Tensor, "batch d_inner length"],
    dt: Float[Tensor, "batch d_inner length"],
    A: Float[Tensor, "d_inner d_state"],
    B: Float[Tensor, "..."],
    C: Float[Tensor, "..."],
    states: Float[Tensor, "n_segments batch d_inner d_state"],
    segment: int,
    *,
    with_outputs: bool = False,
) -> RecurrenceGradients:
    """Differentiate `chunked_scan`, segment by segment from the end.

    With `g_t = dL/dh_t = C_t dL/dy_t + exp(dt_{t+1} A) g_{t+1}`, all gradients are sums of
    products of `g_t`, `h_{t-1}` and the inputs.

    Args:
        grad_y: Gradient of the outputs.
        grad_last: Gradient of the last state.
        u: As given to the forward pass.
        dt: As given to the forward pass.
        A: As given to the forward pass.
        B: As given to the forward pass.
        C: As given to the forward pass.
        states: As returned by the forward pass.
        segment: As given to the forward pass.
        with_outputs: Whether the outputs of the forward pass are computed again as well.

    Returns:
        One gradient per argument, in the dtype of the computation.
    """
    d_inner, length = u.shape[1:]
    grad_u, grad_dt = torch.empty_like(u), torch.empty_like(u)
    y = torch.empty_like(u) if with_outputs else None
    grad_A, grad_B, grad_C = (x.new_zeros(x.shape) for x in (A, B, C))
    g = grad_last  # the gradient of this segment's last state, from the steps after it
    for index in reversed(range(math.ceil(length / segment))):
        piece = slice(index * segment, min((index + 1) * segment, length))
        view = _Segment(u[..., piece], dt[..., piece])
        B_t = _steps(B, piece, view, d_inner)
        C_t = _steps(C, piece, view, d_inner)
        dy_t = view.from_sequence(grad_y[..., piece])[..., None]
        decay, hs = _advance(view, A, B_t, states[index])

        if y is not None:
            y[..., piece] = view.to_sequence((hs * C_t).sum(-1))
        _accumulate(grad_C, piece, view, hs * dy_t)
        gs = _retreat(view, decay, C_t * dy_t, g)
        g = decay[0, :, 0] * gs[0, :, 0]

        _accumulate(grad_B, piece, view, gs * (view.dt * view.u)[..., None])
        gate = (gs * B_t).sum(-1)
        previous = view.shifted(hs, states[index])
        exponent = gs.mul_(decay).mul_(previous)  # dL / d(dt_t A)
        grad_A += (exponent * view.dt[..., None]).sum(dim=(0, 1, 2))
        grad_u[..., piece] = view.to_sequence(view.dt * gate)
        grad_dt[..., piece] = view.to_sequence((exponent * A).sum(-1) + view.u * gate)
    return RecurrenceGradients(grad_u, grad_dt, grad_A, grad_B, grad_C, g, y)


class _Segment:
    """A stretch of the sequence, folded into chunks of about the square root of its length.

    The last chunk is padded with steps of size zero: they keep the state and add nothing.
    """

    def __init__(self, u: Tensor, dt: Tensor) -> None:
        self.length = u.shape[-1]
        self.time = max(1, math.isqrt(self.length))
        self.chunks = -(-self.length // self.time)
        self.u = self.from_sequence(u)
        self.dt = self.from_sequence(dt)

    def from_sequence(self, x: Tensor) -> Tensor:
        """Fold `(..., length)` with leading `(batch, rest)` to `(time, batch, chunk, rest)`."""
        padded = x.new_zeros(*x.shape[:-1], self.chunks * self.time)
        padded[..., : self.length] = x
        folded = padded.reshape(*x.shape[:-1], self.chunks, self.time)
        return folded.movedim((-1, -2), (0, 2)).contiguous()

    def to_sequence(self, x: Tensor) -> Tensor:
        """Undo `from_sequence`."""
        return x.movedim((0, 2), (-1, -2)).flatten(-2)[..., : self.length]

    def last(self, hs: Tensor) -> Tensor:
        """Return the state after the segment; padding has kept it."""
        return hs[-1, :, -1]

    def shifted(self, hs: Tensor, first: Tensor) -> Tensor:
        """Return the state before every step."""
        previous = torch.empty_like(hs)
        previous[1:] = hs[:-1]
        previous[0, :, 1:] = hs[-1, :, :-1]
        previous[0, :, 0] = first
        return previous


def _advance(view: _Segment, A: Tensor, B_t: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Return the decay of every step and the state after every step."""
    decay = torch.exp(view.dt[..., None] * A)
    hs = (view.dt * view.u)[..., None] * B_t  # what each step adds; overwritten by the states
    # The sum that a chunk adds to its last state, and the share of its first state that survives.
    added = hs[0].clone()
    for t in range(1, view.time):
        torch.addcmul(hs[t], decay[t], added, out=added)
    kept = torch.exp(view.dt.sum(0)[..., None] * A)
    h = first
    for k in range(view.chunks):
        hs[0, :, k].addcmul_(decay[0, :, k], h)
        h = torch.addcmul(added[:, k], kept[:, k], h)
    for t in range(1, view.time):
        hs[t].addcmul_(decay[t], hs[t - 1])
    return decay, hs


def _retreat(view: _Segment, decay: Tensor, gs: Tensor, g: Tensor) -> Tensor:
    """Run the adjoint recurrence backwards in time; `gs` is overwritten by its states."""
    # As in `_advance`: the gradient that a chunk gives to the last state of the chunk before it.
    asked = gs[-1].clone()
    for t in range(view.time - 2, -1, -1):
        asked = torch.addcmul(gs[t], decay[t + 1], asked)
    asked.mul_(decay[0])
    kept = decay.prod(0)
    for k in range(view.chunks - 1, -1, -1):
        gs[-1, :, k] += g
        g = torch.addcmul(asked[:, k], kept[:, k], g)
    for t in range(view.time - 2, -1, -1):
        gs[t].addcmul_(decay[t + 1], gs[t + 1])
    return gs


def _steps(projection: Tensor, piece: slice, view: _Segment, d_inner: int) -> Tensor:
    """Bring `B` or `C` to a shape that broadcasts against `(time, batch, chunk, d_inner, n)`."""
    if projection.dim() == 2:
        return projection
    folded = view.from_sequence(projection[..., piece])  # (time, batch, chunk, [groups,] n)
    if projection.dim() == 3:
        return folded.unsqueeze(3)
    return folded.repeat_interleave(d_inner // projection.shape[1], dim=3)


def _accumulate(grad: Tensor, piece: slice, view: _Segment, terms: Tensor) -> None:
    """Add the terms of one segment to the gradient of `B` or `C`, in its layout."""
    if grad.dim() == 2:
        grad += terms.sum(dim=(0, 1, 2))
    elif grad.dim() == 3:
        grad[..., piece] = view.to_sequence(terms.sum(3))
    else:
        grouped = terms.reshape(*terms.shape[:3], grad.shape[1], -1, terms.shape[-1]).sum(4)
        grad[..., piece] = view.to_sequence(grouped)
