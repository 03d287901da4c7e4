"""The parts that all kernels share: arguments, scratch memory, and the loop over chunks.

A task is one image of the batch and one block of `ROW` channels. Tasks share nothing, so results do
not depend on who computes them.
"""

from collections.abc import Callable
from typing import NamedTuple

from llvmlite import ir

from umamba.ops.cpu.emitter import ROW, Emitter, Row

__all__ = ["CHUNK", "COMMON_ARGUMENTS", "Movers", "Task", "tensor_arguments"]

CHUNK = 32

COMMON_ARGUMENTS = (
    "n_tasks",
    "n_blocks",
    "blocks_per_part",  # a part: channels that no block may cross
    "part_channels",
    "d_inner",
    "length",
)

_I64 = ir.IntType(64)


def tensor_arguments(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of address and strides of `(batch, channel, time)` tensors."""
    return tuple(f"{name}{what}" for name in names for what in ("", "_batch", "_channel", "_time"))


class Movers(NamedTuple):
    """The functions that move tiles from and to memory."""

    loader: ir.Function
    storer: ir.Function


class Task:
    """The code of one task, which subclasses fill with work and arguments.

    Args:
        e: Emits into the kernel's function, whose arguments are an array of 64-bit integers, a
            counter from which tasks are drawn, and scratch memory.
        movers: The functions that move tiles.
    """

    arguments: tuple[str, ...] = COMMON_ARGUMENTS

    def __init__(self, e: Emitter, movers: Movers) -> None:
        self.e = e
        self.loader, self.storer = movers
        array, self.counter, scratch = e.function.args
        self.value = {name: e.load_index(array, at) for at, name in enumerate(self.arguments)}
        self.scratch: dict[str, ir.Value] = {}
        self.begin = scratch
        for name, size in self.sizes().items():
            self.scratch[name] = scratch
            scratch = e.offset(scratch, (size, 1))
        self.end = scratch

    def sizes(self) -> dict[str, ir.Value]:
        """Return how many elements of scratch memory every buffer has."""
        raise NotImplementedError

    def load_parameters(self) -> None:
        """Emit the loads into scratch memory that happen once per task."""
        raise NotImplementedError

    def work(self) -> None:
        """Emit the work of one task."""
        raise NotImplementedError

    def emit_all(self) -> None:
        """Draw tasks from the counter until there are none."""
        e, b, value = self.e, self.e.b, self.value
        draw = e.function.append_basic_block("draw")
        begin = e.function.append_basic_block("begin")
        done = e.function.append_basic_block("done")
        b.branch(draw)
        b.position_at_end(draw)
        task = b.atomic_rmw("add", self.counter, e.index(1), "monotonic")
        b.cbranch(b.icmp_signed("<", task, value["n_tasks"]), begin, done)
        b.position_at_end(begin)
        self.task = task
        self.image = b.sdiv(task, value["n_blocks"])
        block = b.srem(task, value["n_blocks"])
        part = b.sdiv(block, value["blocks_per_part"])
        within = b.mul(b.srem(block, value["blocks_per_part"]), e.index(ROW))
        self.first_channel = b.add(b.mul(part, value["part_channels"]), within)
        self.channels = e.minimum(e.index(ROW), b.sub(value["part_channels"], within))
        self._clear()
        self.load_parameters()
        self.work()
        b.branch(draw)
        b.position_at_end(done)
        b.ret_void()

    def _clear(self) -> None:
        """Fill the scratch memory with zeros: lanes beyond the last channel stay so."""
        e, b = self.e, self.e.b
        size = b.sub(b.ptrtoint(self.end, _I64), b.ptrtoint(self.begin, _I64))

        def turn(row: ir.Value, _: list[ir.Value]) -> Row:
            e.store(e.zeros(), self.begin, row)
            return []

        e.loop(b.udiv(size, e.index(ROW * e.bits // 8)), turn)

    def of_block(self, name: str) -> ir.Value:
        """Return the address of the block's first channel of a tensor or state."""
        e, value = self.e, self.value
        return e.offset(
            e.as_pointer(value[name]),
            (self.image, value[f"{name}_batch"]),
            (self.first_channel, value[f"{name}_channel"]),
        )

    def move(self, mover: ir.Function, name: str, tile: str, start: ir.Value) -> None:
        """Move the chunk that starts at `start` between a tensor and a tile."""
        e, value = self.e, self.value
        by_time = value[f"{name}_time"]
        place = e.offset(self.of_block(name), (start, by_time))
        strides = [value[f"{name}_channel"], by_time]
        tile_pointer = self.scratch[tile]
        e.b.call(mover, [place, *strides, self.steps, self.channels, tile_pointer])

    def load_row(self, name: str) -> None:
        """Bring one number per channel into scratch memory, where it is given."""
        e, b, value = self.e, self.e.b, self.value
        one = e.index(1)
        with b.if_then(b.icmp_signed("!=", value[name], e.index(0))):
            place = e.offset(e.as_pointer(value[name]), (self.first_channel, 1))
            b.call(self.loader, [place, one, one, one, self.channels, self.scratch[name]])

    def store_row(self, name: str, row: ir.Value) -> None:
        """Write a row to a `(batch, d_inner)` tensor."""
        e, b, value = self.e, self.e.b, self.value
        one = e.index(1)
        channel = b.add(b.mul(self.image, value["d_inner"]), self.first_channel)
        place = e.offset(e.as_pointer(value[name]), (channel, 1))
        b.call(self.storer, [place, one, one, one, self.channels, row])

    def store_rows(self, name: str, rows: ir.Value, count: ir.Value) -> None:
        """Write `count` rows to a `(batch, d_inner, count)` tensor."""
        e, b, value = self.e, self.e.b, self.value
        channel = b.add(b.mul(self.image, value["d_inner"]), self.first_channel)
        place = e.offset(e.as_pointer(value[name]), (channel, count))
        b.call(self.storer, [place, count, e.index(1), count, self.channels, rows])

    def chunks(self, body: Callable[[ir.Value, ir.Value], None], *, backwards: bool) -> None:
        """Emit a loop over chunks; `body` takes the chunk and its first step."""
        e, b, length = self.e, self.e.b, self.value["length"]
        count = b.sdiv(b.add(length, e.index(CHUNK - 1)), e.index(CHUNK))
        self.n_chunks = count

        def turn(chunk: ir.Value, _: list[ir.Value]) -> Row:
            start = b.mul(chunk, e.index(CHUNK))
            self.steps = e.minimum(e.index(CHUNK), b.sub(length, start))
            body(chunk, start)
            return []

        e.loop(count, turn, backwards=backwards)
