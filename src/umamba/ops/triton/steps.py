"""What the kernels share: a tile of steps is a tuple with a vector of channels per step.

Unrolled like this the recurrence runs inside a thread, in registers. Triton compiles the source of
these functions: `no_type_check` keeps import hooks that check types from wrapping them.
"""

from typing import no_type_check

import triton
import triton.language as tl

__all__ = [
    "LOG2_E",
    "SIZES",
    "load_projection",
    "load_steps",
    "place",
    "projection_row",
    "sigmoid",
    "span_and_image",
    "state_row",
    "step_sizes",
    "store_steps",
    "zeros",
]

LOG2_E = tl.constexpr(1.4426950408889634)
# What says how long a sequence is, and how it is divided. A kernel compiled anew for every patch
# size would make the first step of a training wait.
SIZES = ["length", "part_blocks", "span", "n_spans", "n_chunks", "B_parts", "C_parts"]


@triton.jit
@no_type_check
def span_and_image(n_spans):
    """Return the span and image of this program: on one axis, since the others end at 65535."""
    program = tl.program_id(0)
    return program % n_spans, (program // n_spans).to(tl.int64)


@triton.jit
@no_type_check
def place(part_channels, part_blocks, BLOCK: tl.constexpr):
    """Return the channels of this program, and which there are: a block stays inside its part."""
    block = tl.program_id(1)
    inside = (block % part_blocks) * BLOCK + tl.arange(0, BLOCK)
    channel = block // part_blocks * part_channels + inside
    return channel.to(tl.int64), inside < part_channels


@triton.jit
@no_type_check
def load_steps(row, start, stop, stride, here, dtype: tl.constexpr, TILE: tl.constexpr):
    """Return a tile of a sequence; what is not there is zero."""
    steps = ()
    for i in tl.static_range(TILE):
        t = start + i
        steps += (tl.load(row + t * stride, mask=here & (t < stop), other=0.0).to(dtype),)
    return steps


@triton.jit
@no_type_check
def store_steps(row, steps, start, stop, stride, here, TILE: tl.constexpr):
    """Store a tile of a sequence."""
    for i in tl.static_range(TILE):
        t = start + i
        tl.store(row + t * stride, steps[i].to(row.dtype.element_ty), mask=here & (t < stop))


@triton.jit
@no_type_check
def zeros(BLOCK: tl.constexpr, dtype: tl.constexpr, TILE: tl.constexpr):
    """Return a tile of zeros."""
    steps = ()
    for _ in tl.static_range(TILE):
        steps += (tl.zeros([BLOCK], dtype),)
    return steps


@triton.jit
@no_type_check
def projection_row(base, by_image, by_group, image, group, channel, CONSTANT: tl.constexpr):
    """Return where `B` or `C` begins: for every channel if constant, else for the group of all."""
    if CONSTANT:
        row = base + channel * by_group
    else:
        row = base + image * by_image + group.to(tl.int64) * by_group
    return row


@triton.jit
@no_type_check
def state_row(row, n, stride):
    """Return where state `n` begins: a stride of whole sequences overflows 32 bits."""
    return row + tl.cast(n, tl.int64) * stride


@triton.jit
@no_type_check
def load_projection(
    row, start, stop, stride, here, dtype: tl.constexpr, CONSTANT: tl.constexpr, TILE: tl.constexpr
):
    """Return `B` or `C` of one state: the same vector at every step if constant, else a number."""
    steps = ()
    if CONSTANT:
        same = tl.load(row, mask=here, other=0.0).to(dtype)
    for i in tl.static_range(TILE):
        t = start + i
        if CONSTANT:
            steps += (same,)
        else:
            steps += (tl.load(row + t * stride, mask=t < stop, other=0.0).to(dtype),)
    return steps


@triton.jit
@no_type_check
def sigmoid(x):
    """Return the logistic function, with all its digits where it is tiny, too."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
@no_type_check
def softplus(x):
    """Return `log(1 + exp(x))`, with all its digits where it is tiny, too."""
    e = tl.exp(-tl.abs(x))
    w = 1.0 + e
    # Kahan's log1p: the quotient makes good what rounding took from 1 + e.
    rounded = tl.where(w == 1.0, 1.0, w - 1.0)
    return tl.maximum(x, 0.0) + tl.where(w == 1.0, e, tl.log(w) * (e / rounded))


@triton.jit
@no_type_check
def step_sizes(raw, bias, start, stop, here, SOFTPLUS: tl.constexpr, TILE: tl.constexpr):
    """Return the step sizes of a tile: zero after the end, which keeps the state."""
    steps = ()
    for i in tl.static_range(TILE):
        x = raw[i] + bias
        if SOFTPLUS:
            x = softplus(x)
        steps += (tl.where(here & (start + i < stop), x, 0.0),)
    return steps
