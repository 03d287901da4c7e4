"""The last pass of the backward: every gradient of a span, from its end to its beginning."""

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
    state_row,
    step_rows,
    step_sizes,
    store_steps,
    zeros,
)

__all__ = ["gradient_kernel"]


@triton.jit
@no_type_check
def _keep_states(
    source, target, begin, times,
    dt_row, dt_t, u_row, u_t, B_row, B_n, B_t, A, channel, here, bias, d_inner, stop,
    dtype: tl.constexpr, SOFTPLUS: tl.constexpr, CONSTANT_B: tl.constexpr,
    D_STATE: tl.constexpr, STATES: tl.constexpr, TILE: tl.constexpr, EVERY: tl.constexpr,
):  # fmt: skip
    """Advance from the states in `source`, and keep them `times` times, after every so many steps.

    The steps are whole: what is kept is followed by at least one more.
    """
    for base in range(0, D_STATE, STATES):
        rates, hs = (), ()
        for j in tl.static_range(STATES):
            rate = tl.load(A + (base + j) * d_inner + channel, mask=here, other=0.0).to(dtype)
            rates += (rate * LOG2_E,)
            hs += (tl.load(source + (base + j) * d_inner, mask=here, other=0.0),)
        for tile in range(times * (EVERY // TILE)):
            start = begin + tile * TILE
            raw = load_steps(dt_row, start, stop, dt_t, here, dtype, TILE)
            steps = step_sizes(raw, bias, start, stop, here, SOFTPLUS, TILE)
            us = load_steps(u_row, start, stop, u_t, here, dtype, TILE)
            B_rows = step_rows(B_row, start, stop, B_t, CONSTANT_B, TILE)
            added, ends = (), ()
            for i in tl.static_range(TILE):
                added += (steps[i] * us[i],)
            for j in tl.static_range(STATES):
                h = hs[j]
                Bs = load_projection(B_rows, base + j, B_n, here, dtype, CONSTANT_B, TILE)
                for i in tl.static_range(TILE):
                    h = tl.exp2(steps[i] * rates[j]) * h + added[i] * Bs[i]
                ends += (h,)
            hs = ends
            if (tile + 1) % (EVERY // TILE) == 0:
                row = target + (tile // (EVERY // TILE) * D_STATE + base) * d_inner
                for j in tl.static_range(STATES):
                    tl.store(row + j * d_inner, hs[j], mask=here)
    tl.debug_barrier()  # what is kept is read again, perhaps in other lanes


@triton.jit
@no_type_check
def _begin_rows(
    asked, grad_last, sum_row, grad_B, grad_C, edge, by_span, d_inner, here, ends,
    dtype: tl.constexpr, CONSTANT_B: tl.constexpr, CONSTANT_C: tl.constexpr,
    D_STATE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Store zero where sums begin, and, at the end of the sequence, what is asked of the state."""
    none = tl.zeros([BLOCK], dtype)
    for n in range(D_STATE):
        tl.store(sum_row + n * d_inner, none, mask=here)
        if CONSTANT_B:
            tl.store(grad_B + by_span + n * d_inner, none, mask=here)
        if CONSTANT_C:
            tl.store(grad_C + by_span + n * d_inner, none, mask=here)
        if grad_last is None:
            tl.store(asked + n * d_inner, none, mask=ends)
        else:
            s = tl.load(grad_last + edge + n, mask=ends, other=0.0).to(dtype)
            tl.store(asked + n * d_inner, s, mask=ends)
    tl.debug_barrier()  # rows are read again, perhaps in other lanes


@triton.jit
@no_type_check
def _over_states(
    before, asked, sum_row, grad_B, grad_C, by_span, by_block, A, channel,
    B_rows, B_n, C_rows, C_n, steps, added, dys, start, stop, here, length, d_inner,
    dtype: tl.constexpr, WITH_OUTPUTS: tl.constexpr,
    CONSTANT_B: tl.constexpr, CONSTANT_C: tl.constexpr,
    D_STATE: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Run a tile forward and backward, one state after another.

    Gradients of `A`, `B` and `C` are stored. Sums over the states are returned: of the outputs
    before the gate (where asked for), of `g_t B_t`, and of `A dL/d(dt_t A)`.
    """
    ys = zeros(BLOCK, dtype, TILE)
    gates, slopes = zeros(BLOCK, dtype, TILE), zeros(BLOCK, dtype, TILE)
    # What a state needs is read while the one before it is computed.
    rate = tl.load(A + channel, mask=here, other=0.0).to(dtype)
    h = tl.load(before, mask=here, other=0.0)
    s = tl.load(asked, mask=here, other=0.0)
    sum_A = tl.load(sum_row, mask=here, other=0.0)
    Bs = load_projection(B_rows, 0, B_n, here, dtype, CONSTANT_B, TILE)
    Cs = load_projection(C_rows, 0, C_n, here, dtype, CONSTANT_C, TILE)
    for n in range(D_STATE):
        later = tl.minimum(n + 1, D_STATE - 1)
        later_rate = tl.load(A + later * d_inner + channel, mask=here, other=0.0).to(dtype)
        later_h = tl.load(before + later * d_inner, mask=here, other=0.0)
        later_s = tl.load(asked + later * d_inner, mask=here, other=0.0)
        later_sum = tl.load(sum_row + later * d_inner, mask=here, other=0.0)
        later_Bs = load_projection(B_rows, later, B_n, here, dtype, CONSTANT_B, TILE)
        later_Cs = load_projection(C_rows, later, C_n, here, dtype, CONSTANT_C, TILE)
        previous, decays, new_ys = (), (), ()
        if CONSTANT_C:
            sum_C = tl.load(grad_C + by_span + n * d_inner, mask=here, other=0.0)
        else:
            C_at = state_row(grad_C + by_block, n, length) + start
        for i in tl.static_range(TILE):
            previous += (h,)
            decays += (tl.exp2(steps[i] * (rate * LOG2_E)),)
            h = decays[i] * h + added[i] * Bs[i]
            new_ys += (ys[i] + Cs[i] * h,)
            if CONSTANT_C:
                sum_C += dys[i] * h
            else:
                tl.store(C_at + i, tl.sum(dys[i] * h, 0), mask=start + i < stop)
        if WITH_OUTPUTS:
            ys = new_ys
        new_gates, new_slopes = (), ()
        if CONSTANT_B:
            sum_B = tl.load(grad_B + by_span + n * d_inner, mask=here, other=0.0)
        else:
            B_at = state_row(grad_B + by_block, n, length) + start
        for i in tl.static_range(TILE - 1, -1, -1):
            g = Cs[i] * dys[i] + s
            new_gates = (gates[i] + g * Bs[i],) + new_gates  # noqa: RUF005
            if CONSTANT_B:
                sum_B += g * added[i]
            else:
                tl.store(B_at + i, tl.sum(g * added[i], 0), mask=start + i < stop)
            s = decays[i] * g
            exponent = s * previous[i]
            new_slopes = (slopes[i] + exponent * rate,) + new_slopes  # noqa: RUF005
            sum_A += exponent * steps[i]
        gates, slopes = new_gates, new_slopes
        tl.store(asked + n * d_inner, s, mask=here)
        tl.store(sum_row + n * d_inner, sum_A, mask=here)
        if CONSTANT_B:
            tl.store(grad_B + by_span + n * d_inner, sum_B, mask=here)
        if CONSTANT_C:
            tl.store(grad_C + by_span + n * d_inner, sum_C, mask=here)
        rate, h, s, sum_A = later_rate, later_h, later_s, later_sum
        Bs, Cs = later_Bs, later_Cs
    return ys, gates, slopes


@triton.jit
@no_type_check
def _store_gate_gradient(
    out_row, out_t, z_row, z_t, dy_row, dy_t, ys, us, skip, start, stop, here,
    dtype: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Store the gradient of the gate: `y silu'(z) dL/dy`, with `y` before the gate."""
    zs = load_steps(z_row, start, stop, z_t, here, dtype, TILE)
    dys = load_steps(dy_row, start, stop, dy_t, here, dtype, TILE)
    gated = ()
    for i in tl.static_range(TILE):
        soft = sigmoid(zs[i])
        whole = (ys[i] + skip * us[i]) * dys[i]
        gated += (whole * soft * (1.0 + zs[i] * (1.0 - soft)),)
    store_steps(out_row, gated, start, stop, out_t, here, TILE)


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=ADDRESSES)
@no_type_check
def gradient_kernel(
    dy, u, dt, z, A, B, C, D, dt_bias, states, grad_last, grad_u, grad_dt, grad_z, grad_first,
    carry, scratch, sums, grad_B, grad_C,
    dy_b, dy_d, dy_t, u_b, u_d, u_t, dt_b, dt_d, dt_t, z_b, z_d, z_t, out_b, out_d, out_t,
    B_b, B_g, B_n, B_t, B_parts, C_b, C_g, C_n, C_t, C_parts,
    length, d_inner, part_channels, part_blocks, span, n_spans, n_chunks,
    SOFTPLUS: tl.constexpr, CONSTANT_B: tl.constexpr, CONSTANT_C: tl.constexpr,
    D_STATE: tl.constexpr, STATES: tl.constexpr, BLOCK: tl.constexpr,
    TILE: tl.constexpr, UNROLLED: tl.constexpr, PART: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Differentiate a span, chunk by chunk from its end.

    Of each chunk the states before its parts are found first, of each part those before its tiles,
    into `scratch`. Then each tile runs forward, keeping its states in registers, and backward with
    `g_t = dL/dh_t`. What later spans ask of the last state comes in a row of `carry`, or in
    `grad_last`; what this tile asks of the one before rests in that row. Gradients that sum over
    time or channels are partial sums of this program: see `scan`.
    """
    dtype: tl.constexpr = carry.dtype.element_ty
    ROWS: tl.constexpr = CHUNK // PART - 1 + PART // TILE - 1
    index, image = span_and_image(n_spans)
    block = tl.program_id(1)
    channel, here = place(part_channels, part_blocks, BLOCK)
    part_of_all = block // part_blocks
    dy_row = dy + image * dy_b + channel * dy_d
    u_row, dt_row = u + image * u_b + channel * u_d, dt + image * dt_b + channel * dt_d
    B_row = projection_row(B, B_b, B_g, image, part_of_all // B_parts, channel, CONSTANT_B)
    C_row = projection_row(C, C_b, C_g, image, part_of_all // C_parts, channel, CONSTANT_C)
    out_row = image * out_b + channel * out_d
    slot = image * n_spans + index
    asked = carry + slot * (D_STATE + 1) * d_inner + channel
    sum_row = sums + slot * (D_STATE + 2) * d_inner + channel
    by_span = slot * D_STATE * d_inner + channel
    before_parts = scratch + slot * ROWS * D_STATE * d_inner + channel
    before_tiles = before_parts + (CHUNK // PART - 1) * D_STATE * d_inner
    by_block = (image * tl.num_programs(1) + block) * D_STATE * length
    edge = (image * d_inner + channel) * D_STATE
    bias = 0.0 if dt_bias is None else tl.load(dt_bias + channel, mask=here, other=0.0).to(dtype)
    skip = 0.0 if D is None else tl.load(D + channel, mask=here, other=0.0).to(dtype)
    sum_D, sum_bias = tl.zeros([BLOCK], dtype), tl.zeros([BLOCK], dtype)
    ends = here & (index == n_spans - 1)
    _begin_rows(
        asked, grad_last, sum_row, grad_B, grad_C, edge, by_span, d_inner, here, ends,
        dtype, CONSTANT_B, CONSTANT_C, D_STATE, BLOCK,
    )  # fmt: skip
    first = index.to(tl.int64) * span
    stop = tl.minimum(first + span, length)
    parts = tl.cdiv(stop - first, PART)
    for part_back in range(parts):
        part = parts - 1 - part_back
        begin = first + part * PART
        chunk_begin = begin // CHUNK * CHUNK
        inside = begin % CHUNK // PART
        kept = states + (image * n_chunks + begin // CHUNK) * D_STATE * d_inner + channel
        if (part_back == 0) | (inside == CHUNK // PART - 1):
            _keep_states(
                kept, before_parts, chunk_begin, inside,
                dt_row, dt_t, u_row, u_t, B_row, B_n, B_t, A, channel, here, bias, d_inner, stop,
                dtype, SOFTPLUS, CONSTANT_B, D_STATE, STATES, UNROLLED, PART,
            )  # fmt: skip
        before_part = kept
        if inside > 0:
            before_part = before_parts + (inside - 1) * D_STATE * d_inner
        tiles = tl.cdiv(tl.minimum(begin + PART, stop) - begin, TILE)
        _keep_states(
            before_part, before_tiles, begin, tiles - 1,
            dt_row, dt_t, u_row, u_t, B_row, B_n, B_t, A, channel, here, bias, d_inner, stop,
            dtype, SOFTPLUS, CONSTANT_B, D_STATE, STATES, UNROLLED, TILE,
        )  # fmt: skip
        for tile_back in range(tiles):
            tile = tiles - 1 - tile_back
            start = begin + tile * TILE
            raw = load_steps(dt_row, start, stop, dt_t, here, dtype, TILE)
            steps = step_sizes(raw, bias, start, stop, here, SOFTPLUS, TILE)
            us = load_steps(u_row, start, stop, u_t, here, dtype, TILE)
            z_row = None if z is None else z + image * z_b + channel * z_d
            dys = load_output_gradients(
                dy_row, dy_t, z_row, z_t, start, stop, here, dtype, z is not None, TILE
            )
            B_rows = step_rows(B_row, start, stop, B_t, CONSTANT_B, TILE)
            C_rows = step_rows(C_row, start, stop, C_t, CONSTANT_C, TILE)
            before = before_part
            if tile > 0:
                before = before_tiles + (tile - 1) * D_STATE * d_inner
            added = ()
            for i in tl.static_range(TILE):
                added += (steps[i] * us[i],)
            ys, gates, slopes = _over_states(
                before, asked, sum_row, grad_B, grad_C, by_span, by_block, A, channel,
                B_rows, B_n, C_rows, C_n, steps, added, dys, start, stop, here, length, d_inner,
                dtype, z is not None, CONSTANT_B, CONSTANT_C, D_STATE, BLOCK, TILE,
            )  # fmt: skip
            tl.debug_barrier()
            raw = load_steps(dt_row, start, stop, dt_t, here, dtype, TILE)
            if z is not None:
                _store_gate_gradient(
                    grad_z + out_row, out_t, z_row, z_t, dy_row, dy_t, ys, us, skip,
                    start, stop, here, dtype, TILE,
                )  # fmt: skip
            dus, ddts = (), ()
            for i in tl.static_range(TILE):
                dus += (steps[i] * gates[i] + skip * dys[i],)
                slope = slopes[i] + us[i] * gates[i]
                if SOFTPLUS:
                    slope *= sigmoid(raw[i] + bias)
                ddts += (slope,)
                sum_D += dys[i] * us[i]
                sum_bias += tl.where(start + i < stop, slope, 0.0)
            store_steps(grad_u + out_row, dus, start, stop, out_t, here, TILE)
            store_steps(grad_dt + out_row, ddts, start, stop, out_t, here, TILE)
    tl.store(sum_row + D_STATE * d_inner, sum_D, mask=here)
    tl.store(sum_row + (D_STATE + 1) * d_inner, sum_bias, mask=here)
    if grad_first is not None:
        for n in range(D_STATE):
            s = tl.load(asked + n * d_inner, mask=here, other=0.0)
            tl.store(grad_first + edge + n, s, mask=here & (index == 0))
