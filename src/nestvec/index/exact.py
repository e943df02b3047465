"""The certified exact search: the best rows by their stored vectors, most of which are not read.

Rows are ruled out by bounds from a few bytes each (see bounds). What is left is scored by its
stored vector, as any other search scores it, so that the hits are those of a search that reads all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nestvec.index.bounds import FACT_BYTES, Bound, block_ends, block_facts, bound
from nestvec.index.reader import Reader
from nestvec.index.runs import BoundRun
from nestvec.index.scan import Shortlist, finish_cosines, scan_vectors, vector_scores
from nestvec.index.selection import best, ranked

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

FEWEST_ROWS = 4_096
"""With fewer rows all vectors are read."""
_CANDIDATES = 128
_RUN_COORDINATES = 1 << 22
_DOTS = 1 << 24
# What float32 may lose in turning a vector, in a product of unit vectors and in a score.
_LOST = np.float32(2e-5)


@dataclass(frozen=True)
class Certified:
    """The best rows, and the bytes that were read to know: of bounds, lengths and vectors."""

    shortlist: Shortlist
    bytes: int


def exact_search(queries: F32, reader: Reader, metric: str, keep: int) -> list[Certified]:
    """The best `keep` rows of each query (q, d) by the stored vectors, as scan_vectors finds them.

    Memory: 4 bytes a row and query for at most 64 MB, or one query's; what one block of bounds of
    4 million coordinates takes.
    """
    if reader.count < max(FEWEST_ROWS, 4 * keep):
        return _plainly(queries, reader, metric, keep)
    together = max(1, _DOTS // reader.count)
    found: list[Certified] = []
    for start in range(0, len(queries), together):
        found += _certified(queries[start : start + together], reader, metric, keep)
    return found


def _plainly(queries: F32, reader: Reader, metric: str, keep: int) -> list[Certified]:
    width = queries.shape[1]
    runs = reader.vector_runs(width, max(1, _RUN_COORDINATES // width))
    read = reader.count * reader.vector_bytes
    shortlists = scan_vectors(queries, runs, width, metric, keep)
    return [Certified(shortlist, read) for shortlist in shortlists]


def _certified(queries: F32, reader: Reader, metric: str, keep: int) -> list[Certified]:
    runs = list(reader.bound_runs())
    facts = [block_facts(run.head) for run in runs]
    lengths = np.sqrt(np.einsum("qd,qd->q", queries, queries))
    unit = (queries / np.where(lengths > 0, lengths, 1)[:, None]).astype(np.float32)
    turned: list[F32] = [unit @ run.axes for run in runs]
    rests = [_rests(each) for each in turned]
    dots = np.empty((len(queries), reader.count), np.float32)
    for run, mine, own in zip(runs, turned, facts, strict=True):
        _first_dots(run, mine, own[:, 0], dots)
    return [
        _one(
            queries[q],
            dots[q],
            [
                _Asked(t[q], r[q], f, run)
                for t, r, f, run in zip(turned, rests, facts, runs, strict=True)
            ],
            reader,
            metric,
            keep,
        )
        for q in range(len(queries))
    ]


@dataclass(frozen=True, eq=False)
class _Asked:
    """A query and a fragment: the query turned (d,), the lengths of its rests, the first facts."""

    turned: F32
    rests: F32
    facts: F32
    run: BoundRun


def _first_dots(run: BoundRun, turned: F32, steps: F32, out: F32) -> None:
    """Products of queries with the first block of a fragment's rows, into their columns of out."""
    width = run.head.shape[1] - FACT_BYTES
    rows = max(1, _RUN_COORDINATES // width)
    for low in range(0, len(run.head), rows):
        words = run.head[low : low + rows, :-FACT_BYTES].view(np.int8).astype(np.float32)
        found = (turned[:, :width] @ words.T) * steps[low : low + rows]
        if run.alive is not None:
            found[:, ~run.alive[low : low + rows]] = -np.inf
        out[:, run.start + low : run.start + low + len(words)] = found


def _one(
    query: F32,
    dots: F32,
    asked: list[_Asked],
    reader: Reader,
    metric: str,
    keep: int,
) -> Certified:
    """One query: dots (n,) of the first block are at hand."""
    first = asked[0].run.head.shape[1]
    read = reader.count * (first + (0 if metric == "cosine" else 4))
    near = best(dots, np.arange(len(dots)), max(4 * keep, _CANDIDATES))
    near = near[dots[near] > -np.inf]
    rows, scores = near, _scores(query, near, reader, metric)
    floor = np.float32(-np.inf)
    if len(near) >= keep:
        floor = np.partition(scores, len(scores) - keep)[len(scores) - keep]
    left = []
    for each in asked:
        local, seen = _ruled_in(query, dots, each, metric, floor)
        read += seen
        left.append(each.run.start + local)
    fresh = np.setdiff1d(np.concatenate(left), near)
    rows = np.concatenate([rows, fresh])
    scores = np.concatenate([scores, _scores(query, fresh, reader, metric)])
    read += len(rows) * reader.vector_bytes
    seqs = reader.seqs(rows)
    at = best(scores, seqs, keep)
    at = at[ranked(scores[at], seqs[at])]
    nothing = np.zeros(len(at), np.float32)
    return Certified(Shortlist(rows[at], seqs[at], nothing, scores[at]), read)


def _ruled_in(
    query: F32, dots: F32, asked: _Asked, metric: str, floor: np.float32
) -> tuple[I64, int]:
    """Rows of a fragment that no block rules out, and the bytes read after the first block."""
    turned, rests, facts, run = asked.turned, asked.rests, asked.facts, asked.run
    ends = block_ends(len(turned))
    size = np.float32(np.sqrt(turned[: ends[0]] @ turned[: ends[0]]))
    hidden = facts[:, 0] * (size * np.float32(0.5 * ends[0] ** 0.5))
    first = Bound(dots[run.start : run.start + len(facts)], hidden, facts[:, 1] * rests[0])
    may_be = _may_be(query, first, run.lengths, metric, floor)
    rows = np.flatnonzero(may_be if run.alive is None else may_be & run.alive)
    so_far = first.of(rows)
    read = 0
    at = 0
    for i, (start, end) in enumerate(pairwise(ends), 1):
        width = end - start + FACT_BYTES
        block = run.tail[rows, at : at + width]
        read += block.size
        at += width
        so_far = bound(block, turned[start:end], rests[i], so_far)
        lengths = None if run.lengths is None else run.lengths[rows]
        kept = _may_be(query, so_far, lengths, metric, floor)
        rows, so_far = rows[kept], so_far.of(kept)
    return rows, read


def _may_be(
    query: F32, some: Bound, lengths: F32 | None, metric: str, floor: np.float32
) -> NDArray[np.bool_]:
    """Which rows may score as high as the floor."""
    most = finish_cosines(metric, some.most + _LOST, query, lengths)
    if metric == "l2" and lengths is not None:
        size = np.sqrt(query @ query)
        most = most + np.float32(1e-6) * (lengths + size) ** 2
    found: NDArray[np.bool_] = most >= floor
    return found


def _scores(query: F32, rows: I64, reader: Reader, metric: str) -> F32:
    if not len(rows):
        return np.empty(0, np.float32)
    return vector_scores(query, reader.vectors(rows, len(query)), reader.lengths(rows), metric)


def _rests(turned: F32) -> F32:
    """The lengths (q, blocks) of turned queries' coordinates after each block."""
    ends = block_ends(turned.shape[1])
    found = [np.sqrt(np.einsum("qd,qd->q", turned[:, end:], turned[:, end:])) for end in ends]
    return np.stack(found, axis=1).astype(np.float32)
