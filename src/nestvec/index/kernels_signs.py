"""Compiled scans of sign planes, by adding up bit planes (see bit_slices)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from nestvec.compiled import compiled
from nestvec.index.bit_slices import (
    BLOCK_GROUPS,
    GROUP_ROWS,
    PLANE_WORDS,
    Additions,
    first_word,
)
from nestvec.index.kernels import Held, enter
from nestvec.index.kernels_bits import (
    HELD,
    WORDS,
    add_planes,
    copy_slices,
    lowest_bit,
    not_below,
)

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]

_WORD_BYTES = 8
_BLOCK_ROWS = BLOCK_GROUPS * GROUP_ROWS
# So many rows at most wait to enter, while others are let by that they would have kept out.
_WAITING = 256
_first_word = compiled()(first_word)


@compiled(boundscheck=False)
def _digit(number: Any) -> Any:
    """The lowest digit, -1, 0 or 1, of a number's non-adjacent form (Reitwiesner 1960)."""
    return 2 - (number & 3) if number & 1 else 0


@compiled(boundscheck=False)
def additions(planes: U8) -> Additions:
    """What queries add up, with as few digits that are not 0 as can be.

    planes: (q, b, bytes) uint8, packed planes of b bits a coordinate; a weight w is over planes j
    the sum of 2^j where the bit is set and -2^j where it is not.
    """
    n_queries, n_bits, width = planes.shape
    n = 8 * width
    weights = np.empty((n_queries, n), np.int64)
    sides = np.empty(n_queries, np.int64)
    totals, bounds = np.zeros(n_queries, np.int64), np.zeros(n_queries, np.int64)
    # u has b bits and a sign, and so at most b digits
    sums = np.zeros((n_queries, 2 * n_bits, 4), np.int64)
    added = 0
    for q in range(n_queries):
        costs = np.zeros(2, np.int64)
        for i in range(n):
            weight = np.int64(0)
            for j in range(n_bits):
                bit = planes[q, j, i // 8] >> np.uint8(7 - i % 8) & 1
                weight += (2 * np.int64(bit) - 1) << j
            weights[q, i] = weight
            totals[q] += weight
            bounds[q] += abs(weight)
            for way in range(2):
                u = (weight + 1 - 2 * way) // 2
                while u:
                    digit = _digit(u)
                    costs[way] += abs(digit)
                    u = (u - digit) >> 1
        # w is 2 u - 1, and set bits count against a row, or 2 u + 1
        sides[q] = 1 if costs[0] <= costs[1] else 0
        for i in range(n):
            u, j = (weights[q, i] - 1) // 2 + sides[q], 0
            while u:
                digit = _digit(u)
                if digit:
                    sums[q, j if digit > 0 else n_bits + j, 3] += 1
                u, j = (u - digit) >> 1, j + 1
        for k in range(2 * n_bits):
            sums[q, k, 0], sums[q, k, 1] = k // n_bits, k % n_bits + 1
            sums[q, k, 2] = added
            added += sums[q, k, 3]
            sums[q, k, 3] = sums[q, k, 2]
    words = np.empty(added, np.int64)
    for q in range(n_queries):
        for i in range(n):
            u, j = (weights[q, i] - 1) // 2 + sides[q], 0
            while u:
                digit = _digit(u)
                if digit:
                    k = j if digit > 0 else n_bits + j
                    words[sums[q, k, 3]] = _first_word(i)
                    sums[q, k, 3] += 1
                u, j = (u - digit) >> 1, j + 1
    # A sum less what it must reach is between -2 bounds - 1 and 2 bounds, and has a sign.
    depth = 2
    while 2 * bounds.max() + 1 >= 1 << (depth - 1):
        depth += 1
    depth = max(depth, n_bits + HELD)
    return Additions(words, sums, sides, totals, bounds, depth)


class SignRows(NamedTuple):
    """Rows to scan.

    slices: (blocks, words) uint64 (see bit_slices). bits: of a row. start: position of the
    first. seqs: (n,) int64. alive: (n,), which rows may be found, empty for all.
    """

    slices: U64
    bits: int
    start: int
    seqs: I64
    alive: NDArray[np.bool_]


class _Work(NamedTuple):
    """Memory of one lane: 256 rows' sums and what is found of them.

    sides: (2, depth, 4) what counts for the rows and against them. limits: (q, depth, 4) what they
    must reach, as slices, and leasts: (q,), as numbers, of the floors (q,). zeros: (depth, 4).
    reached: (4,), those that did. places, scores: (4096,), of a block.
    """

    sides: U64
    limits: U64
    leasts: I64
    floors: F32
    zeros: U64
    reached: U64
    places: I64
    scores: F32


@compiled(boundscheck=False)
def _least(floor: float, asked: Additions, q: int) -> int:
    """The least sum over set bits, of w, whose score is not below a floor."""
    bound, total = int(asked.bounds[q]), int(asked.totals[q])
    if floor <= -2.0 * bound - total:
        return -bound
    if floor > 2.0 * bound - total:
        return bound + 1
    return int(np.ceil((floor + total) / 2))


@compiled(boundscheck=False)
def _set_limit(work: _Work, floor: float, asked: Additions, q: int) -> None:
    """What is to be reached, on the side where the number of set bits is not."""
    least = _least(floor, asked, q)
    number = least if asked.sides[q] == 0 else -least
    for s in range(asked.depth):
        word = np.uint64(-((number >> s) & 1))
        for t in range(WORDS):
            work.limits[q, s, t] = word
    work.leasts[q], work.floors[q] = least, floor


@compiled(boundscheck=False)
def _work(asked: Additions, floors: F32) -> _Work:
    """floors: (q,), of the lane."""
    n_queries, depth = len(floors), asked.depth
    work = _Work(
        np.zeros((2, depth, WORDS), np.uint64),
        np.zeros((n_queries, depth, WORDS), np.uint64),
        np.empty(n_queries, np.int64),
        np.empty(n_queries, np.float32),
        np.zeros((depth, WORDS), np.uint64),
        np.zeros(WORDS, np.uint64),
        np.empty(_BLOCK_ROWS, np.int64),
        np.empty(_BLOCK_ROWS, np.float32),
    )
    for q in range(n_queries):
        _set_limit(work, floors[q], asked, q)
    return work


# Inlined, as what follows: a call hands over every field of every array.
@compiled(boundscheck=False, inline="always")
def _sum_up(
    work: _Work, rows: SignRows, block: int, group: int, asked: Additions, q: int, ahead: int
) -> None:
    """The sums of a block's group of 256 rows, and which of them reach the limit.

    ahead: words from here to what is fetched meanwhile.
    """
    depth, side, block_words = asked.depth, asked.sides[q], rows.slices.shape[1]
    here = rows.slices.ctypes.data + _WORD_BYTES * (block * block_words + group * WORDS)
    sides, added = work.sides.ctypes.data, asked.planes.ctypes.data
    slice_bytes = _WORD_BYTES * WORDS
    counted = _first_word(rows.bits)
    counts, count_slices = here + _WORD_BYTES * counted, (block_words - counted) // PLANE_WORDS
    there = sides + slice_bytes * side * depth
    copy_slices(counts, PLANE_WORDS, there, count_slices)
    zeros, rest = work.zeros.ctypes.data, depth - count_slices
    copy_slices(zeros, WORDS, there + slice_bytes * count_slices, rest)
    limit = work.limits.ctypes.data + slice_bytes * q * depth
    copy_slices(limit, WORDS, sides + slice_bytes * (1 - side) * depth, depth)
    for i in range(asked.sums.shape[1]):
        first, stop = asked.sums[q, i, 2], asked.sums[q, i, 3]
        if first < stop:
            low = asked.sums[q, i, 1]
            sums = sides + slice_bytes * (asked.sums[q, i, 0] * depth + low)
            add_planes(here, ahead, added, first, stop, sums, depth - low)
    not_below(sides, sides + slice_bytes * depth, depth, work.reached.ctypes.data)


@compiled(boundscheck=False, inline="always")
def _gather(
    work: _Work, group: int, low: int, high: int, least: int, total: int, found: int
) -> int:
    """Append the places of rows that reach the limit, and note their scores; returns their number.

    low, high: places in the block that are asked for.
    """
    depth = work.zeros.shape[0]
    for t in range(WORDS):
        left = work.reached[t]
        while left:
            bit = lowest_bit(left)
            left &= left - np.uint64(1)
            place = group * GROUP_ROWS + 64 * t + np.int64(bit)
            if low <= place < high:
                above = np.int64(0)
                for s in range(depth):
                    one = np.int64((work.sides[0, s, t] >> bit) & np.uint64(1))
                    other = np.int64((work.sides[1, s, t] >> bit) & np.uint64(1))
                    above += (one - other) << s
                above &= (np.int64(1) << depth) - 1
                work.places[found] = place
                work.scores[place] = np.float32(2 * (least + above) - total)
                found += 1
    return found


@compiled(boundscheck=False, inline="always")
def _scan_block(
    work: _Work,
    rows: SignRows,
    block: int,
    low: int,
    high: int,
    asked: Additions,
    q: int,
    held: Held,
    lane: int,
    every: int,
    after: int,
) -> None:
    """Score the rows of a block from low to high by one query and keep the best.

    every: only one group of 256 rows of so many is scanned, at most one a block; 0 for all, after
    which the next block's turn is, 1 for all where it is not: after is then how many words behind
    the last group those lie that are wanted next.
    """
    found = 0
    last = (high - 1) // GROUP_ROWS
    step = max(1, every // BLOCK_GROUPS)
    if block % step:
        return
    # one query's planes are nearly another's, and were fetched for the first
    ahead = 0
    if every != 1 and q == 0:
        ahead = step * rows.slices.shape[1] - (WORDS if every else 0)
    for group in range(low // GROUP_ROWS, last + 1):
        if every == 1:
            ahead = WORDS if group < last else after
        if every <= 1 or (group + block // step) % min(every, BLOCK_GROUPS) == 0:
            _sum_up(work, rows, block, group, asked, q, ahead)
            found = _gather(work, group, low, high, work.leasts[q], asked.totals[q], found)
        if found > _WAITING or (group == last and found):
            start = block * _BLOCK_ROWS
            seqs, alive = rows.seqs[start : start + high], rows.alive[start : start + high]
            scores, at = work.scores, rows.start + start
            enter(held, lane, q, work.places, found, scores, scores, seqs, alive, at)
            found = 0
            if held.floors[lane, q] > work.floors[q]:
                _set_limit(work, held.floors[lane, q], asked, q)


@compiled(boundscheck=False)
def scan_lane(
    lane: int, n_lanes: int, rows: SignRows, asked: Additions, held: Held, every: int
) -> None:
    """scan_signs of the blocks of one lane, on the calling thread."""
    work = _work(asked, held.floors[lane])
    n_blocks = rows.slices.shape[0]
    for block in range(lane * n_blocks // n_lanes, (lane + 1) * n_blocks // n_lanes):
        n = min(_BLOCK_ROWS, len(rows.seqs) - block * _BLOCK_ROWS)
        for q in range(asked.sums.shape[0]):
            _scan_block(work, rows, block, 0, n, asked, q, held, lane, every, 0)


@compiled(parallel=True, boundscheck=False)
def scan_signs(rows: SignRows, asked: Additions, held: Held, every: int) -> None:
    """Score rows of signs by queries and keep the best of every query, a lane a thread.

    every: 0 for all rows, else one group of 256 rows of so many, 16 or fewer or a multiple of 16.

    A score, and a sum, is over planes j the number of agreeing bits less that of the others, times
    2^j.
    """
    n_lanes = held.counts.shape[0]
    for lane in prange(n_lanes):
        scan_lane(lane, n_lanes, rows, asked, held, every)


@compiled(boundscheck=False, inline="always")
def _words_at(rows: SignRows, row: int) -> Any:
    """Where the words of a row's group begin."""
    block, low = row // _BLOCK_ROWS, row % _BLOCK_ROWS
    return block * rows.slices.shape[1] + low // GROUP_ROWS * WORDS


@compiled(boundscheck=False)
def _scan_spans_of(q: int, rows: SignRows, asked: Additions, spans: I64, held: Held) -> None:
    """Score the rows within spans (m, 2) by one query and keep the best."""
    work = _work(asked, held.floors[0])
    for span in range(len(spans)):
        row, stop = spans[span, 0], spans[span, 1]
        while row < stop:
            block, low = row // _BLOCK_ROWS, row % _BLOCK_ROWS
            n = min(_BLOCK_ROWS - low, stop - row)
            # lists lie far apart: what the next one begins with is fetched during this one's end
            then = row + n
            if then == stop and span + 1 < len(spans):
                then = spans[span + 1, 0]
            after = _words_at(rows, then) - _words_at(rows, row + n - 1)
            _scan_block(work, rows, block, low, low + n, asked, q, held, 0, 1, after)
            row += n


@compiled(parallel=True, boundscheck=False)
def scan_spans(rows: SignRows, asked: Additions, spans: I64, held: Held) -> None:
    """Score the rows within each query's spans (q, m, 2) and keep its best, a query a thread.

    held has one lane.
    """
    for q in prange(asked.sums.shape[0]):
        _scan_spans_of(q, rows, asked, spans[q], held)


@compiled(boundscheck=False)
def scan_spans_alone(rows: SignRows, asked: Additions, spans: I64, held: Held) -> None:
    """scan_spans on the calling thread."""
    for q in range(asked.sums.shape[0]):
        _scan_spans_of(q, rows, asked, spans[q], held)
