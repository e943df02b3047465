"""Look-ups in tables of a query's products, added up: what scans of codebook levels are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.compiled import compiled
from nestvec.index.kernels import BLOCK_ROWS

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]

ENTRIES = 256


# Inlined, so that what scans whole blocks pays nothing for where others begin.
@compiled(boundscheck=False, inline="always")
def eight_more(total: Any, table: F32 | U64, plane: U8, i: int) -> Any:
    """A total and the look-ups of row i in the first eight planes, in their order."""
    total += table[plane[i]]
    total += table[256 + plane[1024 + i]]
    total += table[512 + plane[2048 + i]]
    total += table[768 + plane[3072 + i]]
    total += table[1024 + plane[4096 + i]]
    total += table[1280 + plane[5120 + i]]
    total += table[1536 + plane[6144 + i]]
    total += table[1792 + plane[7168 + i]]
    return total


@compiled(boundscheck=False, inline="always")
def four_more(total: Any, table: F32 | U64, plane: U8, i: int) -> Any:
    """As eight_more, of four planes."""
    total += table[plane[i]]
    total += table[256 + plane[1024 + i]]
    total += table[512 + plane[2048 + i]]
    total += table[768 + plane[3072 + i]]
    return total


@compiled(boundscheck=False, inline="always")
def look_up(sums: F32 | U64, plane: U8, low: int, n: int, table: F32 | U64, width: int) -> None:
    """Sums of n rows of a block from row low on, by the first `width` planes in their order.

    plane: (b * 1024,) and table: (b * 256,): row i looks up table[plane[low + i]], then
    table[256 + plane[1024 + low + i]] and so on: with strides known beforehand a look-up takes two
    instructions. Where the table is of words of four times 16 bits they are four queries' sums at
    once, none of which exceeds its bits.
    """
    zero = table[0] - table[0]
    done = 0
    while done < width:
        here, there = table[done * ENTRIES :], plane[done * BLOCK_ROWS + low :]
        if width - done >= 8:
            for i in range(n):
                sums[i] = eight_more(sums[i] if done else zero, here, there, i)
            done += 8
        elif width - done >= 4:
            for i in range(n):
                sums[i] = four_more(sums[i] if done else zero, here, there, i)
            done += 4
        else:
            for i in range(n):
                sums[i] = (sums[i] if done else zero) + here[there[i]]
            done += 1


@compiled(boundscheck=False)
def last(width: int) -> int:
    """How many planes are looked up as scores are compared: the last that look_up adds at once."""
    if width % 8 == 0:
        return 8
    return 4 if width % 4 == 0 else 1
