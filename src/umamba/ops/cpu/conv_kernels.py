"""Causal depthwise convolution with SiLU, and its gradients, as vector LLVM IR.

    p_t = bias + sum_k weight[k] x_{t - width + 1 + k},   y_t = silu(p_t)

The rows of earlier steps that a chunk needs stand in front of its own in the tile `x`; in the
backward pass, which walks from the end, the rows of later steps stand behind in the tile `grad_p`.
"""

from llvmlite import ir

from umamba.ops.cpu.emitter import ROW, Emitter, Row
from umamba.ops.cpu.task import CHUNK, COMMON_ARGUMENTS, Task, tensor_arguments
from umamba.ops.cpu.tiles import declare_movers

__all__ = ["CONV_ARGUMENTS", "build_conv_module", "conv_scratch_elements"]

CONV_ARGUMENTS: tuple[str, ...] = (
    *COMMON_ARGUMENTS,
    "width",  # at most CHUNK + 1, so that earlier rows come from one chunk
    *tensor_arguments(("x", "y", "grad_y", "grad_x")),
    "weight",
    "weight_channel",
    "weight_tap",
    "bias",
    "grad_weight",  # (batch, d_inner, width)
    "grad_bias",  # (batch, d_inner)
)


def conv_scratch_elements(width: int) -> int:
    """Return how many elements of scratch memory a thread needs."""
    rows = 2 * (CHUNK + width) + CHUNK + width + 1 + 2 * (width + 1)
    return rows * ROW + ROW


def build_conv_module(bits: int, lanes: int, triple: str, data_layout: str) -> ir.Module:
    """Return a module with the functions `forward` and `backward`.

    Both take an array of `CONV_ARGUMENTS`, a counter from which tasks are drawn, and scratch
    memory.
    """
    module = ir.Module(name="umamba_causal_conv")
    module.triple = triple
    module.data_layout = data_layout
    movers = declare_movers(module, bits, lanes)
    pointer = ir.PointerType()
    kind = ir.FunctionType(ir.VoidType(), [pointer, pointer, pointer])
    for name, work in (("forward", _Forward), ("backward", _Backward)):
        emitter = Emitter(module, ir.Function(module, kind, name), bits, lanes)
        work(emitter, movers).emit_all()
    return module


class _ConvTask(Task):
    """The parts that the two passes share."""

    arguments = CONV_ARGUMENTS

    def sizes(self) -> dict[str, ir.Value]:
        """Divide the scratch memory: see `conv_scratch_elements`."""
        e, width = self.e, self.value["width"]
        long = e.b.mul(e.b.add(width, e.index(CHUNK)), e.index(ROW))
        double = 2 * ROW if e.bits == 32 else ROW
        return {
            "x": long,
            "grad_p": long,
            "y": e.index(CHUNK * ROW),
            "weight": e.b.mul(width, e.index(ROW)),
            "bias": e.index(ROW),
            "sum_weight": e.b.mul(width, e.index(double)),
            "sum_bias": e.index(double),
        }

    def load_parameters(self) -> None:
        """Bring weights and bias into scratch memory."""
        e, value = self.e, self.value
        by_channel = value["weight_channel"]
        place = e.offset(e.as_pointer(value["weight"]), (self.first_channel, by_channel))
        strides = [by_channel, value["weight_tap"]]
        rows = self.scratch["weight"]
        e.b.call(self.loader, [place, *strides, value["width"], self.channels, rows])
        self.load_row("bias")
        self.earlier = e.b.sub(value["width"], e.index(1))

    def before_activation(self, t: ir.Value) -> Row:
        """Return `p_t`."""
        e, s = self.e, self.scratch

        def tap(k: ir.Value, total: Row) -> Row:
            x = e.load(s["x"], e.b.add(t, k))
            return e.fma(x, e.load(s["weight"], k), total)

        return e.loop(self.value["width"], tap, e.load(s["bias"]))

    def copy_rows(self, count: ir.Value, source: ir.Value, target: ir.Value) -> None:
        """Copy rows; there may be none."""
        e = self.e

        def turn(t: ir.Value, _: list[ir.Value]) -> Row:
            e.store(e.load(source, t), target, t)
            return []

        with e.b.if_then(e.b.icmp_signed(">", count, e.index(0))):
            e.loop(count, turn)


class _Forward(_ConvTask):
    """The convolution."""

    def work(self) -> None:
        """Emit one task."""
        self.chunks(self._chunk, backwards=False)

    def _chunk(self, _chunk: ir.Value, start: ir.Value) -> None:
        e, s = self.e, self.scratch
        s["x_now"] = e.offset(s["x"], (self.earlier, ROW))
        self.move(self.loader, "x", "x_now", start)

        def step(t: ir.Value, _: list[ir.Value]) -> Row:
            p = self.before_activation(t)
            e.store(e.mul(p, e.logistic(p, e.exp_of_minus_abs(p))), s["y"], t)
            return []

        e.loop(self.steps, step)
        self.copy_rows(self.earlier, e.offset(s["x"], (self.steps, ROW)), s["x"])
        self.move(self.storer, "y", "y", start)


class _Backward(_ConvTask):
    """The adjoint of the convolution."""

    def work(self) -> None:
        """Emit one task."""
        e, s, width = self.e, self.scratch, self.value["width"]
        self.chunks(self._chunk, backwards=True)

        def convert(k: ir.Value, _: list[ir.Value]) -> Row:
            e.store(e.load_double(s["sum_weight"], k), s["weight"], k)
            return []

        e.loop(width, convert)
        self.store_rows("grad_weight", s["weight"], width)
        e.store(e.load_double(s["sum_bias"], e.index(0)), s["bias"])
        self.store_row("grad_bias", s["bias"])

    def _chunk(self, _chunk: ir.Value, start: ir.Value) -> None:
        e, s = self.e, self.scratch
        self._load_with_earlier(start)
        self.move(self.loader, "grad_y", "y", start)

        def step(t: ir.Value, sums: Row) -> Row:
            p = self.before_activation(t)
            sigmoid = e.logistic(p, e.exp_of_minus_abs(p))
            silu = e.mul(p, sigmoid)
            one = [e.constant(1.0)] * (ROW // e.lanes)
            # silu'(p) = s + silu (1 - s) = s (1 - silu) + silu
            slope = e.fma(sigmoid, e.add(one, [e.b.fneg(x) for x in silu]), silu)
            grad = e.mul(e.load(s["y"], t), slope)
            e.store(grad, s["grad_p"], t)
            return e.add(sums, grad)

        e.add_to_double(e.loop(self.steps, step, e.zeros()), s["sum_bias"])
        self._sum_over_time()
        self._spread()
        self.move(self.storer, "grad_x", "y", start)
        behind = e.offset(s["grad_p"], (e.index(CHUNK), ROW))
        self.copy_rows(self.earlier, s["grad_p"], behind)

    def _load_with_earlier(self, start: ir.Value) -> None:
        """Fill the tile `x`, earlier rows included; before the first step they are zero."""
        e, b, s, value = self.e, self.e.b, self.scratch, self.value
        first = b.icmp_signed("==", start, e.index(0))
        there = b.select(first, e.index(0), self.earlier)
        missing = b.sub(self.earlier, there)

        def clear(t: ir.Value, _: list[ir.Value]) -> Row:
            e.store(e.zeros(), s["x"], t)
            return []

        with b.if_then(b.icmp_signed(">", missing, e.index(0))):
            e.loop(missing, clear)
        by_time = value["x_time"]
        place = e.offset(self.of_block("x"), (b.sub(start, there), by_time))
        tile = e.offset(s["x"], (missing, ROW))
        steps = b.add(self.steps, there)
        b.call(self.loader, [place, value["x_channel"], by_time, steps, self.channels, tile])

    def _sum_over_time(self) -> None:
        """Add what this chunk contributes to the gradient of the weights."""
        e, s = self.e, self.scratch

        def tap(k: ir.Value, _: list[ir.Value]) -> Row:
            def step(t: ir.Value, total: Row) -> Row:
                x = e.load(s["x"], e.b.add(t, k))
                return e.fma(e.load(s["grad_p"], t), x, total)

            e.add_to_double(e.loop(self.steps, step, e.zeros()), s["sum_weight"], k)
            return []

        e.loop(self.value["width"], tap)

    def _spread(self) -> None:
        """Compute the gradient of `x` into the tile `y`."""
        e, s = self.e, self.scratch

        def step(t: ir.Value, _: list[ir.Value]) -> Row:
            last = e.b.add(t, self.earlier)

            def tap(k: ir.Value, total: Row) -> Row:
                later = e.load(s["grad_p"], e.b.sub(last, k))
                return e.fma(later, e.load(s["weight"], k), total)

            e.store(e.loop(self.value["width"], tap, e.zeros()), s["y"], t)
            return []

        e.loop(self.steps, step)
