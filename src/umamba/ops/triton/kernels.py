"""The passes over spans: states and outputs, the carry, the gradients of states, and sums.

A program has one block of channels, over the lanes of a warp, and `STATES` states of each in
registers: unrolled over them and over a tile of steps, the recurrence leaves the GPU enough to do
while it waits. More states than that go one block after another. `A` is (d_state, d_inner) here, so
that it lies along the lanes.
"""

from typing import no_type_check

import triton
import triton.language as tl

from umamba.ops.triton.steps import (
    ADDRESSES,
    LOG2_E,
    SIZES,
    load_output_gradients,
    load_projection,
    load_steps,
    place,
    projection_row,
    sigmoid,
    span_and_image,
    step_rows,
    step_sizes,
    store_steps,
    zeros,
)

__all__ = ["adjoint_kernel", "carry_kernel", "forward_kernel", "sum_kernel"]


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=ADDRESSES)
@no_type_check
def forward_kernel(
    u, dt, z, A, B, C, D, dt_bias, initial, y, carry, states, last,
    u_b, u_d, u_t, dt_b, dt_d, dt_t, z_b, z_d, z_t, y_b, y_d, y_t,
    B_b, B_g, B_n, B_t, B_parts, C_b, C_g, C_n, C_t, C_parts,
    length, d_inner, part_channels, part_blocks, span, n_spans, n_chunks,
    SOFTPLUS: tl.constexpr, CONSTANT_B: tl.constexpr, CONSTANT_C: tl.constexpr,
    OUTPUTS: tl.constexpr, KEEP: tl.constexpr, D_STATE: tl.constexpr, STATES: tl.constexpr,
    BLOCK: tl.constexpr, TILE: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Advance the state over a span of steps.

    With `OUTPUTS`: from the state before the span, which is in its row of `carry`, or in `initial`.
    Without: from zero, into the row of the next span, and the sum of the steps behind its own.
    """
    dtype: tl.constexpr = carry.dtype.element_ty
    index, image = span_and_image(n_spans if OUTPUTS else n_spans - 1)
    channel, here = place(part_channels, part_blocks, BLOCK)
    part = tl.program_id(1) // part_blocks
    dt_row, u_row = dt + image * dt_b + channel * dt_d, u + image * u_b + channel * u_d
    B_row = projection_row(B, B_b, B_g, image, part // B_parts, channel, CONSTANT_B)
    C_row = projection_row(C, C_b, C_g, image, part // C_parts, channel, CONSTANT_C)
    row = carry + (image * n_spans + index) * (D_STATE + 1) * d_inner + channel
    edge = (image * d_inner + channel) * D_STATE
    bias = 0.0 if dt_bias is None else tl.load(dt_bias + channel, mask=here, other=0.0).to(dtype)
    skip = 0.0 if D is None else tl.load(D + channel, mask=here, other=0.0).to(dtype)
    first = index.to(tl.int64) * span
    stop = tl.minimum(first + span, length)
    for base in range(0, D_STATE, STATES):
        rates, hs = (), ()
        for j in tl.static_range(STATES):
            rate = tl.load(A + (base + j) * d_inner + channel, mask=here, other=0.0).to(dtype)
            rates += (rate * LOG2_E,)
            h = tl.zeros([BLOCK], dtype)
            if OUTPUTS:
                h = tl.load(row + (base + j) * d_inner, mask=here & (index > 0), other=0.0)
                if initial is not None:
                    begins = here & (index == 0)
                    h += tl.load(initial + edge + base + j, mask=begins, other=0.0).to(dtype)
            hs += (h,)
        total = tl.zeros([BLOCK], dtype)
        for start in range(first, stop, TILE):
            if KEEP and start % CHUNK == 0:
                kept = states + (image * n_chunks + start // CHUNK) * D_STATE * d_inner
                for j in tl.static_range(STATES):
                    tl.store(kept + (base + j) * d_inner + channel, hs[j], mask=here)
            raw = load_steps(dt_row, start, stop, dt_t, here, dtype, TILE)
            steps = step_sizes(raw, bias, start, stop, here, SOFTPLUS, TILE)
            us = load_steps(u_row, start, stop, u_t, here, dtype, TILE)
            B_rows = step_rows(B_row, start, stop, B_t, CONSTANT_B, TILE)
            y_row = y + image * y_b + channel * y_d
            added = ()
            for i in tl.static_range(TILE):
                added += (steps[i] * us[i],)
                total += steps[i]
            if OUTPUTS:
                C_rows = step_rows(C_row, start, stop, C_t, CONSTANT_C, TILE)
                if D_STATE == STATES:
                    out = zeros(BLOCK, dtype, TILE)
                else:  # of the states before these
                    out = load_steps(y_row, start, stop, y_t, here & (base > 0), dtype, TILE)
            ends = ()
            for j in tl.static_range(STATES):
                h = hs[j]
                Bs = load_projection(B_rows, base + j, B_n, here, dtype, CONSTANT_B, TILE)
                if OUTPUTS:
                    Cs = load_projection(C_rows, base + j, C_n, here, dtype, CONSTANT_C, TILE)
                    more = ()
                for i in tl.static_range(TILE):
                    h = tl.exp2(steps[i] * rates[j]) * h + added[i] * Bs[i]
                    if OUTPUTS:
                        more += (out[i] + Cs[i] * h,)
                if OUTPUTS:
                    out = more
                ends += (h,)
            hs = ends
            if OUTPUTS:
                if base + STATES == D_STATE:
                    finished = ()
                    for i in tl.static_range(TILE):
                        finished += (out[i] + skip * us[i],)
                    if z is not None:
                        z_row = z + image * z_b + channel * z_d
                        zs = load_steps(z_row, start, stop, z_t, here, dtype, TILE)
                        gated = ()
                        for i in tl.static_range(TILE):
                            gated += (finished[i] * zs[i] * sigmoid(zs[i]),)
                        finished = gated
                    out = finished
                store_steps(y_row, out, start, stop, y_t, here, TILE)
        for j in tl.static_range(STATES):
            if OUTPUTS:
                ended = here & (index == n_spans - 1)
                tl.store(last + edge + base + j, hs[j], mask=ended)
            else:
                tl.store(row + (D_STATE + 1 + base + j) * d_inner, hs[j], mask=here)
        if not OUTPUTS:
            tl.store(row + D_STATE * d_inner, total, mask=here)
        if D_STATE != STATES:
            tl.debug_barrier()  # the next states add to these outputs, perhaps in other lanes


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=ADDRESSES)
@no_type_check
def adjoint_kernel(
    dy, dt, z, A, C, dt_bias, carry,
    dy_b, dy_d, dy_t, dt_b, dt_d, dt_t, z_b, z_d, z_t, C_b, C_g, C_n, C_t, C_parts,
    length, d_inner, part_channels, part_blocks, span, n_spans,
    SOFTPLUS: tl.constexpr, CONSTANT_C: tl.constexpr, D_STATE: tl.constexpr, STATES: tl.constexpr,
    BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Find the gradient of the state before a span, in the row of the span before.

    With `s_t = dL/dh_{t-1}` this is `s_t = exp(dt_t A) (C_t dL/dy_t + s_{t+1})`, from zero.
    """
    dtype: tl.constexpr = carry.dtype.element_ty
    before, image = span_and_image(n_spans - 1)
    index = before + 1
    channel, here = place(part_channels, part_blocks, BLOCK)
    part = tl.program_id(1) // part_blocks
    dt_row, dy_row = dt + image * dt_b + channel * dt_d, dy + image * dy_b + channel * dy_d
    z_row = None if z is None else z + image * z_b + channel * z_d
    C_row = projection_row(C, C_b, C_g, image, part // C_parts, channel, CONSTANT_C)
    row = carry + (image * n_spans + before) * (D_STATE + 1) * d_inner + channel
    bias = 0.0 if dt_bias is None else tl.load(dt_bias + channel, mask=here, other=0.0).to(dtype)
    first = index.to(tl.int64) * span
    stop = tl.minimum(first + span, length)
    n_tiles = tl.cdiv(stop - first, TILE)
    for base in range(0, D_STATE, STATES):
        rates, ss = (), zeros(BLOCK, dtype, STATES)
        for j in tl.static_range(STATES):
            rate = tl.load(A + (base + j) * d_inner + channel, mask=here, other=0.0).to(dtype)
            rates += (rate * LOG2_E,)
        total = tl.zeros([BLOCK], dtype)
        for back in range(n_tiles):
            start = first + (n_tiles - 1 - back) * TILE
            raw = load_steps(dt_row, start, stop, dt_t, here, dtype, TILE)
            steps = step_sizes(raw, bias, start, stop, here, SOFTPLUS, TILE)
            dys = load_output_gradients(
                dy_row, dy_t, z_row, z_t, start, stop, here, dtype, z is not None, TILE
            )
            C_rows = step_rows(C_row, start, stop, C_t, CONSTANT_C, TILE)
            for i in tl.static_range(TILE):
                total += steps[i]
            begins = ()
            for j in tl.static_range(STATES):
                s = ss[j]
                Cs = load_projection(C_rows, base + j, C_n, here, dtype, CONSTANT_C, TILE)
                for i in tl.static_range(TILE - 1, -1, -1):
                    s = tl.exp2(steps[i] * rates[j]) * (Cs[i] * dys[i] + s)
                begins += (s,)
            ss = begins
        for j in tl.static_range(STATES):
            tl.store(row + (base + j) * d_inner, ss[j], mask=here)
        tl.store(row + (2 * D_STATE + 1) * d_inner, total, mask=here)


@triton.jit
@no_type_check
def _compose(decay, end, later_decay, later_end):
    return decay * later_decay, later_decay * end + later_end


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=ADDRESSES)
@no_type_check
def carry_kernel(
    A, edge, carry, d_inner, d_state, n_spans,
    REVERSE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Carry the state over the spans; `REVERSE` from the last span to the first.

    Each row of `carry` comes with what a span adds, and leaves with the whole state: after the
    span before it, or, in reverse, before the span after it. `edge` is where it begins: the first
    state, or the gradient of the last.
    """
    dtype: tl.constexpr = carry.dtype.element_ty
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)  # state and channel
    image = tl.program_id(1).to(tl.int64)
    channel, n = (column % d_inner).to(tl.int64), column // d_inner
    here = column < d_inner * d_state
    rate = tl.load(A + column, mask=here, other=0.0).to(dtype) * LOG2_E
    h = tl.zeros([COLUMNS], dtype)
    if edge is not None:
        at = (image * d_inner + channel) * d_state + n
        h = tl.load(edge + at, mask=here, other=0.0).to(dtype)
    size = (d_state + 1) * d_inner
    for base in range(0, n_spans - 1, ROWS):
        step = base + tl.arange(0, ROWS)
        crossed = n_spans - 1 - step if REVERSE else step
        target = crossed - 1 if REVERSE else crossed + 1
        there = (step < n_spans - 1)[:, None] & here[None, :]
        totals = carry + (image * n_spans + crossed)[:, None] * size + d_state * d_inner
        total = tl.load(totals + channel[None, :], mask=there, other=0.0)
        row = carry + (image * n_spans + target)[:, None] * size + column[None, :]
        end = tl.load(row, mask=there, other=0.0)
        decay, end = tl.associative_scan((tl.exp2(total * rate[None, :]), end), 0, _compose)
        whole = decay * h[None, :] + end
        tl.store(row, whole, mask=there)
        h = tl.sum(tl.where((tl.arange(0, ROWS) == ROWS - 1)[:, None], whole, 0.0), 0)


@triton.jit(do_not_specialize=["rows"])
@no_type_check
def sum_kernel(
    sums, grad_A, grad_D, grad_bias, rows, d_inner, d_state,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Sum the spans' gradients of `A`, `D` and `dt_bias`, always in the same order."""
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    n, channel = column // d_inner, column % d_inner
    width = (d_state + 2) * d_inner
    total = tl.zeros([COLUMNS], sums.dtype.element_ty)
    for base in range(0, rows, ROWS):
        row = base + tl.arange(0, ROWS)
        there = (row < rows)[:, None] & (column < width)[None, :]
        at = row.to(tl.int64)[:, None] * width + column[None, :]
        total += tl.sum(tl.load(sums + at, mask=there, other=0.0), 0)
    tl.store(grad_A + channel * d_state + n, total, mask=n < d_state)
    if grad_D is not None:
        tl.store(grad_D + channel, total, mask=n == d_state)
    if grad_bias is not None:
        tl.store(grad_bias + channel, total, mask=n == d_state + 1)
