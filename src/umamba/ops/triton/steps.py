"""The parts that kernels share: a tile of steps is a tuple with a vector of channels per step.

Unrolled like this the recurrence runs inside a thread, in registers. Triton compiles the source of
these functions: `no_type_check` keeps import hooks that check types from wrapping them.
"""

from typing import no_type_check

import triton
import triton.language as tl

__all__ = [
    "ADDRESSES",
    "LOG2_E",
    "SIZES",
    "load_output_gradients",
    "load_projection",
    "load_steps",
    "place",
    "projection_row",
    "sigmoid",
    "span_and_image",
    "state_row",
    "step_rows",
    "step_sizes",
    "store_steps",
    "zeros",
]

LOG2_E = tl.constexpr(1.4426950408889634)
# Kernels are not specialised for the length of a sequence, its division, and the place of `B` and
# `C`, which are read one number at a time: compiling anew for every patch size or rank of the step
# size would make the first step of a training wait.
SIZES = ["length", "part_blocks", "span", "n_spans", "n_chunks"]
SIZES += [f"{name}_{what}" for name in "BC" for what in ("b", "g", "t", "parts")]
ADDRESSES = ["B", "C"]


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
    """Return a tile of a sequence; outside of it there are zeros."""
    at = row + start * stride
    steps = ()
    for i in tl.static_range(TILE):
        there = here & (start + i < stop)
        steps += (tl.load(at + i * stride, mask=there, other=0.0).to(dtype),)
    return steps


@triton.jit
@no_type_check
def store_steps(row, steps, start, stop, stride, here, TILE: tl.constexpr):
    """Store a tile of a sequence."""
    at = row + start * stride
    for i in tl.static_range(TILE):
        there = here & (start + i < stop)
        tl.store(at + i * stride, steps[i].to(row.dtype.element_ty), mask=there)


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
def step_rows(row, start, stop, stride, CONSTANT: tl.constexpr, TILE: tl.constexpr):
    """Return where `B` or `C` lies at each step of a tile, after the end as at the last step.

    There the step size is zero: whatever finite number is read, the state stays as it is.
    """
    rows = ()
    for i in tl.static_range(TILE):
        if CONSTANT:
            rows += (row,)
        else:
            rows += (row + tl.minimum(start + i, stop - 1) * stride,)
    return rows


@triton.jit
@no_type_check
def load_projection(
    rows, n, stride, here, dtype: tl.constexpr, CONSTANT: tl.constexpr, TILE: tl.constexpr
):
    """Return `B` or `C` of one state: the same vector at every step if constant, else a number."""
    steps = ()
    if CONSTANT:
        same = tl.load(state_row(rows[0], n, stride), mask=here, other=0.0).to(dtype)
    for i in tl.static_range(TILE):
        if CONSTANT:
            steps += (same,)
        else:
            steps += (tl.load(state_row(rows[i], n, stride)).to(dtype),)
    return steps


@triton.jit
@no_type_check
def sigmoid(x):
    """Return the logistic function, with all its digits where it is tiny, too."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
@no_type_check
def load_output_gradients(
    dy_row, dy_t, z_row, z_t, start, stop, here,
    dtype: tl.constexpr, GATED: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Return a tile of the gradients of the outputs before their gate."""
    dys = load_steps(dy_row, start, stop, dy_t, here, dtype, TILE)
    if GATED:
        zs = load_steps(z_row, start, stop, z_t, here, dtype, TILE)
        ungated = ()
        for i in tl.static_range(TILE):
            ungated += (dys[i] * zs[i] * sigmoid(zs[i]),)
        dys = ungated
    return dys


@triton.jit
@no_type_check
def softplus(x):
    """Return `log(1 + exp(x))`, with all its digits where it is tiny, too."""
    e = tl.exp(-tl.abs(x))
    if x.dtype == tl.float64:
        w = 1.0 + e
        # Kahan's log1p: the quotient makes good what rounding took from 1 + e.
        rounded = tl.where(w == 1.0, 1.0, w - 1.0)
        log1p = tl.where(w == 1.0, e, tl.log(w) * (e / rounded))
    else:
        # Chebyshev interpolation of log1p(e) / e on [0, 1]: 5e-9, a third of the instructions.
        q = -0.0031760570127516985 * e + 0.019542528316378593
        q = q * e - 0.05637361481785774
        q = q * e + 0.10543623566627502
        q = q * e - 0.1526966691017151
        q = q * e + 0.1966327428817749
        q = q * e - 0.24951615929603577
        q = q * e + 0.33329710364341736
        q = q * e - 0.49999892711639404
        log1p = (q * e + 1.0) * e
    return tl.maximum(x, 0.0) + log1p


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
