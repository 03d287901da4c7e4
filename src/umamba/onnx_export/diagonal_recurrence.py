"""The linear time-invariant recurrence in standard ONNX operators, of any batch and length.

    x_k = exp(log_decay) x_{k-1} + u_k,    y_k = Re sum_n weight[n] x_k[n]

Complex numbers are in parts, since ONNX has none. Axes as in the selective scan.

Source: Gu et al. 2022, arXiv:2206.11893, section 3.
"""

from typing import Any, no_type_check

from onnxscript import graph
from onnxscript import opset18 as op

from umamba.onnx_export.segments import Floats, Segments, integers, onnx_function, zeros

__all__ = ["translate_diagonal_recurrence"]


def translate_diagonal_recurrence(
    u: Any,
    log_real: Any,
    log_imag: Any,
    weight_real: Any,
    weight_imag: Any,
) -> Any:
    """Translate a call of `umamba::diagonal_recurrence`, for torch's exporter."""
    segments = Segments(u, _states(log_real))
    u_cut = segments.cut(u)

    def placed(parameter: Any) -> Any:
        """Turn `(d_inner, pairs)` into `(1, pairs, d_inner, 1)`."""
        return op.Unsqueeze(op.Transpose(parameter, perm=[1, 0]), integers(0, 3))

    log_real, log_imag = placed(log_real), placed(log_imag)
    decay = _polar(log_real, log_imag)
    batch, rows = op.Shape(u, start=0, end=1), op.Shape(log_real, start=1, end=3)
    first = zeros(op.Concat(batch, rows, axis=0))
    nothing = zeros(op.Concat(batch, rows, segments.count, axis=0))
    ends = _segment_ends(nothing, nothing, *decay, u_cut)
    steps = op.CastLike(segments.steps, log_real)
    whole = _polar(op.Mul(log_real, steps), op.Mul(log_imag, steps))
    whole = tuple(op.Squeeze(part, integers(3)) for part in whole)
    in_order = [op.Transpose(part, perm=[3, 0, 1, 2]) for part in ends]
    starts = _segment_starts(first, first, *whole, *in_order)
    starts = [op.Transpose(part, perm=[1, 2, 3, 0]) for part in starts]
    weights = placed(weight_real), placed(weight_imag)
    return segments.join(_outputs(*starts, *decay, *weights, u_cut))


def _states(parameter: Any) -> int:
    d_inner, pairs = map(int, parameter.shape)
    return 2 * d_inner * pairs


def _polar(log_real: Any, log_imag: Any) -> tuple[Any, Any]:
    """Return the parts of the exponential."""
    size = op.Exp(log_real)
    return op.Mul(size, op.Cos(log_imag)), op.Mul(size, op.Sin(log_imag))


# The bodies of the loops, whose source onnxscript reads. What does not change is handed on from
# step to step: OpenVINO's loops see nothing but constants from outside.


@onnx_function
@no_type_check
def _segment_ends(
    first_real: Floats,
    first_imag: Floats,
    decay_real: Floats,
    decay_imag: Floats,
    u: Floats,
) -> tuple[Floats, Floats]:
    @graph()
    def advance(x: Floats, y: Floats, a: Floats, b: Floats, u_t: Floats):
        turned = op.Sub(op.Mul(a, x), op.Mul(b, y))
        next_x = op.Add(turned, op.Unsqueeze(u_t, op.Constant(value_ints=[1])))
        next_y = op.Add(op.Mul(a, y), op.Mul(b, x))
        same_a = op.Identity(a)
        same_b = op.Identity(b)
        return next_x, next_y, same_a, same_b

    end_real, end_imag, _, _ = op.Scan(
        first_real, first_imag, decay_real, decay_imag, u, body=advance, num_scan_inputs=1
    )
    return end_real, end_imag


@onnx_function
@no_type_check
def _segment_starts(
    first_real: Floats,
    first_imag: Floats,
    decay_real: Floats,
    decay_imag: Floats,
    ends_real: Floats,
    ends_imag: Floats,
) -> tuple[Floats, Floats]:
    @graph()
    def carry(
        x: Floats,
        y: Floats,
        a: Floats,
        b: Floats,
        end_x: Floats,
        end_y: Floats,
    ):
        next_x = op.Add(op.Sub(op.Mul(a, x), op.Mul(b, y)), end_x)
        next_y = op.Add(op.Add(op.Mul(a, y), op.Mul(b, x)), end_y)
        same_a = op.Identity(a)
        same_b = op.Identity(b)
        start_x = op.Identity(x)
        start_y = op.Identity(y)
        return next_x, next_y, same_a, same_b, start_x, start_y

    _, _, _, _, starts_real, starts_imag = op.Scan(
        first_real,
        first_imag,
        decay_real,
        decay_imag,
        ends_real,
        ends_imag,
        body=carry,
        num_scan_inputs=2,
    )
    return starts_real, starts_imag


@onnx_function
@no_type_check
def _outputs(
    starts_real: Floats,
    starts_imag: Floats,
    decay_real: Floats,
    decay_imag: Floats,
    weight_real: Floats,
    weight_imag: Floats,
    u: Floats,
) -> Floats:
    @graph()
    def read(
        x: Floats,
        y: Floats,
        a: Floats,
        b: Floats,
        c: Floats,
        d: Floats,
        u_t: Floats,
    ):
        turned = op.Sub(op.Mul(a, x), op.Mul(b, y))
        next_x = op.Add(turned, op.Unsqueeze(u_t, op.Constant(value_ints=[1])))
        next_y = op.Add(op.Mul(a, y), op.Mul(b, x))
        same_a = op.Identity(a)
        same_b = op.Identity(b)
        same_c = op.Identity(c)
        same_d = op.Identity(d)
        seen = op.Sub(op.Mul(c, next_x), op.Mul(d, next_y))
        output = op.ReduceSum(seen, op.Constant(value_ints=[1]), keepdims=0)
        return next_x, next_y, same_a, same_b, same_c, same_d, output

    _, _, _, _, _, _, outputs = op.Scan(
        starts_real,
        starts_imag,
        decay_real,
        decay_imag,
        weight_real,
        weight_imag,
        u,
        body=read,
        num_scan_inputs=1,
    )
    return outputs
