"""Move tiles between scratch memory and tensors of any strides."""

from llvmlite import ir

from umamba.ops.cpu.emitter import ROW, Emitter, Row
from umamba.ops.cpu.task import Movers

__all__ = ["declare_movers"]

_I64 = ir.IntType(64)
_POINTER = ir.PointerType()
_VOID = ir.VoidType()


def declare_movers(module: ir.Module, bits: int, lanes: int) -> Movers:
    """Add the functions `load_tile` and `store_tile` to a module.

    Both take `(memory, channel stride, time stride, steps, channels, tile)`.

    Args:
        module: The module that they are added to.
        bits: 32 or 64: the type of the elements.
        lanes: Lanes of a vector register.
    """
    kind = ir.FunctionType(_VOID, [_POINTER, _I64, _I64, _I64, _I64, _POINTER])
    functions = []
    for name in ("load_tile", "store_tile"):
        function = ir.Function(module, kind, name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        _emit_mover(Emitter(module, function, bits, lanes), storing=name == "store_tile")
        functions.append(function)
    return Movers(*functions)


def _emit_mover(e: Emitter, *, storing: bool) -> None:
    memory, by_channel, by_time, steps, channels, tile = e.function.args
    b = e.b
    full = b.icmp_signed("==", channels, e.index(ROW))
    one = e.index(1)
    rows_fit = b.and_(full, b.icmp_signed("==", by_channel, one))
    whole = b.icmp_signed("==", b.and_(steps, e.index(e.lanes - 1)), e.index(0))
    columns_fit = b.and_(b.and_(full, b.icmp_signed("==", by_time, one)), whole)

    def by_rows(t: ir.Value, _: list[ir.Value]) -> Row:
        place = e.offset(memory, (t, by_time))
        if storing:
            e.store(e.load(tile, t), place)
        else:
            e.store(e.load(place), tile, t)
        return []

    def by_squares(square: ir.Value, _: list[ir.Value]) -> Row:
        def across(at: ir.Value, _: list[ir.Value]) -> Row:
            _move_square(e, memory, by_channel, tile, square, at, storing=storing)
            return []

        return e.loop(e.index(ROW // e.lanes), across)

    def by_elements(t: ir.Value, _: list[ir.Value]) -> Row:
        def one_element(c: ir.Value, _: list[ir.Value]) -> Row:
            outside = e.offset(memory, (t, by_time), (c, by_channel))
            inside = e.offset(tile, (t, ROW), (c, 1))
            source, target = (inside, outside) if storing else (outside, inside)
            b.store(b.load(source, typ=e.scalar), target)
            return []

        return e.loop(channels, one_element)

    with b.if_else(rows_fit) as (then, otherwise):
        with then:
            e.loop(steps, by_rows)
        with otherwise, b.if_else(columns_fit) as (then_columns, otherwise_elements):
            with then_columns:
                e.loop(b.udiv(steps, e.index(e.lanes)), by_squares)
            with otherwise_elements:
                e.loop(steps, by_elements)
    b.ret_void()


def _move_square(
    e: Emitter,
    memory: ir.Value,
    by_channel: ir.Value,
    tile: ir.Value,
    square: ir.Value,
    across: ir.Value,
    *,
    storing: bool,
) -> None:
    """Transpose `lanes` steps of `lanes` channels between memory and tile."""
    b = e.b
    time = b.mul(square, e.index(e.lanes))
    channel = b.mul(across, e.index(e.lanes))
    outside = [
        e.offset(memory, (b.add(channel, e.index(i)), by_channel), (time, 1))
        for i in range(e.lanes)
    ]
    inside = [e.offset(tile, (b.add(time, e.index(i)), ROW), (channel, 1)) for i in range(e.lanes)]
    source, target = (inside, outside) if storing else (outside, inside)
    vectors = [b.load(place, align=e.bits // 8, typ=e.vector) for place in source]
    for vector, place in zip(e.transpose(vectors), target, strict=True):
        b.store(vector, place, align=e.bits // 8)
