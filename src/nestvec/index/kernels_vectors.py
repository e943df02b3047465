"""Compiled reading of stored vectors, which numpy does a number at a time.

float16 becomes float32; leading coordinates of scattered rows are copied.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.compiled import compiled

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]

# A float16's exponent counts from 15, a float32's from 127.
_SHIFTED = np.float32(2.0**112)


def widened(vectors: NDArray[np.float16], rows: slice | I64, width: int) -> F32:
    """The first `width` coordinates of some rows of vectors (n, d), all finite: (m, width) float32.

    Exact: the bits of a float16 stand in those of a float32, and a power of two moves its exponent.
    """
    bits = vectors.view(np.uint16)
    if isinstance(rows, slice):
        low, high, step = rows.indices(len(vectors))
        picked = np.arange(low, high, step)
    else:
        picked = np.ascontiguousarray(rows, np.int64)
    found = np.empty((len(picked), width), np.uint32)
    _widen(_frozen(bits), _frozen(picked), found, found.view(np.float32))
    return found.view(np.float32)


def gathered(vectors: F32, rows: I64, width: int) -> F32:
    """The first `width` coordinates of some rows of vectors (n, d): (m, width)."""
    found = np.empty((len(rows), width), np.float32)
    _gather(_frozen(vectors), _frozen(np.ascontiguousarray(rows, np.int64)), found)
    return found


@compiled(boundscheck=False)
def _gather(vectors: F32, rows: I64, out: F32) -> None:
    for i in range(len(rows)):
        row = rows[i]
        for j in range(out.shape[1]):
            out[i, j] = vectors[row, j]


@compiled(boundscheck=False)
def _widen(bits: U16, rows: I64, moved: U32, out: F32) -> None:
    """moved and out (m, w) share their memory."""
    for i in range(len(rows)):
        row = rows[i]
        for j in range(moved.shape[1]):
            number = np.uint32(bits[row, j])
            sign = (number & np.uint32(0x8000)) << np.uint32(16)
            moved[i, j] = sign | ((number & np.uint32(0x7FFF)) << np.uint32(13))
        for j in range(moved.shape[1]):
            out[i, j] *= _SHIFTED


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view
