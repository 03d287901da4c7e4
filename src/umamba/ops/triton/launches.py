"""The launches of a scan, planned once for all tensors of the same types and layouts."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from umamba.errors import BackendError
from umamba.ops.triton import tiling as constants
from umamba.ops.triton.tiling import Tiling, chunks, states_together

__all__ = ["Launch", "Layout", "Plan", "forget_launches", "plan_backward", "plan_forward"]

_REGISTERS = 65536  # of a multiprocessor, on every GPU from compute capability 7.0 on
_CARRIED = (256, 8)  # spans and states that advance together in the carry
_SUMMED = (128, 8)  # spans and columns that are summed together
_CARRY_WARPS = 4  # and of the sums


class Layout(NamedTuple):
    """The properties of a tensor that a launch depends on: numbers that kernels take."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype | None
    misaligned: int

    @classmethod
    def of(cls, x: Tensor | None) -> "Layout":
        """Return the layout of a tensor, or of an absent one."""
        if x is None:
            return _ABSENT
        return cls(x.shape, x.stride(), x.dtype, x.data_ptr() % 16)

    def sequence(self) -> tuple[int, ...]:
        """Return the strides of a sequence.

        Raises:
            BackendError: If a tile of steps spans more than kernels count in 32 bits.
        """
        if self.strides[2] * constants.GRADIENT_TILE >= 2**31:
            msg = f"steps {self.strides[2]} numbers apart are too far; make the sequence contiguous"
            raise BackendError(msg)
        return self.strides


_ABSENT = Layout((0, 0, 0), (0, 0, 0), None, 0)


class Launch:
    """A kernel with all its arguments but the tensors, for a number of warps on a multiprocessor.

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
        """Launch the kernel."""
        given = (*tensors, *self.numbers, *self.constants.values())
        if self.compiled is None:  # so it stays where Triton interprets
            self.compiled = self.kernel[self.grid](*given, **self.options)
        else:
            self.compiled[(*self.grid, 1)](*given)


class Plan(NamedTuple):
    """The launches of a scan or its backward: of each span alone, over the spans, and the last."""

    tiling: Tiling
    first: Launch
    carry: Launch
    last: Launch


@lru_cache(maxsize=256)
def plan_forward(
    given: tuple[Layout, ...], device: torch.device, *, softplus: bool, keep_states: bool
) -> Plan:
    """Plan the launches of `triton_scan`.

    Args:
        given: Layouts of the tensors that all but the carry are given, in their order.
        device: The device they are on.
        softplus: Whether `softplus` makes the step size positive.
        keep_states: Whether the restart states are kept.

    Raises:
        BackendError: If steps are too far apart.
    """
    from umamba.ops.triton.kernels import forward_kernel

    u, dt, z, A, B, C, _, _, _, y = given
    tiling = Tiling.of(u.shape, B.shape, C.shape, device, constants.FORWARD_WARPS)

    def launch(spans: int, *, outputs: bool) -> Launch:
        return Launch(
            forward_kernel,
            (spans * u.shape[0], tiling.parts * tiling.blocks),
            (
                *(*u.sequence(), *dt.sequence(), *z.sequence(), *y.sequence()),
                *(*_projection(B, tiling), *_projection(C, tiling)),
                *(*_sizes(u, tiling), chunks(u.shape[2])),
            ),
            resident=constants.FORWARD_WARPS,
            SOFTPLUS=softplus,
            CONSTANT_B=len(B.shape) == 2,
            CONSTANT_C=len(C.shape) == 2,
            OUTPUTS=outputs,
            KEEP=keep_states and outputs,
            **_widths(A, tiling),
            TILE=constants.TILE,
            CHUNK=constants.CHUNK,
        )

    return Plan(
        tiling,
        launch(tiling.spans - 1, outputs=False),
        _carry(A, u, tiling, reverse=False),
        launch(tiling.spans, outputs=True),
    )


@lru_cache(maxsize=256)
def plan_backward(
    given: tuple[Layout, ...], device: torch.device, *, softplus: bool
) -> tuple[Plan, Launch]:
    """Plan the launches of `triton_scan_backward`, and of the sums after them.

    Args:
        given: Layouts of the tensors that `gradient_kernel` is given, up to the gradients of
            sequences and of the first state, in their order.
        device: The device they are on.
        softplus: Whether `softplus` makes the step size positive.

    Raises:
        BackendError: If steps are too far apart.
    """
    from umamba.ops.triton.gradient_kernel import gradient_kernel
    from umamba.ops.triton.kernels import adjoint_kernel

    grad_y, u, dt, z, A, B, C, _, _, _, _, grad_u, *_ = given
    tiling = Tiling.of(u.shape, B.shape, C.shape, device, constants.BACKWARD_WARPS)
    blocks = tiling.parts * tiling.blocks
    given_C, sizes = _projection(C, tiling), _sizes(u, tiling)
    first = Launch(
        adjoint_kernel,
        ((tiling.spans - 1) * u.shape[0], blocks),
        (*grad_y.sequence(), *dt.sequence(), *z.sequence(), *given_C, *sizes),
        resident=constants.BACKWARD_WARPS,
        SOFTPLUS=softplus,
        CONSTANT_C=len(C.shape) == 2,
        **_widths(A, tiling),
        TILE=constants.GRADIENT_TILE,
    )
    sequences = (grad_y, u, dt, z, grad_u)
    strides = [stride for layout in sequences for stride in layout.sequence()]
    last = Launch(
        gradient_kernel,
        (tiling.spans * u.shape[0], blocks),
        (*strides, *_projection(B, tiling), *given_C, *sizes, chunks(u.shape[2])),
        resident=constants.BACKWARD_WARPS,
        SOFTPLUS=softplus,
        CONSTANT_B=len(B.shape) == 2,
        CONSTANT_C=len(C.shape) == 2,
        **_widths(A, tiling),
        TILE=constants.GRADIENT_TILE,
        UNROLLED=constants.TILE,
        PART=constants.PART,
        CHUNK=constants.CHUNK,
    )
    return Plan(tiling, first, _carry(A, u, tiling, reverse=True), last), _sums(A, u, tiling)


def forget_launches() -> None:
    """Forget planned launches, for code that changes the constants of `tiling`."""
    plan_forward.cache_clear()
    plan_backward.cache_clear()


def _projection(x: Layout, tiling: Tiling) -> tuple[int, ...]:
    """Return the strides of `B` or `C`, and parts per group; per channel where constant."""
    if len(x.shape) == 2:
        return (0, *x.strides, 0, 1)
    if len(x.shape) == 3:
        return (x.strides[0], 0, *x.strides[1:], tiling.parts)
    return (*x.strides, tiling.parts // x.shape[1])


def _sizes(u: Layout, tiling: Tiling) -> tuple[int, ...]:
    _, d_inner, length = u.shape
    return (length, d_inner, tiling.channels, tiling.blocks, tiling.span, tiling.spans)


def _widths(A: Layout, tiling: Tiling) -> dict[str, int]:
    d_state = A.shape[0]
    return {"D_STATE": d_state, "STATES": states_together(d_state), "BLOCK": tiling.block}


def _carry(A: Layout, u: Layout, tiling: Tiling, *, reverse: bool) -> Launch:
    from umamba.ops.triton.kernels import carry_kernel

    d_state, d_inner = A.shape
    rows, columns = min(_CARRIED[0], 1 << (tiling.spans - 2).bit_length()), _CARRIED[1]
    return Launch(
        carry_kernel,
        (-(-d_state * d_inner // columns), u.shape[0]),
        (d_inner, d_state, tiling.spans),
        warps=_CARRY_WARPS,
        REVERSE=reverse,
        ROWS=rows,
        COLUMNS=columns,
    )


def _sums(A: Layout, u: Layout, tiling: Tiling) -> Launch:
    from umamba.ops.triton.kernels import sum_kernel

    d_state, d_inner = A.shape
    rows, columns = _SUMMED
    return Launch(
        sum_kernel,
        (-(-(d_state + 2) * d_inner // columns), 1),
        (u.shape[0] * tiling.spans, d_inner, d_state),
        warps=_CARRY_WARPS,
        ROWS=rows,
        COLUMNS=columns,
    )
