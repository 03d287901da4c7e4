"""The selective scan on a GPU, from tensors to tensors.

Three passes: every span of the sequence finds what it adds to the state, the states are carried
over the spans, and every span runs again from its true state. Where batch and channels alone fill
a GPU, there is one span, and only the last pass. The backward mirrors this from the end.

Tiling: one warp has 64 channels, two per lane, which halves the work of summing over channels for
the gradients of `B` and `C`. Sixteen states of each stay in registers; the gradients take one state
after another instead, and keep a tile of steps. States are kept every 64 steps, a quarter of a
float32 sequence at 16 states. Lanes lie along the channels, so that loads are whole lines where
sequences are channels-last, as our layers make them; where time is contiguous each lane reads its
own line, step by step, through the L1 cache.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from umamba.errors import BackendError
from umamba.ops.precision import compute_dtype

__all__ = [
    "CHUNK",
    "GRADIENT_TILE",
    "LEAST_SPAN",
    "PART",
    "TILE",
    "Tiling",
    "forget_launches",
    "restart_shape",
    "triton_scan",
    "triton_scan_backward",
]

# Steps: from one restart state to the next, from one that the backward finds again to the next,
# that the backward unrolls, and that the forward does; each divides the one before. Spans are
# multiples of a part: below the least, they cost more than they bring.
CHUNK, PART, GRADIENT_TILE, TILE = 64, 16, 8, 4
LEAST_SPAN = 32
_STATES = 16  # in registers at most
_BLOCKS = (32, 64)  # channels of a program
_FORWARD_WARPS, _BACKWARD_WARPS = 12, 8  # on a multiprocessor, which their registers fill
_REGISTERS = 65536  # of a multiprocessor, on every GPU from compute capability 7.0 on
_CARRIED = (256, 8)  # spans and states that advance together in the carry
_SUMMED = (128, 8)  # spans and columns that are summed together
_CARRY_WARPS = 4  # and of the sums


@dataclass(frozen=True)
class Tiling:
    """How the work is divided: a grid of the spans of all images, and blocks of channels.

    Args:
        parts: Parts of the channels that share their group of `B` and that of `C`.
        channels: Channels of a part.
        block: Channels of a program.
        blocks: Programs of a part.
        span: Steps of a program, a multiple of `PART`.
        spans: Programs along the sequence.
    """

    parts: int
    channels: int
    block: int
    blocks: int
    span: int
    spans: int

    @classmethod
    def of(
        cls, u: Sequence[int], B: Sequence[int], C: Sequence[int], device: torch.device, warps: int
    ) -> "Tiling":
        """Divide the work of a scan.

        Args:
            u: Shape of the sequence.
            B: Shape of `B`.
            C: Shape of `C`.
            device: Where it runs.
            warps: Programs that one multiprocessor holds.
        """
        batch, d_inner, length = u
        parts = math.lcm(*(shape[1] if len(shape) == 4 else 1 for shape in (B, C)))
        channels = d_inner // parts
        block = _BLOCKS[channels > _BLOCKS[0]]
        blocks = -(-channels // block)
        programs = warps * _multiprocessors(device)
        most = max(1, programs // max(1, batch * parts * blocks))  # one more would wait for all
        span = max(LEAST_SPAN, PART * -(-length // (PART * most)))
        return cls(parts, channels, block, blocks, span, -(-length // span))


@cache
def _multiprocessors(device: torch.device) -> int:
    """Return how many a GPU has; without one, as if it were large."""
    if device.type != "cuda":
        return 128
    return torch.cuda.get_device_properties(device).multi_processor_count


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
    _check_devices(u, dt, A, B, C, D, z, dt_bias, initial_state)
    by_state, D, dt_bias, initial_state = _contiguous(A.t(), D, dt_bias, initial_state)
    batch, d_inner, _ = u.shape
    d_state = A.shape[1]
    dtype = compute_dtype(u, A)
    # States that do not fit into registers at once add their parts to the outputs.
    y = torch.empty_like(u, dtype=u.dtype if _states(d_state) == d_state else dtype)
    last = u.new_empty((batch, d_inner, d_state), dtype=dtype)
    states = u.new_empty(restart_shape(u, A) if keep_states else (0,), dtype=dtype)
    if not u.numel():
        return y, last, states
    given = (u, dt, z, by_state, B, C, D, dt_bias, initial_state, y)
    plan = _plan_forward(
        *map(_Layout.of, given), u.device, softplus=softplus, keep_states=keep_states
    )
    carry = u.new_empty(batch, plan.tiling.spans, d_state + 1, d_inner, dtype=dtype)
    with torch.cuda.device_of(u):  # type: ignore[no-untyped-call]
        if plan.tiling.spans > 1:
            plan.first(*given, carry, states, last)
            plan.carry(by_state, initial_state, carry)
        plan.last(*given, carry, states, last)
    return y.to(u.dtype), last, states


def triton_scan_backward(
    grad_y: Float[Tensor, "batch d_inner length"],
    grad_last: Float[Tensor, "batch d_inner d_state"] | None,
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
    with_first: bool,
) -> tuple[Tensor | None, ...]:
    """Differentiate `triton_scan`.

    Args:
        grad_y: Gradient of the outputs.
        grad_last: Gradient of the last state, or `None` for zero.
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
        with_first: Whether the gradient of the first state is wanted.

    Returns:
        The gradients of u, dt, A, B, C, D, z, dt_bias and the first state; `None` for what was not
        given or wanted. Those of sequences have their types, the others that of the recurrence.

    Raises:
        BackendError: If devices, or the shape of `states`, do not fit.
    """
    _check_devices(u, dt, A, B, C, D, z, dt_bias, grad_y, grad_last, states)
    if states.shape != restart_shape(u, A) or not states.is_contiguous():
        msg = f"restart states of shape {tuple(states.shape)} are not those of this sequence"
        raise BackendError(msg)
    by_state, D, dt_bias, grad_last = _contiguous(A.t(), D, dt_bias, grad_last)
    batch, d_inner, length = u.shape
    d_state = A.shape[1]
    grad_u, grad_dt = torch.empty_like(u), torch.empty_like(u, dtype=dt.dtype)
    grad_z = None if z is None else torch.empty_like(u, dtype=z.dtype)
    grad_first = states.new_empty(batch, d_inner, d_state) if with_first else None
    given = (grad_y, u, dt, z, by_state, B, C, D, dt_bias, states, grad_last)
    made = (grad_u, grad_dt, grad_z, grad_first)
    plan, sum_up = _plan_backward(*map(_Layout.of, (*given, *made)), u.device, softplus=softplus)
    spans, blocks = plan.tiling.spans, plan.tiling.parts * plan.tiling.blocks
    make = states.new_empty if u.numel() else states.new_zeros
    grad_A, grad_D, grad_bias = (None if x is None else make(x.shape) for x in (A, D, dt_bias))
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
        found_again = CHUNK // PART - 1 + PART // GRADIENT_TILE - 1
        scratch = states.new_empty(batch, spans, found_again, d_state, d_inner)
        with torch.cuda.device_of(u):  # type: ignore[no-untyped-call]
            if spans > 1:
                plan.first(grad_y, dt, z, by_state, C, dt_bias, carry)
                plan.carry(by_state, grad_last, carry)
            plan.last(*given, *made, carry, scratch, sums, partial_B, partial_C)
            sum_up(sums, grad_A, grad_D, grad_bias)
    return (
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


def _states(d_state: int) -> int:
    """Return how many states a program has in registers: all, or as many as divide them."""
    if d_state <= _STATES:
        return d_state
    # The outputs of several rounds need registers, too: sixteen states would spill.
    return max(n for n in range(1, _STATES // 2 + 1) if d_state % n == 0)


def _whole_gradient(partial: Tensor, projection: Tensor) -> Tensor:
    """Sum over images and spans, or over the blocks of a group, always in the same order."""
    if projection.dim() == 2:
        return partial.sum(0).t().contiguous()
    groups = projection.shape[1] if projection.dim() == 4 else 1
    batch, blocks, d_state, length = partial.shape
    split = partial.view(batch, groups, blocks // groups, d_state, length)
    return (split[:, :, 0] if blocks == groups else split.sum(2)).reshape(projection.shape)


class _Layout(NamedTuple):
    """What a launch depends on of a tensor: numbers that kernels are given or compiled for."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype | None
    misaligned: int

    @classmethod
    def of(cls, x: Tensor | None) -> "_Layout":
        if x is None:
            return _ABSENT
        return cls(x.shape, x.stride(), x.dtype, x.data_ptr() % 16)

    def sequence(self) -> tuple[int, ...]:
        """Return the strides of a sequence.

        Raises:
            BackendError: If a tile of steps spans more than kernels count in 32 bits.
        """
        if self.strides[2] * GRADIENT_TILE >= 2**31:
            msg = f"steps {self.strides[2]} numbers apart are too far; make the sequence contiguous"
            raise BackendError(msg)
        return self.strides


_ABSENT = _Layout((0, 0, 0), (0, 0, 0), None, 0)


class _Launch:
    """A kernel with all its arguments but the tensors, for so many warps on a multiprocessor.

    What Triton compiled at the first launch is launched directly from then on: looking for it
    again takes longer than a short scan. It fits while the layouts of the tensors stay the same.
    """

    def __init__(
        self,
        kernel: Any,
        grid: tuple[int, int],
        numbers: Sequence[int],
        *,
        warps: int = 1,
        resident: int | None = None,
        **constants: int,
    ) -> None:
        self.kernel, self.grid = kernel, grid
        self.numbers, self.constants = numbers, constants  # in the order of the kernel's parameters
        self.options: dict[str, int] = {"num_warps": warps}
        if resident is not None:
            # Left alone, the assembler saves registers, and loads only when it needs the numbers.
            self.options["maxnreg"] = min(255, _REGISTERS // (32 * resident) // 8 * 8)
        self.compiled: Any = None

    def __call__(self, *tensors: Tensor | None) -> None:
        given = (*tensors, *self.numbers, *self.constants.values())
        if self.compiled is None:  # so it stays where Triton interprets
            self.compiled = self.kernel[self.grid](*given, **self.options)
        else:
            self.compiled[(*self.grid, 1)](*given)


class _Plan(NamedTuple):
    """The launches of a scan or its backward: of each span alone, over the spans, and the last."""

    tiling: Tiling
    first: _Launch
    carry: _Launch
    last: _Launch


@lru_cache(maxsize=256)
def _plan_forward(
    u: _Layout,
    dt: _Layout,
    z: _Layout,
    A: _Layout,
    B: _Layout,
    C: _Layout,
    D: _Layout,  # noqa: ARG001 - decides what is compiled, like all that is not used here
    dt_bias: _Layout,  # noqa: ARG001
    initial_state: _Layout,  # noqa: ARG001
    y: _Layout,
    device: torch.device,
    *,
    softplus: bool,
    keep_states: bool,
) -> _Plan:
    from umamba.ops.triton.kernels import forward_kernel

    tiling = Tiling.of(u.shape, B.shape, C.shape, device, _FORWARD_WARPS)

    def launch(spans: int, *, outputs: bool) -> _Launch:
        return _Launch(
            forward_kernel,
            (spans * u.shape[0], tiling.parts * tiling.blocks),
            (
                *(*u.sequence(), *dt.sequence(), *z.sequence(), *y.sequence()),
                *(*_projection(B, tiling), *_projection(C, tiling)),
                *(*_sizes(u, tiling), _chunks(u.shape[2])),
            ),
            resident=_FORWARD_WARPS,
            SOFTPLUS=softplus,
            CONSTANT_B=len(B.shape) == 2,
            CONSTANT_C=len(C.shape) == 2,
            OUTPUTS=outputs,
            KEEP=keep_states and outputs,
            **_widths(A, tiling),
            TILE=TILE,
            CHUNK=CHUNK,
        )

    return _Plan(
        tiling,
        launch(tiling.spans - 1, outputs=False),
        _carry(A, u, tiling, reverse=False),
        launch(tiling.spans, outputs=True),
    )


@lru_cache(maxsize=256)
def _plan_backward(
    grad_y: _Layout,
    u: _Layout,
    dt: _Layout,
    z: _Layout,
    A: _Layout,
    B: _Layout,
    C: _Layout,
    D: _Layout,  # noqa: ARG001 - decides what is compiled, like all that is not used here
    dt_bias: _Layout,  # noqa: ARG001
    states: _Layout,  # noqa: ARG001
    grad_last: _Layout,  # noqa: ARG001
    grad_u: _Layout,
    grad_dt: _Layout,  # noqa: ARG001
    grad_z: _Layout,  # noqa: ARG001
    grad_first: _Layout,  # noqa: ARG001
    device: torch.device,
    *,
    softplus: bool,
) -> tuple[_Plan, _Launch]:
    from umamba.ops.triton.gradient_kernel import gradient_kernel
    from umamba.ops.triton.kernels import adjoint_kernel, sum_kernel

    tiling = Tiling.of(u.shape, B.shape, C.shape, device, _BACKWARD_WARPS)
    blocks = tiling.parts * tiling.blocks
    given_C, sizes = _projection(C, tiling), _sizes(u, tiling)
    constant_C = len(C.shape) == 2
    first = _Launch(
        adjoint_kernel,
        ((tiling.spans - 1) * u.shape[0], blocks),
        (*grad_y.sequence(), *dt.sequence(), *z.sequence(), *given_C, *sizes),
        resident=_BACKWARD_WARPS,
        SOFTPLUS=softplus,
        CONSTANT_C=constant_C,
        **_widths(A, tiling),
        TILE=GRADIENT_TILE,
    )
    last = _Launch(
        gradient_kernel,
        (tiling.spans * u.shape[0], blocks),
        (
            *(*grad_y.sequence(), *u.sequence(), *dt.sequence(), *z.sequence(), *grad_u.sequence()),
            *(*_projection(B, tiling), *given_C, *sizes, _chunks(u.shape[2])),
        ),
        resident=_BACKWARD_WARPS,
        SOFTPLUS=softplus,
        CONSTANT_B=len(B.shape) == 2,
        CONSTANT_C=constant_C,
        **_widths(A, tiling),
        TILE=GRADIENT_TILE,
        UNROLLED=TILE,
        PART=PART,
        CHUNK=CHUNK,
    )
    d_state, d_inner = A.shape
    sums = _Launch(
        sum_kernel,
        (-(-(d_state + 2) * d_inner // _SUMMED[1]), 1),
        (u.shape[0] * tiling.spans, d_inner, d_state),
        warps=_CARRY_WARPS,
        ROWS=_SUMMED[0],
        COLUMNS=_SUMMED[1],
    )
    return _Plan(tiling, first, _carry(A, u, tiling, reverse=True), last), sums


def forget_launches() -> None:
    """Forget what was planned: for those who change the constants of this module."""
    _plan_forward.cache_clear()
    _plan_backward.cache_clear()


def _projection(x: _Layout, tiling: Tiling) -> tuple[int, ...]:
    """Return the strides of `B` or `C`, and parts per group; per channel where constant."""
    if len(x.shape) == 2:
        return (0, *x.strides, 0, 1)
    if len(x.shape) == 3:
        return (x.strides[0], 0, *x.strides[1:], tiling.parts)
    return (*x.strides, tiling.parts // x.shape[1])


def _sizes(u: _Layout, tiling: Tiling) -> tuple[int, ...]:
    _, d_inner, length = u.shape
    return (length, d_inner, tiling.channels, tiling.blocks, tiling.span, tiling.spans)


def _widths(A: _Layout, tiling: Tiling) -> dict[str, int]:
    d_state = A.shape[0]
    return {"D_STATE": d_state, "STATES": _states(d_state), "BLOCK": tiling.block}


def _carry(A: _Layout, u: _Layout, tiling: Tiling, *, reverse: bool) -> _Launch:
    from umamba.ops.triton.kernels import carry_kernel

    d_state, d_inner = A.shape
    rows, columns = min(_CARRIED[0], 1 << (tiling.spans - 2).bit_length()), _CARRIED[1]
    return _Launch(
        carry_kernel,
        (-(-d_state * d_inner // columns), u.shape[0]),
        (d_inner, d_state, tiling.spans),
        warps=_CARRY_WARPS,
        REVERSE=reverse,
        ROWS=rows,
        COLUMNS=columns,
    )
