"""Ranks of the relevant rows under every size of a method, without sorting or keeping scores.

Blocks of documents are shown once at each size; their scores with a block of queries are counted
against the scores of the relevant rows and forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.methods import Encoded
from nestvec.measure.metrics import Relevance, exact_top, ranks_in_hits
from nestvec.progress import Progress

F32 = NDArray[np.float32]

# One block of scores holds at most this many float32: 128 MB. A block of documents at most a
# quarter of that, since a method may hold a few of them at once.
_SCORES = 2**25
_COORDINATES = 2**23
_MOST_ROWS = 16_384
_PAIRS = 8_192

# Two inner products nearer than this multiple of float32's spacing, on the scale of their terms,
# are one score: rows with equal codes must tie whatever block they were multiplied in.
_ROUNDING = np.float32(4 * np.finfo(np.float32).eps)


@dataclass(frozen=True, eq=False)
class Targets:
    """What the rows of a size must beat: scores of the relevant rows, less and plus rounding.

    low, high: (m,) float32, in the order of Relevance.rows.
    """

    low: F32
    high: F32


def rank_relevant(
    encoded: Encoded,
    sizes: int,
    queries: F32,
    relevance: Relevance,
    n: int,
    own_rows: NDArray[np.int64] | None,
    enough: int,
    progress: Progress,
) -> NDArray[np.int64]:
    """The rank, from 1, of every relevant row at every size: (sizes, m) int64.

    queries: (q, d); n documents; own_rows: (q,) rows left out of their query's ranking, -1 for
    none. Ties go to the smaller row. A rank beyond `enough` may be told as any rank beyond it,
    which saves counting. Peak memory beyond what `encoded` holds: 128 MB of scores, some blocks
    of 32 MB of documents, and the mapped queries of all sizes.
    """
    mapped = encoded.map_queries(queries)
    targets = _score_targets(encoded, mapped, relevance)
    beaten_by = np.zeros((sizes, len(relevance.rows)), dtype=np.int64)
    dim = max(1, queries.shape[1])
    rows = max(1, min(_MOST_ROWS, _COORDINATES // dim, n))
    some = max(1, min(_SCORES // rows, len(queries)))
    buffer = np.empty((some, rows), dtype=np.float32)
    for start in range(0, n, rows):
        stop = min(n, start + rows)
        for size, view in enumerate(encoded.views(slice(start, stop))):
            transposed = view.T
            for first in range(0, len(queries), some):
                last = min(len(queries), first + some)
                scores = buffer[: last - first, : stop - start]
                np.matmul(mapped[size][first:last], transposed, out=scores)
                _leave_out(scores, own_rows, first, last, start)
                _count(scores, first, start, relevance, targets[size], beaten_by[size], enough)
        progress.advance(stop - start)
    return beaten_by + 1


def rank_in_lists(
    encoded: Encoded,
    sizes: int,
    queries: F32,
    relevance: Relevance,
    n: int,
    own_rows: NDArray[np.int64] | None,
    enough: int,
    progress: Progress,
) -> NDArray[np.int64]:
    """As rank_relevant, from lists of the best `enough` rows: cheap where relevant rows are many.

    A relevant row beyond the list has the rank ABSENT. Equal scores are those of equal bits.
    """
    mapped = encoded.map_queries(queries)
    rows = max(1, min(_MOST_ROWS, _COORDINATES // max(1, queries.shape[1]), n))
    some = max(1, min(_SCORES // rows, len(queries)))
    buffer = np.empty((some, rows), dtype=np.float32)
    best = np.full((sizes, len(queries), enough), -1, dtype=np.int64)
    scores_of = np.full(best.shape, -np.inf, dtype=np.float32)
    for start in range(0, n, rows):
        stop = min(n, start + rows)
        for size, view in enumerate(encoded.views(slice(start, stop))):
            transposed = view.T
            for first in range(0, len(queries), some):
                part = slice(first, min(len(queries), first + some))
                scores = buffer[: part.stop - first, : stop - start]
                np.matmul(mapped[size][part], transposed, out=scores)
                _leave_out(scores, own_rows, first, part.stop, start)
                _merge(best[size, part], scores_of[size, part], scores, start)
        progress.advance(stop - start)
    return np.stack([ranks_in_hits(hits, relevance) for hits in best])


def _merge(best: NDArray[np.int64], best_scores: F32, scores: F32, start: int) -> None:
    """Put a block's rows into lists (q, k), in place; earlier rows are smaller, and win ties."""
    top = exact_top(scores, best.shape[1])
    rows = np.concatenate([best, top + start], axis=1)
    found = np.concatenate([best_scores, np.take_along_axis(scores, top, axis=1)], axis=1)
    order = np.argsort(-found, axis=1, kind="stable")[:, : best.shape[1]]
    best[:] = np.take_along_axis(rows, order, axis=1)
    best_scores[:] = np.take_along_axis(found, order, axis=1)
    best[best_scores == -np.inf] = -1


def _score_targets(encoded: Encoded, mapped: list[F32], relevance: Relevance) -> list[Targets]:
    owners = relevance.query_of
    order = np.argsort(relevance.rows, kind="stable")
    low = np.empty((len(mapped), len(order)), dtype=np.float32)
    high = np.empty_like(low)
    for at in range(0, len(order), _PAIRS):
        entries = order[at : at + _PAIRS]
        unique, place = np.unique(relevance.rows[entries], return_inverse=True)
        for size, view in enumerate(encoded.views(unique)):
            terms = view[place] * mapped[size][owners[entries]]
            scores = terms.sum(axis=1)
            slack = _ROUNDING * np.abs(terms).sum(axis=1)
            low[size, entries] = scores - slack
            high[size, entries] = scores + slack
    return [Targets(a, b) for a, b in zip(low, high, strict=True)]


def _leave_out(
    scores: F32, own_rows: NDArray[np.int64] | None, first: int, last: int, start: int
) -> None:
    if own_rows is None:
        return
    own = own_rows[first:last] - start
    here = np.flatnonzero((own >= 0) & (own < scores.shape[1]))
    scores[here, own[here]] = -np.inf


def _count(
    scores: F32,
    first: int,
    start: int,
    relevance: Relevance,
    targets: Targets,
    beaten_by: NDArray[np.int64],
    enough: int,
) -> None:
    """Add to beaten_by (m,) the rows of this block that beat each relevant row of its queries."""
    low, high = targets.low.tolist(), targets.high.tolist()
    rows: list[int] = relevance.rows.tolist()
    bounds: list[int] = relevance.indptr.tolist()
    width = scores.shape[1]
    for i, row_scores in enumerate(scores):
        for entry in range(bounds[first + i], bounds[first + i + 1]):
            if beaten_by[entry] >= enough:
                continue
            # smaller rows win ties, the row itself counts on neither side
            border = min(max(rows[entry] - start, 0), width)
            inside = 0 <= rows[entry] - start < width
            beaten_by[entry] += np.count_nonzero(row_scores[:border] >= low[entry])
            beaten_by[entry] += np.count_nonzero(row_scores[border + inside :] > high[entry])
