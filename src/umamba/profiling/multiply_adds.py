"""Multiply-adds of a call, counted from the shapes of its operators; nothing is computed for it."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import umamba.ops.operator  # noqa: F401 - registers the operator that is counted

__all__ = ["count_multiply_adds"]

_Shape = Sequence[int]


def count_multiply_adds(function: Callable[[], object]) -> int:
    """Count the multiply-adds (MACs) of one call.

    torch's FlopCounterMode counts convolutions, transposed convolutions, matrix products and
    attention; the formulas here add the selective scan, Fourier transforms and attention on CPUs.
    Norms, activations, sums and other products of single elements are left out. A convolution
    counts its padding as well.

    The scan is `h = exp(dt A) h + (dt u) B`, `y = C h + D u`, `y silu(z)` (Gu and Dao 2023,
    arXiv:2312.00752, equation 2): for every state of every step and channel four multiply-adds
    (`dt A`, `exp(dt A) h`, `(dt u) B`, `C h`), and for every step and channel one for `dt u` and
    one each for `D` and `z` where they are given. A product without a sum counts as one.

    A Fourier transform of n complex numbers counts as 5 n log2(n) floating-point operations, half
    for real ones, and two operations as one multiply-add. A product of two spectra is one of
    single elements, and left out.

    Args:
        function: Runs the call once, on any device, also on meta; what it returns is dropped.

    Returns:
        Multiply-adds, half the floating-point operations.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
    with torch.no_grad(), counter:
        function()
    return int(counter.get_total_flops()) // 2


def _scan(
    u: _Shape,
    dt: _Shape,  # noqa: ARG001 - the operator's signature, as shapes
    A: _Shape,
    B: _Shape,  # noqa: ARG001
    C: _Shape,  # noqa: ARG001
    D: _Shape | None,
    z: _Shape | None,
    *_: Any,
    **__: Any,
) -> int:
    per_channel = 4 * A[-1] + 1 + (D is not None) + (z is not None)
    return 2 * math.prod(u) * per_channel


def _complex_transform(x: _Shape, axes: Sequence[int], *_: Any, **__: Any) -> int:
    n = math.prod(x[axis] for axis in axes)
    return round(5 * math.prod(x) * math.log2(n))


def _from_real(x: _Shape, axes: Sequence[int], *_: Any, **__: Any) -> int:
    return _complex_transform(x, axes) // 2


def _to_real(
    x: _Shape,  # noqa: ARG001 - the operator's signature, as shapes
    axes: Sequence[int],
    *_: Any,
    out_shape: _Shape,
    **__: Any,
) -> int:
    return _complex_transform(out_shape, axes) // 2


def _attention(q: _Shape, k: _Shape, v: _Shape, *_: Any, **__: Any) -> int:
    return 2 * math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


_FORMULAS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.umamba.selective_scan: _scan,
    torch.ops.aten._fft_c2c: _complex_transform,
    torch.ops.aten._fft_r2c: _from_real,
    torch.ops.aten._fft_c2r: _to_real,
}
