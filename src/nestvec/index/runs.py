"""Runs of neighbouring rows, as scans want them: what a reader gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]


@dataclass(frozen=True)
class CodeRun:
    """Some rows as a scan wants them.

    rows: (n,) positions. codes: (n, cut) uint8, a byte-plane major array seen row by row. norms:
    (n,) float32. lengths: (n,) float32, or None for cosine. seqs: (n,) int64.
    """

    rows: I64
    codes: U8
    norms: F32
    lengths: F32 | None
    seqs: I64


@dataclass(frozen=True)
class PlaneRun:
    """The rows of a fragment as compiled scans want them.

    start: position of the first; count: how many. planes: (blocks, >= cut, 1024) uint8. packed:
    (count,) uint8 norm bytes of a declared cut, or None; then exact has |x_n| (count,) float32.
    lengths: (count,) float32, or None for cosine. seqs: (count,) int64. alive: (count,), which of
    them may be found, or None for all.
    """

    start: int
    count: int
    planes: U8
    packed: U8 | None
    exact: F32 | None
    lengths: F32 | None
    seqs: I64
    alive: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class SignRun:
    """The signs of a fragment as compiled scans want them.

    start: position of the first row. bits: of a row. slices: (blocks, words) uint64 (see
    bit_slices). seqs: (n,) int64. alive: (n,), which of them may be found, or None for all.
    """

    start: int
    bits: int
    slices: U64
    seqs: I64
    alive: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class PrefixRun:
    """The first coordinates of a fragment's vectors as compiled scans want them.

    start: position of the first row; count: how many. planes: (blocks, w, 1024) float32, prefixes
    of length 1. lengths: (count,) float32 of whole vectors, or None for cosine. seqs: (count,)
    int64. alive: (count,), which of them may be found, or None for all.
    """

    start: int
    count: int
    planes: F32
    lengths: F32 | None
    seqs: I64
    alive: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class BoundRun:
    """What bounds the stored vectors of a fragment (see bounds).

    start: position of the first row. axes: (d, d) that rows were turned to. head: (n, w + 4) uint8,
    the first block; tail: (n, rest) uint8, the others side by side. lengths: (n,) or None. alive:
    (n,), which rows may be found, or None for all.
    """

    start: int
    axes: F32
    head: U8
    tail: U8
    lengths: F32 | None
    alive: NDArray[np.bool_] | None


@dataclass(frozen=True)
class VectorRun:
    """Some rows' vector prefixes: (n, width) float32; the rest as in CodeRun.

    norms: the lengths of the prefixes, (n,) float32, or None where they are not known.
    """

    rows: I64
    vectors: F32
    lengths: F32 | None
    seqs: I64
    norms: F32 | None = None
