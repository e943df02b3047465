"""Compiled scan of vectors' first coordinates, held by coordinate for blocks of rows.

A row's products are summed alike wherever it stands, though not as scan.vector_scores sums them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from nestvec.compiled import compiled
from nestvec.index.kernels import BLOCK_ROWS, Held, enter, may_enter
from nestvec.index.kernels_tables import COSINE, DOT

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


class PrefixRows(NamedTuple):
    """Rows to scan.

    planes: (blocks, w, 1024) float32, of prefixes of length 1. n_rows: rows in them; start:
    position of the first. lengths: (n_rows,) float32 of the whole vectors, empty for cosine.
    seqs: (n_rows,) int64. alive: (n_rows,), which rows may be found, empty for all.
    """

    planes: F32
    n_rows: int
    start: int
    lengths: F32
    seqs: I64
    alive: NDArray[np.bool_]


class PrefixAsked(NamedTuple):
    """Queries to score by: prefixes (q, w) of length 1, whole lengths (q,), and the metric."""

    prefixes: F32
    lengths: F32
    metric: int


# Whole blocks, whatever stands in the last one: a loop of odd length rounds its rest in other ways.
@compiled(boundscheck=False, fastmath={"contract"})
def _cosines(out: F32, plane: F32, query: F32) -> None:
    """Products of a query (w,) with the 1,024 rows of a block, plane (w * 1024,), into out."""
    width = len(query)
    fours = width // 4 * 4
    for i in range(BLOCK_ROWS):
        out[i] = np.float32(0.0)
    # four coordinates at a time: a row's sum is then read and written a quarter as often
    for j in range(0, fours, 4):
        a, b, c, d = query[j], query[j + 1], query[j + 2], query[j + 3]
        first = plane[j * BLOCK_ROWS : (j + 1) * BLOCK_ROWS]
        second = plane[(j + 1) * BLOCK_ROWS : (j + 2) * BLOCK_ROWS]
        third = plane[(j + 2) * BLOCK_ROWS : (j + 3) * BLOCK_ROWS]
        fourth = plane[(j + 3) * BLOCK_ROWS : (j + 4) * BLOCK_ROWS]
        for i in range(BLOCK_ROWS):
            out[i] += (a * first[i] + b * second[i]) + (c * third[i] + d * fourth[i])
    for j in range(fours, width):
        a = query[j]
        first = plane[j * BLOCK_ROWS : (j + 1) * BLOCK_ROWS]
        for i in range(BLOCK_ROWS):
            out[i] += a * first[i]


@compiled(boundscheck=False)
def _finish(scores: F32, n: int, lengths: F32, length: float, metric: int) -> None:
    """Scores of n cosines, in place, as scan.finish_cosines gives them."""
    if metric == COSINE:
        return
    for i in range(n):
        along = scores[i] * (length * lengths[i])
        if metric == DOT:
            scores[i] = along
        else:
            scores[i] = -(lengths[i] * lengths[i] + length * length - np.float32(2.0) * along)


@compiled(boundscheck=False)
def scan_prefix_lane(
    lane: int, n_lanes: int, rows: PrefixRows, asked: PrefixAsked, held: Held, every: int
) -> None:
    """scan_prefix_rows of the blocks of one lane, on the calling thread."""
    scores = np.empty(BLOCK_ROWS, np.float32)
    sums = np.zeros(BLOCK_ROWS, np.float32)
    places = np.empty(BLOCK_ROWS, np.int64)
    n_blocks = rows.planes.shape[0]
    for block in range(lane * n_blocks // n_lanes, (lane + 1) * n_blocks // n_lanes, max(1, every)):
        first = block * BLOCK_ROWS
        n = min(BLOCK_ROWS, rows.n_rows - first)
        plane, lengths = rows.planes[block].reshape(-1), rows.lengths[first : first + n]
        seqs, alive = rows.seqs[first : first + n], rows.alive[first : first + n]
        for q in range(asked.prefixes.shape[0]):
            _cosines(scores, plane, asked.prefixes[q])
            _finish(scores, n, lengths, asked.lengths[q], asked.metric)
            found = may_enter(places, scores, n, held.floors[lane, q])
            if found:
                enter(held, lane, q, places, found, scores, sums, seqs, alive, rows.start + first)


@compiled(parallel=True, boundscheck=False)
def scan_prefix_rows(rows: PrefixRows, asked: PrefixAsked, held: Held, every: int) -> None:
    """Score rows by their prefixes and keep the best of every query, a lane a thread.

    every: 0 for all blocks, else one of so many.
    """
    n_lanes = held.counts.shape[0]
    for lane in prange(n_lanes):
        scan_prefix_lane(lane, n_lanes, rows, asked, held, every)
