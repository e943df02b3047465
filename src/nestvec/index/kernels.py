"""What compiled scans share: the rows they read, and the best of them that they hold.

kernels_tables, kernels_signs and kernels_prefixes have the scans themselves. A scan runs on lanes,
neighbouring rows each. A lane keeps the best rows it has seen of every query in the memory of twice
the shortlist; which rows win does not depend on the number of lanes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nestvec.compiled import compiled

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

BLOCK_ROWS = 1024

# Rows are looked at one by one only where the best of so many neighbours may enter.
_GROUP = 16


class Held(NamedTuple):
    """What the lanes of a scan hold for their queries; changed in place.

    scores, sums (float32), seqs, rows (int64): (lanes, q, m) entries with m > keep, of which
    counts (lanes, q) are in use. floors, floor_seqs: (lanes, q), what a row must beat to enter.
    """

    scores: F32
    sums: F32
    seqs: I64
    rows: I64
    counts: I64
    floors: F32
    floor_seqs: I64
    keep: int


def held(lanes: int, queries: int, keep: int) -> Held:
    """Nothing held yet."""
    shape = (lanes, queries, 2 * keep)
    floats = np.empty((2, *shape), np.float32)
    integers = np.empty((2, *shape), np.int64)
    counts = np.zeros(shape[:2], np.int64)
    floors = np.full(shape[:2], -np.inf, np.float32)
    floor_seqs = np.zeros(shape[:2], np.int64)
    return Held(floats[0], floats[1], integers[0], integers[1], counts, floors, floor_seqs, keep)


@compiled(boundscheck=False)
def _precedes(score: float, seq: int, other: float, other_seq: int) -> bool:
    return score > other or (score == other and seq < other_seq)


@compiled(boundscheck=False)
def narrow(scores: F32, sums: F32, seqs: I64, rows: I64, count: int, keep: int) -> int:
    """Move the best `keep` of the first `count` entries to the front, the worst of them last.

    Entries are ordered by score, then by the smaller seq; seqs differ. Returns min(keep, count).
    Quickselect: Hoare 1961, "Algorithm 65: find".
    """
    if count < keep:
        return count
    low, high = 0, count - 1
    target = keep - 1
    while low < high:
        middle = (low + high) // 2
        score, seq = scores[middle], seqs[middle]
        i, j = low, high
        while i <= j:
            while _precedes(scores[i], seqs[i], score, seq):
                i += 1
            while _precedes(score, seq, scores[j], seqs[j]):
                j -= 1
            if i <= j:
                scores[i], scores[j] = scores[j], scores[i]
                sums[i], sums[j] = sums[j], sums[i]
                seqs[i], seqs[j] = seqs[j], seqs[i]
                rows[i], rows[j] = rows[j], rows[i]
                i += 1
                j -= 1
        if target <= j:
            high = j
        elif target >= i:
            low = i
        else:
            break
    return keep


@compiled(boundscheck=False)
def enter(
    held: Held,
    lane: int,
    q: int,
    places: I64,
    found: int,
    scores: F32,
    sums: F32,
    seqs: I64,
    alive: NDArray[np.bool_],
    start: int,
) -> None:
    """Consider the rows at the first `found` of some places, in their order.

    scores, sums, seqs: by place. alive: by place, or empty for all. start: position of place 0.
    """
    # All at once: what is held of the query is then looked up once, not once a row.
    own_scores, own_sums = held.scores[lane, q], held.sums[lane, q]
    own_seqs, own_rows = held.seqs[lane, q], held.rows[lane, q]
    count = held.counts[lane, q]
    floor, floor_seq = held.floors[lane, q], held.floor_seqs[lane, q]
    for k in range(found):
        i = places[k]
        score, seq = scores[i], seqs[i]
        if score < floor or (score == floor and seq > floor_seq):
            continue
        if len(alive) and not alive[i]:
            continue
        own_scores[count], own_sums[count] = score, sums[i]
        own_seqs[count], own_rows[count] = seq, start + i
        count += 1
        if count == len(own_scores):
            count = narrow(own_scores, own_sums, own_seqs, own_rows, count, held.keep)
            floor, floor_seq = own_scores[count - 1], own_seqs[count - 1]
    held.counts[lane, q] = count
    held.floors[lane, q], held.floor_seqs[lane, q] = floor, floor_seq


# A maximum is taken of several at once only if nothing is "not a number"; nothing here is.
@compiled(boundscheck=False, fastmath={"nnan", "nsz"})
def may_enter(out: I64, scores: F32, n: int, floor: float) -> int:
    """The places, of n, whose score is not below the floor, into out (n,); returns their number."""
    found = 0
    for group in range(0, n, _GROUP):
        stop = min(group + _GROUP, n)
        top = np.float32(-np.inf)
        if stop - group == _GROUP:
            for i in range(_GROUP):
                top = max(top, scores[group + i])
        else:
            for i in range(group, stop):
                top = max(top, scores[i])
        if top < floor:
            continue
        for i in range(group, stop):
            if scores[i] >= floor:
                out[found] = i
                found += 1
    return found
