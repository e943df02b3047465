"""One version of a collection on disk, open for search."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nestvec.adapters.adapter import Adapter
from nestvec.codec.centers import Centers
from nestvec.codec.directions import directions
from nestvec.codec.nested import Codec
from nestvec.errors import UserError
from nestvec.index.cache import Cache
from nestvec.index.checksums import CHECKS_FOLDER
from nestvec.index.columns import Kind
from nestvec.index.creation import CACHE_FOLDER, FILES_FOLDER, replaced_path
from nestvec.index.files import tree_bytes, verified
from nestvec.index.graph import Graph, GraphOver
from nestvec.index.lists import Lists
from nestvec.index.manifest import Manifest, read_manifest
from nestvec.index.plan import Plan
from nestvec.index.reader import Reader
from nestvec.index.search import Ranking, StageReport, run_plan
from nestvec.index.store import ROWS_FOLDER, RowStore
from nestvec.index.store_versions import number_of
from nestvec.progress import Progress

F32 = NDArray[np.float32]

AUTO = "auto"
"""The name of the plan that was chosen by measurement."""
_PLANS_KEPT = 256

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


@dataclass(frozen=True)
class Drift:
    """Mean squared errors of the whole code, of directions, which have length 1.

    added: rows since the codec was fitted. error: of the rows that were there; added_error: of
    those.
    """

    added: int
    error: float
    added_error: float


class Snapshot:
    """Rows, codec and plan of one version of a collection, read-only.

    path: its folder. manifest: what it says of itself. codec: fitted. plan: the default plan.
    count: rows. dim: coordinates of a vector. adapter: what vectors and queries go through before
    the codec, or None. Vectors are stored untouched and mapped as they are read: with an adapter
    `raw` and d stages rank by adapted vectors. lists: what plans with probe read, or None; graph:
    what plans with graph walk, or None.
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
        # a search of few rows takes less than reading its plan does
        self._plans: dict[tuple[Plan | str | None, int | None], Plan] = {}
        self._store = store
        self._cache = Cache(store, path / CACHE_FOLDER)
        self._reader = Reader(store, self._cache, codec, adapter)
        self.lists: Lists | None = None
        if manifest.lists_file is not None:
            centers = Centers.load(verified(path / FILES_FOLDER, manifest.lists_file))
            self.lists = Lists(centers, manifest.lists_file, self._reader, codec)
        self.graph: Graph | None = None
        if manifest.graph is not None:
            over = GraphOver.parse(manifest.graph)
            self.graph = Graph(over, self._reader, codec, self._cache)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The newest version of the collection at path.

        Raises UserError where there is none, its format is not known, or a file of it is missing
        or damaged; MissingExtra without the extra 'store'.
        """
        _check_place(path)
        return cls._of(path, RowStore.open(path / ROWS_FOLDER))

    @classmethod
    def _of(cls, path: Path, store: RowStore) -> Self:
        """With the codec, adapter and plan that the version was written with."""
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
    def version(self) -> int:
        """The number of this version; they rise, and some may be missing."""
        return self._store.version

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

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of what rows and filters read: id, text, title and the user's columns."""
        return tuple(self._store.own_columns())

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kinds of the user's columns, by name; values of "json" are texts of it."""
        return self._store.kinds()

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

        plan: the collection's own where None, "auto" the one that was measured. k: hits, the plan's
        last count where None. where: a SQL predicate on the collection's columns (id, title, text,
        the user's own) that every hit must match; other rows are left out of the first stage.
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
        asked = self.map_queries(queries)
        return run_plan(chosen, asked, self.codec, reader, progress, self.lists, self.graph)

    def checked_plan(self, plan: Plan | str | None = None, k: int | None = None) -> Plan:
        """The plan that a search would run; raises UserError where it does not fit.

        "auto" is the plan that was chosen by measurement (`nestvec plan`), the collection's own or
        not.
        """
        found = self._plans.get((plan, k))
        if found is None:
            if len(self._plans) >= _PLANS_KEPT:
                self._plans.clear()
            found = self._plans[plan, k] = self._fitting(plan, k)
        return found

    def _fitting(self, plan: Plan | str | None, k: int | None) -> Plan:
        if plan == AUTO:
            plan = self._measured_plan()
        chosen = Plan.parse(plan) if isinstance(plan, str) else plan or self.plan
        chosen.check(
            code_bytes=self.codec.bytes,
            level_ends=self.codec.level_ends,
            dim=self.codec.dim,
            has_vectors=self.has_vectors,
            sign_bytes=self.codec.sign_bytes,
            lists=0 if self.lists is None else self.lists.count,
            has_graph=self.graph is not None,
        )
        return chosen if k is None else chosen.with_k(k)

    def _measured_plan(self) -> str:
        measured = (self.evidence() or {}).get("plan")
        if measured is None:
            raise UserError(
                f"the plan {AUTO!r} is chosen by measurement, and none was in {self.path}: run "
                "nestvec plan on it first, or write stages."
            )
        return str(measured["taken"]["plan"])

    def bytes_read(self, plan: Plan) -> tuple[int, ...]:
        """Bytes that each stage of a plan reads for one query, facts counted."""
        return self._reader.bytes_read(self.checked_plan(plan))

    def map_queries(self, queries: NDArray[Any]) -> F32:
        """Queries (q, d) as the codec takes them: checked, adapted, float32."""
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise UserError(
                f"queries must have the shape (queries, {self.dim}), as this collection's vectors; "
                f"got {queries.shape}. Use the model it was built with"
                f"{f' ({self.manifest.model})' if self.manifest.model else ''}."
            )
        mapped = np.ascontiguousarray(queries, dtype=np.float32)
        finite = np.isfinite(mapped)
        if not finite.all():
            raise UserError(
                f"queries must be finite; query {finite.all(axis=1).argmin()} (from 0) is not. "
                "Remove or repair it."
            )
        directed = mapped.any(axis=1)
        if self.codec.metric == "cosine" and not directed.all():
            raise UserError(
                f"a query must have a direction; query {directed.argmin()} (from 0) is all zeros. "
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

    def has_texts(self) -> bool:
        """Whether any row has a text: rows built from vectors alone may have none."""
        return self._store.any_matching("text != ''")

    def matching(self, where: str) -> NDArray[np.int64]:
        """The positions (m,) of the rows that match a SQL predicate on the columns, rising.

        Raises UserError where the predicate does not parse or names no column.
        """
        found = self._store.matching(where)
        parts = [f.start + np.flatnonzero(found[f.number]) for f in self._store.fragments]
        return np.concatenate(parts)

    def batches(self, columns: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
        """Some columns of all rows, in order, by batches; for a pass over ids or texts."""
        return self._store.batches(columns)

    def vectors(self, positions: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """The stored vectors (n, d), in the order of the rows: a map, a copy once rows are deleted.

        positions: of those wanted, always a copy. Raises UserError where only codes are stored.
        """
        if not self.has_vectors:
            raise UserError(
                f"{self.path} keeps only codes, no vectors: build it again with its vectors."
            )
        whole = self._cache.whole("vector")
        return self._kept(whole) if positions is None else whole[positions]

    def positions(self) -> NDArray[np.int64]:
        """The positions (n,) of the rows that are not deleted, in their order."""
        return self._kept(np.arange(self._store.count))

    def codes(self, positions: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
        """The whole codes (n, b) uint8 at some positions, of all rows where None, in memory."""
        return self._reader.codes(
            self.positions() if positions is None else positions, 0, self.codec.bytes
        )

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

    def drift(self, sample_rows: int = 2_000, seed: int = 0) -> Drift | None:
        """How well rows that were added since are coded, beside those that the codec was fitted on.

        sample_rows: of each, at most, drawn by seed. None where none were added, or none of the
        older rows are left, or only codes are stored.
        """
        if not self.has_vectors or len(self._store.fragments) == 0:
            return None
        positions = self.positions()
        added = self._reader.seqs(positions) >= (self.manifest.coded_version + 1) << 32
        if not added.any() or added.all():
            return None
        rng = np.random.default_rng(seed)
        errors = []
        for group in (positions[~added], positions[added]):
            picks = np.sort(rng.choice(group, min(len(group), sample_rows), replace=False))
            rows = directions(self._reader.vectors(picks, self.codec.dim))
            decoded = self.codec.decode(self._reader.codes(picks, 0, self.codec.bytes))
            errors.append(float(((rows - decoded) ** 2).sum(axis=1).mean()))
        return Drift(int(added.sum()), *errors)

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


def open_version(path: Path, version: int | str) -> Snapshot:
    """The version of that number or tag of the collection at path, with its own codec and plan.

    Raises UserError where there is none, and as Snapshot.open does.
    """
    _check_place(path)
    rows = path / ROWS_FOLDER
    return Snapshot._of(path, RowStore.open(rows, number_of(rows, version)))


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
