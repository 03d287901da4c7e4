"""The selective scan and its gradients as vector LLVM IR, for any CPU that LLVM knows.

A task is one image of the batch and one block of `ROW` channels. It walks through the sequence in
chunks of `CHUNK` steps that fit into the first-level cache: the inputs of a chunk are brought into
tiles, then one state after another runs through the chunk, `h` and `A` in registers. The forward
pass keeps the state before every chunk; the backward pass computes a chunk again from there.

Tasks share nothing, so results do not depend on who computes them. What is summed over channels
(gradients of `B` and `C`) is written per block, what is summed over time is summed in float64.
"""

from llvmlite import ir

from umamba.ops.cpu.emitter import ROW, Emitter, Row
from umamba.ops.cpu.scan_task import PROJECTIONS, Exponents, KernelSpec, ScanTask
from umamba.ops.cpu.task import CHUNK
from umamba.ops.cpu.tiles import declare_movers

__all__ = ["build_scan_module"]


def build_scan_module(spec: KernelSpec, triple: str, data_layout: str) -> ir.Module:
    """Return a module with the functions `forward` and `backward`.

    Both take an array of `SCAN_ARGUMENTS`, a counter from which tasks are drawn, and scratch
    memory.
    """
    module = ir.Module(name="umamba_selective_scan")
    module.triple = triple
    module.data_layout = data_layout
    movers = declare_movers(module, spec.bits, spec.lanes)
    for name, work in (("forward", _Forward), ("backward", _Backward)):
        pointer = ir.PointerType()
        kind = ir.FunctionType(ir.VoidType(), [pointer, pointer, pointer])
        emitter = Emitter(module, ir.Function(module, kind, name), spec.bits, spec.lanes)
        work(emitter, spec, movers).emit_all()
    return module


class _Forward(ScanTask):
    """The recurrence."""

    def work(self) -> None:
        """Emit the recurrence of one task."""
        self.move_states(self.loader, "first", "h")
        self.chunks(self._forward_chunk, backwards=False)
        self.move_states(self.storer, "last", "h")

    def _forward_chunk(self, chunk: ir.Value, start: ir.Value) -> None:
        e, s, value = self.e, self.scratch, self.value
        self.step_sizes(start, with_slope=False)
        keeps = e.b.icmp_signed("!=", value["states"], e.index(0))

        def state(n: ir.Value, columns: range, exponents: Exponents) -> None:
            h = e.load(s["h"], n, columns)
            with e.b.if_then(keeps):
                e.store(h, self.checkpoint(chunk, n), None, columns)
            advance = self.advance(n, start, columns, exponents)
            h = e.loop(self.steps, lambda t, h: advance(t, h)[1], h)
            e.store(h, s["h"], n, columns)

        self.states(state)
        gated = e.b.icmp_signed("!=", value["z"], e.index(0))
        with e.b.if_then(gated):
            self.move(self.loader, "z", "z", start)

            def gate(t: ir.Value, _: list[ir.Value]) -> Row:
                z = e.load(s["z"], t)
                silu = e.mul(z, e.logistic(z, e.exp_of_minus_abs(z)))
                e.store(e.mul(e.load(s["y"], t), silu), s["y"], t)
                return []

            e.loop(self.steps, gate)
        self.move(self.storer, "y", "y", start)


class _Backward(ScanTask):
    """The adjoint recurrence."""

    def work(self) -> None:
        """Emit the adjoint recurrence of one task."""
        self.move_states(self.loader, "last", "g")
        self.chunks(self._backward_chunk, backwards=True)
        self.move_states(self.storer, "first", "g")
        self._store_sums()

    def _backward_chunk(self, chunk: ir.Value, start: ir.Value) -> None:
        e = self.e
        self.step_sizes(start, with_slope=True)
        self._ungate(start)

        def state(n: ir.Value, columns: range, exponents: Exponents) -> None:
            self._recompute(chunk, start, n, columns, exponents)
            self._retreat(start, n, columns, exponents)

        self.states(state)
        self._finish_chunk()
        for name, tile in (("grad_u", "u"), ("grad_dt", "grad_dt")):
            self.move(self.storer, name, tile, start)
        with e.b.if_then(e.b.icmp_signed("!=", self.value["z"], e.index(0))):
            self.move(self.storer, "grad_z", "z", start)

    def _ungate(self, start: ir.Value) -> None:
        """Turn the gradient of the outputs into that of the outputs before the gate."""
        e, s = self.e, self.scratch
        gated = e.b.icmp_signed("!=", self.value["z"], e.index(0))
        self.move(self.loader, "grad_y", "grad_y", start)
        with e.b.if_then(gated):
            self.move(self.loader, "z", "z", start)

        def turn(t: ir.Value, _: list[ir.Value]) -> Row:
            e.store(e.zeros(), s["gate"], t)
            e.store(e.zeros(), s["grad_dt"], t)
            with e.b.if_then(gated):
                grad, z = e.load(s["grad_y"], t), e.load(s["z"], t)
                sigmoid = e.logistic(z, e.exp_of_minus_abs(z))
                silu = e.mul(z, sigmoid)
                one = [e.constant(1.0)] * (ROW // e.lanes)
                minus_silu = [e.b.fneg(x) for x in silu]
                # silu'(z) = s + silu (1 - s) = s (1 - silu) + silu
                slope = e.fma(sigmoid, e.add(one, minus_silu), silu)
                e.store(e.mul(grad, slope), s["raw"], t)
                e.store(e.mul(grad, silu), s["grad_y"], t)
            return []

        e.loop(self.steps, turn)

    def _recompute(
        self,
        chunk: ir.Value,
        start: ir.Value,
        n: ir.Value,
        columns: range,
        exponents: Exponents,
    ) -> None:
        """Keep decay and state of every step of the chunk, and compute the outputs again."""
        e, s = self.e, self.scratch
        first = e.load(self.checkpoint(chunk, n), None, columns)
        e.store(first, s["hs"], None, columns)
        following = e.offset(s["hs"], (e.index(1), ROW))
        advance = self.advance(n, start, columns, exponents)

        def step(t: ir.Value, h: Row) -> Row:
            decay, h = advance(t, h)
            e.store(decay, s["decay"], t, columns)
            e.store(h, following, t, columns)
            return h

        e.loop(self.steps, step, first)

    def _retreat(self, start: ir.Value, n: ir.Value, columns: range, exponents: Exponents) -> None:
        """Run `g_t = C_t dL/dy_t + decay_{t+1} g_{t+1}` and add up what it contributes."""
        e, s = self.e, self.scratch
        A = e.load(s["A"], n, columns)
        B, C = (self.projection(name, n, start, columns) for name in PROJECTIONS)
        following = e.offset(s["hs"], (e.index(1), ROW))
        width = len(columns)

        def step(t: ir.Value, carried: Row) -> Row:
            g, sum_A, *sums = _split(carried, width)
            grad_y = e.load(s["grad_y"], t, columns)
            g = e.fma(C(t), grad_y, g)
            from_C = e.mul(e.load(following, t, columns), grad_y)
            from_B = e.mul(g, e.load(s["dtu"], t, columns))
            e.store(e.fma(B(t), g, e.load(s["gate"], t, columns)), s["gate"], t, columns)
            decay = e.load(s["decay"], t, columns)
            g = e.fma(decay, g, g) if exponents is Exponents.SMALL else e.mul(decay, g)
            exponent = e.mul(g, e.load(s["hs"], t, columns))  # dL / d(dt_t A)
            grad_dt = e.fma(exponent, A, e.load(s["grad_dt"], t, columns))
            e.store(grad_dt, s["grad_dt"], t, columns)
            sum_A = e.fma(exponent, e.load(s["dt"], t, columns), sum_A)
            totals = self._over_channels(t, {"B": from_B, "C": from_C}, sums, columns)
            return [*g, *sum_A, *totals]

        names = ["A", *self.constant_projections()]
        initial = e.load(s["g"], n, columns) + [e.constant(0.0)] * (width * len(names))
        g, *totals = _split(e.loop(self.steps, step, initial, backwards=True), width)
        e.store(g, s["g"], n, columns)
        for name, total in zip(names, totals, strict=True):
            e.add_to_double(total, s[f"sum_{name}"], n, columns)
        if columns.stop == ROW // e.lanes:
            for name in PROJECTIONS:
                if name not in names:
                    self._reduce_lanes(name, start, n)

    def _over_channels(
        self, t: ir.Value, terms: dict[str, Row], sums: list[Row], columns: range
    ) -> Row:
        """Keep the terms of `B` and `C` for the sum over channels, or add them over time."""
        e = self.e
        remaining = list(sums)
        totals: Row = []
        for name, term in terms.items():
            if name in self.constant_projections():
                totals += e.add(remaining.pop(0), term)
                continue
            place = e.offset(self.scratch[f"lanes_{name}"], (t, e.lanes))
            total = e.fold(term)
            if columns.start > 0:
                total = e.b.fadd(e.b.load(place, align=e.bits // 8, typ=e.vector), total)
            e.b.store(total, place, align=e.bits // 8)
        return totals

    def _reduce_lanes(self, name: str, start: ir.Value, n: ir.Value) -> None:
        """Write the gradient of `B` or `C` that the channels of the block ask for."""
        e, b, value = self.e, self.e.b, self.value
        padded = b.mul(self.n_chunks, e.index(CHUNK))
        row = b.add(b.mul(self.task, value["d_state"]), n)
        target = e.offset(e.as_pointer(value[f"grad_{name}"]), (row, padded), (start, 1))

        def turn(k: ir.Value, _: list[ir.Value]) -> Row:
            first = b.mul(k, e.index(e.lanes))
            vectors = []
            for i in range(e.lanes):
                at = b.add(first, e.index(i))
                place = e.offset(self.scratch[f"lanes_{name}"], (at, e.lanes))
                vectors.append(b.load(place, align=e.bits // 8, typ=e.vector))
            sums = e.horizontal_sums(vectors)
            b.store(sums, e.offset(target, (first, 1)), align=e.bits // 8)
            return []

        e.loop(e.index(CHUNK // e.lanes), turn)

    def _finish_chunk(self) -> None:
        """Turn what the states have added up into the gradients of `u`, `dt` and `z`."""
        e, s = self.e, self.scratch
        gated = e.b.icmp_signed("!=", self.value["z"], e.index(0))
        width = ROW // e.lanes

        def turn(t: ir.Value, sums: Row) -> Row:
            sum_D, sum_bias = sums[:width], sums[width:]
            gate, u, grad_y = (e.load(s[name], t) for name in ("gate", "u", "grad_y"))
            with e.b.if_then(gated):
                e.store(e.mul(e.load(s["raw"], t), e.load(s["y"], t)), s["z"], t)
            grad_dt = e.fma(u, gate, e.load(s["grad_dt"], t))
            grad_dt = e.mul(grad_dt, e.load(s["slope"], t))
            e.store(grad_dt, s["grad_dt"], t)
            grad_u = e.fma(e.load(s["dt"], t), gate, e.mul(e.load(s["D"]), grad_y))
            e.store(grad_u, s["u"], t)
            return e.fma(u, grad_y, sum_D) + e.add(sum_bias, grad_dt)

        ended = e.loop(self.steps, turn, e.zeros() * 2)
        e.add_to_double(ended[:width], s["sum_D"])
        e.add_to_double(ended[width:], s["sum_bias"])

    def _store_sums(self) -> None:
        """Write the gradients of parameters: one per image of the batch."""
        e, value, s = self.e, self.value, self.scratch
        for name in ("A", *self.constant_projections()):

            def convert(at: ir.Value, _: list[ir.Value], name: str = name) -> Row:
                e.store(e.load_double(s[f"sum_{name}"], at), s["h"], at)
                return []

            e.loop(value["d_state"], convert)
            self.store_rows(f"grad_{name}", s["h"], value["d_state"])
        for name in ("D", "bias"):
            e.store(e.load_double(s[f"sum_{name}"], e.index(0)), s["h"])
            self.store_row(f"grad_{name}", s["h"])


def _split(row: Row, width: int) -> list[Row]:
    return [row[i : i + width] for i in range(0, len(row), width)]
