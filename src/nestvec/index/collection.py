"""A collection on disk, open for search."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.adapters.adapter import Adapter
from nestvec.codec.nested import Codec
from nestvec.errors import UserError
from nestvec.index.cache import Cache
from nestvec.index.checksums import CHECKS_FOLDER
from nestvec.index.columns import RowLike, survey
from nestvec.index.creation import CACHE_FOLDER, FILES_FOLDER, put_json, replaced_path
from nestvec.index.files import sync_folder, tree_bytes, verified
from nestvec.index.manifest import Manifest, read_manifest, write_manifest
from nestvec.index.plan import Plan
from nestvec.index.reader import Reader
from nestvec.index.search import Ranking, StageReport, run_plan
from nestvec.index.store import ROWS_FOLDER, RowStore
from nestvec.index.store_changes import (
    Arrays,
    check_rows,
    commit_manifest,
    compact_rows,
    delete_rows,
    put_rows,
)
from nestvec.progress import Progress, quiet
from nestvec.vectors import check_range, check_vectors

F32 = NDArray[np.float32]

KEPT_VERSIONS = timedelta(days=7)
"""How long compaction keeps older versions."""
_CODED_ROWS = 1 << 14


@dataclass(frozen=True)
class Hit:
    """One row found. row: its position. score: higher is better."""

    id: str
    score: float
    text: str
    title: str
    row: int


@dataclass(frozen=True)
class Result:
    """What one query found, best first, and what each stage of the plan did for it."""

    hits: tuple[Hit, ...]
    stages: tuple[StageReport, ...]


@dataclass(frozen=True)
class Sizes:
    """Bytes of a collection.

    code_bytes, fact_bytes, vector_bytes: stored per row. codec_bytes: arrays of codec and adapter.
    rows_on_disk, files_on_disk (hashes among them), cache_on_disk: the cache may be deleted.
    """

    code_bytes: int
    fact_bytes: int
    vector_bytes: int
    codec_bytes: int
    rows_on_disk: int
    files_on_disk: int
    cache_on_disk: int


class Collection:
    """Rows, codec and plan of one version, read-only but for `store_plan`.

    path: its folder. manifest: what it says of itself. codec: fitted. plan: the default plan.
    count: rows. dim: coordinates of a vector. adapter: what vectors and queries go through before
    the codec, or None. Vectors are stored untouched and mapped as they are read: with an adapter
    `raw` and d stages rank by adapted vectors.
    """

    def __init__(
        self,
        path: Path,
        store: RowStore,
        manifest: Manifest,
        codec: Codec,
        adapter: Adapter | None = None,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.codec = codec
        self.adapter = adapter
        self.plan = Plan.parse(manifest.plan)
        self._store = store
        self._cache = Cache(store, path / CACHE_FOLDER)
        self._reader = Reader(store, self._cache, codec, adapter)

    @classmethod
    def open(cls, path: Path) -> Collection:
        """The newest version of the collection at path.

        Raises UserError where there is none, its format is not known, or a file of it is missing
        or damaged; MissingExtra without the extra 'store'.
        """
        _check_place(path)
        store = RowStore.open(path / ROWS_FOLDER)
        if not store.manifest_name:
            raise UserError(
                f"a collection names its manifest, and {path / ROWS_FOLDER} names none: it was "
                "written by something else; build the collection again."
            )
        manifest = read_manifest(path / FILES_FOLDER, store.manifest_name)
        adapter = None
        if manifest.adapter_file is not None:
            adapter = Adapter.load(verified(path / FILES_FOLDER, manifest.adapter_file))
        codec = Codec.load(verified(path / FILES_FOLDER, manifest.codec_file))
        return cls(path, store, manifest, codec, adapter)

    @property
    def count(self) -> int:
        """The number of rows, without deleted ones."""
        return self._store.live

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should be told of this version: sentences."""
        return self._store.notes

    @property
    def dim(self) -> int:
        """The number of coordinates of a vector, before an adapter."""
        return self.codec.dim if self.adapter is None else self.adapter.dim

    @property
    def has_vectors(self) -> bool:
        """Whether full vectors are stored beside the codes."""
        return self._reader.has_vectors

    def search(
        self,
        queries: NDArray[Any],
        plan: Plan | str | None = None,
        k: int | None = None,
        progress: Progress | None = None,
        *,
        where: str | None = None,
    ) -> list[Result]:
        """The hits of queries (q, d), one Result each, in their order.

        plan: the collection's own where None. k: hits, the plan's last count where None. where: a
        SQL predicate on the collection's columns (id, title, text, the user's own) that every hit
        must match; other rows are left out of the first stage.
        Raises UserError where queries have another width or are not finite, or the plan, k or the
        predicate do not fit this collection.
        """
        results = []
        for ranking in self.rank(queries, plan, k, progress, where=where):
            found = self.rows(ranking.rows, ("id", "text", "title"))
            hits = tuple(
                Hit(*values)
                for values in zip(
                    found["id"],
                    ranking.scores.tolist(),
                    found["text"],
                    found["title"],
                    ranking.rows.tolist(),
                    strict=True,
                )
            )
            results.append(Result(hits, ranking.stages))
        return results

    def rank(
        self,
        queries: NDArray[Any],
        plan: Plan | str | None = None,
        k: int | None = None,
        progress: Progress | None = None,
        *,
        where: str | None = None,
    ) -> list[Ranking]:
        """As search, but positions and scores only; ids and texts are not read."""
        chosen = self.checked_plan(plan, k)
        reader = self._reader
        if where is not None:
            reader = reader.restricted(self._store.matching(where))
        return run_plan(chosen, self.map_queries(queries), self.codec, reader, progress)

    def checked_plan(self, plan: Plan | str | None = None, k: int | None = None) -> Plan:
        """The plan that a search would run; raises UserError where it does not fit."""
        chosen = Plan.parse(plan) if isinstance(plan, str) else plan or self.plan
        chosen.check(
            code_bytes=self.codec.bytes,
            level_ends=self.codec.level_ends,
            dim=self.codec.dim,
            has_vectors=self.has_vectors,
        )
        return chosen if k is None else chosen.with_k(k)

    def map_queries(self, queries: NDArray[Any]) -> F32:
        """Queries (q, d) as the codec takes them: checked, adapted, float32."""
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise UserError(
                f"queries must have the shape (queries, {self.dim}), as this collection's vectors; "
                f"got {queries.shape}. Use the model it was built with"
                f"{f' ({self.manifest.model})' if self.manifest.model else ''}."
            )
        mapped = np.ascontiguousarray(queries, dtype=np.float32)
        bad = np.flatnonzero(~np.isfinite(mapped).all(axis=1))
        if len(bad):
            raise UserError(
                f"queries must be finite; query {bad[0]} (from 0) is not. Remove or repair it."
            )
        if self.codec.metric == "cosine":
            zero = np.flatnonzero(~mapped.any(axis=1))
            if len(zero):
                raise UserError(
                    f"a query must have a direction; query {zero[0]} (from 0) is all zeros. "
                    "Remove it."
                )
        return mapped if self.adapter is None else self.adapter.transform(mapped)

    def rows(
        self, positions: Sequence[int] | NDArray[Any], columns: Sequence[str]
    ) -> dict[str, list[Any]]:
        """Some columns (id, text, title, the user's own) at some positions, in their order."""
        return self._store.take(list(positions), columns)

    def texts(self, positions: Sequence[int] | NDArray[Any]) -> list[str]:
        """The texts at some positions, in their order."""
        return self.rows(positions, ("text",))["text"]

    def batches(self, columns: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
        """Some columns of all rows, in order, by batches; for a pass over ids or texts."""
        return self._store.batches(columns)

    def vectors(self) -> NDArray[Any]:
        """The stored vectors (n, d), in the order of the rows: a map, a copy once rows are deleted.

        Raises UserError where only codes are stored.
        """
        if not self.has_vectors:
            raise UserError(
                f"{self.path} keeps only codes, no vectors: build it again with its vectors."
            )
        return self._kept(self._cache.whole("vector"))

    def codes(self) -> NDArray[np.uint8]:
        """The whole codes (n, b) uint8, in memory."""
        rows = self._kept(np.arange(self._store.count))
        return self._reader.codes(rows, 0, self.codec.bytes)

    def facts(self) -> dict[str, NDArray[Any]]:
        """The facts of all rows (n,), by name, as codec.facts gives them."""
        names = [f"norm_{cut}" for cut in self.codec.cuts]
        if self.codec.metric != "cosine":
            names.append("length")
        return {name: self._kept(self._cache.whole(name)) for name in names}

    def evidence(self) -> dict[str, Any] | None:
        """The stored evidence, or None; raises UserError where its file is damaged."""
        name = self.manifest.evidence_file
        if name is None:
            return None
        found = json.loads(verified(self.path / FILES_FOLDER, name).read_bytes())
        assert isinstance(found, dict)
        return found

    def store_plan(self, plan: Plan, evidence: dict[str, Any] | None = None) -> Collection:
        """A new version with another default plan (and its evidence), returned open.

        The rows stay as they are; the version before keeps its own plan.
        """
        self.checked_plan(plan)
        files = self.path / FILES_FOLDER
        kept = self.manifest.evidence_file
        manifest = replace(
            self.manifest,
            plan=str(plan),
            evidence_file=kept if evidence is None else put_json(evidence, files),
        )
        name = write_manifest(manifest, files)
        sync_folder(self.path)
        store = commit_manifest(self.path / ROWS_FOLDER, name)
        return Collection(self.path, store, manifest, self.codec, self.adapter)

    def add(
        self,
        rows: Iterable[RowLike],
        vectors: NDArray[Any],
        *,
        replacing: bool = False,
        progress: Progress | None = None,
    ) -> Collection:
        """A new version with these rows after the others, returned open.

        rows: iterated over more than once, so not a generator. vectors: (m, d) float, row i of the
        i-th row, untouched: they go through the collection's adapter and codec here, by blocks.
        replacing: rows of the same ids are replaced (an upsert); otherwise they are refused. The
        codec stays as it was fitted.
        Raises UserError, and adds nothing, where vectors do not fit or are not finite, ids repeat
        or are there already, columns differ, the disk is full, or another process is writing.
        """
        found = survey(rows)
        if found.rows != len(vectors):
            raise UserError(
                f"every row needs one vector; got {found.rows:,} rows and {len(vectors):,} "
                "vectors: give as many of each, in the same order."
            )
        if not found.rows:
            raise UserError("rows to add must be given; got none.")
        check_vectors(vectors, "the vectors to add")
        if vectors.shape[1] != self.dim:
            raise UserError(
                f"vectors of this collection have {self.dim} coordinates; got {vectors.shape[1]}: "
                "use the model it was built with."
            )
        stored = None
        if self.has_vectors:
            stored = vectors
            check_range(vectors, self._store.shape("vector")[1])
        codes, facts = self._coded(vectors, progress or quiet())
        arrays = Arrays(codes, facts, stored, self.codec.level_ends)
        store = put_rows(
            self.path / ROWS_FOLDER, rows, found, arrays, replacing=replacing, progress=progress
        )
        return Collection(self.path, store, self.manifest, self.codec, self.adapter)

    def check_add(self, rows: Iterable[RowLike], *, replacing: bool = False) -> None:
        """Raise UserError where add would refuse rows for their ids or columns: before encoding."""
        check_rows(self.path / ROWS_FOLDER, rows, survey(rows), replacing=replacing)

    def _coded(
        self, vectors: NDArray[Any], progress: Progress
    ) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
        """Codes (m, b) and facts of new vectors (m, d)."""
        codes, facts = [], []
        progress.start("encode", len(vectors))
        for start in range(0, len(vectors), _CODED_ROWS):
            some = vectors[start : start + _CODED_ROWS]
            mapped = some if self.adapter is None else self.adapter.transform(some)
            codes.append(self.codec.encode(mapped))
            facts.append(self.codec.facts(codes[-1], mapped))
            progress.advance(len(some))
        progress.finish()
        names = facts[0]
        return np.concatenate(codes), {
            name: np.concatenate([each[name] for each in facts]) for name in names
        }

    def delete(self, ids: Iterable[str]) -> Collection:
        """A new version without the rows of these ids, returned open; older versions keep them.

        Raises UserError, and deletes nothing, where an id is not there, no row would be left, or
        another process is writing.
        """
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            raise UserError("rows are deleted by their ids; got none: name at least one.")
        store = delete_rows(self.path / ROWS_FOLDER, wanted)
        return Collection(self.path, store, self.manifest, self.codec, self.adapter)

    def compact(self, keep: timedelta = KEPT_VERSIONS) -> tuple[Collection, int]:
        """A new version without deleted rows and in few files, returned open, and bytes freed.

        keep: versions older than this are removed, but for tagged ones. Rows get other positions.
        Raises UserError where the disk is full or another process is writing.
        """
        store, freed = compact_rows(self.path / ROWS_FOLDER, keep)
        freed += Cache(store, self.path / CACHE_FOLDER).clean()
        return Collection(self.path, store, self.manifest, self.codec, self.adapter), freed

    def _kept(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values of all positions (count, ...) without those of deleted rows."""
        if self._store.live == self._store.count:
            return values
        alive = np.ones(self._store.count, bool)
        for fragment in self._store.fragments:
            own = self._store.alive(fragment)
            if own is not None:
                alive[fragment.start : fragment.start + fragment.rows] = own
        return values[alive]

    def sizes(self) -> Sizes:
        """Bytes per row, of the codec and on disk."""
        lengths = 0 if self.codec.metric == "cosine" else 4
        return Sizes(
            code_bytes=self.codec.bytes,
            fact_bytes=len(self.codec.cuts) + lengths,
            vector_bytes=self.dim * self._reader.vector_itemsize,
            codec_bytes=self.codec.size_bytes()
            + (0 if self.adapter is None else self.adapter.size_bytes()),
            rows_on_disk=tree_bytes(self.path / ROWS_FOLDER),
            files_on_disk=tree_bytes(self.path / FILES_FOLDER)
            + tree_bytes(self.path / CHECKS_FOLDER),
            cache_on_disk=tree_bytes(self.path / CACHE_FOLDER),
        )


def _check_place(path: Path) -> None:
    if (path / ROWS_FOLDER).is_dir():
        return
    older = replaced_path(path)
    if not path.exists() and older.is_dir():
        raise UserError(
            f"the replacement of {path} was interrupted, and its older version stands at {older}: "
            f"rename that to {path.name}, or build again."
        )
    state = "it has no " + ROWS_FOLDER if path.exists() else "there is nothing"
    raise UserError(
        f"{path} is not a collection ({state}): build one with nestvec build SRC --out {path}."
    )
