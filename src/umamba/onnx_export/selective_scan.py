"""The selective scan in standard ONNX operators, of any batch and length.

Two passes over segments side by side (`umamba.onnx_export.segments`); no quotient and no logarithm
of a decay is formed. Axes within a pass: `(batch, d_state, d_inner, segment)`, so that every
operation is on long rows.

Source: Gu and Dao 2023, arXiv:2312.00752, Algorithm 2.
"""

from typing import Any, no_type_check

from onnxscript import graph
from onnxscript import opset18 as op

from umamba.errors import ModelFileError
from umamba.onnx_export.segments import Floats, Segments, integers, onnx_function, zeros

__all__ = ["translate_selective_scan"]


def translate_selective_scan(
    u: Any,
    dt: Any,
    A: Any,
    B: Any,
    C: Any,
    D: Any,
    z: Any,
    dt_bias: Any,
    initial_state: Any,
    dt_softplus: bool,  # noqa: FBT001 - the operator's signature
    keep_states: bool,  # noqa: ARG001, FBT001 - only for the backward
    backend: str,  # noqa: ARG001 - whichever it is, it computes the same
) -> tuple[Any, Any, Any]:
    """Translate a call of `umamba::selective_scan`, for torch's exporter.

    Raises:
        ModelFileError: If `B` or `C` is constant or in groups, which no network here has.
    """
    for name, projection in (("B", B), ("C", C)):
        if len(projection.shape or ()) != 3:
            msg = (
                f"a selective scan whose {name} has the shape {projection.shape} has no ONNX form; "
                "(batch, d_state, length) has"
            )
            raise ModelFileError(msg)
    if dt_bias is not None:
        dt = op.Add(dt, op.Unsqueeze(dt_bias, integers(1)))
    if dt_softplus:
        dt = op.Softplus(dt)
    y, last = _recurrence(u, dt, A, B, C, initial_state)
    if D is not None:
        y = op.Add(y, op.Mul(op.Unsqueeze(D, integers(1)), u))
    if z is not None:
        y = op.Mul(y, op.Mul(z, op.Sigmoid(z)))
    return y, op.Transpose(last, perm=[0, 2, 1]), op.Constant(value_floats=[0.0])


def _recurrence(u: Any, dt: Any, A: Any, B: Any, C: Any, initial_state: Any) -> tuple[Any, Any]:
    """Return the outputs, and the last state as `(batch, d_state, d_inner)`."""
    d_inner, d_state = map(int, A.shape)
    if initial_state is None:
        batch = op.Shape(u, start=0, end=1)
        first = zeros(op.Concat(batch, integers(d_state, d_inner), axis=0))
    else:
        first = op.Transpose(initial_state, perm=[0, 2, 1])
    # Steps of size zero, which fill up the last segment, keep the state.
    segments = Segments(u, d_inner * d_state)
    dt_cut, added = segments.cut(dt), segments.cut(op.Mul(dt, u))
    B_cut, C_cut = segments.cut(B), segments.cut(C)
    rates = op.Unsqueeze(op.Transpose(A, perm=[1, 0]), integers(0, 3))
    nothing = zeros(op.Concat(op.Shape(first), segments.count, axis=0))
    ends = _segment_ends(nothing, rates, dt_cut, added, B_cut)
    total = op.Unsqueeze(op.ReduceSum(dt_cut, integers(0), keepdims=0), integers(1))
    decays = op.Transpose(op.Exp(op.Mul(total, rates)), perm=[3, 0, 1, 2])
    last, starts = _segment_starts(first, decays, op.Transpose(ends, perm=[3, 0, 1, 2]))
    starts = op.Transpose(starts, perm=[1, 2, 3, 0])
    return segments.join(_outputs(starts, rates, dt_cut, added, B_cut, C_cut)), last


# The bodies of the loops, whose source onnxscript reads. What does not change is handed on from
# step to step: OpenVINO's loops see nothing but constants from outside.


@onnx_function
@no_type_check
def _segment_ends(first: Floats, rates: Floats, dt: Floats, added: Floats, B: Floats) -> Floats:
    @graph()
    def advance(h: Floats, rate: Floats, dt_t: Floats, added_t: Floats, B_t: Floats):
        decay = op.Exp(op.Mul(op.Unsqueeze(dt_t, op.Constant(value_ints=[1])), rate))
        wide = op.Unsqueeze(added_t, op.Constant(value_ints=[1]))
        new = op.Mul(wide, op.Unsqueeze(B_t, op.Constant(value_ints=[2])))
        state = op.Add(op.Mul(decay, h), new)
        kept = op.Identity(rate)
        return state, kept

    ends, _ = op.Scan(first, rates, dt, added, B, body=advance, num_scan_inputs=3)
    return ends


@onnx_function
@no_type_check
def _segment_starts(first: Floats, decays: Floats, ends: Floats) -> tuple[Floats, Floats]:
    @graph()
    def carry(h: Floats, decay: Floats, end: Floats):
        state = op.Add(op.Mul(decay, h), end)
        start = op.Identity(h)
        return state, start

    last, starts = op.Scan(first, decays, ends, body=carry, num_scan_inputs=2)
    return last, starts


@onnx_function
@no_type_check
def _outputs(
    starts: Floats,
    rates: Floats,
    dt: Floats,
    added: Floats,
    B: Floats,
    C: Floats,
) -> Floats:
    @graph()
    def read(
        h: Floats,
        rate: Floats,
        dt_t: Floats,
        added_t: Floats,
        B_t: Floats,
        C_t: Floats,
    ):
        decay = op.Exp(op.Mul(op.Unsqueeze(dt_t, op.Constant(value_ints=[1])), rate))
        wide = op.Unsqueeze(added_t, op.Constant(value_ints=[1]))
        new = op.Mul(wide, op.Unsqueeze(B_t, op.Constant(value_ints=[2])))
        state = op.Add(op.Mul(decay, h), new)
        kept = op.Identity(rate)
        seen = op.Mul(state, op.Unsqueeze(C_t, op.Constant(value_ints=[2])))
        y_t = op.ReduceSum(seen, op.Constant(value_ints=[1]), keepdims=0)
        return state, kept, y_t

    _, _, y = op.Scan(starts, rates, dt, added, B, C, body=read, num_scan_inputs=4)
    return y
