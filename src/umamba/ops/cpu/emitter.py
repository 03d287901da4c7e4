"""Vector LLVM IR for the CPU kernels: loops, rows of channels, tiles, and elementary functions.

A *row* is what `ROW` channels need at one time step: a list of vectors that together have `ROW`
lanes. A *tile* is a scratch buffer of rows. Kernels compute on tiles only; `load_tile` and
`store_tile` move them from and to memory of any strides.
"""

import math
from collections.abc import Callable, Sequence

from llvmlite import ir

__all__ = ["LARGEST_EXPONENT", "ROW", "Emitter", "Row"]

ROW = 32

_I64 = ir.IntType(64)
_POINTER = ir.PointerType()
_FLOAT64 = ir.DoubleType()

# 2^f = 1 + f q(f) on [-1/2, 1/2]; one is met exactly, so that slow decays do not drift. float32:
# minimax in relative error (2e-9); float64: Taylor.
_EXP2 = {
    32: (
        0.6931472028550718,
        0.24022647913629594,
        0.05550332471096346,
        0.009618437357554913,
        0.001339887442974464,
        0.00015353361971236386,
    ),
    64: tuple(math.log(2) ** k / math.factorial(k) for k in range(1, 14)),
}
_MANTISSA = {32: 23, 64: 52}
LARGEST_EXPONENT = {32: 126.0, 64: 1022.0}
# log1p(e) = 2 atanh(s), s = e / (2 + e) <= 1/3: terms of s^2 until they are below the rounding.
_LOG1P_TERMS = {32: 8, 64: 17}
# ln 2 in two parts; the first has so few digits that its product with an exponent is exact.
_LN2_HIGH = {32: 0.693359375, 64: 0.6931471803691238}
_HIGH_MINUS_LN2 = {32: 0.00021219444005469057, 64: -1.9082149292705877e-10}

Row = list[ir.Value]


class Emitter:
    """Emit code for rows of one floating-point type.

    Args:
        module: Where declarations go.
        function: The function whose body is emitted.
        bits: 32 or 64.
        lanes: Lanes of a vector; a power of two that divides `ROW`.
    """

    def __init__(self, module: ir.Module, function: ir.Function, bits: int, lanes: int) -> None:
        self.module = module
        self.function = function
        self.bits = bits
        self.lanes = lanes
        self.scalar = ir.FloatType() if bits == 32 else _FLOAT64
        self.vector = ir.VectorType(self.scalar, lanes)
        self.integers = ir.VectorType(ir.IntType(bits), lanes)
        self.b = ir.IRBuilder(function.append_basic_block("entry"))

    # Integers and pointers

    def index(self, value: int) -> ir.Value:
        """Return a 64-bit integer constant."""
        return ir.Constant(_I64, value)

    def offset(self, pointer: ir.Value, *terms: tuple[ir.Value, ir.Value | int]) -> ir.Value:
        """Return `pointer` moved by a sum of products, counted in elements."""
        for a, factor in terms:
            by = self.b.mul(a, self.index(factor) if isinstance(factor, int) else factor)
            pointer = self.b.gep(pointer, [by], source_etype=self.scalar)
        return pointer

    def load_index(self, pointer: ir.Value, position: int) -> ir.Value:
        """Read a 64-bit integer from an array of them."""
        place = self.b.gep(pointer, [self.index(position)], source_etype=_I64)
        return self.b.load(place, typ=_I64)

    def as_pointer(self, address: ir.Value) -> ir.Value:
        """Return an address as a pointer."""
        return self.b.inttoptr(address, _POINTER)

    def minimum(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Return the smaller of two integers."""
        return self.b.select(self.b.icmp_signed("<", a, b), a, b)

    # Control flow

    def loop(
        self,
        count: ir.Value,
        body: Callable[[ir.Value, list[ir.Value]], Sequence[ir.Value]],
        carried: Sequence[ir.Value] = (),
        *,
        backwards: bool = False,
    ) -> list[ir.Value]:
        """Emit a loop that runs at least once.

        Args:
            count: Number of turns, at least one.
            body: Emits one turn; takes the index and the carried values, returns the latter's next.
            carried: Values that one turn hands to the next.
            backwards: Whether the index runs from `count - 1` down to zero.

        Returns:
            The carried values after the last turn.
        """
        before = self.b.block
        block = self.function.append_basic_block("loop")
        after = self.function.append_basic_block("after")
        self.b.branch(block)
        self.b.position_at_end(block)
        turn = self.b.phi(_I64)
        turn.add_incoming(self.index(0), before)
        phis = [self.b.phi(value.type) for value in carried]
        for phi, value in zip(phis, carried, strict=True):
            phi.add_incoming(value, before)
        at = self.b.sub(self.b.sub(count, self.index(1)), turn) if backwards else turn
        following = list(body(at, list(phis)))
        step = self.b.add(turn, self.index(1))
        for phi, value in zip(phis, following, strict=True):
            phi.add_incoming(value, self.b.block)
        turn.add_incoming(step, self.b.block)
        self.b.cbranch(self.b.icmp_signed("<", step, count), block, after)
        self.b.position_at_end(after)
        return following

    # Rows

    def splat(self, value: ir.Value) -> ir.Value:
        """Return a vector with the same scalar in every lane."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.b.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.b.shuffle_vector(first, undefined, zeros)

    def constant(self, value: float) -> ir.Value:
        """Return a vector of one constant."""
        return ir.Constant(self.vector, [ir.Constant(self.scalar, value)] * self.lanes)

    def zeros(self) -> Row:
        """Return a row of zeros."""
        return [self.constant(0.0)] * (ROW // self.lanes)

    def broadcast(self, pointer: ir.Value, vectors: int) -> Row:
        """Return as many vectors with the scalar at `pointer` in every lane."""
        return [self.splat(self.b.load(pointer, typ=self.scalar))] * vectors

    def load(
        self, pointer: ir.Value, row: ir.Value | None = None, columns: range | None = None
    ) -> Row:
        """Read a row, or those vectors of it; `row` counts rows from `pointer`."""
        places = self._places(pointer, row, columns)
        return [self.b.load(p, align=self.bits // 8, typ=self.vector) for p in places]

    def store(
        self,
        values: Row,
        pointer: ir.Value,
        row: ir.Value | None = None,
        columns: range | None = None,
    ) -> None:
        """Write a row, or those vectors of it."""
        for value, place in zip(values, self._places(pointer, row, columns), strict=True):
            self.b.store(value, place, align=self.bits // 8)

    def _places(
        self, pointer: ir.Value, row: ir.Value | None, columns: range | None
    ) -> list[ir.Value]:
        if row is not None:
            pointer = self.offset(pointer, (row, ROW))
        return [
            self.b.gep(pointer, [self.index(at * self.lanes)], source_etype=self.scalar)
            for at in columns or range(ROW // self.lanes)
        ]

    def add(self, a: Row, b: Row) -> Row:
        """Return `a + b`."""
        return [self.b.fadd(x, y) for x, y in zip(a, b, strict=True)]

    def mul(self, a: Row, b: Row) -> Row:
        """Return `a * b`."""
        return [self.b.fmul(x, y) for x, y in zip(a, b, strict=True)]

    def fma(self, a: Row, b: Row, c: Row) -> Row:
        """Return `a * b + c`, rounded once."""
        return [self._fma(x, y, z) for x, y, z in zip(a, b, c, strict=True)]

    def _fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        return self._intrinsic("fma", a, b, c)

    def _intrinsic(self, name: str, *vectors: ir.Value) -> ir.Value:
        name = f"llvm.{name}.v{self.lanes}f{self.bits}"
        function = self.module.globals.get(name)
        if function is None:
            kind = ir.FunctionType(self.vector, [self.vector] * len(vectors))
            function = ir.Function(self.module, kind, name)
        return self.b.call(function, vectors)

    def larger(self, a: Row, b: Row) -> Row:
        """Return the larger of `|a|` and `b`."""
        values = []
        for x, y in zip(a, b, strict=True):
            magnitude = self._intrinsic("fabs", x)
            values.append(self.b.select(self.b.fcmp_ordered(">", magnitude, y), magnitude, y))
        return values

    def any_above(self, row: Row, bound: float) -> ir.Value:
        """Return whether any lane is above a bound."""
        found = ir.Constant(ir.IntType(1), 0)
        for x in row:
            above = self.b.fcmp_ordered(">", x, self.constant(bound))
            bits = self.b.bitcast(above, ir.IntType(self.lanes))
            found = self.b.or_(found, self.b.icmp_unsigned("!=", bits, bits.type(0)))
        return found

    def fold(self, row: Row) -> ir.Value:
        """Add the vectors of a row up, pairwise, to a single one."""
        while len(row) > 1:
            row = [self.b.fadd(x, y) for x, y in zip(row[::2], row[1::2], strict=True)]
        return row[0]

    def add_to_double(
        self,
        row: Row,
        pointer: ir.Value,
        at: ir.Value | None = None,
        columns: range | None = None,
    ) -> None:
        """Add a row, or those vectors of it, to a row of float64 accumulators."""
        if at is not None:
            pointer = self.b.gep(pointer, [self.b.mul(at, self.index(ROW))], source_etype=_FLOAT64)
        wide = ir.VectorType(_FLOAT64, self.lanes)
        for k, value in zip(columns or range(len(row)), row, strict=True):
            place = self.b.gep(pointer, [self.index(k * self.lanes)], source_etype=_FLOAT64)
            extended = value if self.bits == 64 else self.b.fpext(value, wide)
            total = self.b.fadd(self.b.load(place, align=8, typ=wide), extended)
            self.b.store(total, place, align=8)

    def load_double(self, pointer: ir.Value, at: ir.Value) -> Row:
        """Read a row of float64 accumulators, rounded to the type of the kernel."""
        wide = ir.VectorType(_FLOAT64, self.lanes)
        pointer = self.b.gep(pointer, [self.b.mul(at, self.index(ROW))], source_etype=_FLOAT64)
        row = []
        for k in range(ROW // self.lanes):
            place = self.b.gep(pointer, [self.index(k * self.lanes)], source_etype=_FLOAT64)
            value = self.b.load(place, align=8, typ=wide)
            row.append(value if self.bits == 64 else self.b.fptrunc(value, self.vector))
        return row

    # Permutations

    def _shuffle(self, a: ir.Value, b: ir.Value, lanes: list[int]) -> ir.Value:
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), lanes)
        return self.b.shuffle_vector(a, b, mask)

    def horizontal_sums(self, vectors: list[ir.Value]) -> ir.Value:
        """Sum each of `lanes` vectors; lane `j` of the result is the sum of vector `j`."""
        segment = self.lanes
        while len(vectors) > 1:
            starts = range(0, 2 * self.lanes, segment)
            half = segment // 2
            low = [s + i for s in starts for i in range(half)]
            high = [lane + half for lane in low]
            vectors = [
                self.b.fadd(self._shuffle(a, b, low), self._shuffle(a, b, high))
                for a, b in zip(vectors[::2], vectors[1::2], strict=True)
            ]
            segment = half
        return vectors[0]

    def transpose(self, vectors: list[ir.Value]) -> list[ir.Value]:
        """Transpose a square of `lanes` vectors."""
        rows = list(vectors)
        n = step = self.lanes
        while step > 1:
            step //= 2
            for i in range(n):
                if i & step:
                    continue
                a, b = rows[i], rows[i + step]
                first = [n + lane - step if lane & step else lane for lane in range(n)]
                second = [n + lane if lane & step else lane + step for lane in range(n)]
                rows[i], rows[i + step] = self._shuffle(a, b, first), self._shuffle(a, b, second)
        return rows

    # Elementary functions

    def exp2(self, row: Row, *, bounded: bool) -> Row:
        """Return `2 ** x`; results too small for a normal number become the smallest of them.

        Args:
            row: The exponents.
            bounded: Whether they are known to lie within `LARGEST_EXPONENT`.
        """
        return [self._exp2_of(x, bounded=bounded) for x in row]

    def _exp2_of(self, x: ir.Value, *, bounded: bool) -> ir.Value:
        limit = LARGEST_EXPONENT[self.bits]
        # Compared so that NaN passes.
        for sign, bound in () if bounded else ((">", limit), ("<", -limit)):
            edge = self.constant(bound)
            x = self.b.select(self.b.fcmp_ordered(sign, x, edge), edge, x)
        shifted, whole = self._round(x)
        return self._scale(self._exp2_fraction(self.b.fsub(x, whole)), shifted)

    def exp2_minus_one(self, row: Row) -> Row:
        """Return `2 ** x - 1` with full relative accuracy, for `|x| <= 1/2`."""
        return [self.b.fmul(x, self._polynomial(x, _EXP2[self.bits])) for x in row]

    def _round(self, x: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Return `x + magic`, whose low bits are the nearest integer, and that integer."""
        magic = self.constant(1.5 * 2 ** _MANTISSA[self.bits])
        shifted = self.b.fadd(x, magic)
        return shifted, self.b.fsub(shifted, magic)

    def _exp2_fraction(self, f: ir.Value) -> ir.Value:
        return self._polynomial(f, (1.0, *_EXP2[self.bits]))

    def _scale(self, x: ir.Value, shifted: ir.Value) -> ir.Value:
        """Multiply by two to the integer in the low bits of `shifted`."""
        places = ir.Constant(self.integers, [_MANTISSA[self.bits]] * self.lanes)
        exponent = self.b.shl(self.b.bitcast(shifted, self.integers), places)
        return self.b.bitcast(self.b.add(self.b.bitcast(x, self.integers), exponent), self.vector)

    def _polynomial(self, x: ir.Value, coefficients: Sequence[float]) -> ir.Value:
        total = self.constant(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            total = self._fma(total, x, self.constant(coefficient))
        return total

    def exp_of_minus_abs(self, row: Row) -> Row:
        """Return `exp(-|x|)` with full relative accuracy."""
        return [self._exp_of_minus_abs(x) for x in row]

    def _exp_of_minus_abs(self, x: ir.Value) -> ir.Value:
        magnitude = self._intrinsic("fabs", x)
        edge = self.constant(LARGEST_EXPONENT[self.bits] * math.log(2))
        bounded = self.b.select(self.b.fcmp_ordered(">", magnitude, edge), edge, magnitude)
        x = self.b.fneg(bounded)
        high = _LN2_HIGH[self.bits]
        log2_e = self.constant(1 / math.log(2))
        shifted, whole = self._round(self.b.fmul(x, log2_e))
        rest = self._fma(whole, self.constant(-high), x)
        rest = self._fma(whole, self.constant(_HIGH_MINUS_LN2[self.bits]), rest)
        return self._scale(self._exp2_fraction(self.b.fmul(rest, log2_e)), shifted)

    def softplus(self, row: Row, exponentials: Row) -> Row:
        """Return `log(1 + exp(x))`, given `exp_of_minus_abs` of the same row."""
        terms = [2.0 / (2 * k + 1) for k in range(_LOG1P_TERMS[self.bits])]
        zero, two = self.constant(0.0), self.constant(2.0)
        values = []
        for x, e in zip(row, exponentials, strict=True):
            s = self.b.fdiv(e, self.b.fadd(two, e))
            log1p = self.b.fmul(s, self._polynomial(self.b.fmul(s, s), terms))
            negative = self.b.fcmp_ordered("<", x, zero)  # NaN passes
            values.append(self.b.fadd(self.b.select(negative, zero, x), log1p))
        return values

    def logistic(self, row: Row, exponentials: Row) -> Row:
        """Return `1 / (1 + exp(-x))`, given `exp_of_minus_abs` of the same row."""
        one, zero = self.constant(1.0), self.constant(0.0)
        values = []
        for x, e in zip(row, exponentials, strict=True):
            upper = self.b.fdiv(one, self.b.fadd(one, e))
            positive = self.b.fcmp_ordered(">=", x, zero)
            values.append(self.b.select(positive, upper, self.b.fmul(e, upper)))
        return values
