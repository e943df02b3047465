"""Compiled scans of sign planes, by counting bits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numba.extending import intrinsic
from numpy.typing import NDArray

from nestvec.codec.kernels import compiled
from nestvec.index.kernels import BLOCK_ROWS, Held, enter, may_enter

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]


@intrinsic
def _set_bits(typing: Any, word: Any) -> Any:
    """The number of set bits: the processor's own instruction, or shifts where it has none."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.ctpop(values[0])

    return word(word), emit


class SignRows(NamedTuple):
    """Rows to scan.

    words: (blocks, w, 1024) uint64, word-plane major. start: position of the first. seqs: (n,)
    int64. alive: (n,), which rows may be found, empty for all.
    """

    words: U64
    start: int
    seqs: I64
    alive: NDArray[np.bool_]


# Inlined, so that what scans whole blocks pays nothing for where others begin.
@compiled(boundscheck=False, inline="always")
def _agreeing(scores: F32, words: U64, low: int, n: int, query: U64) -> None:
    """Of n rows of a block from row low on: bits that agree with the query's less the others.

    query: (b, w), planes of b bits a coordinate; what agrees with plane j counts 2^j.
    """
    planes, width = query.shape
    everything = np.float32(64 * width * ((1 << planes) - 1))
    for plane in range(planes):
        twice = np.float32(2 << plane)
        asked = query[plane]
        done = 0
        while done < width:
            first = plane == 0 and done == 0
            if width - done >= 4:
                for i in range(n):
                    at = low + i
                    differing = np.int32(_set_bits(words[done, at] ^ asked[done]))
                    differing += np.int32(_set_bits(words[done + 1, at] ^ asked[done + 1]))
                    differing += np.int32(_set_bits(words[done + 2, at] ^ asked[done + 2]))
                    differing += np.int32(_set_bits(words[done + 3, at] ^ asked[done + 3]))
                    before = everything if first else scores[i]
                    scores[i] = before - twice * np.float32(differing)
                done += 4
            else:
                for i in range(n):
                    differing = np.int32(_set_bits(words[done, low + i] ^ asked[done]))
                    before = everything if first else scores[i]
                    scores[i] = before - twice * np.float32(differing)
                done += 1


@compiled(boundscheck=False)
def scan_lane(
    lane: int, n_lanes: int, rows: SignRows, queries: U64, held: Held, every: int = 1
) -> None:
    """scan_signs of the blocks of one lane, or of one in `every`, on the calling thread."""
    scores = np.empty(BLOCK_ROWS, np.float32)
    places = np.empty(BLOCK_ROWS, np.int64)
    n_blocks = rows.words.shape[0]
    for block in range(lane * n_blocks // n_lanes, (lane + 1) * n_blocks // n_lanes, every):
        first = block * BLOCK_ROWS
        n = min(BLOCK_ROWS, len(rows.seqs) - first)
        seqs = rows.seqs[first : first + n]
        alive = rows.alive[first : first + n]
        for q in range(queries.shape[0]):
            _agreeing(scores, rows.words[block], 0, n, queries[q])
            found = may_enter(places, scores, n, held.floors[lane, q])
            if found:
                enter(held, lane, q, places, found, scores, scores, seqs, alive, rows.start + first)


@compiled(parallel=True, boundscheck=False)
def scan_signs(rows: SignRows, queries: U64, held: Held) -> None:
    """Score rows of signs by queries and keep the best of every query, a lane a thread.

    queries: (q, b, w) uint64, b planes of bits, the last one their signs. A score, and a sum, is
    over planes j the number of agreeing bits less that of the others, times 2^j.
    """
    n_lanes = held.counts.shape[0]
    for lane in prange(n_lanes):
        scan_lane(lane, n_lanes, rows, queries, held, 1)


@compiled(boundscheck=False)
def _scan_spans_of(q: int, rows: SignRows, query: U64, spans: I64, held: Held) -> None:
    """Score the rows within spans (m, 2) by one query (b, w) and keep the best."""
    scores = np.empty(BLOCK_ROWS, np.float32)
    places = np.empty(BLOCK_ROWS, np.int64)
    for span in range(len(spans)):
        row, stop = spans[span]
        while row < stop:
            block, low = row // BLOCK_ROWS, row % BLOCK_ROWS
            n = min(BLOCK_ROWS - low, stop - row)
            _agreeing(scores, rows.words[block], low, n, query)
            found = may_enter(places, scores, n, held.floors[0, q])
            if found:
                seqs, alive = rows.seqs[row : row + n], rows.alive[row : row + n]
                enter(held, 0, q, places, found, scores, scores, seqs, alive, rows.start + row)
            row += n


@compiled(parallel=True, boundscheck=False)
def scan_spans(rows: SignRows, queries: U64, spans: I64, held: Held) -> None:
    """Score the rows within each query's spans (q, m, 2) and keep its best, a query a thread.

    held has one lane.
    """
    for q in prange(queries.shape[0]):
        _scan_spans_of(q, rows, queries[q], spans[q], held)


@compiled(boundscheck=False)
def scan_spans_alone(rows: SignRows, queries: U64, spans: I64, held: Held) -> None:
    """scan_spans on the calling thread."""
    for q in range(queries.shape[0]):
        _scan_spans_of(q, rows, queries[q], spans[q], held)
