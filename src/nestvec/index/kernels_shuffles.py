"""Look-ups in tables of bytes held in registers: 32 rows at once, by the CPU's shuffles.

A shuffle looks up 32 bytes at once in a table of 16; sixteen of them, and a choice among their
answers by the upper four bits, make a table of 256 (after André, Kermarrec & Le Scouarnec 2015,
"Cache locality is not enough: high-performance nearest neighbor search with product quantization
fast scan", who look up in groups of 16).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

# Other CPUs have shuffles, too (NEON's tbl); here only those of AVX2 are written.
SHUFFLES = "+avx2" in cpu_target.target_context.codegen().magic_tuple()[2].split(",")
SHUFFLED_ROWS = 32
# Limits are looked up by the upper four bits of a byte.
LIMITS = 16

_BYTE, _SHORT = ir.IntType(8), ir.IntType(16)
_PLACE, _WORD = ir.IntType(32), ir.IntType(64)
_HALF = ir.VectorType(_BYTE, 16)
_BYTES = ir.VectorType(_BYTE, SHUFFLED_ROWS)
_SHORTS = ir.VectorType(_SHORT, SHUFFLED_ROWS // 2)
_TWICE = ir.Constant(ir.VectorType(_PLACE, SHUFFLED_ROWS), [*range(16), *range(16)])
_OF_TWO = ir.FunctionType(_BYTES, [_BYTES, _BYTES])


def _all(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _vector(builder: Any, address: Any, kind: Any) -> Any:
    found = builder.load(builder.bitcast(address, kind.as_pointer()))
    found.align = 1
    return found


def _sixteen(builder: Any, table: Any, first: int, codes: Any) -> Any:
    """What codes below 16 find from the first entry of a table on; 0 for codes from 128 on."""
    shuffle = cgutils.get_or_insert_function(builder.module, _OF_TWO, "llvm.x86.avx2.pshuf.b")
    half = _vector(builder, builder.gep(table, [ir.Constant(_WORD, first)]), _HALF)
    return builder.call(shuffle, [builder.shuffle_vector(half, half, _TWICE), codes])


def _looked_up(builder: Any, table: Any, codes: Any) -> Any:
    """What 32 codes find in a table of 256 bytes at an address."""
    if not SHUFFLES:
        return _looked_up_each(builder, table, codes)
    # of each pair of tables one answers 0, by bit 7
    lower = builder.and_(codes, _all(_BYTES, 128 + 15))
    other = builder.xor(lower, _all(_BYTES, 128))
    # the other bits to choose by are moved to the top of their byte
    words = builder.bitcast(codes, _SHORTS)
    moved = [builder.shl(words, _all(_SHORTS, 3 - bit)) for bit in range(3)]

    def part(first: int, bits: int) -> Any:
        """Of 2^bits neighbouring tables of 16 and those 128 entries on."""
        if bits == 0:
            own = _sixteen(builder, table, first, lower)
            return builder.or_(own, _sixteen(builder, table, 128 + first, other))
        # one side whole before the other: few answers wait in registers
        below, above = part(first, bits - 1), part(first + (8 << bits), bits - 1)
        by = builder.bitcast(moved[bits - 1], _BYTES)
        return builder.select(builder.icmp_signed("<", by, _all(_BYTES, 0)), above, below)

    return part(0, 3)


def _looked_up_each(builder: Any, table: Any, codes: Any) -> Any:
    """As _looked_up, byte by byte: right on every CPU, and quick on none."""
    found = _all(_BYTES, 0)
    for lane in range(SHUFFLED_ROWS):
        at = ir.Constant(_PLACE, lane)
        code = builder.zext(builder.extract_element(codes, at), _WORD)
        found = builder.insert_element(found, builder.load(builder.gep(table, [code])), at)
    return found


@intrinsic
def below_limits(
    typing: Any, tables: Any, width: Any, limits: Any, planes: Any, stride: Any, packed: Any
) -> Any:
    """Which of 32 rows look up less than their limit, a bit each.

    tables: address of `width` tables of 256 bytes. planes: address of the rows' first codes, the
    next `stride` bytes on. Look-ups are added up to 255 at most. limits: address of 16 bytes, which
    are looked up by the upper halves of the bytes at the address packed.
    """
    signature = types.uint32(tables, width, limits, planes, stride, packed)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        tables, width, limits, planes, stride, packed = values
        pointer = _BYTE.as_pointer()
        tables, limits, planes, packed = (
            builder.inttoptr(each, pointer) for each in (tables, limits, planes, packed)
        )
        add = cgutils.get_or_insert_function(builder.module, _OF_TWO, "llvm.uadd.sat.v32i8")
        function, before = builder.function, builder.block
        head, body, done = (function.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        j, total = builder.phi(_WORD), builder.phi(_BYTES)
        builder.cbranch(builder.icmp_signed("<", j, width), body, done)
        builder.position_at_end(body)
        table = builder.gep(tables, [builder.mul(j, ir.Constant(_WORD, 256))])
        codes = _vector(builder, builder.gep(planes, [builder.mul(j, stride)]), _BYTES)
        more = builder.call(add, [total, _looked_up(builder, table, codes)])
        after = builder.add(j, ir.Constant(_WORD, 1))
        builder.branch(head)
        j.add_incoming(ir.Constant(_WORD, 0), before)
        j.add_incoming(after, body)
        total.add_incoming(_all(_BYTES, 0), before)
        total.add_incoming(more, body)
        builder.position_at_end(done)
        halves = builder.lshr(_vector(builder, packed, _BYTES), _all(_BYTES, 4))
        if SHUFFLES:
            least = _sixteen(builder, limits, 0, halves)
        else:
            least = _looked_up_each(builder, limits, halves)
        below = builder.icmp_unsigned("<", total, least)
        return builder.bitcast(below, _PLACE)

    return signature, emit
