"""One task of the selective scan: the parts that its two passes share.

The names of the mathematics are those of `umamba.selective_scan`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from llvmlite import ir

from umamba.ops.cpu.emitter import LARGEST_EXPONENT, ROW, Emitter, Row
from umamba.ops.cpu.task import CHUNK, COMMON_ARGUMENTS, Movers, Task, tensor_arguments

__all__ = [
    "PROJECTIONS",
    "SCAN_ARGUMENTS",
    "Exponents",
    "KernelSpec",
    "ScanTask",
    "scan_scratch_elements",
]

PROJECTIONS = ("B", "C")
# The entries of a kernel's array of 64-bit integers: sizes, addresses, strides in elements.
SCAN_ARGUMENTS: tuple[str, ...] = (
    *COMMON_ARGUMENTS,  # a part: channels that share their group of B and of C
    "d_state",
    "softplus",
    *tensor_arguments(("u", "dt", "z", "y", "grad_y", "grad_u", "grad_dt", "grad_z")),
    *(
        f"{name}{what}"
        for name in PROJECTIONS
        for what in ("", "_batch", "_group", "_state", "_time", "_channels")
    ),
    "A",
    "A_channel",
    "A_state",
    "D",
    "dt_bias",
    *(
        f"{name}{what}"
        for name in ("first", "last")  # states; in the backward pass, their gradients
        for what in ("", "_batch", "_channel", "_state")
    ),
    "states",  # (task, chunk, d_state, ROW)
    "grad_A",  # (batch, d_inner, d_state)
    "grad_D",  # (batch, d_inner)
    "grad_bias",  # (batch, d_inner)
    "grad_B",  # (task, d_state, padded length); (batch, d_inner, d_state) where constant
    "grad_C",
)

_LOG2_E = 1 / math.log(2)

# Tiles of CHUNK rows, then rows per state, in a thread's scratch memory.
_TILES = ("dt", "u", "dtu", "y", "gate", "grad_dt", "grad_y", "slope", "raw", "z", "decay")
_STATE_ROWS = ("A", "A2", "B", "C", "h", "g")
_SINGLE_ROWS = ("D", "dt_bias", "dt_max")
# Vectors that advance together: with more of them, 16 registers do not hold all constants.
_TOGETHER = 2


def scan_scratch_elements(d_state: int) -> int:
    """Return how many elements of scratch memory a thread needs."""
    tiles = len(_TILES) * CHUNK + (CHUNK + 1) + len(_SINGLE_ROWS)
    # float64 accumulators count twice; the reductions over lanes are at most two tiles.
    rows = tiles + 2 * CHUNK + len(_STATE_ROWS) * d_state + 2 * (3 * d_state + 2)
    return rows * ROW + ROW


@dataclass(frozen=True)
class KernelSpec:
    """The types and layouts that a module is compiled for.

    Args:
        bits: 32 or 64: the type of every tensor.
        lanes: Lanes of a vector register.
        constant: Which of `B` and `C` are `(d_inner, d_state)`, the same at every step.
    """

    bits: int
    lanes: int
    constant: frozenset[str] = frozenset()


class Exponents(Enum):
    """The known bound on the exponents `dt A log2(e)` of a chunk."""

    SMALL = "at most one half"
    BOUNDED = "within the range of the type"
    ANY = "nothing"


class ScanTask(Task):
    """The recurrence of one task; the passes over it are subclasses."""

    arguments = SCAN_ARGUMENTS

    def __init__(self, e: Emitter, spec: KernelSpec, movers: Movers) -> None:
        self.spec = spec
        super().__init__(e, movers)

    def sizes(self) -> dict[str, ir.Value]:
        """Divide the scratch memory: see `scan_scratch_elements`."""
        e, n = self.e, self.value["d_state"]
        sizes = {name: e.index(CHUNK * ROW) for name in _TILES}
        sizes["hs"] = e.index((CHUNK + 1) * ROW)
        sizes |= {name: e.index(ROW) for name in _SINGLE_ROWS}
        sizes["lanes_B"] = sizes["lanes_C"] = e.index(CHUNK * ROW)
        sizes |= {name: e.b.mul(n, e.index(ROW)) for name in _STATE_ROWS}
        double = 2 * ROW if self.spec.bits == 32 else ROW
        for name in ("sum_A", "sum_B", "sum_C"):
            sizes[name] = e.b.mul(n, e.index(double))
        sizes["sum_D"] = sizes["sum_bias"] = e.index(double)
        return sizes

    def move_states(self, mover: ir.Function, name: str, rows: str) -> None:
        """Move one row per state between a `(batch, d_inner, d_state)` tensor and scratch rows."""
        value = self.value
        strides = [value[f"{name}_channel"], value[f"{name}_state"]]
        given = self.e.b.icmp_signed("!=", value[name], self.e.index(0))
        with self.e.b.if_then(given):
            self.e.b.call(
                mover,
                [
                    self.of_block(name),
                    *strides,
                    value["d_state"],
                    self.channels,
                    self.scratch[rows],
                ],
            )

    def load_parameters(self) -> None:
        """Bring the rows of `A`, `D`, the bias and constant projections into scratch memory."""
        e, b, value = self.e, self.e.b, self.value
        for name in ("A", *self.constant_projections()):
            by_channel = value[f"{name}_channel" if name == "A" else f"{name}_group"]
            place = e.offset(e.as_pointer(value[name]), (self.first_channel, by_channel))
            strides = [by_channel, value[f"{name}_state"]]
            rows = self.scratch[name]
            b.call(self.loader, [place, *strides, value["d_state"], self.channels, rows])
        for name in ("D", "dt_bias"):
            self.load_row(name)

        def scale(n: ir.Value, _: list[ir.Value]) -> Row:
            log2_e = [e.constant(_LOG2_E)] * (ROW // e.lanes)
            e.store(e.mul(e.load(self.scratch["A"], n), log2_e), self.scratch["A2"], n)
            return []

        e.loop(value["d_state"], scale)

    def constant_projections(self) -> list[str]:
        """Return which of `B` and `C` are the same at every step."""
        return [name for name in PROJECTIONS if name in self.spec.constant]

    def step_sizes(self, start: ir.Value, *, with_slope: bool) -> None:
        """Fill the tiles `dt`, `u`, `dtu` and `y`, and `slope`, the derivative of softplus."""
        e, s = self.e, self.scratch
        self.move(self.loader, "dt", "dt", start)
        self.move(self.loader, "u", "u", start)
        soft = e.b.icmp_signed("!=", self.value["softplus"], e.index(0))

        def turn(t: ir.Value, largest: Row) -> Row:
            dt = e.add(e.load(s["dt"], t), e.load(s["dt_bias"]))
            e.store(dt, s["dt"], t)
            if with_slope:
                e.store([e.constant(1.0)] * (ROW // e.lanes), s["slope"], t)
            with e.b.if_then(soft):
                exponentials = e.exp_of_minus_abs(dt)
                e.store(e.softplus(dt, exponentials), s["dt"], t)
                if with_slope:
                    e.store(e.logistic(dt, exponentials), s["slope"], t)
            u, dt = e.load(s["u"], t), e.load(s["dt"], t)
            e.store(e.mul(dt, u), s["dtu"], t)
            e.store(e.mul(e.load(s["D"]), u), s["y"], t)
            return e.larger(dt, largest)

        e.store(e.loop(self.steps, turn, e.zeros()), s["dt_max"])

    def states(self, body: Callable[[ir.Value, range, Exponents], None]) -> None:
        """Emit a loop over states and groups of vectors, for each size of the exponents."""
        e, s = self.e, self.scratch
        vectors = ROW // e.lanes
        width = min(_TOGETHER, vectors)

        def turn(n: ir.Value, _: list[ir.Value]) -> Row:
            for first in range(0, vectors, width):
                columns = range(first, first + width)
                A2 = e.larger(e.load(s["A2"], n, columns), [e.constant(0.0)] * width)
                largest = e.mul(e.load(s["dt_max"], None, columns), A2)
                with e.b.if_else(e.any_above(largest, 0.5)) as (not_small, small):
                    with small:
                        body(n, columns, Exponents.SMALL)
                    with not_small:
                        wild = e.any_above(largest, LARGEST_EXPONENT[e.bits])
                        with e.b.if_else(wild) as (unbounded, bounded):
                            with unbounded:
                                body(n, columns, Exponents.ANY)
                            with bounded:
                                body(n, columns, Exponents.BOUNDED)
            return []

        e.loop(self.value["d_state"], turn)

    def projection(
        self, name: str, n: ir.Value, start: ir.Value, columns: range
    ) -> Callable[[ir.Value], Row]:
        """Return a function that reads `B` or `C` of state `n` at a step of the chunk."""
        e, value = self.e, self.value
        if name in self.spec.constant:
            row = e.load(self.scratch[name], n, columns)
            return lambda _t: row
        group = e.b.sdiv(self.first_channel, value[f"{name}_channels"])
        base = e.offset(
            e.as_pointer(value[name]),
            (self.image, value[f"{name}_batch"]),
            (group, value[f"{name}_group"]),
            (n, value[f"{name}_state"]),
            (start, value[f"{name}_time"]),
        )
        by_time = value[f"{name}_time"]
        return lambda t: e.broadcast(e.offset(base, (t, by_time)), len(columns))

    def checkpoint(self, chunk: ir.Value, n: ir.Value) -> ir.Value:
        """Return where the state before a chunk is kept."""
        e, b = self.e, self.e.b
        at = b.add(b.mul(self.task, self.n_chunks), chunk)
        row = b.add(b.mul(at, self.value["d_state"]), n)
        return e.offset(e.as_pointer(self.value["states"]), (row, ROW))

    def advance(
        self, n: ir.Value, start: ir.Value, columns: range, exponents: Exponents
    ) -> Callable[[ir.Value, Row], tuple[Row, Row]]:
        """Return a function that emits one step of state `n`, and returns decay and next state.

        Where exponents are small the decay is close to one, and it returns the decay minus one,
        so that slow states do not lose it in rounding.
        """
        e, s = self.e, self.scratch
        decay_rate = e.load(s["A2"], n, columns)
        B, C = (self.projection(name, n, start, columns) for name in PROJECTIONS)

        def step(t: ir.Value, h: Row) -> tuple[Row, Row]:
            exponent = e.mul(e.load(s["dt"], t, columns), decay_rate)
            added = e.mul(e.load(s["dtu"], t, columns), B(t))
            if exponents is Exponents.SMALL:
                decay = e.exp2_minus_one(exponent)
                h = e.add(h, e.fma(decay, h, added))
            else:
                decay = e.exp2(exponent, bounded=exponents is Exponents.BOUNDED)
                h = e.fma(decay, h, added)
            e.store(e.fma(C(t), h, e.load(s["y"], t, columns)), s["y"], t, columns)
            return decay, h

        return step
