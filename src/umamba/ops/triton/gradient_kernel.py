"""The last pass of the backward: every gradient of a span, from its end to its beginning."""

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

__all__ = ["gradient_kernel"]


@triton.jit(do_not_specialize=SIZES)
@no_type_check
def gradient_kernel(
    dy, dy_b, dy_d, dy_t,
    u, u_b, u_d, u_t, dt, dt_b, dt_d, dt_t, z, z_b, z_d, z_t,
    A, A_d, A_n, B, B_b, B_g, B_n, B_t, B_parts, C, C_b, C_g, C_n, C_t, C_parts,
    D, dt_bias, states, carry, scratch,
    grad_u, grad_dt, grad_z, out_b, out_d, out_t,
    grad_A, grad_B, grad_C, grad_D, grad_bias,
    length, d_inner, d_state, part_channels, part_blocks, span, n_spans, n_chunks,
    SOFTPLUS: tl.constexpr, CONSTANT_B: tl.constexpr, CONSTANT_C: tl.constexpr,
    BLOCK: tl.constexpr, TILE: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Differentiate a span, chunk by chunk from its end.

    Of each chunk the states before its tiles are found first, into `scratch`. Then each tile runs
    forward, keeping its states in registers, and backward with `g_t = dL/dh_t`. The row of `carry`
    comes with what later spans ask of the last state, and leaves with the gradient of the first.
    Gradients that sum over time or channels are partial sums of this program: see `scan`.
    """
    dtype: tl.constexpr = carry.dtype.element_ty
    TILES: tl.constexpr = CHUNK // TILE
    index, image = span_and_image(n_spans)
    block = tl.program_id(1)
    channel, here = place(part_channels, part_blocks, BLOCK)
    part = block // part_blocks
    dy_row = dy + image * dy_b + channel * dy_d
    u_row, dt_row = u + image * u_b + channel * u_d, dt + image * dt_b + channel * dt_d
    B_row = projection_row(B, B_b, B_g, image, part // B_parts, channel, CONSTANT_B)
    C_row = projection_row(C, C_b, C_g, image, part // C_parts, channel, CONSTANT_C)
    out_row = image * out_b + channel * out_d
    slot = image * n_spans + index
    by_span = slot * d_state * d_inner + channel
    by_tile = slot * TILES * d_state * d_inner + channel
    by_block = (image * tl.num_programs(1) + block) * d_state * length
    bias = 0.0 if dt_bias is None else tl.load(dt_bias + channel, mask=here, other=0.0).to(dtype)
    skip = 0.0 if D is None else tl.load(D + channel, mask=here, other=0.0).to(dtype)
    sum_D, sum_bias = tl.zeros([BLOCK], dtype), tl.zeros([BLOCK], dtype)
    first = index.to(tl.int64) * span
    stop = tl.minimum(first + span, length)
    chunks = tl.cdiv(stop - first, CHUNK)
    for chunk_back in range(chunks):
        begin = first + (chunks - 1 - chunk_back) * CHUNK
        for n in range(d_state):
            kept = ((image * n_chunks + begin // CHUNK) * d_state + n) * d_inner + channel
            h = tl.load(states + kept, mask=here, other=0.0)
            tl.store(scratch + by_tile + n * d_inner, h, mask=here)
        tl.debug_barrier()  # what follows reads these rows, perhaps in other lanes
        tiles = tl.cdiv(tl.minimum(begin + CHUNK, stop) - begin, TILE)
        for tile in range(tiles - 1):
            start = begin + tile * TILE
            raw = load_steps(dt_row, start, stop, dt_t, here, dtype, TILE)
            steps = step_sizes(raw, bias, start, stop, here, SOFTPLUS, TILE)
            us = load_steps(u_row, start, stop, u_t, here, dtype, TILE)
            for n in range(d_state):
                rate = tl.load(A + channel * A_d + n * A_n, mask=here, other=0.0).to(dtype)
                B_n_row = state_row(B_row, n, B_n)
                Bs = load_projection(B_n_row, start, stop, B_t, here, dtype, CONSTANT_B, TILE)
                before = scratch + by_tile + (tile * d_state + n) * d_inner
                h = tl.load(before, mask=here, other=0.0)
                for i in tl.static_range(TILE):
                    h = tl.exp2(steps[i] * (rate * LOG2_E)) * h + steps[i] * us[i] * Bs[i]
                tl.store(before + d_state * d_inner, h, mask=here)
            tl.debug_barrier()
        for tile_back in range(tiles):
            tile = tiles - 1 - tile_back
            start = begin + tile * TILE
            raw = load_steps(dt_row, start, stop, dt_t, here, dtype, TILE)
            steps = step_sizes(raw, bias, start, stop, here, SOFTPLUS, TILE)
            us = load_steps(u_row, start, stop, u_t, here, dtype, TILE)
            dys = load_steps(dy_row, start, stop, dy_t, here, dtype, TILE)
            if z is not None:
                z_row = z + image * z_b + channel * z_d
                zs = load_steps(z_row, start, stop, z_t, here, dtype, TILE)
                ungated = ()
                for i in tl.static_range(TILE):
                    ungated += (dys[i] * zs[i] * sigmoid(zs[i]),)
                dys = ungated
            ys = zeros(BLOCK, dtype, TILE)
            gates = zeros(BLOCK, dtype, TILE)  # sum over states of g_t B_t
            slopes = zeros(BLOCK, dtype, TILE)  # sum over states of A dL/d(dt_t A)
            for n in range(d_state):
                rate = tl.load(A + channel * A_d + n * A_n, mask=here, other=0.0).to(dtype)
                B_n_row, C_n_row = state_row(B_row, n, B_n), state_row(C_row, n, C_n)
                Bs = load_projection(B_n_row, start, stop, B_t, here, dtype, CONSTANT_B, TILE)
                Cs = load_projection(C_n_row, start, stop, C_t, here, dtype, CONSTANT_C, TILE)
                before = scratch + by_tile + (tile * d_state + n) * d_inner
                h = tl.load(before, mask=here, other=0.0)
                s = tl.load(carry + by_span + n * d_inner, mask=here, other=0.0)
                sum_A = tl.load(grad_A + by_span + n * d_inner, mask=here, other=0.0)
                if CONSTANT_B:
                    sum_B = tl.load(grad_B + by_span + n * d_inner, mask=here, other=0.0)
                if CONSTANT_C:
                    sum_C = tl.load(grad_C + by_span + n * d_inner, mask=here, other=0.0)
                previous, decays, new_ys = (), (), ()
                for i in tl.static_range(TILE):
                    previous += (h,)
                    decays += (tl.exp2(steps[i] * (rate * LOG2_E)),)
                    h = decays[i] * h + steps[i] * us[i] * Bs[i]
                    new_ys += (ys[i] + Cs[i] * h,)
                    if CONSTANT_C:
                        sum_C += dys[i] * h
                    else:
                        t = start + i
                        at = state_row(grad_C + by_block, n, length) + t
                        tl.store(at, tl.sum(dys[i] * h, 0), mask=t < stop)
                if z is not None:
                    ys = new_ys
                new_gates, new_slopes = (), ()
                for i in tl.static_range(TILE - 1, -1, -1):
                    g = Cs[i] * dys[i] + s
                    new_gates = (gates[i] + g * Bs[i],) + new_gates  # noqa: RUF005
                    if CONSTANT_B:
                        sum_B += g * (steps[i] * us[i])
                    else:
                        t = start + i
                        at = state_row(grad_B + by_block, n, length) + t
                        tl.store(at, tl.sum(g * (steps[i] * us[i]), 0), mask=t < stop)
                    s = decays[i] * g
                    exponent = s * previous[i]
                    new_slopes = (slopes[i] + exponent * rate,) + new_slopes  # noqa: RUF005
                    sum_A += exponent * steps[i]
                gates, slopes = new_gates, new_slopes
                tl.store(carry + by_span + n * d_inner, s, mask=here)
                tl.store(grad_A + by_span + n * d_inner, sum_A, mask=here)
                if CONSTANT_B:
                    tl.store(grad_B + by_span + n * d_inner, sum_B, mask=here)
                if CONSTANT_C:
                    tl.store(grad_C + by_span + n * d_inner, sum_C, mask=here)
            tl.debug_barrier()
            raw = load_steps(dt_row, start, stop, dt_t, here, dtype, TILE)
            if z is not None:
                zs = load_steps(z_row, start, stop, z_t, here, dtype, TILE)
                dys_given = load_steps(dy_row, start, stop, dy_t, here, dtype, TILE)
                gated = ()
                for i in tl.static_range(TILE):
                    soft = sigmoid(zs[i])
                    whole = (ys[i] + skip * us[i]) * dys_given[i]
                    gated += (whole * soft * (1.0 + zs[i] * (1.0 - soft)),)
                store_steps(grad_z + out_row, gated, start, stop, out_t, here, TILE)
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
    if D is not None:
        tl.store(grad_D + slot * d_inner + channel, sum_D, mask=here)
    if dt_bias is not None:
        tl.store(grad_bias + slot * d_inner + channel, sum_bias, mask=here)
