"""Signs by bit planes, so that a scan adds up 256 rows at once (see kernels_bits).

A query's score of a row x of bits is the sum over coordinates of w_i where the bit is set and -w_i
where it is not, w_i odd numbers. With w_i = 2 u_i - 1 (or + 1) that is four times the sum of u_i
over the set bits, less (or plus) twice their number, less a constant: so only the planes of
coordinates with u_i != 0 are read, for a query of one bit half of them or fewer, and a plane is
added once a non-zero digit of u_i, its digits being -1, 0 and 1. Layout by bits: Li & Patel 2013,
"BitWeaving: fast scans for main memory data processing".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

GROUP_ROWS = 256
BLOCK_GROUPS = 16
BLOCK_ROWS = BLOCK_GROUPS * GROUP_ROWS
PLANE_WORDS = BLOCK_ROWS // 64
# A cache line is left out after so many planes: planes 4,096 bytes apart would push each other out
# of the first cache.
_SPACED = 8
_LINE_WORDS = 8


class Additions(NamedTuple):
    """What queries add up of bit planes (see kernels_signs.additions).

    planes: (total,) int64, first words of planes in their blocks, in rising order within a
    sum. sums: (q, s, 4) int64, side (0 what counts for a row, 1 against it), slice, and from where
    to where in planes. sides: (q,)
    where the number of a row's set bits is added. totals: (q,) sums of w; bounds: (q,) of |w|.
    depth: slices that hold every sum.
    """

    planes: I64
    sums: I64
    sides: I64
    totals: I64
    bounds: I64
    depth: int


def first_word(plane: int) -> int:
    """Where a plane begins in its block; that of the number of bits is where their counts begin."""
    return plane * PLANE_WORDS + plane // _SPACED * _LINE_WORDS


def slice_shape(rows: int, n_bytes: int) -> tuple[int, int]:
    """The shape of the slices of so many rows of n_bytes of signs."""
    bits = 8 * n_bytes
    return -(-rows // BLOCK_ROWS), first_word(bits) + bits.bit_length() * PLANE_WORDS


def _by_lines(shape: tuple[int, int]) -> U64:
    """Zeros that begin with a cache line, so that no four words lie in two."""
    words = np.zeros(shape[0] * shape[1] + _LINE_WORDS, "<u8")
    first = -(words.ctypes.data // words.itemsize) % _LINE_WORDS
    return words[first : first + shape[0] * shape[1]].reshape(shape)


def bit_slices(signs: U8) -> U64:
    """Packed signs (n, b) by blocks of 4,096 rows: (blocks, words) uint64.

    A block has the planes of all bits, 64 words each from first_word on, then, 64 words each, the
    bits of the number of set bits of each row, lowest first. Row r of a block is bit r % 64 of word
    r // 64 of a plane; rows beyond the last are zeros.
    """
    n, width = signs.shape
    bits = 8 * width
    counted = bits.bit_length()
    starts = [first_word(plane) for plane in range(bits)]
    starts += [first_word(bits) + i * PLANE_WORDS for i in range(counted)]
    out = _by_lines(slice_shape(n, width))
    words = np.zeros((bits + counted, PLANE_WORDS), "<u8")
    for block in range(len(out)):
        rows = signs[block * BLOCK_ROWS : (block + 1) * BLOCK_ROWS]
        unpacked = np.unpackbits(rows, axis=1)
        digits = unpacked.sum(axis=1, dtype=np.int64) >> np.arange(counted)[:, None] & 1
        by_bit = np.concatenate([unpacked.T, digits.astype(np.uint8)])
        packed = np.packbits(by_bit, axis=1, bitorder="little")
        words[:] = 0
        words.view(np.uint8)[:, : packed.shape[1]] = packed
        out[block][np.array(starts)[:, None] + np.arange(PLANE_WORDS)] = words
    return out.astype(np.uint64, copy=False)
