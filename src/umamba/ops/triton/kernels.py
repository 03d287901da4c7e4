"""The passes over spans of the sequence: states and outputs, the carry, and what a span asks back.

A program has one block of channels, over the lanes of a warp. States go one after another, so that
`d_state` is free; what a state hands from tile to tile rests in the L2 cache, in a row of `carry`
that no other program touches.
"""

from typing import no_type_check

import triton
import triton.language as tl

from umamba.ops.triton.steps import (
    LOG2_E,
    SIZES,
    load_projection,
    load_steps,
    place,
    projection_row,
    sigmoid,
    span_and_image,
    state_row,
    step_sizes,
    store_steps,
    zeros,
)

__all__ = ["adjoint_kernel", "carry_kernel", "forward_kernel"]


@triton.jit(do_not_specialize=SIZES)
@no_type_check
def forward_kernel(
    u, u_b, u_d, u_t, dt, dt_b, dt_d, dt_t, z, z_b, z_d, z_t,
    A, A_d, A_n, B, B_b, B_g, B_n, B_t, B_parts, C, C_b, C_g, C_n, C_t, C_parts,
    D, dt_bias, y, y_b, y_d, y_t, carry, states, totals,
    length, d_inner, d_state, part_channels, part_blocks, span, n_spans, n_chunks,
    SOFTPLUS: tl.constexpr, CONSTANT_B: tl.constexpr, CONSTANT_C: tl.constexpr,
    OUTPUTS: tl.constexpr, KEEP: tl.constexpr,
    BLOCK: tl.constexpr, TILE: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Advance the state over a span of steps.

    With `OUTPUTS`: from the state before the span, in its row of `carry`, which ends as the state
    after it. Without: from zero, into the row of the next span; `totals` has the sum of the steps.
    """
    dtype: tl.constexpr = carry.dtype.element_ty
    index, image = span_and_image(n_spans if OUTPUTS else n_spans - 1)
    channel, here = place(part_channels, part_blocks, BLOCK)
    part = tl.program_id(1) // part_blocks
    dt_row, u_row = dt + image * dt_b + channel * dt_d, u + image * u_b + channel * u_d
    B_row = projection_row(B, B_b, B_g, image, part // B_parts, channel, CONSTANT_B)
    C_row = projection_row(C, C_b, C_g, image, part // C_parts, channel, CONSTANT_C)
    slot = image * n_spans + index
    row = carry + (slot if OUTPUTS else slot + 1) * d_state * d_inner + channel
    bias = 0.0 if dt_bias is None else tl.load(dt_bias + channel, mask=here, other=0.0).to(dtype)
    skip = 0.0 if D is None else tl.load(D + channel, mask=here, other=0.0).to(dtype)
    total = tl.zeros([BLOCK], dtype)
    first = index.to(tl.int64) * span
    stop = tl.minimum(first + span, length)
    for start in range(first, stop, TILE):
        raw = load_steps(dt_row, start, stop, dt_t, here, dtype, TILE)
        steps = step_sizes(raw, bias, start, stop, here, SOFTPLUS, TILE)
        us = load_steps(u_row, start, stop, u_t, here, dtype, TILE)
        added = ()
        for i in tl.static_range(TILE):
            added += (steps[i] * us[i],)
            total += steps[i]
        out = zeros(BLOCK, dtype, TILE)
        for n in range(d_state):
            rate = tl.load(A + channel * A_d + n * A_n, mask=here, other=0.0).to(dtype) * LOG2_E
            h = tl.load(row + n * d_inner, mask=here, other=0.0)
            if KEEP:
                kept = states + ((image * n_chunks + start // CHUNK) * d_state + n) * d_inner
                tl.store(kept + channel, h, mask=here & (start % CHUNK == 0))
            B_n_row = state_row(B_row, n, B_n)
            Bs = load_projection(B_n_row, start, stop, B_t, here, dtype, CONSTANT_B, TILE)
            if OUTPUTS:
                C_n_row = state_row(C_row, n, C_n)
                Cs = load_projection(C_n_row, start, stop, C_t, here, dtype, CONSTANT_C, TILE)
                more = ()
            for i in tl.static_range(TILE):
                h = tl.exp2(steps[i] * rate) * h + added[i] * Bs[i]
                if OUTPUTS:
                    more += (out[i] + Cs[i] * h,)
            if OUTPUTS:
                out = more
            tl.store(row + n * d_inner, h, mask=here)
        tl.debug_barrier()  # the next tile reads the row, perhaps in other lanes
        if OUTPUTS:
            finished = ()
            for i in tl.static_range(TILE):
                finished += (out[i] + skip * us[i],)
            if z is not None:
                zs = load_steps(
                    z + image * z_b + channel * z_d, start, stop, z_t, here, dtype, TILE
                )
                gated = ()
                for i in tl.static_range(TILE):
                    gated += (finished[i] * zs[i] * sigmoid(zs[i]),)
                finished = gated
            y_row = y + image * y_b + channel * y_d
            store_steps(y_row, finished, start, stop, y_t, here, TILE)
    if not OUTPUTS:
        tl.store(totals + slot * d_inner + channel, total, mask=here)


@triton.jit(do_not_specialize=SIZES)
@no_type_check
def adjoint_kernel(
    dy, dy_b, dy_d, dy_t, dt, dt_b, dt_d, dt_t, z, z_b, z_d, z_t,
    A, A_d, A_n, C, C_b, C_g, C_n, C_t, C_parts, dt_bias, carry, totals,
    length, d_inner, d_state, part_channels, part_blocks, span, n_spans,
    SOFTPLUS: tl.constexpr, CONSTANT_C: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Find what the outputs of a span ask of the state before it, in the row of the span before.

    With `s_t = dL/dh_{t-1}` this is `s_t = exp(dt_t A) (C_t dL/dy_t + s_{t+1})`, from zero.
    """
    dtype: tl.constexpr = carry.dtype.element_ty
    before, image = span_and_image(n_spans - 1)
    index = before + 1
    channel, here = place(part_channels, part_blocks, BLOCK)
    part = tl.program_id(1) // part_blocks
    dt_row, dy_row = dt + image * dt_b + channel * dt_d, dy + image * dy_b + channel * dy_d
    C_row = projection_row(C, C_b, C_g, image, part // C_parts, channel, CONSTANT_C)
    slot = image * n_spans + index
    row = carry + (slot - 1) * d_state * d_inner + channel
    bias = 0.0 if dt_bias is None else tl.load(dt_bias + channel, mask=here, other=0.0).to(dtype)
    total = tl.zeros([BLOCK], dtype)
    first = index.to(tl.int64) * span
    stop = tl.minimum(first + span, length)
    n_tiles = tl.cdiv(stop - first, TILE)
    for back in range(n_tiles):
        start = first + (n_tiles - 1 - back) * TILE
        raw = load_steps(dt_row, start, stop, dt_t, here, dtype, TILE)
        steps = step_sizes(raw, bias, start, stop, here, SOFTPLUS, TILE)
        dys = load_steps(dy_row, start, stop, dy_t, here, dtype, TILE)
        if z is not None:
            zs = load_steps(z + image * z_b + channel * z_d, start, stop, z_t, here, dtype, TILE)
            ungated = ()
            for i in tl.static_range(TILE):
                ungated += (dys[i] * zs[i] * sigmoid(zs[i]),)
            dys = ungated
        for i in tl.static_range(TILE):
            total += steps[i]
        for n in range(d_state):
            rate = tl.load(A + channel * A_d + n * A_n, mask=here, other=0.0).to(dtype) * LOG2_E
            s = tl.load(row + n * d_inner, mask=here, other=0.0)
            C_n_row = state_row(C_row, n, C_n)
            Cs = load_projection(C_n_row, start, stop, C_t, here, dtype, CONSTANT_C, TILE)
            for i in tl.static_range(TILE - 1, -1, -1):
                s = tl.exp2(steps[i] * rate) * (Cs[i] * dys[i] + s)
            tl.store(row + n * d_inner, s, mask=here)
        tl.debug_barrier()
    tl.store(totals + slot * d_inner + channel, total, mask=here)


@triton.jit
@no_type_check
def _compose(decay, end, later_decay, later_end):
    return decay * later_decay, later_decay * end + later_end


@triton.jit(do_not_specialize=SIZES)
@no_type_check
def carry_kernel(
    A, A_d, A_n, carry, totals, d_inner, d_state, n_spans,
    REVERSE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Carry the state over the spans; `REVERSE` from the last span to the first.

    Each row of `carry` comes with what a span adds, and leaves with the whole state: after the
    span before it, or, in reverse, before the span after it.
    """
    dtype: tl.constexpr = carry.dtype.element_ty
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)  # state and channel
    image = tl.program_id(1).to(tl.int64)
    channel, n = (column % d_inner).to(tl.int64), column // d_inner
    here = column < d_inner * d_state
    rate = tl.load(A + channel * A_d + n * A_n, mask=here, other=0.0).to(dtype) * LOG2_E
    begin = image * n_spans + (n_spans - 1 if REVERSE else 0)
    h = tl.load(carry + begin * d_state * d_inner + column, mask=here, other=0.0)
    for base in range(0, n_spans - 1, ROWS):
        step = base + tl.arange(0, ROWS)
        crossed = n_spans - 1 - step if REVERSE else step
        target = crossed - 1 if REVERSE else crossed + 1
        there = (step < n_spans - 1)[:, None] & here[None, :]
        crossed_row = totals + (image * n_spans + crossed)[:, None] * d_inner
        total = tl.load(crossed_row + channel[None, :], mask=there, other=0.0)
        row = carry + (image * n_spans + target)[:, None] * (d_state * d_inner) + column[None, :]
        end = tl.load(row, mask=there, other=0.0)
        decay, end = tl.associative_scan((tl.exp2(total * rate[None, :]), end), 0, _compose)
        whole = decay * h[None, :] + end
        tl.store(row, whole, mask=there)
        h = tl.sum(tl.where((tl.arange(0, ROWS) == ROWS - 1)[:, None], whole, 0.0), 0)
