"""Numbers of 256 rows at once, whose bits stand in words: vertical counters.

Slice s of 256 numbers is four words of 64 bits, bit r of them the bit 2^s of row r's number. A
plane of bits is added to all of them by logical operations alone: five for a full adder (Harley and
Seal's, as in Mula, Kurz & Lemire 2018, "Faster population counts using AVX2 instructions"). Slices
lie one after another in memory, four words each.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nestvec.index.bit_slices import GROUP_ROWS

WORDS = GROUP_ROWS // 64
# add_planes holds so many slices in registers, and carries out of them once in 2^slices planes.
HELD = 5
_TOGETHER = 1 << HELD

_INTEGER = ir.IntType(64)
_VECTOR = ir.VectorType(_INTEGER, WORDS)
_HINT = ir.IntType(32)


def _constant(value: int) -> Any:
    return ir.Constant(_INTEGER, value)


def _load(builder: Any, address: Any, at: Any) -> Any:
    found = builder.load(builder.gep(address, [at]))
    found.align = 8
    return found


def _store(builder: Any, value: Any, address: Any, at: Any) -> None:
    builder.store(value, builder.gep(address, [at])).align = 8


def _pointer(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _added(builder: Any, one: Any, other: Any, carry: Any) -> tuple[Any, Any]:
    """Full adder: the sum's slice, and the carry into the next."""
    either = builder.xor(one, other)
    both = builder.and_(one, other)
    return builder.xor(either, carry), builder.or_(both, builder.and_(either, carry))


def _carried(builder: Any, slice_: Any, carry: Any) -> tuple[Any, Any]:
    """Half adder."""
    return builder.xor(slice_, carry), builder.and_(slice_, carry)


def _tree(builder: Any, held: list[Any], planes: list[Any]) -> tuple[list[Any], Any]:
    """Add 2^k planes to the k slices held: the slices then, and the carry out of the last."""
    if len(planes) == 1:
        return held, planes[0]
    half = len(planes) // 2
    held, first = _tree(builder, held, planes[:half])
    held, second = _tree(builder, held, planes[half:])
    level = half.bit_length() - 1
    total, carry = _added(builder, held[level], first, second)
    return [*held[:level], total, *held[level + 1 :]], carry


def _ripple(builder: Any, slices: Any, carry: Any, depth: Any) -> None:
    """Add a carry to the slices from the first that is not held up to depth."""
    function, before = builder.function, builder.block
    head, body, done = (function.append_basic_block() for _ in range(3))
    builder.branch(head)
    builder.position_at_end(head)
    at, left = builder.phi(_INTEGER), builder.phi(_VECTOR)
    builder.cbranch(builder.icmp_signed("<", at, depth), body, done)
    builder.position_at_end(body)
    total, next_carry = _carried(builder, _load(builder, slices, at), left)
    _store(builder, total, slices, at)
    after = builder.add(at, _constant(1))
    builder.branch(head)
    at.add_incoming(_constant(HELD), before)
    at.add_incoming(after, body)
    left.add_incoming(carry, before)
    left.add_incoming(next_carry, body)
    builder.position_at_end(done)


@intrinsic
def add_planes(
    typing: Any,
    words: Any,
    ahead: Any,
    planes: Any,
    first: Any,
    stop: Any,
    slices: Any,
    depth: Any,
) -> Any:
    """Add some planes of bits to the numbers of 256 rows, modulo 2^depth.

    words: address of these rows' words of plane 0. ahead: words from there to those that are wanted
    next, which are fetched meanwhile: each line by both groups that lie in it, since a fetch is
    dropped where too many are under way. planes: address of int64, how many words a plane is from
    plane 0, of which those from first to stop are added. slices: address of depth >= 5 slices.
    """
    signature = types.void(words, ahead, planes, first, stop, slices, depth)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        words, ahead, planes, first, stop, slices, depth = values
        function = builder.function
        words = _pointer(builder, words, _INTEGER)
        places = _pointer(builder, planes, _INTEGER)
        slices = _pointer(builder, slices, _VECTOR)
        byte = ir.IntType(8).as_pointer()
        fetch = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, _HINT, _HINT, _HINT])
        )

        def plane(k: Any) -> Any:
            here = builder.gep(words, [builder.load(builder.gep(places, [k]))])
            coming = builder.bitcast(builder.gep(here, [ahead]), byte)
            # to be read, not into the first cache, data
            builder.call(fetch, [coming, *(ir.Constant(_HINT, hint) for hint in (0, 2, 1))])
            return _load(builder, builder.bitcast(here, _VECTOR.as_pointer()), _constant(0))

        def some(k: Any, count: int) -> list[Any]:
            return [plane(builder.add(k, _constant(i))) for i in range(count)]

        before = builder.block
        begun = [_load(builder, slices, _constant(s)) for s in range(HELD)]
        head, body, rest = (function.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        k = builder.phi(_INTEGER)
        held: list[Any] = [builder.phi(_VECTOR) for _ in range(HELD)]
        after = builder.add(k, _constant(_TOGETHER))
        builder.cbranch(builder.icmp_signed("<=", after, stop), body, rest)
        builder.position_at_end(body)
        found, carry = _tree(builder, list(held), some(k, _TOGETHER))
        _ripple(builder, slices, carry, depth)
        builder.branch(head)
        k.add_incoming(first, before)
        k.add_incoming(after, builder.block)
        for phi, value, turned in zip(held, begun, found, strict=True):
            phi.add_incoming(value, before)
            phi.add_incoming(turned, builder.block)

        # Fewer are left, by half as many and so on to one. At most one carry leaves the slices
        # held, since what they say and what is left are less than 2^slices each.
        builder.position_at_end(rest)
        carry = ir.Constant(_VECTOR, None)
        for level in reversed(range(HELD)):
            count = 1 << level
            left = builder.sub(stop, k)
            entry = builder.block
            some_of, joined = function.append_basic_block(), function.append_basic_block()
            wanted = builder.icmp_signed(">=", left, _constant(count))
            builder.cbranch(wanted, some_of, joined)
            builder.position_at_end(some_of)
            added, out = _tree(builder, list(held), some(k, count))
            for s in range(level, HELD):
                added[s], out = _carried(builder, added[s], out)
            out = builder.or_(carry, out)
            moved = builder.add(k, _constant(count))
            leaving = builder.block
            builder.branch(joined)
            builder.position_at_end(joined)

            def either(was: Any, now: Any, before: Any = entry, then: Any = leaving) -> Any:
                phi = builder.phi(was.type)
                phi.add_incoming(was, before)
                phi.add_incoming(now, then)
                return phi

            k = either(k, moved)
            carry = either(carry, out)
            held = [either(was, now) for was, now in zip(held, added, strict=True)]
        for s, value in enumerate(held):
            _store(builder, value, slices, _constant(s))
        _ripple(builder, slices, carry, depth)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def copy_slices(typing: Any, words: Any, stride: Any, slices: Any, depth: Any) -> Any:
    """Take over depth slices.

    words: address of the first; stride: words from one to the next. slices: address to copy to.
    """
    signature = types.void(words, stride, slices, depth)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        words, stride, slices, depth = values
        words, slices = _pointer(builder, words, _INTEGER), _pointer(builder, slices, _VECTOR)
        with cgutils.for_range(builder, depth) as loop:
            here = builder.gep(words, [builder.mul(loop.index, stride)])
            here = builder.bitcast(here, _VECTOR.as_pointer())
            _store(builder, _load(builder, here, _constant(0)), slices, loop.index)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def not_below(typing: Any, one: Any, other: Any, depth: Any, out: Any) -> Any:
    """Which of 256 numbers are at least another's, into the four words at address out.

    one, other: addresses of depth slices each, in two's complement; they differ by less than
    2^(depth - 1).
    """
    signature = types.void(one, other, depth, out)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        one, other, depth, out = values
        one, other, out = (_pointer(builder, each, _VECTOR) for each in (one, other, out))
        function, before = builder.function, builder.block
        head, body, done = (function.append_basic_block() for _ in range(3))
        last = builder.sub(depth, _constant(1))
        builder.branch(head)
        builder.position_at_end(head)
        s, borrow = builder.phi(_INTEGER), builder.phi(_VECTOR)
        mine, theirs = _load(builder, one, s), _load(builder, other, s)
        differ = builder.xor(mine, theirs)
        builder.cbranch(builder.icmp_signed("<", s, last), body, done)
        builder.position_at_end(body)
        same = builder.not_(differ)
        lent = builder.or_(builder.and_(differ, theirs), builder.and_(same, borrow))
        after = builder.add(s, _constant(1))
        builder.branch(head)
        s.add_incoming(_constant(0), before)
        s.add_incoming(after, body)
        borrow.add_incoming(ir.Constant(_VECTOR, None), before)
        borrow.add_incoming(lent, body)
        builder.position_at_end(done)
        negative = builder.xor(differ, borrow)
        _store(builder, builder.not_(negative), out, _constant(0))
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def lowest_bit(typing: Any, word: Any) -> Any:
    """The place of the lowest set bit of a word that has one."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.cttz(values[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(word), emit
