"""The selective scan on a GPU, from tensors to tensors.

Three passes: every span of the sequence finds what it adds to the state, the states are carried
over the spans, and every span runs again from its true state. Where batch and channels alone fill
a GPU, there is one span, and only the last pass. The backward mirrors this from the end.

Tiling: one warp has 64 channels, two per lane, which halves the work of summing over channels for
the gradients of `B` and `C`; 8 steps of two channels are what the backward holds in 255 registers.
States are kept every 32 steps, half the size of a float32 sequence at 16 states. Lanes lie along
the channels, so that loads are whole lines where sequences are channels-last, as our layers make
them; where time is contiguous each lane reads its own line, step by step, through the L1 cache.
Compiled for sm_80 and sm_90, the loop over states of the backward takes 555 instructions for 16
states of a lane, 80 of them shuffles; nothing spills inside it.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from umamba.errors import BackendError
from umamba.ops.precision import compute_dtype

__all__ = ["CHUNK", "TILE", "TritonTiling", "restart_shape", "triton_scan", "triton_scan_backward"]

CHUNK = 32  # steps from one restart state to the next
TILE = 8  # steps in registers
_BLOCKS = (32, 64)  # channels of a program
_WARPS = 8  # of 255 registers that a multiprocessor holds
_LEAST_CHUNKS = 2  # of a span: below, launches cost more than they bring
_CARRIED = (256, 8)  # spans and states that advance together in the carry
_CARRY_WARPS = 4


@dataclass(frozen=True)
class TritonTiling:
    """How the work is divided: a grid of the spans of all images, and blocks of channels.

    Args:
        parts: Parts of the channels that share their group of `B` and that of `C`.
        channels: Channels of a part.
        block: Channels of a program.
        blocks: Programs of a part.
        span: Steps of a program, a multiple of `CHUNK`.
        spans: Programs along the sequence.
    """

    parts: int
    channels: int
    block: int
    blocks: int
    span: int
    spans: int

    @classmethod
    def of(cls, u: Tensor, B: Tensor, C: Tensor) -> "TritonTiling":
        """Divide the work of a scan."""
        batch, d_inner, length = u.shape
        parts = math.lcm(*(x.shape[1] if x.dim() == 4 else 1 for x in (B, C)))
        channels = d_inner // parts
        block = _BLOCKS[channels > _BLOCKS[0]]
        blocks = -(-channels // block)
        wanted = -(-_programs(u.device) // max(1, batch * parts * blocks))
        chunks = _chunks(length)
        span = CHUNK * max(_LEAST_CHUNKS, -(-chunks // wanted))
        return cls(parts, channels, block, blocks, span, -(-length // span))


@cache
def _programs(device: torch.device) -> int:
    """Return how many programs fill a GPU at once; without one, as if it were large."""
    if device.type != "cuda":
        return 1024
    return _WARPS * torch.cuda.get_device_properties(device).multi_processor_count


def _chunks(length: int) -> int:
    return -(-length // CHUNK)


def restart_shape(u: Tensor, A: Tensor) -> tuple[int, int, int, int]:
    """Return the shape of the restart states: (batch, chunks, d_state, d_inner)."""
    return (u.shape[0], _chunks(u.shape[2]), A.shape[1], u.shape[1])


def triton_scan(
    u: Float[Tensor, "batch d_inner length"],
    dt: Float[Tensor, "batch d_inner length"],
    A: Float[Tensor, "d_inner d_state"],
    B: Float[Tensor, "..."],
    C: Float[Tensor, "..."],
    D: Float[Tensor, " d_inner"] | None,
    z: Float[Tensor, "batch d_inner length"] | None,
    dt_bias: Float[Tensor, " d_inner"] | None,
    initial_state: Float[Tensor, "batch d_inner d_state"] | None,
    *,
    softplus: bool,
    keep_states: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run `umamba.selective_scan` on a GPU.

    Args:
        u: As in `selective_scan`; like every tensor here of any float type.
        dt: As in `selective_scan`.
        A: As in `selective_scan`.
        B: As in `selective_scan`.
        C: As in `selective_scan`.
        D: As in `selective_scan`.
        z: As in `selective_scan`.
        dt_bias: As in `selective_scan`.
        initial_state: As in `selective_scan`.
        softplus: Whether `softplus` makes the step size positive.
        keep_states: Whether the restart states are kept for `triton_scan_backward`.

    Returns:
        The outputs, laid out as `u`; the last state; the restart states, empty where not kept. The
        states have the type of the recurrence.

    Raises:
        BackendError: If devices differ.
    """
    from umamba.ops.triton.kernels import forward_kernel

    _check_devices(u, dt, A, B, C, D, z, dt_bias, initial_state)
    tiling = TritonTiling.of(u, B, C)
    y = torch.empty_like(u)
    carry, totals = _carry_rows(u, A, tiling)
    if initial_state is not None:
        carry[:, 0] = initial_state.transpose(1, 2)
    states = carry.new_empty(restart_shape(u, A) if keep_states else (0,))
    if not u.numel():
        return y, carry[:, -1].transpose(1, 2).contiguous(), states

    def launch(spans: int, *, outputs: bool) -> None:
        _launch(
            forward_kernel,
            (spans * u.shape[0], tiling.parts * tiling.blocks),
            u,
            *(*_sequence(u), *_sequence(dt), *_sequence(z), A, *A.stride()),
            *(*_projection(B, tiling), *_projection(C, tiling), *_vectors(D, dt_bias)),
            *(*_sequence(y), carry, states, totals),
            *(*_sizes(u, A, tiling), _chunks(u.shape[2])),
            **_constants(tiling, softplus=softplus, B=B, C=C),
            OUTPUTS=outputs,
            KEEP=keep_states and outputs,
        )

    if tiling.spans > 1:
        launch(tiling.spans - 1, outputs=False)
        _carry(A, carry, totals, reverse=False)
    launch(tiling.spans, outputs=True)
    return y, carry[:, -1].transpose(1, 2).contiguous(), states


def triton_scan_backward(
    grad_y: Float[Tensor, "batch d_inner length"],
    grad_last: Float[Tensor, "batch d_inner d_state"],
    u: Float[Tensor, "batch d_inner length"],
    dt: Float[Tensor, "batch d_inner length"],
    A: Float[Tensor, "d_inner d_state"],
    B: Float[Tensor, "..."],
    C: Float[Tensor, "..."],
    D: Float[Tensor, " d_inner"] | None,
    z: Float[Tensor, "batch d_inner length"] | None,
    dt_bias: Float[Tensor, " d_inner"] | None,
    states: Float[Tensor, "batch chunks d_state d_inner"],
    *,
    softplus: bool,
) -> tuple[Tensor | None, ...]:
    """Differentiate `triton_scan`.

    Args:
        grad_y: Gradient of the outputs.
        grad_last: Gradient of the last state.
        u: As given to `triton_scan`, like all that follow.
        dt: Likewise.
        A: Likewise.
        B: Likewise.
        C: Likewise.
        D: Likewise.
        z: Likewise.
        dt_bias: Likewise.
        states: The restart states that `triton_scan` returned.
        softplus: As given to `triton_scan`.

    Returns:
        The gradients of u, dt, A, B, C, D, z, dt_bias and the first state; `None` for what was not
        given. Those of sequences have their types, the others that of the recurrence.

    Raises:
        BackendError: If devices, or the shape of `states`, do not fit.
    """
    from umamba.ops.triton.gradient_kernel import gradient_kernel
    from umamba.ops.triton.kernels import adjoint_kernel

    _check_devices(u, dt, A, B, C, D, z, dt_bias, grad_y, grad_last, states)
    if states.shape != restart_shape(u, A) or not states.is_contiguous():
        msg = f"restart states of shape {tuple(states.shape)} are not those of this sequence"
        raise BackendError(msg)
    tiling = TritonTiling.of(u, B, C)
    carry, totals = _carry_rows(u, A, tiling)
    carry[:, -1] = grad_last.transpose(1, 2)
    grad_u, grad_dt = torch.empty_like(u), torch.empty_like(u, dtype=dt.dtype)
    grad_z = None if z is None else torch.empty_like(u, dtype=z.dtype)
    partial = {
        "A": torch.zeros_like(carry),
        "B": _partial_gradient(B, carry, u, tiling),
        "C": _partial_gradient(C, carry, u, tiling),
        "D": torch.zeros_like(totals),
        "dt_bias": torch.zeros_like(totals),
    }
    if u.numel():
        batch, blocks = u.shape[0], tiling.parts * tiling.blocks
        sizes = _sizes(u, A, tiling)
        given_z, given_A, given_C = _sequence(z), (A, *A.stride()), _projection(C, tiling)
        constants = _constants(tiling, softplus=softplus, B=B, C=C)
        if tiling.spans > 1:
            _launch(
                adjoint_kernel,
                ((tiling.spans - 1) * batch, blocks),
                u,
                *(*_sequence(grad_y), *_sequence(dt), *given_z, *given_A, *given_C),
                *(*_vectors(dt_bias), carry, totals, *sizes),
                **{name: constants[name] for name in ("SOFTPLUS", "CONSTANT_C", "BLOCK", "TILE")},
            )
            _carry(A, carry, totals, reverse=True)
        _launch(
            gradient_kernel,
            (tiling.spans * batch, blocks),
            u,
            *(*_sequence(grad_y), *_sequence(u), *_sequence(dt), *given_z, *given_A),
            *(*_projection(B, tiling), *given_C, *_vectors(D, dt_bias), states, carry),
            carry.new_empty(u.shape[0], tiling.spans, CHUNK // TILE, *carry.shape[2:]),
            *(grad_u, grad_dt, grad_z, *grad_u.stride(), *partial.values()),
            *(*sizes, _chunks(u.shape[2])),
            **constants,
        )
    return (
        grad_u,
        grad_dt,
        partial["A"].sum((0, 1)).t().contiguous(),
        _whole_gradient(partial["B"], B),
        _whole_gradient(partial["C"], C),
        None if D is None else partial["D"].sum((0, 1)),
        grad_z,
        None if dt_bias is None else partial["dt_bias"].sum((0, 1)),
        carry[:, 0].transpose(1, 2).contiguous(),
    )


def _check_devices(u: Tensor, *others: Tensor | None) -> None:
    """Refuse what a kernel would take for an address of this device."""
    devices = {x.device for x in (u, *others) if x is not None}
    if len(devices) > 1:
        msg = f"the scan needs all tensors on one device; got {sorted(map(str, devices))}"
        raise BackendError(msg)


def _carry_rows(u: Tensor, A: Tensor, tiling: TritonTiling) -> tuple[Tensor, Tensor]:
    """Return a row of states per span, zero, and a place for the sums of the step sizes."""
    batch, d_inner, _ = u.shape
    dtype = compute_dtype(u, A)
    carry = u.new_zeros(batch, tiling.spans, A.shape[1], d_inner, dtype=dtype)
    return carry, u.new_empty(batch, tiling.spans, d_inner, dtype=dtype)


def _sequence(x: Tensor | None) -> tuple[Tensor | None, int, int, int]:
    return (None, 0, 0, 0) if x is None else (x, *x.stride())  # type: ignore[return-value]


def _projection(x: Tensor, tiling: TritonTiling) -> tuple[Tensor, int, int, int, int, int]:
    """Return `B` or `C` with its strides and parts per group; per channel where constant."""
    if x.dim() == 2:
        return (x, 0, *x.stride(), 0, 1)  # type: ignore[return-value]
    grouped = x if x.dim() == 4 else x[:, None]
    return (grouped, *grouped.stride(), tiling.parts // grouped.shape[1])  # type: ignore[return-value]


def _vectors(*xs: Tensor | None) -> list[Tensor | None]:
    return [None if x is None else x.contiguous() for x in xs]


def _sizes(u: Tensor, A: Tensor, tiling: TritonTiling) -> tuple[int, ...]:
    _, d_inner, length = u.shape
    by_channel = (tiling.channels, tiling.blocks)
    return (length, d_inner, A.shape[1], *by_channel, tiling.span, tiling.spans)


def _constants(tiling: TritonTiling, *, softplus: bool, B: Tensor, C: Tensor) -> dict[str, Any]:
    return {
        "SOFTPLUS": softplus,
        "CONSTANT_B": B.dim() == 2,
        "CONSTANT_C": C.dim() == 2,
        "BLOCK": tiling.block,
        "TILE": TILE,
        "CHUNK": CHUNK,
    }


def _carry(A: Tensor, carry: Tensor, totals: Tensor, *, reverse: bool) -> None:
    from umamba.ops.triton.kernels import carry_kernel

    batch, spans, d_state, d_inner = carry.shape
    rows, columns = min(_CARRIED[0], 1 << (spans - 2).bit_length()), _CARRIED[1]
    _launch(
        carry_kernel,
        (-(-d_state * d_inner // columns), batch),
        carry,
        *(A, *A.stride(), carry, totals, d_inner, d_state, spans),
        REVERSE=reverse,
        ROWS=rows,
        COLUMNS=columns,
        warps=_CARRY_WARPS,
    )


def _launch(
    kernel: Any,
    grid: tuple[int, ...],
    where: Tensor,
    *args: Any,
    warps: int = 1,
    **constants: Any,
) -> None:
    with torch.cuda.device_of(where):  # type: ignore[no-untyped-call]
        kernel[grid](*args, **constants, num_warps=warps)


def _partial_gradient(projection: Tensor, carry: Tensor, u: Tensor, tiling: TritonTiling) -> Tensor:
    """Allocate the gradient of `B` or `C`: per span where constant, else per block of channels."""
    if projection.dim() == 2:
        return torch.zeros_like(carry)
    batch, _, length = u.shape
    blocks = tiling.parts * tiling.blocks
    return carry.new_empty(batch, blocks, carry.shape[2], length)


def _whole_gradient(partial: Tensor, projection: Tensor) -> Tensor:
    """Sum over images and spans, or over the blocks of a group, always in the same order."""
    if projection.dim() == 2:
        return partial.sum((0, 1)).t().contiguous()
    groups = projection.shape[1] if projection.dim() == 4 else 1
    batch, blocks, d_state, length = partial.shape
    split = partial.view(batch, groups, blocks // groups, d_state, length)
    return (split[:, :, 0] if blocks == groups else split.sum(2)).reshape(projection.shape)
