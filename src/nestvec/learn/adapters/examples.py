"""What adapters learn from: frozen vectors, and which document answers which query."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nestvec.errors import UserError
from nestvec.measure.groups import connected
from nestvec.vectors import check_vectors, normalize

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Examples:
    """Documents, and perhaps queries with the documents that answer them.

    documents: (n, d), float16 or float32, perhaps a memory map: rows are read as they are drawn.
    queries: (q, d), or None without labels. pairs: (p, 2) int64, query and document rows.
    grades: (p,) float32 above 0, larger is more relevant. rows: of documents that may be learned
    from without pairs, (r,) int64, None for all. Raises UserError where they do not fit.
    """

    documents: NDArray[Any]
    queries: NDArray[Any] | None = None
    pairs: I64 | None = None
    grades: F32 | None = None
    rows: I64 | None = None

    def __post_init__(self) -> None:
        if self.documents.ndim != 2:
            raise UserError(
                "documents are a table of rows by coordinates; got the shape "
                f"{self.documents.shape}. Stack them into one array of two dimensions."
            )
        if self.pairs is None:
            return
        queries, pairs = self.queries, self.pairs
        if queries is None or pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
            raise UserError(
                f"pairs are rows of query and document, at least one; got {pairs.shape} of "
                f"{'no queries' if queries is None else 'queries'}. Give both."
            )
        if queries.ndim != 2 or queries.shape[1] != self.documents.shape[1]:
            raise UserError(
                f"queries are as wide as documents; got {queries.shape} and "
                f"{self.documents.shape}. Encode both with one model."
            )
        top = (len(queries), len(self.documents))
        bad = np.flatnonzero(((pairs < 0) | (pairs >= top)).any(axis=1))
        if len(bad):
            raise UserError(
                f"pairs name rows of {top[0]:,} queries and {top[1]:,} documents; pair {bad[0]} "
                f"names {tuple(pairs[bad[0]].tolist())}. Correct or drop it."
            )
        grades = self.grades
        if grades is not None and len(grades) != len(pairs):
            raise UserError(
                f"every pair has one grade above 0; got {len(grades)} grades for {len(pairs)} "
                "pairs. Give as many."
            )
        # a comparison that NaN fails
        if grades is not None and not ((grades > 0) & np.isfinite(grades)).all():
            worst = int(np.argmin((grades > 0) & np.isfinite(grades)))
            raise UserError(
                f"every pair has one grade above 0; pair {worst} has {grades[worst]}. Drop "
                "irrelevant pairs."
            )

    @property
    def dim(self) -> int:
        """Coordinates of a vector."""
        return int(self.documents.shape[1])

    @property
    def labelled(self) -> bool:
        """Whether there are pairs."""
        return self.pairs is not None

    def check(self) -> None:
        """Raise UserError where vectors are not finite, all zero, or all alike."""
        check_vectors(self.documents, "documents")
        if self.queries is not None:
            check_vectors(self.queries, "queries")
        first = np.asarray(self.documents[0], np.float32)
        step = max(1, len(self.documents) // 10_000)
        if len(self.documents) < 2 or not (np.asarray(self.documents[::step]) != first).any():
            raise UserError(
                "an adapter needs vectors that differ; got equal ones in all rows. Check what made "
                "them."
            )

    def split(self, share: float, seed: int) -> tuple[Examples, Examples]:
        """Pairs to train on and pairs held out, no document on both sides, drawn by seed.

        share: of the pairs held out, about: groups of pairs that documents tie together are taken
        as they are drawn, but for those that do not fit, and the smallest where none does.
        Documents and queries stay whole in both. Raises UserError where all pairs are one group.
        """
        assert self.pairs is not None
        groups = connected(self.pairs[:, 0], self.pairs[:, 1])
        names = np.random.default_rng(seed).permutation(np.unique(groups))
        if len(names) < 2:
            raise UserError(
                "pairs to learn from and pairs held out share no document; documents tie all "
                f"{len(groups):,} pairs together. Give pairs of other documents as well."
            )
        sizes = np.bincount(groups)[names]
        out: list[int] = []
        room = share * len(groups)
        for name, size in zip(names.tolist(), sizes.tolist(), strict=True):
            if size <= room:
                out.append(name)
                room -= size
        held = np.isin(groups, out or [names[np.argmin(sizes)]])
        return self._only(~held), self._only(held)

    def split_queries(self, share: float, seed: int) -> tuple[Examples, Examples]:
        """As split, but only no query is on both sides: for pairs that documents tie together.

        Raises UserError where all pairs are of one query.
        """
        assert self.pairs is not None
        names = np.random.default_rng(seed).permutation(np.unique(self.pairs[:, 0]))
        if len(names) < 2:
            raise UserError(
                f"some queries are held out to stop early on; all {len(self.pairs):,} pairs are of "
                "one. Give pairs of other queries as well, or none."
            )
        held = np.isin(self.pairs[:, 0], names[: max(1, round(share * len(names)))])
        return self._only(~held), self._only(held)

    def split_documents(self, share: float, seed: int) -> tuple[Examples, Examples]:
        """Documents to train on and documents held out, as rows of the same ones, drawn by seed.

        No pairs on either side. share: of the documents held out, at least one; of `rows` alone
        where they are given.
        """
        everyone = np.arange(len(self.documents)) if self.rows is None else self.rows
        drawn = np.random.default_rng(seed).permutation(everyone)
        count = max(1, round(share * len(everyone)))
        sides = (np.sort(drawn[count:]), np.sort(drawn[:count]))
        fitted, held = (Examples(self.documents, rows=rows) for rows in sides)
        return fitted, held

    @property
    def tied(self) -> float:
        """The share of pairs in the largest group that documents tie together."""
        assert self.pairs is not None
        groups = connected(self.pairs[:, 0], self.pairs[:, 1])
        return float(np.bincount(groups).max() / len(groups))

    def digest(self) -> str:
        """Of shapes, pairs, grades and up to 128 vectors a side: equal for the same examples."""
        made = hashlib.blake2b(digest_size=16)
        for vectors in (self.documents, self.queries):
            if vectors is not None:
                made.update(repr((vectors.shape, str(vectors.dtype))).encode())
                made.update(vectors[:: max(1, len(vectors) // 64)].tobytes())
        for given in (self.pairs, self.grades, self.rows):
            made.update(b"" if given is None else repr(given.shape).encode() + given.tobytes())
        return made.hexdigest()

    def _only(self, chosen: NDArray[np.bool_]) -> Examples:
        assert self.pairs is not None
        grades = None if self.grades is None else self.grades[chosen]
        return replace(self, pairs=self.pairs[chosen], grades=grades)


@dataclass(frozen=True, eq=False)
class Batch:
    """One step's rows, as frozen unit vectors.

    documents: (c, d); rows: (c,) which they are. queries: (b, d) or None, query i answered by
    document i. grades: (b, c), 0 where nothing says that a document answers a query.
    """

    documents: Tensor
    rows: Tensor
    queries: Tensor | None = None
    grades: Tensor | None = None

    @property
    def other_answers(self) -> Tensor | None:
        """(b, c) bool: which documents answer a query beside its own; None where none does."""
        if self.grades is None:
            return None
        others = self.grades > 0
        others.fill_diagonal_(False)
        return others if others.any() else None


def batches(examples: Examples, size: int, seed: int, device: torch.device) -> Iterator[Batch]:
    """Batches without end, epoch after epoch, drawn by seed; the last rest of an epoch is left out.

    With pairs: of distinct queries and distinct documents, the first drawn of each, so perhaps of
    fewer. Without: of documents alone.
    """
    count = _count(examples)
    size = min(size, count)
    answers = None if examples.pairs is None else _Answers(examples.pairs, examples.grades)
    epoch = 0
    while True:
        order = np.random.default_rng((seed, epoch)).permutation(count)
        for start in range(0, count - size + 1, size):
            picks = order[start : start + size]
            yield _batch(examples, picks, answers, device)
        epoch += 1


def steps_an_epoch(examples: Examples, size: int) -> int:
    """Batches of one pass."""
    count = _count(examples)
    return max(1, count // min(size, count))


def _count(examples: Examples) -> int:
    """What an epoch draws from."""
    if examples.pairs is not None:
        return len(examples.pairs)
    return len(examples.documents if examples.rows is None else examples.rows)


def _distinct(pairs: I64) -> I64:
    """Those whose query and document no earlier one has, in the order of documents."""
    if len(np.unique(pairs[:, 0])) < len(pairs) or len(np.unique(pairs[:, 1])) < len(pairs):
        queries: set[int] = set()
        documents: set[int] = set()
        kept: list[int] = []
        for i, (query, row) in enumerate(pairs.tolist()):
            if query not in queries and row not in documents:
                kept.append(i)
                queries.add(query)
                documents.add(row)
        pairs = pairs[kept]
    return pairs[np.argsort(pairs[:, 1])]


class _Answers:
    """Of every query: the documents that answer it, with their grades, 1 where none are given."""

    def __init__(self, pairs: I64, grades: NDArray[np.float32] | None) -> None:
        order = np.argsort(pairs[:, 0], kind="stable")
        self._queries, self._rows = pairs[order, 0], pairs[order, 1]
        self._grades = np.ones(len(order), np.float32) if grades is None else grades[order]

    def among(self, queries: I64, rows: I64) -> NDArray[np.float32]:
        """(b, c): the grade that each of rows (c,), rising, has as an answer to each of queries."""
        found = np.zeros((len(queries), len(rows)), np.float32)
        first = np.searchsorted(self._queries, queries)
        counts = np.searchsorted(self._queries, queries, "right") - first
        inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        entries = np.repeat(first, counts) + inside
        answers = self._rows[entries]
        places = np.minimum(np.searchsorted(rows, answers), len(rows) - 1)
        here = rows[places] == answers
        asking = np.repeat(np.arange(len(queries)), counts)
        found[asking[here], places[here]] = self._grades[entries[here]]
        return found


def _batch(examples: Examples, picks: I64, answers: _Answers | None, device: torch.device) -> Batch:
    if examples.pairs is None:
        drawn = np.sort(picks if examples.rows is None else examples.rows[picks])
        return Batch(_unit(examples.documents, drawn, device), torch.from_numpy(drawn).to(device))
    assert examples.queries is not None
    assert answers is not None
    queries, rows = np.ascontiguousarray(_distinct(examples.pairs[picks]).T)
    return Batch(
        _unit(examples.documents, rows, device),
        torch.from_numpy(rows).to(device),
        _unit(examples.queries, queries, device),
        torch.from_numpy(answers.among(queries, rows)).to(device),
    )


def _unit(vectors: NDArray[Any], rows: I64, device: torch.device) -> Tensor:
    return torch.from_numpy(normalize(np.asarray(vectors[rows]))).to(device)
