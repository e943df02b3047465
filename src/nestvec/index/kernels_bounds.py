"""Which rows of a block may enter, by sums of a query's products or by bounds of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nestvec.compiled import compiled
from nestvec.index.kernels import BLOCK_ROWS, Held, enter
from nestvec.index.kernels_bits import lowest_bit
from nestvec.index.kernels_look_ups import ENTRIES, eight_more, four_more, last, look_up
from nestvec.index.kernels_shuffles import LIMITS, SHUFFLED_ROWS, below_limits

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

# Four numbers of 15 bits in a word of 64 leave a bit each to compare by.
_HALF = 1 << 15
_TOPS = np.uint64(0x8000_8000_8000_8000)


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

    tables: (q, b, 256) float32. factors: (q, 2), 1 / |q| and |q|^2. metric: COSINE, DOT or L2.
    deficits: (q, b, 256) uint8, and fours: (ceil(q / 4), b, 256) uint64, what bounds of sums are
    looked up in (see quantized_tables): of one query at a time, by shuffles, or of four; one of the
    two is empty, or both. bounds: (q, 2), of the other.
    """

    tables: F32
    factors: F32
    metric: int
    deficits: U8
    fours: U64
    bounds: F32


class Work(NamedTuple):
    """Memory of one lane for a block of 1,024 rows.

    sums, scores: of a query. places: of rows that may enter. totals: of four queries. hits: whose
    sums reach their limits. limits: (ceil(q / 4), 256) uint64, for rows of each norm byte what the
    sums of four queries must reach to enter. rooms: (q, 16) uint8, for rows of each upper half of a
    norm byte what their deficits must stay below. floors: (q,), the scores that both stand for.
    """

    sums: F32
    scores: F32
    reciprocals: F32
    places: I64
    totals: U64
    hits: U64
    limits: U64
    rooms: U8
    floors: F32


@compiled(boundscheck=False)
def work_of(asked: Asked) -> Work:
    """Memory for a block of rows and these queries; no limits are set yet."""
    n_queries = asked.tables.shape[0]
    return Work(
        np.empty(BLOCK_ROWS, np.float32),
        np.empty(BLOCK_ROWS, np.float32),
        np.empty(BLOCK_ROWS, np.float32),
        np.empty(BLOCK_ROWS, np.int64),
        np.empty(BLOCK_ROWS, np.uint64),
        np.empty(BLOCK_ROWS, np.uint64),
        np.empty((len(asked.fours), 256), np.uint64),
        np.empty((len(asked.deficits), LIMITS), np.uint8),
        np.full(n_queries, np.nan, np.float32),
    )


@compiled(boundscheck=False)
def _set_limits(work: Work, asked: Asked, four: int, floors: F32, of_byte: F32) -> None:
    """What four queries' sums must reach, where one of their floors has risen since.

    A limit is 32,768, which no sum reaches, for what cannot enter; and low enough for what rounding
    of float32 may add to a score.
    """
    first, stop = 4 * four, min(4 * four + 4, len(floors))
    risen = False
    for q in range(first, stop):
        risen |= work.floors[q] != floors[q]
        work.floors[q] = floors[q]
    if not risen:
        return
    for byte in range(256):
        word = np.uint64(0)
        for k in range(4):
            limit = _HALF
            if first + k < stop:
                q = first + k
                limit = _limit(
                    np.float64(floors[q]),
                    np.float64(of_byte[byte]) * np.float64(asked.factors[q, 0]),
                    np.float64(asked.bounds[q, 0]),
                    np.float64(asked.bounds[q, 1]),
                )
            word |= np.uint64(limit) << np.uint64(16 * k)
        work.limits[four, byte] = word


@compiled(boundscheck=False)
def _limit(floor: float, scale: float, step: float, offset: float) -> int:
    """The least sum s whose score, (offset + step * s) * scale, may be at least the floor."""
    if floor == -np.inf or (scale <= 0.0 and floor <= 0.0):
        return 0
    if scale <= 0.0:
        return _HALF
    least = (floor / scale - offset) / step
    slack = 1.0 + 1e-6 * (abs(floor / scale) + abs(offset)) / step
    return int(min(max(np.floor(least - slack), 0.0), float(_HALF)))


@compiled(boundscheck=False, inline="always")
def find_one(
    work: Work, plane: U8, n: int, asked: Asked, q: int, packed: U8, of_byte: F32, floor: Any
) -> int:
    """Rows of a block whose score by a query is not below a floor; returns their number."""
    factor, width = asked.factors[q, 0], asked.tables.shape[1]
    before = width - last(width)
    table = asked.tables[q].reshape(-1)
    here, there = table[before * ENTRIES :], plane[before * BLOCK_ROWS :]
    sums, places, scores = work.sums, work.places, work.scores
    look_up(sums, plane, 0, n, table, before)
    zero, found = np.float32(0.0), 0
    if width - before == 8:
        for i in range(n):
            total = eight_more(sums[i] if before else zero, here, there, i)
            score = (total * of_byte[packed[i]]) * factor
            if score >= floor:
                places[found], sums[i], scores[i] = i, total, score
                found += 1
    elif width - before == 4:
        for i in range(n):
            total = four_more(sums[i] if before else zero, here, there, i)
            score = (total * of_byte[packed[i]]) * factor
            if score >= floor:
                places[found], sums[i], scores[i] = i, total, score
                found += 1
    else:
        for i in range(n):
            total = (sums[i] if before else zero) + here[there[i]]
            score = (total * of_byte[packed[i]]) * factor
            if score >= floor:
                places[found], sums[i], scores[i] = i, total, score
                found += 1
    return found


@compiled(boundscheck=False, inline="always")
def _find_four(work: Work, plane: U8, n: int, table: U64, limits: U64, packed: U8) -> int:
    """Rows of a block whose sums reach the limits of any of four queries; returns their number."""
    width = len(table) // ENTRIES
    before = width - last(width)
    here, there = table[before * ENTRIES :], plane[before * BLOCK_ROWS :]
    totals, places, hits = work.totals, work.places, work.hits
    look_up(totals, plane, 0, n, table, before)
    zero, found = np.uint64(0), 0
    # the top bit of each number stays where it is not below its limit: none borrows of the next
    if width - before == 8:
        for i in range(n):
            total = eight_more(totals[i] if before else zero, here, there, i)
            hit = ((total | _TOPS) - limits[packed[i]]) & _TOPS
            if hit:
                places[found], hits[found] = i, hit
                found += 1
    elif width - before == 4:
        for i in range(n):
            total = four_more(totals[i] if before else zero, here, there, i)
            hit = ((total | _TOPS) - limits[packed[i]]) & _TOPS
            if hit:
                places[found], hits[found] = i, hit
                found += 1
    else:
        for i in range(n):
            total = (totals[i] if before else zero) + here[there[i]]
            hit = ((total | _TOPS) - limits[packed[i]]) & _TOPS
            if hit:
                places[found], hits[found] = i, hit
                found += 1
    return found


@compiled(boundscheck=False)
def scan_fours(
    work: Work, block: int, n: int, rows: Rows, asked: Asked, held: Held, lane: int
) -> None:
    """Keep the best rows of a block by cosine for every query, four at once."""
    first = block * BLOCK_ROWS
    plane, packed = rows.planes[block].reshape(-1), rows.packed[first : first + n]
    seqs, alive = rows.seqs[first : first + n], rows.alive[first : first + n]
    own = np.empty(BLOCK_ROWS, np.int64)
    n_queries = asked.tables.shape[0]
    for four in range(len(asked.fours)):
        _set_limits(work, asked, four, held.floors[lane], rows.of_byte)
        found = _find_four(work, plane, n, asked.fours[four].reshape(-1), work.limits[four], packed)
        for q in range(4 * four, min(4 * four + 4, n_queries)):
            count = 0
            for c in range(found):
                if not (work.hits[c] >> np.uint64(16 * (q % 4) + 15)) & np.uint64(1):
                    continue
                # only bounds so far: what may enter is summed as it should be
                i, total = work.places[c], np.float32(0.0)
                for j in range(asked.tables.shape[1]):
                    total += asked.tables[q, j, plane[j * BLOCK_ROWS + i]]
                work.sums[i] = total
                work.scores[i] = (total * rows.of_byte[packed[i]]) * asked.factors[q, 0]
                own[count] = i
                count += 1
            if count:
                start = rows.start + first
                enter(held, lane, q, own, count, work.scores, work.sums, seqs, alive, start)


@compiled(boundscheck=False)
def _set_rooms(work: Work, asked: Asked, q: int, floor: Any, of_byte: F32) -> None:
    """What a query's deficits must stay below, for a floor above zero.

    A row's score is at most (top - step * deficits) * scale.
    """
    work.floors[q] = floor
    factor = np.float64(asked.factors[q, 0])
    step, top = np.float64(asked.bounds[q, 0]), np.float64(asked.bounds[q, 1])
    # less what float32 may add to a score in scaling it
    least = np.float64(floor) * (1.0 - 1e-6)
    alike = len(of_byte) // LIMITS
    for upper in range(LIMITS):
        most = of_byte[upper * alike]
        for byte in range(upper * alike, (upper + 1) * alike):
            most = max(most, of_byte[byte])
        scale = np.float64(most) * factor
        room = (top - least / scale) / step if scale > 0.0 else -1.0
        work.rooms[q, upper] = np.uint8(min(np.floor(room) + 1.0, 255.0)) if room >= 0.0 else 0


@compiled(boundscheck=False)
def _find_near(
    places: I64, n: int, deficits: int, width: int, rooms: int, planes: int, norms: int
) -> int:
    """Which of n rows of a block their deficits leave room to enter; returns their number.

    Takes addresses, of a query's tables and of the block's first codes and norm bytes.
    """
    found, whole = 0, n // SHUFFLED_ROWS * SHUFFLED_ROWS
    for i in range(0, whole, SHUFFLED_ROWS):
        some = below_limits(deficits, width, rooms, planes + i, BLOCK_ROWS, norms + i)
        while some:
            places[found] = i + np.int64(lowest_bit(np.uint64(some)))
            found += 1
            some &= some - np.uint32(1)
    for i in range(whole, n):
        places[found] = i
        found += 1
    return found


# Inlined: a call would hand over every field of every array.
@compiled(boundscheck=False, inline="always")
def scan_near(
    work: Work, block: int, n: int, rows: Rows, asked: Asked, held: Held, lane: int
) -> None:
    """Keep the best rows of a block by cosine for every query, of those that bounds let through."""
    first, width = block * BLOCK_ROWS, asked.tables.shape[1]
    places, sums, scores = work.places, work.sums, work.scores
    for q in range(asked.tables.shape[0]):
        floor, factor, found = held.floors[lane, q], asked.factors[q, 0], 0
        if floor > 0.0:
            if work.floors[q] != floor:
                _set_rooms(work, asked, q, floor, rows.of_byte)
            near = _find_near(
                places,
                n,
                asked.deficits.ctypes.data + q * width * ENTRIES,
                width,
                work.rooms.ctypes.data + q * LIMITS,
                rows.planes.ctypes.data + block * rows.planes.shape[1] * BLOCK_ROWS,
                rows.packed.ctypes.data + first,
            )
            for c in range(near):
                i, total = places[c], np.float32(0.0)
                for j in range(width):
                    total += asked.tables[q, j, rows.planes[block, j, i]]
                score = (total * rows.of_byte[rows.packed[first + i]]) * factor
                if score >= floor:
                    places[found], sums[i], scores[i] = i, total, score
                    found += 1
        else:
            plane, packed = rows.planes[block].reshape(-1), rows.packed[first : first + n]
            found = find_one(work, plane, n, asked, q, packed, rows.of_byte, floor)
        if found:
            seqs, alive = rows.seqs[first : first + n], rows.alive[first : first + n]
            enter(held, lane, q, places, found, scores, sums, seqs, alive, rows.start + first)
