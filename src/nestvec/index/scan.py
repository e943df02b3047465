"""The stages of a search in plain numpy: what compiled kernels are held equal to.

`scan` reads a cut of all rows and keeps the best; `rescore` reads further bytes of the survivors,
adds to the raw sums in hand and divides once. `scan_vectors` and `rescore_vectors` do the same
over prefixes of stored vectors. Memory: the shortlist and one run of rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.nested import Codec
from nestvec.codec.scores import Prepared
from nestvec.index.runs import CodeRun, VectorRun
from nestvec.index.selection import Selection, best_ranked, ranked

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Shortlist:
    """The rows that a stage kept, best first; ties to the smaller seq.

    rows: positions (m,) int64. seqs: (m,) int64. sums: (m,) float32 raw sums of the code bytes
    read so far. scores: (m,) float32, higher is better.
    """

    rows: I64
    seqs: I64
    sums: F32
    scores: F32


def scan(
    codec: Codec, prepared: Prepared, runs: Iterable[CodeRun], cut: int, keep: int
) -> list[Shortlist]:
    """For each query the best `keep` of all rows by their first `cut` bytes."""
    selections = [Selection(keep) for _ in prepared.norms]
    for run in runs:
        sums = codec.raw_sums(prepared, run.codes, 0, cut)
        scores = codec.finish(sums, run.norms, prepared, run.lengths)
        for selection, some_sums, some_scores in zip(selections, sums, scores, strict=True):
            selection.offer(run.rows, run.seqs, some_sums, some_scores)
    return [_shortlist(selection) for selection in selections]


def rescore(
    codec: Codec,
    prepared: Prepared,
    shortlist: Shortlist,
    codes: U8,
    norms: F32,
    lengths: F32 | None,
    start: int,
    keep: int,
) -> Shortlist:
    """The best `keep` of one query's survivors, after reading the bytes from start on.

    prepared: of that query alone. codes: (m, stop) uint8, of which [start, stop) are read and
    added to the sums in hand. norms, lengths: (m,) of the survivors at the cut `stop`.
    """
    stop = codes.shape[1]
    sums = shortlist.sums + codec.raw_sums_gathered(prepared, codes, start, stop)
    scores = codec.finish(sums[None], norms, prepared, lengths)[0]
    return narrowed(replace(shortlist, sums=sums, scores=scores), keep)


def scan_vectors(
    queries: F32, runs: Iterable[VectorRun], width: int, metric: str, keep: int
) -> list[Shortlist]:
    """For each query (q, d) the best `keep` of all rows by their vectors' first coordinates.

    Matrix products round a row differently in different places, so they only say which rows may
    be among the best; those are scored again one by one, and equal vectors have equal scores.
    """
    selections = [Selection(keep) for _ in queries]
    slack = np.float32(4 * (width + 8) * np.finfo(np.float32).eps)
    for run in runs:
        prefix = np.ascontiguousarray(queries[:, :width])
        rough = _cosines(prefix, run.vectors, run.norms)
        for query, selection, cosines in zip(queries, selections, rough, strict=True):
            scores = finish_cosines(metric, cosines, query, run.lengths)
            scale = _scale(metric, query, run.lengths)
            floor = selection.floor
            if len(scores) > keep:
                edge = np.partition(scores, len(scores) - keep)[len(scores) - keep]
                floor = np.maximum(floor, edge)
            at = np.flatnonzero(scores >= floor - slack * scale)
            lengths = None if run.lengths is None else run.lengths[at]
            exact = vector_scores(query, run.vectors[at], lengths, metric)
            selection.take(run.rows[at], run.seqs[at], np.zeros_like(exact), exact)
    return [_shortlist(selection) for selection in selections]


def rescore_vectors(
    query: F32,
    width: int,
    shortlist: Shortlist,
    products: tuple[F32, F32],
    lengths: F32 | None,
    metric: str,
    keep: int,
) -> Shortlist:
    """The best `keep` of one query's survivors by their vectors' first coordinates.

    query: (d,). products: of the survivors' prefixes with the query's and with themselves, (m,)
    each. lengths: |x| (m,), or None for cosine.
    """
    scores = product_scores(query, width, products, lengths, metric)
    return narrowed(replace(shortlist, scores=scores), keep)


def rescore_signs(shortlist: Shortlist, signs: U8, planes: U8, keep: int) -> Shortlist:
    """The best `keep` of one query's survivors by their signs (m, bytes).

    planes: (b, bytes) of the query. Scores as fused.scan_signs gives them; sums in hand are 0.
    """
    scores = sign_scores(signs, planes)
    return narrowed(replace(shortlist, scores=scores, sums=np.zeros_like(scores)), keep)


def sign_scores(signs: U8, planes: U8) -> F32:
    """Scores (m,) of packed signs (m, bytes) by a query's planes (b, bytes).

    The sum over planes j of 2^j times the bits that agree, less those that do not.
    """
    scores = np.zeros(len(signs), np.float32)
    bits = 8 * signs.shape[1]
    for j, plane in enumerate(planes):
        differing = np.unpackbits(signs ^ plane, axis=1).sum(axis=1, dtype=np.float32)
        scores += np.float32(2**j) * (np.float32(bits) - np.float32(2) * differing)
    return scores


def vector_scores(query: F32, vectors: F32, lengths: F32 | None, metric: str) -> F32:
    """Scores (m,) of a query (d,) and vector prefixes (m, width), both renormalized.

    With c the cosine of the two prefixes: cosine c; dot |x| |q| c; l2 -(|x|^2 + |q|^2 -
    2 |x| |q| c). At the full width these are the plain measures. A prefix of zeros has c = 0.
    Each row is summed in the same order wherever it stands (a matrix product's is not).
    """
    width = vectors.shape[1]
    dots = np.einsum("nd,d->n", vectors, query[:width])
    squares = np.einsum("nd,nd->n", vectors, vectors)
    return product_scores(query, width, (dots, squares), lengths, metric)


def product_scores(
    query: F32, width: int, products: tuple[F32, F32], lengths: F32 | None, metric: str
) -> F32:
    """As vector_scores, of the prefixes' products with the query's and with themselves: (m,)."""
    prefix, (dots, squares) = query[:width], products
    cosines = _ratio(dots, np.sqrt(squares) * np.sqrt(np.einsum("d,d->", prefix, prefix)))
    return finish_cosines(metric, cosines, query, lengths)


def of_query(prepared: Prepared, i: int) -> Prepared:
    """Query i alone of several that were prepared together."""

    def part(table: Any) -> Any:
        if isinstance(table, tuple):
            return tuple(part(item) for item in table)
        return table[i : i + 1]

    return Prepared(prepared.norms[i : i + 1], tuple(part(table) for table in prepared.tables))


def _cosines(queries: F32, vectors: F32, norms: F32 | None) -> F32:
    if norms is None:
        norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    query_norms = np.sqrt(np.einsum("qd,qd->q", queries, queries))
    # a matrix by a vector is faster than by a matrix of one row
    dots = (vectors @ queries[0])[None] if len(queries) == 1 else queries @ vectors.T
    return _ratio(dots, query_norms[:, None] * norms)


def _ratio(dots: F32, products: F32) -> F32:
    ratio: F32 = np.divide(dots, np.where(products > 0, products, np.float32(1)))
    return ratio


def finish_cosines(metric: str, cosines: F32, query: F32, lengths: F32 | None) -> F32:
    """Scores (m,) of cosines (m,) with a query (d,); lengths: |x| (m,), None for cosine."""
    if metric == "cosine" or lengths is None:
        return cosines
    length = np.sqrt(np.einsum("d,d->", query, query))
    products: F32 = cosines * (length * lengths)
    if metric == "dot":
        return products
    distances: F32 = lengths**2 + length**2 - 2 * products
    return -distances


def _scale(metric: str, query: F32, lengths: F32 | None) -> np.float32:
    if metric == "cosine" or lengths is None:
        return np.float32(1)
    scale: np.float32 = (np.sqrt(np.einsum("d,d->", query, query)) + lengths.max()) ** 2
    return scale


def _shortlist(selection: Selection) -> Shortlist:
    order = ranked(selection.scores, selection.seqs)
    return Shortlist(
        selection.rows[order], selection.seqs[order], selection.sums[order], selection.scores[order]
    )


def narrowed(shortlist: Shortlist, keep: int) -> Shortlist:
    """The best `keep` of a shortlist, best first."""
    at = best_ranked(shortlist.scores, shortlist.seqs, keep)
    return Shortlist(
        shortlist.rows[at], shortlist.seqs[at], shortlist.sums[at], shortlist.scores[at]
    )
