"""The recurrence of Mamba-2 in standard ONNX operators, of any batch and length.

A chunk is a product with a lower triangular matrix, and one loop carries the state from chunk to
chunk; memory does not grow with the length but for the sequences themselves.

Source: Dao and Gu 2024, arXiv:2405.21060, section 6.
"""

from typing import Any, no_type_check

import numpy as np
from onnxscript import graph
from onnxscript import opset18 as op

from umamba.onnx_export.segments import Booleans, Floats, integers, onnx_function, zeros
from umamba.ops.state_space_duality import CHUNK

__all__ = ["translate_state_space_duality"]


def translate_state_space_duality(x: Any, dt: Any, A: Any, B: Any, C: Any) -> Any:
    """Translate a call of `umamba::state_space_duality`, for torch's exporter."""
    length = op.Shape(x, start=1, end=2)
    size = integers(CHUNK)
    chunks = op.Div(op.Add(length, integers(CHUNK - 1)), size)
    missing = op.Sub(op.Mul(chunks, size), length)

    def cut(sequence: Any, rest: int) -> Any:
        """Turn `(batch, length, *rest)` into `(chunks, batch, chunk, *rest)`."""
        after = op.Concat(missing, integers(*[0] * rest), axis=0)
        padded = op.Pad(sequence, op.Concat(integers(*[0] * (3 + rest)), after, axis=0))
        shape = op.Concat(
            op.Shape(x, start=0, end=1), chunks, size, op.Shape(sequence, start=2), axis=0
        )
        return op.Transpose(op.Reshape(padded, shape), perm=[1, 0, 2, *range(3, 3 + rest)])

    # Steps of size zero, which fill up the last chunk, keep the state.
    u = op.Transpose(cut(op.Mul(op.Unsqueeze(dt, integers(3)), x), 2), perm=[0, 1, 3, 2, 4])
    logs = op.Transpose(cut(op.Mul(dt, A), 1), perm=[0, 1, 3, 2])
    later = op.Constant(value=_later())
    heads, width = op.Shape(x, start=2, end=3), op.Shape(x, start=3, end=4)
    states = op.Shape(B, start=2, end=3)
    shape = op.Concat(op.Shape(x, start=0, end=1), heads, states, width, axis=0)
    y = _outputs(zeros(shape), u, logs, cut(B, 1), cut(C, 1), later)
    y = op.Transpose(y, perm=[1, 0, 3, 2, 4])  # (batch, chunks, chunk, heads, width)
    whole = op.Concat(integers(0, -1), heads, width, axis=0)
    return op.Slice(op.Reshape(y, whole), integers(0), length, integers(1))


def _later() -> Any:
    """Return which steps (columns) come after which others (rows)."""
    from onnx import numpy_helper

    return numpy_helper.from_array(np.triu(np.ones((CHUNK, CHUNK), bool), 1))


# The body of the loop, whose source onnxscript reads.


@onnx_function
@no_type_check
def _outputs(
    first: Floats,
    u: Floats,
    logs: Floats,
    B: Floats,
    C: Floats,
    later: Booleans,
) -> Floats:
    @graph()
    def chunk(h: Floats, u_c: Floats, logs_c: Floats, B_c: Floats, C_c: Floats):
        total = op.CumSum(logs_c, op.Constant(value_int=2))  # (batch, heads, chunk)
        rows = op.Unsqueeze(total, op.Constant(value_ints=[3]))
        differences = op.Sub(rows, op.Unsqueeze(total, op.Constant(value_ints=[2])))
        decays = op.Exp(op.Where(later, op.Constant(value_float=float("-inf")), differences))
        B_turned = op.Transpose(B_c, perm=[0, 2, 1])
        one_head = op.Constant(value_ints=[1])
        scores = op.Mul(op.Unsqueeze(op.MatMul(C_c, B_turned), one_head), decays)
        earlier = op.MatMul(op.Unsqueeze(C_c, one_head), h)
        y_c = op.Add(op.MatMul(scores, u_c), op.Mul(op.Exp(rows), earlier))
        end = op.Slice(
            rows,
            op.Constant(value_ints=[-1]),
            op.Constant(value_ints=[9223372036854775807]),
            op.Constant(value_ints=[2]),
        )
        left = op.Mul(op.Exp(op.Sub(end, rows)), u_c)
        added = op.MatMul(op.Unsqueeze(B_turned, one_head), left)
        state = op.Add(op.Mul(op.Exp(end), h), added)
        return state, y_c

    _, y = op.Scan(first, u, logs, B, C, body=chunk, num_scan_inputs=4)
    return y
