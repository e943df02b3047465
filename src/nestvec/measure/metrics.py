"""Measures of retrieval, computed from the ranks of the relevant rows alone.

A ranking is never sorted: a relevant row's rank is the number of rows that beat it, plus one,
so a measure of 2,000 queries over 54,000 rows costs a few passes over their scores.
Ties go to the smaller row everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import UserError

NAMES = ("nDCG", "R", "RR", "AP", "APk", "P")
ABSENT = 2**62
"""The rank of a relevant row that a list of hits does not hold; beyond every cutoff."""


@dataclass(frozen=True)
class Relevance:
    """What is relevant to each query, as sparse rows.

    indptr: (q + 1,) int64, query i owns the entries indptr[i] to indptr[i + 1].
    rows: (m,) int64, relevant rows, each at most once a query.
    gains: (m,) float64, > 0: how relevant. What is not listed is not relevant.
    """

    indptr: NDArray[np.int64]
    rows: NDArray[np.int64]
    gains: NDArray[np.float64]

    def __post_init__(self) -> None:
        assert self.indptr.ndim == 1, "indptr must be flat"
        assert len(self.rows) == len(self.gains) == self.indptr[-1], "one gain an entry"

    @classmethod
    def from_gains(cls, gains: Sequence[Mapping[int, float]]) -> Relevance:
        """Of one {row: gain} a query; gains of 0 or less are judged irrelevant and dropped."""
        kept = [{row: gain for row, gain in query.items() if gain > 0} for query in gains]
        sizes = [len(query) for query in kept]
        return cls(
            np.concatenate(([0], np.cumsum(sizes, dtype=np.int64))).astype(np.int64),
            np.array([row for query in kept for row in query], dtype=np.int64),
            np.array([gain for query in kept for gain in query.values()], dtype=np.float64),
        )

    @classmethod
    def from_top(cls, top: NDArray[np.int64]) -> Relevance:
        """Every row of top, (q, k), is relevant to its query with gain 1: for agreement."""
        q, k = top.shape
        return cls(
            np.arange(q + 1, dtype=np.int64) * k,
            np.asarray(top, dtype=np.int64).ravel(),
            np.ones(q * k),
        )

    @property
    def queries(self) -> int:
        """The number of queries."""
        return len(self.indptr) - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """(q,) the number of relevant rows of each query."""
        return np.diff(self.indptr)

    @property
    def query_of(self) -> NDArray[np.int64]:
        """(m,) the query that owns each entry."""
        return np.repeat(np.arange(self.queries, dtype=np.int64), self.counts)

    def take(self, queries: NDArray[Any] | slice) -> Relevance:
        """The same for some queries, by position, mask or slice, in their order."""
        chosen = np.arange(self.queries, dtype=np.int64)[queries]
        counts = self.counts[chosen]
        indptr = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        inside = np.arange(indptr[-1], dtype=np.int64) - np.repeat(indptr[:-1], counts)
        entries = np.repeat(self.indptr[chosen], counts) + inside
        return Relevance(indptr, self.rows[entries], self.gains[entries])


def ranks_of_relevant(scores: NDArray[Any], relevance: Relevance) -> NDArray[np.int64]:
    """The rank, from 1, of every relevant row among all rows of its query.

    scores: (q, n), higher is better; relevance: of the same q queries.
    Returns (m,) int64 in the order of relevance.rows: one plus the rows with a higher score,
    plus those with an equal score and a smaller row.
    Raises ValueError if shapes differ or a relevant row's score is not a number.
    """
    if scores.ndim != 2 or len(scores) != relevance.queries:
        raise ValueError(
            f"scores must be (queries, rows); got {scores.shape} for {relevance.queries} queries"
        )
    from nestvec.measure.kernels import count_ranks

    broken = np.isnan(scores[relevance.query_of, relevance.rows])
    if broken.any():
        query = relevance.query_of[broken][0]
        raise ValueError(f"scores must be numbers; query {query} has NaN for a relevant row")
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float64)
    ranks = np.empty(len(relevance.rows), dtype=np.int64)
    count_ranks(np.ascontiguousarray(scores), relevance.indptr, relevance.rows, ranks)
    return ranks


def ranks_in_hits(hits: NDArray[Any], relevance: Relevance) -> NDArray[np.int64]:
    """The rank, from 1, of every relevant row in lists of hits, ABSENT where a list lacks it.

    hits: (q, k) rows, best first, -1 where a list is shorter. Returns (m,) int64.
    """
    if hits.ndim != 2 or len(hits) != relevance.queries:
        raise ValueError(
            f"hits must be (queries, k); got {hits.shape} for {relevance.queries} queries"
        )
    ranks = np.full(len(relevance.rows), ABSENT, dtype=np.int64)
    owners = relevance.query_of
    block = max(1, 4_000_000 // max(1, hits.shape[1]))
    for start in range(0, len(ranks), block):
        part = slice(start, start + block)
        same = hits[owners[part]] == relevance.rows[part, None]
        found = same.any(axis=1)
        ranks[part][found] = same.argmax(axis=1)[found] + 1
    return ranks


def exact_top(scores: NDArray[Any], k: int) -> NDArray[np.int64]:
    """The best k rows of each query, by falling score, ties to the smaller row.

    scores: (q, n), higher is better. Returns (q, min(k, n)) int64.
    Raises ValueError where a score is not a number.
    """
    q, n = scores.shape
    k = min(k, n)
    top = np.empty((q, k), dtype=np.int64)
    if k == 0:
        return top
    for i, row_scores in enumerate(scores):
        best = np.partition(row_scores, n - k)[n - k :]
        # NaN sorts as the largest, so that one anywhere is seen here
        if np.isnan(best).any():
            raise ValueError(f"scores must be numbers; query {i} has NaN")
        border = best[0]
        candidates = np.flatnonzero(row_scores >= border)
        if len(candidates) > k:
            values = row_scores[candidates]
            tied = np.flatnonzero(values == border)
            candidates = np.delete(candidates, tied[k - len(candidates) :])
        order = np.argsort(-row_scores[candidates], kind="stable")
        top[i] = candidates[order]
    return top


_WRITTEN = re.compile(r"(\w+)@([1-9]\d*)")


@dataclass(frozen=True)
class Measure:
    """A measure of retrieval with its cutoff; reads, prints and compares as "nDCG@10".

    name: one of NAMES. k: the cutoff, >= 1. With g the gain, r the rank of a relevant row:
    - nDCG@k: sum of g / log2(1 + r) over r <= k, by the largest such sum any ranking has
      (Järvelin and Kekäläinen 2002, linear gains as trec_eval).
    - R@k: share of the relevant rows with r <= k. P@k: their number by k.
    - RR@k: 1 / smallest r, 0 beyond k.
    - AP@k: precision at each relevant r <= k, summed, by the number of relevant rows
      (trec_eval's map_cut). APk@k: the same sum by k, as the code of MRL reports it.
    A query without relevant rows counts 0, as in trec_eval.
    """

    name: str
    k: int

    def __post_init__(self) -> None:
        if self.name not in NAMES or self.k < 1:
            raise UserError(_explain(f"{self.name}@{self.k}"))

    @classmethod
    def parse(cls, text: str) -> Measure:
        """The measure written as "nDCG@10"; upper and lower case are one."""
        found = _WRITTEN.fullmatch(text.strip())
        names = {name.lower(): name for name in NAMES}
        if not found or found[1].lower() not in names:
            raise UserError(_explain(text))
        return cls(names[found[1].lower()], int(found[2]))

    def __str__(self) -> str:
        return f"{self.name}@{self.k}"

    def values(self, ranks: NDArray[Any], relevance: Relevance) -> NDArray[np.float64]:
        """The measure of each query, (q,) float64.

        ranks: (m,) from 1, of relevance.rows in their order (ranks_of_relevant, ranks_in_hits).
        """
        assert len(ranks) == len(relevance.rows), "one rank a relevant row"
        within = ranks <= self.k
        if self.name == "nDCG":
            return self._ndcg(ranks, within, relevance)
        found = _sum_by_query(within.astype(np.float64), relevance)
        if self.name == "P":
            return found / self.k
        if self.name == "R":
            return found / np.maximum(relevance.counts, 1)
        if self.name == "RR":
            best = np.zeros(relevance.queries)
            np.maximum.at(best, relevance.query_of, within / np.asarray(ranks, dtype=np.float64))
            return best
        total = _precision_sums(ranks, within, relevance)
        return total / (self.k if self.name == "APk" else np.maximum(relevance.counts, 1))

    def _ndcg(
        self, ranks: NDArray[Any], within: NDArray[np.bool_], relevance: Relevance
    ) -> NDArray[np.float64]:
        discount = np.log2(1.0 + ranks)
        got = _sum_by_query(within * relevance.gains / discount, relevance)
        owners = relevance.query_of
        falling = relevance.gains[np.lexsort((-relevance.gains, owners))]
        place = 1 + np.arange(len(owners)) - relevance.indptr[owners]
        ideal = _sum_by_query((place <= self.k) * falling / np.log2(1.0 + place), relevance)
        return np.divide(got, ideal, out=np.zeros_like(got), where=ideal > 0)


def _explain(seen: str) -> str:
    return (
        f"a measure is written as name@k with a name of {', '.join(NAMES)} and k from 1; got "
        f"{seen!r}. Try nDCG@10."
    )


def _sum_by_query(entries: NDArray[np.float64], relevance: Relevance) -> NDArray[np.float64]:
    sums = np.bincount(relevance.query_of, weights=entries, minlength=relevance.queries)
    return sums.astype(np.float64, copy=False)


def _precision_sums(
    ranks: NDArray[Any], within: NDArray[np.bool_], relevance: Relevance
) -> NDArray[np.float64]:
    owners = relevance.query_of
    order = np.lexsort((ranks, owners))
    place = 1.0 + np.arange(len(owners)) - relevance.indptr[owners]
    return _sum_by_query(within[order] * place / ranks[order], relevance)
