"""A search whose rows are dealt out: every share ranks its own fragments, one place merges.

The counts of a plan are of all rows. So each share gives its own best of the first stage, the best
of them all are kept, and every later stage goes back to the shares that hold these rows. A row's
score depends on its own bytes alone, so the hits, ties by seq among them, are those of one machine.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.scores import Prepared
from nestvec.errors import UserError
from nestvec.index.exact import exact_search
from nestvec.index.plan import Plan, Stage
from nestvec.index.scan import Shortlist, narrowed, of_query
from nestvec.index.search import GROUP_QUERIES, Ranking, StageReport, first_stage, rescored
from nestvec.index.snapshot import Snapshot
from nestvec.index.stopping import until_sure
from nestvec.index.store import Fragment, RowStore
from nestvec.progress import Progress, quiet

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class First:
    """What a share found in a first stage: for each query a shortlist of positions among all rows.

    scanned: rows (q,). read: bytes (q,).
    """

    shortlists: list[Shortlist]
    scanned: I64
    read: I64


class Share(Snapshot):
    """Some fragments of one version of a collection, open for search.

    Its own positions count from its first row; what it gives and takes are positions among all.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        own = self._store.fragments
        self._here = np.array([each.start for each in own], np.int64)
        self._there = self._here
        self._group: tuple[F32, Prepared] | None = None

    @classmethod
    def of(cls, path: Path, version: int, numbers: Sequence[int]) -> Self:
        """The fragments of these numbers, of a version of the collection at path."""
        whole = RowStore.open(path / "rows.lance", version)
        share = cls._of(path, _dealt(whole, numbers))
        starts = {fragment.number: fragment.start for fragment in whole.fragments}
        share._there = np.array([starts[each.number] for each in share._store.fragments], np.int64)
        return share

    def first(self, queries: F32, plan: Plan, where: str | None = None) -> First:
        """The first stage of a plan over this share's rows, of mapped queries (q, d)."""
        reader = self._reader
        if where is not None:
            reader = reader.restricted(self._store.matching(where))
        stage = plan.stages[0]
        if stage.kind == "exact":
            found = exact_search(queries, reader, self.codec.metric, min(stage.keep, reader.count))
            return First(
                [self._told(each.shortlist) for each in found],
                np.full(len(queries), reader.count),
                np.array([each.bytes for each in found]),
            )
        prepared = self._prepared(queries) if plan.reads_codes else None
        shortlists, scanned, beside = first_stage(
            plan, queries, prepared, self.codec, reader, self.lists, self.graph
        )
        read = reader.bytes_read(plan)[0] // max(1, reader.count) * scanned + beside
        return First([self._told(each) for each in shortlists], scanned, read)

    def later(
        self, queries: F32, stage: Stage, done: int, own: Sequence[Shortlist | None]
    ) -> list[Shortlist | None]:
        """Shortlists of this share's rows, one a query, with the scores of a later stage.

        queries: the group that the first stage was asked for. done: code bytes that the sums hold.
        All rows are kept.
        """
        codes = stage.kind in ("bytes", "sign")
        prepared = self._prepared(queries) if codes else None
        found: list[Shortlist | None] = []
        for i, (query, shortlist) in enumerate(zip(queries, own, strict=True)):
            if shortlist is None:
                found.append(None)
                continue
            whole = replace(stage, keep=len(shortlist.rows))
            one = None if prepared is None else of_query(prepared, i)
            local = replace(shortlist, rows=_moved(shortlist.rows, self._there, self._here))
            again = rescored(whole, query, one, self.codec, self._reader, local, done)
            found.append(self._told(again))
        return found

    def _told(self, shortlist: Shortlist) -> Shortlist:
        return replace(shortlist, rows=_moved(shortlist.rows, self._here, self._there))

    def _prepared(self, queries: F32) -> Prepared:
        """Of a group of queries, made once for the stages that follow."""
        if self._group is None or not np.array_equal(self._group[0], queries):
            self._group = queries, self.codec.prepare(queries)
        return self._group[1]


class Shares(Protocol):
    """The shares of one version, wherever they are: each fragment in one of them."""

    @property
    def numbers(self) -> Sequence[Sequence[int]]:
        """The numbers of each share's fragments."""

    def first(self, queries: F32, plan: Plan, where: str | None) -> list[First]:
        """Share.first of every share, at once."""

    def later(
        self, queries: F32, stage: Stage, done: int, own: Sequence[Sequence[Shortlist | None]]
    ) -> list[list[Shortlist | None]]:
        """Share.later of every share, at once; a share without any row is not asked."""


class LocalShares:
    """Shares in this process, one after the other."""

    def __init__(self, path: Path, version: int, numbers: Sequence[Sequence[int]]) -> None:
        self.numbers = numbers
        self._shares = [Share.of(path, version, own) for own in numbers]

    def first(self, queries: F32, plan: Plan, where: str | None) -> list[First]:
        """As Shares."""
        return [share.first(queries, plan, where) for share in self._shares]

    def later(
        self, queries: F32, stage: Stage, done: int, own: Sequence[Sequence[Shortlist | None]]
    ) -> list[list[Shortlist | None]]:
        """As Shares."""
        return [
            share.later(queries, stage, done, mine)
            for share, mine in zip(self._shares, own, strict=True)
        ]


class Dealt(Snapshot):
    """A version of a collection whose rows are ranked by shares.

    Ids and texts of hits are read here. shares: set before the first search.
    """

    shares: Shares

    def rank(
        self,
        queries: NDArray[Any],
        plan: Plan | str | None = None,
        k: int | None = None,
        progress: Progress | None = None,
        *,
        where: str | None = None,
    ) -> list[Ranking]:
        """As Snapshot.rank: the same rows, scores and order. A stage's ms are those of its group.

        Bytes of an exact first stage are those that all shares read together, more than one
        machine would.
        """
        chosen = self.checked_plan(plan, k)
        asked = self.map_queries(queries)
        listener = progress or quiet()
        listener.start("searching", len(asked))
        rankings: list[Ranking] = []
        for at in range(0, len(asked), GROUP_QUERIES):
            group = asked[at : at + GROUP_QUERIES]
            rankings += self._ranked(chosen, group, where)
            listener.advance(len(group))
        listener.finish()
        return rankings

    def _ranked(self, plan: Plan, queries: F32, where: str | None) -> list[Ranking]:
        begun = time.perf_counter()
        stage = plan.stages[0]
        parts = self.shares.first(queries, plan, where)
        shortlists = [
            narrowed(_joined([part.shortlists[i] for part in parts]), stage.keep)
            for i in range(len(queries))
        ]
        scanned = np.sum([part.scanned for part in parts], axis=0)
        read = np.sum([part.read for part in parts], axis=0)
        ms = _ms_each(begun, queries)
        reports = []
        for i, shortlist in enumerate(shortlists):
            rows, size = int(scanned[i]), int(read[i])
            share = None
            if stage.kind == "exact":
                share = size / (self._reader.count * self._reader.vector_bytes)
            kept = len(shortlist.rows)
            reports.append([StageReport(str(stage), size, rows, kept, ms, share)])
        done = stage.amount if stage.kind == "bytes" else 0
        expected = self._reader.bytes_read(plan)
        for at, stage in enumerate(plan.stages[1:], 1):
            begun = time.perf_counter()
            given = [len(each.rows) for each in shortlists]
            shortlists, counts = self._further(plan, stage, queries, shortlists, done)
            if stage.kind == "bytes":
                done = stage.amount
            ms = _ms_each(begun, queries)
            for i, shortlist in enumerate(shortlists):
                size = expected[at] * counts[i] // max(1, given[i])
                kept = len(shortlist.rows)
                reports[i].append(StageReport(str(stage), size, counts[i], kept, ms))
        return [
            Ranking(each.rows, each.scores, tuple(told))
            for each, told in zip(shortlists, reports, strict=True)
        ]

    def _further(
        self, plan: Plan, stage: Stage, queries: F32, shortlists: list[Shortlist], done: int
    ) -> tuple[list[Shortlist], list[int]]:
        """The shortlists after a later stage, and how many rows were read for each."""
        if plan.sure is None or stage is not plan.stages[-1]:
            counts = [len(each.rows) for each in shortlists]
            found = self._rescored(stage, queries, shortlists, done)
            return [narrowed(each, stage.keep) for each in found], counts
        shorter, counts = [], []
        for i, shortlist in enumerate(shortlists):

            def again(part: Shortlist, i: int = i) -> Shortlist:
                nothing = _cut(part, 0)
                some = [part if j == i else nothing for j in range(len(queries))]
                return self._rescored(stage, queries, some, done)[i]

            if len(shortlist.rows) > stage.keep:
                kept, count = until_sure(shortlist, stage.keep, plan.sure, again)
            else:
                kept, count = narrowed(again(shortlist), stage.keep), len(shortlist.rows)
            shorter.append(kept)
            counts.append(count)
        return shorter, counts

    def _rescored(
        self, stage: Stage, queries: F32, shortlists: Sequence[Shortlist], done: int
    ) -> list[Shortlist]:
        """All rows of the shortlists with another stage's scores, in no order."""
        owners = [self._owners(shortlist.rows) for shortlist in shortlists]
        own = [
            [
                _of_share(each, owner == number)
                for each, owner in zip(shortlists, owners, strict=True)
            ]
            for number in range(len(self.shares.numbers))
        ]
        parts = self.shares.later(queries, stage, done, own)
        return [
            _joined([found for part in parts if (found := part[i]) is not None] or [shortlist])
            for i, shortlist in enumerate(shortlists)
        ]

    def _owners(self, rows: I64) -> I64:
        """The share (m,) that holds each position."""
        share_of = {number: i for i, own in enumerate(self.shares.numbers) for number in own}
        fragments = self._store.fragments
        owners = np.array([share_of[fragment.number] for fragment in fragments], np.int64)
        starts = np.array([fragment.start for fragment in fragments], np.int64)
        return owners[np.searchsorted(starts, rows, side="right") - 1]


def deal(fragments: Sequence[Fragment], shares: int) -> list[list[int]]:
    """Fragments' numbers in at most so many shares of about equal rows: the largest first."""
    if shares < 1:
        raise UserError(f"rows are dealt to 1 searcher or more; got {shares}.")
    dealt: list[list[int]] = [[] for _ in range(min(shares, len(fragments)))]
    rows = [0] * len(dealt)
    for fragment in sorted(fragments, key=lambda each: (-each.rows, each.start)):
        least = rows.index(min(rows))
        dealt[least].append(fragment.number)
        rows[least] += fragment.rows
    return dealt


def _dealt(store: RowStore, numbers: Sequence[int]) -> RowStore:
    """A store of some fragments alone; positions count from the first of them."""
    own = []
    start = 0
    for fragment in store.fragments:
        if fragment.number in set(numbers):
            own.append(replace(fragment, start=start))
            start += fragment.rows
    part = copy(store)
    part.fragments = tuple(own)
    part.count = start
    part.live = start - sum(fragment.deleted for fragment in own)
    return part


def _moved(rows: I64, starts: I64, to: I64) -> I64:
    """Positions counted from other starts of the same fragments, both rising."""
    at = np.searchsorted(starts, rows, side="right") - 1
    return rows - starts[at] + to[at]


def _joined(parts: Sequence[Shortlist]) -> Shortlist:
    return Shortlist(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("rows", "seqs", "sums", "scores")
        )
    )


def _of_share(shortlist: Shortlist, mine: NDArray[np.bool_]) -> Shortlist | None:
    if not mine.any():
        return None
    return Shortlist(
        shortlist.rows[mine], shortlist.seqs[mine], shortlist.sums[mine], shortlist.scores[mine]
    )


def _cut(shortlist: Shortlist, count: int) -> Shortlist:
    part = slice(0, count)
    return Shortlist(
        shortlist.rows[part], shortlist.seqs[part], shortlist.sums[part], shortlist.scores[part]
    )


def _ms_each(begun: float, queries: F32) -> float:
    return (time.perf_counter() - begun) * 1000 / len(queries)
