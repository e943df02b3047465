"""What the queries of an evaluation are, and which rows a codec may be fitted on for it.

In falling order of worth: judgements (qrels), titles that should find their own text (captions
their image), classes that should find their own, and agreement with exact full-precision search
where a collection brings none of them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.directions import directions
from nestvec.errors import UserError
from nestvec.measure.metrics import Measure, Relevance, exact_top
from nestvec.progress import Progress, quiet

Kind = Literal["labels", "title->text", "caption->image", "same class", "agreement"]

LABEL_MEASURE = "nDCG@10"
AGREEMENT_MEASURE = "R@10"
MOST_HELD_OUT = 1000
# Relevant rows of all queries: a class has thousands, and the measures keep some numbers for each.
_MOST_RELEVANT = 1 << 20
_FEWEST_QUERIES = 100
MOST_FITTING_ROWS = 40_000
ENOUGH_FITTING_ROWS = 10_000
"""With so many rows left, the relevant rows stay out of every fitting sample."""
BLOCK_ROWS = 16_384
BLOCK_QUERIES = 1_024


@dataclass(frozen=True, eq=False)
class QueryTask:
    """Queries, what is relevant to each, and the measure that counts.

    vectors: (q, d) float32. relevance: of the same q queries, rows of the documents.
    kind: where the relevance comes from. ids: q names.
    seen: (q,) bool, queries whose documents some training touched; None where none did.
    own_rows: (q,) int64, the row that is the query itself and is left out of its ranking,
    -1 where there is none; None where no query is a row.
    """

    vectors: NDArray[np.float32]
    relevance: Relevance
    measure: str
    kind: Kind
    ids: tuple[str, ...]
    seen: NDArray[np.bool_] | None = None
    own_rows: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        Measure.parse(self.measure)
        if len(self.vectors) != self.relevance.queries or len(self.ids) != len(self.vectors):
            raise ValueError(
                f"vectors, relevance and ids must be of the same queries; got "
                f"{len(self.vectors)}, {self.relevance.queries} and {len(self.ids)}"
            )
        if len(self.vectors) == 0:
            raise UserError(
                "an evaluation needs at least one query with a relevant row; got none. Check "
                "that the qrels name these queries and documents."
            )

    def take(self, queries: NDArray[Any]) -> QueryTask:
        """The same for some queries, by position or mask, in their order."""
        chosen = np.arange(len(self.vectors))[queries]
        return QueryTask(
            self.vectors[chosen],
            self.relevance.take(chosen),
            self.measure,
            self.kind,
            tuple(self.ids[i] for i in chosen),
            None if self.seen is None else self.seen[chosen],
            None if self.own_rows is None else self.own_rows[chosen],
        )


def from_qrels(
    vectors: NDArray[Any],
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    qrels: Mapping[str, Mapping[str, float]],
    measure: str = LABEL_MEASURE,
    seen_ids: frozenset[str] = frozenset(),
) -> QueryTask:
    """The task that judgements set.

    vectors: (q, d), row i the query query_ids[i]. qrels: {query: {document: gain}}; gains of 0
    or less say irrelevant. Queries without a relevant document are left out, as trec_eval does.
    seen_ids: queries whose documents some training touched.
    Raises UserError where the qrels name a query or document that is not there.
    """
    rows = {document: row for row, document in enumerate(document_ids)}
    places = {query: place for place, query in enumerate(query_ids)}
    kept: list[str] = []
    gains: list[dict[int, float]] = []
    for query, judged in qrels.items():
        unknown = next((document for document in judged if document not in rows), None)
        if unknown is not None:
            raise UserError(
                f"qrels may name only documents of the collection; got {unknown!r} for query "
                f"{query!r}. Drop that line or add the document."
            )
        relevant = {rows[document]: gain for document, gain in judged.items() if gain > 0}
        if not relevant:
            continue
        if query not in places:
            raise UserError(
                f"qrels may name only queries that are given; got {query!r}. Drop its lines or "
                "add the query."
            )
        kept.append(query)
        gains.append(relevant)
    chosen = np.array([places[query] for query in kept], dtype=np.int64)
    return QueryTask(
        np.asarray(vectors, dtype=np.float32)[chosen],
        Relevance.from_gains(gains),
        measure,
        "labels",
        tuple(kept),
        np.array([query in seen_ids for query in kept]) if seen_ids else None,
    )


_WORD = re.compile(r"\w+")


def title_queries(
    titles: Sequence[str], at_most: int = MOST_HELD_OUT, seed: int = 0, fewest_words: int = 3
) -> tuple[list[str], list[list[int]]]:
    """Titles fit to be queries, and the rows that bear each: (titles, rows of each).

    titles: one a row, "" where there is none. Titles are one where they differ in case and
    punctuation only; shorter ones than fewest_words name too little to find a text by.
    Drawn by seed where there are more than at_most.
    """
    bearers: dict[str, list[int]] = {}
    for row, title in enumerate(titles):
        words = _WORD.findall(title.casefold())
        if len(words) >= fewest_words:
            bearers.setdefault(" ".join(words), []).append(row)
    groups = list(bearers.values())
    chosen = np.random.default_rng(seed).permutation(len(groups))[:at_most]
    rows = [groups[i] for i in np.sort(chosen)]
    return [titles[group[0]] for group in rows], rows


def from_titles(
    vectors: NDArray[Any],
    rows: Sequence[Sequence[int]],
    document_ids: Sequence[str],
    measure: str = LABEL_MEASURE,
) -> QueryTask:
    """The task of finding a text by its title.

    vectors: (q, d), the encoded titles of title_queries; rows: the rows that bear each.
    The documents must have been encoded without their titles, or the task is too easy.
    """
    return QueryTask(
        np.asarray(vectors, dtype=np.float32),
        Relevance.from_gains([dict.fromkeys(group, 1.0) for group in rows]),
        measure,
        "title->text",
        tuple(str(document_ids[group[0]]) for group in rows),
    )


def from_classes(
    vectors: NDArray[Any],
    labels: NDArray[np.int64],
    document_ids: Sequence[str],
    measure: str = LABEL_MEASURE,
    at_most: int = MOST_HELD_OUT,
    seed: int = 0,
) -> QueryTask | None:
    """The task of finding the rows of one's own class; None where there are not two classes.

    Rows drawn by seed, at most a fifth of them and fewer where classes are very large, are the
    queries; every other row of its class is relevant to each, with gain 1, and it is left out of
    its own ranking (own_rows).
    labels: (n,) numbers of classes; -1 for a row of none, which is relevant to nothing.
    """
    names, counts = np.unique(labels[labels >= 0], return_counts=True)
    asked = np.flatnonzero(np.isin(labels, names[counts > 1]))
    if len(names) < 2 or not len(asked):
        return None
    share = max(1, len(labels) // 5)
    typical = float((counts * counts).sum() / counts.sum())
    bound = max(_FEWEST_QUERIES, int(_MOST_RELEVANT / typical))
    count = min(at_most, share, bound, len(asked))
    own = np.sort(np.random.default_rng(seed).choice(asked, count, replace=False))
    members = {label: np.flatnonzero(labels == label) for label in np.unique(labels[own])}
    rows = [group[group != row] for row in own for group in [members[labels[row]]]]
    flat = np.concatenate(rows).astype(np.int64)
    ends = np.cumsum([len(each) for each in rows], dtype=np.int64)
    return QueryTask(
        np.asarray(vectors[own], dtype=np.float32),
        Relevance(np.concatenate(([0], ends)).astype(np.int64), flat, np.ones(len(flat))),
        measure,
        "same class",
        tuple(str(document_ids[row]) for row in own),
        own_rows=own.astype(np.int64),
    )


def agreement(
    documents: NDArray[Any],
    metric: str = "cosine",
    at_most: int = MOST_HELD_OUT,
    seed: int = 0,
    k: int = 10,
    progress: Progress | None = None,
) -> QueryTask:
    """The task of agreeing with exact full-precision search, where there are no labels.

    Rows drawn by seed, at most a fifth of the documents, are the queries. The k rows that
    exact search ranks first are relevant to each, with gain 1; a row is left out of its own
    ranking, here and in every evaluation (own_rows), and fitting_rows never gives it to a codec.
    documents: (n, d), perhaps a memmap; read by blocks, so memory is bounded by one block of
    scores (64 MB) and one of documents.
    """
    n = len(documents)
    if n < 3:
        raise UserError(
            f"agreement with exact search needs at least 3 rows; got {n}. Give more rows or labels."
        )
    rng = np.random.default_rng(seed)
    count = max(1, min(at_most, n // 5))
    own = np.sort(rng.choice(n, count, replace=False)).astype(np.int64)
    queries = np.asarray(documents[own], dtype=np.float32)
    top = exact_neighbours(documents, queries, own, metric, min(k, n - 1), progress)
    return QueryTask(
        queries,
        Relevance.from_top(top),
        AGREEMENT_MEASURE,
        "agreement",
        tuple(str(row) for row in own),
        own_rows=own,
    )


def exact_neighbours(
    documents: NDArray[Any],
    queries: NDArray[np.float32],
    own_rows: NDArray[np.int64],
    metric: str,
    k: int,
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """The k rows nearest to each query by full vectors, its own row left out: (q, k) int64.

    Best first, ties to the smaller row. metric: "cosine", "dot" or "l2".
    """
    n = len(documents)
    listener = progress or quiet()
    listener.start("Searching exactly", n)
    best_rows = np.zeros((len(queries), 0), dtype=np.int64)
    best_scores = np.zeros((len(queries), 0), dtype=np.float32)
    for start in range(0, n, BLOCK_ROWS):
        stop = min(n, start + BLOCK_ROWS)
        block = np.asarray(documents[start:stop], dtype=np.float32)
        if metric == "cosine":
            block = directions(block)
        pairs = [
            _top_of_block(block, queries[first : first + BLOCK_QUERIES], own, start, metric, k)
            for first in range(0, len(queries), BLOCK_QUERIES)
            for own in [own_rows[first : first + BLOCK_QUERIES]]
        ]
        rows = np.concatenate([best_rows, np.concatenate([r for r, _ in pairs])], axis=1)
        scores = np.concatenate([best_scores, np.concatenate([s for _, s in pairs])], axis=1)
        # earlier blocks hold smaller rows, so a stable sort gives ties to the smaller row
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best_rows = np.take_along_axis(rows, order, axis=1)
        best_scores = np.take_along_axis(scores, order, axis=1)
        listener.advance(stop - start)
    listener.finish()
    return best_rows


def _top_of_block(
    block: NDArray[np.float32],
    queries: NDArray[np.float32],
    own: NDArray[np.int64],
    start: int,
    metric: str,
    k: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    scores = queries @ block.T
    if metric == "l2":
        scores -= 0.5 * np.einsum("nd,nd->n", block, block)
    here = np.flatnonzero((own >= start) & (own < start + len(block)))
    scores[here, own[here] - start] = -np.inf
    top = exact_top(scores, k)
    return top + start, np.take_along_axis(scores, top, axis=1)


def mark_seen(task: QueryTask, rows: NDArray[Any]) -> QueryTask:
    """The task, its queries marked as seen where a row relevant to them, or their own, is in rows.

    rows: (r,) of the documents that some training touched. Unmarked where no query is seen.
    """
    relevance = task.relevance
    hits = np.concatenate([[0], np.cumsum(np.isin(relevance.rows, rows))])
    seen = hits[relevance.indptr[1:]] > hits[relevance.indptr[:-1]]
    if task.own_rows is not None:
        seen |= np.isin(task.own_rows, rows)
    return replace(task, seen=seen if seen.any() else None)


@dataclass(frozen=True, eq=False)
class FittingSample:
    """The rows that every method of an evaluation is fitted on.

    rows: (m,) int64, rising. on_relevant: whether relevant rows may be among them, because
    the collection is too small to spare them; reports must say so.
    """

    rows: NDArray[np.int64]
    on_relevant: bool

    @property
    def digest(self) -> str:
        """A name of the rows, equal for equal rows."""
        return hashlib.sha256(self.rows.astype("<i8").tobytes()).hexdigest()[:32]


def fitting_rows(
    task: QueryTask, n: int, seed: int = 0, at_most: int = MOST_FITTING_ROWS
) -> FittingSample:
    """A sample of the n documents to fit on: never a query's own row, and no relevant row
    where ENOUGH_FITTING_ROWS others are left.
    """
    free = np.ones(n, dtype=bool)
    if task.own_rows is not None:
        free[task.own_rows[task.own_rows >= 0]] = False
    unrelated = free.copy()
    unrelated[task.relevance.rows] = False
    spared = int(np.count_nonzero(unrelated)) >= ENOUGH_FITTING_ROWS
    pool = np.flatnonzero(unrelated if spared else free)
    if len(pool) > at_most:
        pool = np.sort(np.random.default_rng(seed).choice(pool, at_most, replace=False))
    return FittingSample(pool.astype(np.int64), not spared)
