"""Compiled reading of stored vectors: float16 to float32, and products of few rows with a query."""

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


def products(vectors: F32, query: F32) -> tuple[F32, F32]:
    """Products (m,) of rows (m, w) with a query (w,), and with themselves.

    Each row is summed in the same order wherever it stands and whatever it is stored as.
    """
    dots, squares = np.empty((2, len(vectors)), np.float32)
    rows, query = np.ascontiguousarray(vectors, np.float32), np.ascontiguousarray(query)
    _multiply(_frozen(rows), _frozen(query), dots, squares)
    return dots, squares


def stored_products(vectors: NDArray[np.float16], rows: I64, query: F32) -> tuple[F32, F32]:
    """products of some rows of vectors (n, d), all finite, by their first coordinates.

    Memory: one row.
    """
    dots, squares = np.empty((2, len(rows)), np.float32)
    moved = np.empty((1, len(query)), np.uint32)
    picked, query = np.ascontiguousarray(rows, np.int64), np.ascontiguousarray(query)
    bits = _frozen(vectors.view(np.uint16))
    _multiply_stored(
        bits, _frozen(picked), _frozen(query), moved, moved.view(np.float32), dots, squares
    )
    return dots, squares


# Sums of eight at once are what the machine adds at once.
@compiled(boundscheck=False)
def _multiply(rows: F32, query: F32, dots: F32, squares: F32) -> None:
    for i in range(rows.shape[0]):
        dots[i] = _product(rows[i], query)
        squares[i] = _product(rows[i], rows[i])


@compiled(boundscheck=False)
def _product(one: F32, other: F32) -> Any:
    n = len(one)
    a = b = c = d = e = f = g = h = np.float32(0.0)
    for j in range(0, n - 7, 8):
        a += one[j] * other[j]
        b += one[j + 1] * other[j + 1]
        c += one[j + 2] * other[j + 2]
        d += one[j + 3] * other[j + 3]
        e += one[j + 4] * other[j + 4]
        f += one[j + 5] * other[j + 5]
        g += one[j + 6] * other[j + 6]
        h += one[j + 7] * other[j + 7]
    for j in range(n - n % 8, n):
        a += one[j] * other[j]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@compiled(boundscheck=False)
def _multiply_stored(
    bits: U16, rows: I64, query: F32, moved: U32, row: F32, dots: F32, squares: F32
) -> None:
    """moved and row (1, w) share their memory."""
    for i in range(len(rows)):
        _widen(bits, rows[i : i + 1], moved, row)
        dots[i] = _product(row[0], query)
        squares[i] = _product(row[0], row[0])


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
