"""Compiled scans of codebook levels, by look-ups in tables of the query's products.

What they find is what scan.scan finds, to the bit: sums are added in the same order and finished
by the same operations (codec.scores.finish).
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from nestvec.compiled import compiled
from nestvec.index.kernels import BLOCK_ROWS, Held, enter, may_enter
from nestvec.index.kernels_bounds import (
    Asked,
    Rows,
    Work,
    find_one,
    scan_fours,
    scan_near,
    work_of,
)
from nestvec.index.kernels_look_ups import look_up

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

COSINE, DOT, L2 = 0, 1, 2
# Of a block: sampled rows are taken from all over, since neighbours are alike.
_GROUPS = 4


@compiled(boundscheck=False)
def _finish(
    scores: F32, sums: F32, n: int, reciprocals: F32, factors: F32, metric: int, lengths: F32
) -> None:
    """Scores of n sums, as codec.scores.finish gives them; factors: 1 / |q| and |q|^2."""
    if metric == COSINE:
        for i in range(n):
            scores[i] = (sums[i] * reciprocals[i]) * factors[0]
    elif metric == DOT:
        for i in range(n):
            scores[i] = (sums[i] * reciprocals[i]) * lengths[i]
    else:
        for i in range(n):
            along = (sums[i] * reciprocals[i]) * (np.float32(-2.0) * lengths[i])
            scores[i] = -((along + lengths[i] * lengths[i]) + factors[1])


@compiled(boundscheck=False)
def _scan_each(
    work: Work, block: int, n: int, rows: Rows, asked: Asked, held: Held, lane: int
) -> None:
    """Keep the best rows of a block for every query by itself."""
    first = block * BLOCK_ROWS
    plane, lengths = rows.planes[block].reshape(-1), rows.lengths[first : first + n]
    seqs, alive = rows.seqs[first : first + n], rows.alive[first : first + n]
    places, scores, sums = work.places, work.scores, work.sums
    for i in range(n):
        row = first + i
        packed = len(rows.packed) > 0
        work.reciprocals[i] = rows.of_byte[rows.packed[row]] if packed else rows.exact[row]
    for q in range(asked.tables.shape[0]):
        look_up(sums, plane, 0, n, asked.tables[q].reshape(-1), asked.tables.shape[1])
        _finish(scores, sums, n, work.reciprocals, asked.factors[q], asked.metric, lengths)
        found = may_enter(places, scores, n, held.floors[lane, q])
        if found:
            enter(held, lane, q, places, found, scores, sums, seqs, alive, rows.start + first)


@compiled(boundscheck=False)
def scan_lane(lane: int, n_lanes: int, rows: Rows, asked: Asked, held: Held, every: int) -> None:
    """scan_tables of the blocks of one lane, on the calling thread."""
    work = work_of(asked)
    n_blocks, stride = rows.planes.shape[0], max(1, every // _GROUPS)
    most = BLOCK_ROWS * stride // max(1, every)
    for block in range(lane * n_blocks // n_lanes, (lane + 1) * n_blocks // n_lanes, stride):
        first = block * BLOCK_ROWS
        n = min(most, rows.n_rows - first)
        if asked.metric != COSINE or not len(rows.packed):
            _scan_each(work, block, n, rows, asked, held, lane)
        elif len(asked.deficits):
            scan_near(work, block, n, rows, asked, held, lane)
        elif len(asked.fours):
            scan_fours(work, block, n, rows, asked, held, lane)
        else:
            floor, start = held.floors[lane, 0], rows.start + first
            packed = rows.packed[first : first + n]
            found = find_one(
                work, rows.planes[block].reshape(-1), n, asked, 0, packed, rows.of_byte, floor
            )
            if found:
                seqs, alive = rows.seqs[first : first + n], rows.alive[first : first + n]
                scores, sums = work.scores, work.sums
                enter(held, lane, 0, work.places, found, scores, sums, seqs, alive, start)


@compiled(parallel=True, boundscheck=False)
def scan_tables(rows: Rows, asked: Asked, held: Held, every: int) -> None:
    """Score rows by look-ups and keep the best of every query, a lane a thread.

    Where asked.fours is given, bounds of four queries are looked up at once, and only rows that may
    enter are summed exactly. every: 0 for all rows, else one group of 256 of so many.
    """
    n_lanes = held.counts.shape[0]
    for lane in prange(n_lanes):
        scan_lane(lane, n_lanes, rows, asked, held, every)


@compiled(boundscheck=False)
def _scan_spans_of(q: int, rows: Rows, asked: Asked, spans: I64, held: Held) -> None:
    """Score the rows within spans (m, 2) by one query and keep the best."""
    sums = np.empty(BLOCK_ROWS, np.float32)
    scores = np.empty(BLOCK_ROWS, np.float32)
    places = np.empty(BLOCK_ROWS, np.int64)
    width = asked.tables.shape[1]
    for span in range(len(spans)):
        row, stop = spans[span]
        while row < stop:
            block, low = row // BLOCK_ROWS, row % BLOCK_ROWS
            n = min(BLOCK_ROWS - low, stop - row)
            look_up(
                sums, rows.planes[block].reshape(-1), low, n, asked.tables[q].reshape(-1), width
            )
            lengths = rows.lengths[row : row + n]
            own = rows.exact[row : row + n]
            _finish(scores, sums, n, own, asked.factors[q], asked.metric, lengths)
            found = may_enter(places, scores, n, held.floors[0, q])
            if found:
                seqs, alive = rows.seqs[row : row + n], rows.alive[row : row + n]
                enter(held, 0, q, places, found, scores, sums, seqs, alive, rows.start + row)
            row += n


@compiled(parallel=True, boundscheck=False)
def scan_spans(rows: Rows, asked: Asked, spans: I64, held: Held) -> None:
    """Score the rows within each query's spans and keep its best, a query a thread.

    spans: (q, m, 2), from a row up to another. rows.exact has the reciprocals of all norms. held
    has one lane.
    """
    for q in prange(asked.tables.shape[0]):
        _scan_spans_of(q, rows, asked, spans[q], held)


@compiled(boundscheck=False)
def scan_spans_alone(rows: Rows, asked: Asked, spans: I64, held: Held) -> None:
    """scan_spans on the calling thread."""
    for q in range(asked.tables.shape[0]):
        _scan_spans_of(q, rows, asked, spans[q], held)
