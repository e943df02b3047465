"""Exported plans in plain numpy, over the values that a target holds: what targets are held to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nestvec.bridge.exported import Exported, Rows, Source
from nestvec.bridge.staged import cut_of, widths_of
from nestvec.index.plan import Plan, Stage

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Held:
    """What a target holds of all rows, in memory; for comparisons.

    seqs: (n,). signs: (n, b) packed. cuts: by width, (n, width), as the target rounds them.
    vectors: (n, d).
    """

    seqs: I64
    signs: U8
    cuts: dict[int, NDArray[np.floating]]
    vectors: F32
    metric: str


def held_of(source: Source, plan: Plan, cut_type: type[np.floating] = np.float32) -> Held:
    """All that a plan reads of a collection, cuts rounded to cut_type."""
    runs: list[Rows] = list(source.rows())
    vectors = np.concatenate([run.vectors for run in runs])
    return Held(
        np.concatenate([run.seqs for run in runs]),
        np.concatenate([run.signs for run in runs]),
        {
            width: cut_of(vectors, width, source.metric).astype(cut_type)
            for width in widths_of(plan)
        },
        vectors,
        source.metric,
    )


def staged_search(
    held: Held, plan: Plan, query: F32, signs: U8, cut_type: type[np.floating] = np.float32
) -> tuple[I64, F64]:
    """The seqs (k,) of one query's hits, best first, ties to the smaller, and their scores (k,).

    query: (d,), as Snapshot.map_queries gives it. signs: (b,) its own. Scores in float64.
    """
    rows = np.arange(len(held.seqs))
    scores = np.zeros(len(rows))
    for stage in plan.stages:
        scores = _scores(held, stage, query, signs, rows, cut_type)
        order = np.lexsort((held.seqs[rows], -scores))[: stage.keep]
        rows, scores = rows[order], scores[order]
    return held.seqs[rows], scores


def _scores(
    held: Held, stage: Stage, query: F32, signs: U8, rows: I64, cut_type: type[np.floating]
) -> F64:
    if stage.kind == "sign":
        differing = np.unpackbits(held.signs[rows] ^ signs, axis=1).sum(axis=1)
        agreeing: F64 = -differing.astype(np.float64)
        return agreeing
    if stage.kind == "dims":
        asked = cut_of(query[None], stage.amount, held.metric).astype(cut_type)[0]
        return measured(held.cuts[stage.amount][rows], asked, held.metric)
    return measured(held.vectors[rows], query, held.metric)


def measured(vectors: NDArray[np.floating], query: NDArray[np.floating], metric: str) -> F64:
    """Plain measures (m,) of vectors (m, w) and a query (w,), higher is better, in float64.

    cosine, dot, or l2: the negated squared distance. A vector without a direction has cosine 0.
    """
    rows, asked = vectors.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        nearness: F64 = -((rows - asked) ** 2).sum(axis=1)
        return nearness
    products: F64 = np.einsum("nd,d->n", rows, asked)
    if metric == "dot":
        return products
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(asked)
    return products / np.where(lengths > 0, lengths, 1.0)


def assert_same_hits(exported: Exported, source: Source, queries: F32) -> None:
    """The hits of an export's own query are those of its plan here."""
    assert exported.plan is not None
    assert exported.search is not None
    held = held_of(source, exported.plan)
    asked = source.opened.map_queries(queries)
    bits = source.signs.of_queries(asked)
    for found, query, signs in zip(exported.search(asked, 10), asked, bits, strict=True):
        assert agrees(found, *staged_search(held, exported.plan, query, signs))


def agrees(found: I64, wanted: I64, scores: F64, slack: float = 1e-5) -> bool:
    """Whether hits (k,) are those wanted (k,), but that scores within slack may change places.

    scores: of the hits wanted; slack: of the largest. Engines add up in an order of their own.
    """
    if len(found) != len(wanted):
        return False
    width = slack * max(1.0, float(np.abs(scores).max(initial=0.0)))
    place = {int(seq): i for i, seq in enumerate(wanted)}
    for i, seq in enumerate(found.tolist()):
        if seq in place:
            if abs(scores[place[seq]] - scores[i]) > width:
                return False
        elif scores[i] - scores[-1] > width:
            return False  # better rows may not be missing; one at the edge may
    return True
