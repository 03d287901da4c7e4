"""A sequence cut into segments that advance side by side, in ONNX operators.

ONNX's `Scan` runs a small graph once per step, and takes longer to start it than to compute one
step. So the sequence is cut into segments: a first pass finds the state that each of them ends with
if it begins with none, a short carry gives each its true first state, and a second pass runs the
recurrence from there. These are the chunks of the portable backend (`umamba.ops.chunked`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from onnxscript import BOOL, FLOAT, script
from onnxscript import opset18 as op
from onnxscript.values import Opset

__all__ = ["Booleans", "Floats", "Segments", "integers", "onnx_function", "zeros"]


# Tensors of any rank, as onnxscript names them.
if TYPE_CHECKING:
    from typing import Any as Booleans
    from typing import Any as Floats
else:
    Booleans, Floats = BOOL[...], FLOAT[...]

# States that advance side by side: enough to make starting a step cheap, and few enough for the
# cache.
_STATES = 1 << 18
_MOST_SEGMENTS = 256


def onnx_function(function: Callable[..., Any]) -> Any:
    """Turn a function whose source onnxscript reads, and which never runs, into one of ONNX.

    `@no_type_check` below keeps checkers of types at run time away; onnxscript needs the types.
    Functions of the same name must be in different modules.
    """
    delattr(function, "__no_type_check__")
    own = Opset(function.__module__, 1)  # torch inlines them: no file names this domain
    return script(own, default_opset=op)(function)


def integers(*values: int) -> Any:
    """Return a constant vector."""
    return op.Constant(value_ints=values)


def zeros(shape: Any) -> Any:
    """Return zeros of a shape that is known when the network runs."""
    zero: Any = op.Constant(value_float=0.0)
    return op.Expand(zero, shape)


class Segments:
    """The cut of a sequence.

    Args:
        sequence: Any that has its length: `(batch, rows, length)`.
        states: The states of one step, of all rows.
    """

    def __init__(self, sequence: Any, states: int) -> None:
        count = max(1, min(_MOST_SEGMENTS, _STATES // states))
        self.count = integers(count)
        self._length = op.Shape(sequence, start=2, end=3)
        longer = op.Add(self._length, integers(count - 1))
        self.steps = op.Div(longer, self.count)
        self._missing = op.Sub(op.Mul(self.steps, self.count), self._length)

    def cut(self, sequence: Any) -> Any:
        """Turn `(batch, rows, length)` into `(steps, batch, rows, segments)`, filled with zeros."""
        padded = op.Pad(sequence, op.Concat(integers(0, 0, 0, 0, 0), self._missing, axis=0))
        shape = op.Concat(integers(0, 0), self.count, self.steps, axis=0)
        return op.Transpose(op.Reshape(padded, shape), perm=[3, 0, 1, 2])

    def join(self, parts: Any) -> Any:
        """Turn `(steps, batch, rows, segments)` back into `(batch, rows, length)`."""
        joined = op.Reshape(op.Transpose(parts, perm=[1, 2, 3, 0]), integers(0, 0, -1))
        return op.Slice(joined, integers(0), self._length, integers(2))
