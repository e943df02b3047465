"""Compiled reading of stored vectors, which numpy does a number at a time.

float16 becomes float32; leading coordinates of scattered rows are copied, or multiplied as they
are read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from nestvec.compiled import compiled

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]

# Rows that are asked of memory before they are read, and a line of memory in float16.
_AHEAD = 8
_LINE = 32
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


def products(vectors: NDArray[np.float16], rows: I64, prefix: F32) -> tuple[F32, F32]:
    """Of some rows of vectors (n, d), all finite: their products with a query's prefix (w,), and
    with themselves, by their first w coordinates: (m,) each, float32.

    Each row is summed in the same order wherever it stands.
    """
    picked = np.ascontiguousarray(rows, np.int64)
    prefix = np.ascontiguousarray(prefix, np.float32)
    bits = vectors.view(np.uint16)
    dots, squares = (np.empty(len(picked), np.float32) for _ in range(2))
    moved = np.empty(len(prefix), np.uint32)
    _multiply(
        _frozen(bits),
        bits.ctypes.data,
        _frozen(picked),
        _frozen(prefix),
        moved,
        moved.view(np.float32),
        dots,
        squares,
    )
    return dots, squares


@intrinsic
def _fetch(typing: Any, address: Any) -> Any:
    """Ask memory for the line at an address, which need not be one's own."""
    signature = types.void(address)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        byte, hint = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, hint, hint, hint])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        place = builder.inttoptr(values[0], byte)
        # to be read, into all caches, data
        builder.call(fetch, [place, *(ir.Constant(hint, each) for each in (0, 3, 1))])
        return context.get_dummy_value()

    return signature, emit


# Sums in any order, so that eight are made at once: the same one for each row.
@compiled(boundscheck=False, fastmath={"reassoc", "nsz", "contract"})
def _multiply(
    bits: U16,
    address: int,
    rows: I64,
    prefix: F32,
    moved: U32,
    wide: F32,
    dots: F32,
    squares: F32,
) -> None:
    """moved and wide (w,) share their memory. address: of the first of bits."""
    width, stride = len(prefix), 2 * bits.shape[1]
    for i in range(len(rows)):
        if i + _AHEAD < len(rows):
            coming = address + rows[i + _AHEAD] * stride
            for j in range(0, width, _LINE):
                _fetch(coming + 2 * j)
        row = bits[rows[i]]
        for j in range(width):
            number = np.uint32(row[j])
            sign = (number & np.uint32(0x8000)) << np.uint32(16)
            moved[j] = sign | ((number & np.uint32(0x7FFF)) << np.uint32(13))
        dot = square = np.float32(0.0)
        for j in range(width):
            value = wide[j] * _SHIFTED
            dot += value * prefix[j]
            square += value * value
        dots[i] = dot
        squares[i] = square


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
