"""Compiled scans of codebook levels, by look-ups in tables of the query's products.

What they find is what scan.scan finds, to the bit: sums are added in the same order and finished
by the same operations (codec.scores.finish).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from nestvec.compiled import compiled
from nestvec.index.kernels import BLOCK_ROWS, Held, enter, may_enter

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

COSINE, DOT, L2 = 0, 1, 2


class Rows(NamedTuple):
    """Rows to scan.

    planes: (blocks, >= b, 1024) uint8, byte-plane major. n_rows: rows in them; start: position
    of the first. packed: (n_rows,) norm bytes and of_byte (256,) their reciprocals; or packed is
    empty, and exact (n_rows,) has the reciprocals. lengths: (n_rows,) float32, empty for cosine.
    seqs: (n_rows,) int64. alive: (n_rows,), which rows may be found, empty for all.
    """

    planes: U8
    n_rows: int
    start: int
    packed: U8
    of_byte: F32
    exact: F32
    lengths: F32
    seqs: I64
    alive: NDArray[np.bool_]


class Asked(NamedTuple):
    """Queries to score by.

    tables: (q, b, K) float32. factors: (q, 2), 1 / |q| and |q|^2. metric: COSINE, DOT or L2.
    fours: (ceil(q / 4), b, K) uint64, the tables of four queries in 16 bits each, or empty.
    bounds: (q, 2) step and offset: a sum is at most offset + step * its 16 bits, summed.
    """

    tables: F32
    factors: F32
    metric: int
    fours: U64
    bounds: F32


# Inlined, so that what scans whole blocks pays nothing for where others begin.
@compiled(boundscheck=False, inline="always")
def _look_up(sums: F32 | U64, plane: U8, low: int, n: int, table: F32 | U64) -> None:
    """Sums of n rows of a block from row low on: of row i, table[0, plane[0, low + i]] and so on.

    In the order of the planes.

    In words of four times 16 bits, four queries' sums at once, none of which exceeds its bits.
    """
    zero = table[0, 0] - table[0, 0]
    width = table.shape[0]
    done = 0
    while done < width:
        if width - done >= 8:
            for i in range(n):
                total = sums[i] if done else zero
                total += table[done, plane[done, low + i]]
                total += table[done + 1, plane[done + 1, low + i]]
                total += table[done + 2, plane[done + 2, low + i]]
                total += table[done + 3, plane[done + 3, low + i]]
                total += table[done + 4, plane[done + 4, low + i]]
                total += table[done + 5, plane[done + 5, low + i]]
                total += table[done + 6, plane[done + 6, low + i]]
                total += table[done + 7, plane[done + 7, low + i]]
                sums[i] = total
            done += 8
        elif width - done >= 4:
            for i in range(n):
                total = sums[i] if done else zero
                total += table[done, plane[done, low + i]]
                total += table[done + 1, plane[done + 1, low + i]]
                total += table[done + 2, plane[done + 2, low + i]]
                total += table[done + 3, plane[done + 3, low + i]]
                sums[i] = total
            done += 4
        else:
            for i in range(n):
                total = sums[i] if done else zero
                sums[i] = total + table[done, plane[done, low + i]]
            done += 1


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
def scan_lane(lane: int, n_lanes: int, rows: Rows, asked: Asked, held: Held, every: int) -> None:
    """scan_tables of the blocks of one lane, on the calling thread."""
    sums = np.empty(BLOCK_ROWS, np.float32)
    scores = np.empty(BLOCK_ROWS, np.float32)
    reciprocals = np.empty(BLOCK_ROWS, np.float32)
    places = np.empty(BLOCK_ROWS, np.int64)
    totals = np.empty(BLOCK_ROWS, np.uint64)
    one, one_sum, one_score = np.empty((3, 1), np.float32)
    by_fours = len(asked.fours) > 0
    n_blocks = rows.planes.shape[0]
    for block in range(lane * n_blocks // n_lanes, (lane + 1) * n_blocks // n_lanes, max(1, every)):
        first = block * BLOCK_ROWS
        n = min(BLOCK_ROWS, rows.n_rows - first)
        plane = rows.planes[block]
        lengths = rows.lengths[first : first + n]
        seqs, alive = rows.seqs[first : first + n], rows.alive[first : first + n]
        for i in range(n):
            row = first + i
            reciprocals[i] = rows.of_byte[rows.packed[row]] if len(rows.packed) else rows.exact[row]
        for q in range(asked.tables.shape[0]):
            if by_fours:
                if q % 4 == 0:
                    _look_up(totals, plane, 0, n, asked.fours[q // 4])
                shift = np.uint64(16 * (q % 4))
                step, offset = asked.bounds[q, 0], asked.bounds[q, 1]
                for i in range(n):
                    bits = np.int32((totals[i] >> shift) & np.uint64(65535))
                    sums[i] = np.float32(bits) * step + offset
            else:
                _look_up(sums, plane, 0, n, asked.tables[q])
            _finish(scores, sums, n, reciprocals, asked.factors[q], asked.metric, lengths)
            found = may_enter(places, scores, n, held.floors[lane, q])
            if by_fours:
                # only bounds so far: what may enter is summed as it should be
                for k in range(found):
                    i = places[k]
                    total = np.float32(0.0)
                    for j in range(asked.tables.shape[1]):
                        total += asked.tables[q, j, plane[j, i]]
                    one_sum[0], one[0] = total, reciprocals[i]
                    own_length = lengths[i : i + 1] if len(lengths) else lengths
                    _finish(one_score, one_sum, 1, one, asked.factors[q], asked.metric, own_length)
                    sums[i], scores[i] = total, one_score[0]
            if found:
                enter(held, lane, q, places, found, scores, sums, seqs, alive, rows.start + first)


@compiled(parallel=True, boundscheck=False)
def scan_tables(rows: Rows, asked: Asked, held: Held, every: int) -> None:
    """Score rows by look-ups and keep the best of every query, a lane a thread.

    Where asked.fours is given, bounds of four queries are looked up at once, and only rows that may
    enter are summed exactly. every: 0 for all blocks, else one of so many.
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
    for span in range(len(spans)):
        row, stop = spans[span]
        while row < stop:
            block, low = row // BLOCK_ROWS, row % BLOCK_ROWS
            n = min(BLOCK_ROWS - low, stop - row)
            _look_up(sums, rows.planes[block], low, n, asked.tables[q])
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
