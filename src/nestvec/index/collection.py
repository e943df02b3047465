"""A collection on disk: its newest version, which can be searched and changed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.adapters.adapter import Adapter
from nestvec.codec.nested import Codec
from nestvec.errors import UserError
from nestvec.index.cache import Cache
from nestvec.index.columns import RowLike, Survey, survey
from nestvec.index.creation import CACHE_FOLDER, FILES_FOLDER, put_json
from nestvec.index.files import adopt, sync_folder
from nestvec.index.graph import LINKS, Graph, GraphOver
from nestvec.index.lists import fit_centers
from nestvec.index.manifest import Manifest, write_manifest
from nestvec.index.plan import Plan
from nestvec.index.snapshot import Snapshot
from nestvec.index.store import ROWS_FOLDER, RowStore
from nestvec.index.store_changes import (
    Arrays,
    ManifestChanged,
    check_rows,
    commit_manifest,
    compact_rows,
    delete_rows,
    put_rows,
)
from nestvec.index.store_recoding import recode_rows
from nestvec.index.store_versions import Version, list_versions, tag_version, untag
from nestvec.progress import Progress, quiet
from nestvec.vectors import check_range, check_vectors

KEPT_VERSIONS = timedelta(days=7)
"""How long compaction keeps older versions."""
_CODED_ROWS = 1 << 14
_LIST_BYTES = 8


class Collection(Snapshot):
    """The newest version of a collection; every change gives a newer one, returned open.

    Others may have changed the collection since it was opened. A change is then made of the newest
    version, or refused where it was made of codes that are there no more; searches go on in the
    version that was opened.
    """

    def store_plan(self, plan: Plan, evidence: dict[str, Any] | None = None) -> Collection:
        """A new version with another default plan (and its evidence), returned open.

        The rows stay as they are; the version before keeps its own plan. Raises UserError where the
        plan does not fit, rows were coded anew meanwhile, or another process is writing.
        """
        newest = self._newest_with_these_codes()
        newest.checked_plan(plan)
        if evidence is None:
            return newest._with(plan=str(plan))
        return newest._with(
            plan=str(plan), evidence_file=put_json(evidence, self.path / FILES_FOLDER)
        )

    def make_lists(
        self,
        on: str | None = None,
        count: int | None = None,
        *,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Collection:
        """A new version whose rows are sorted into lists, returned open.

        on: what rows are sorted by, "8B" (a cut of the code) or "64d" (a width of the vectors); the
        cut of 8 bytes, or the nearest one, where None. count: of lists, the square root of the rows
        where None. Rows that are added later are sorted when they are first searched.
        Raises UserError where `on` does not fit this collection, lists are more than rows, rows
        were coded anew meanwhile, or another process is writing.
        """
        if on is None:
            on = self._short_cut()
        count = round(self.count**0.5) if count is None else count
        centers = fit_centers(self._reader, self.codec, on, count, seed=seed, progress=progress)
        files = self.path / FILES_FOLDER
        unnamed = files / f"new-{os.getpid()}.safetensors"
        centers.save(unnamed)
        fresh = self._with(lists_file=adopt(unnamed, files))
        assert fresh.lists is not None
        fresh.lists.prepare(progress)
        return fresh

    def make_graph(
        self, on: str | None = None, links: int = LINKS, *, progress: Progress | None = None
    ) -> Collection:
        """A new version whose rows are linked to their neighbours, returned open.

        on: what rows are near by, "sign", "8B" (a cut of the code) or "64d" (a width of the
        vectors); the signs that the code begins with, or the cut of 8 bytes or the nearest one,
        where None. links: of a row, at most. Rows that are added later are linked when they are
        first searched. Threads link rows in no fixed order: another build may find other rows.
        Raises UserError where `on` does not fit this collection, links are out of bounds, rows were
        coded anew meanwhile, or another process is writing; MissingExtra without the extra 'graph'.
        """
        if on is None:
            on = "sign" if self.codec.sign_bytes else self._short_cut()
        over = GraphOver(on, links)
        over.check(self._reader, self.codec)
        Graph(over, self._reader, self.codec, self._cache).prepare(progress)
        return self._with(graph=str(over))

    def _short_cut(self) -> str:
        return f"{min(self.codec.level_ends, key=lambda end: abs(end - _LIST_BYTES))}B"

    def _at(self, store: RowStore) -> Collection:
        """The version of a store, with this codec and adapter where it names the same manifest."""
        if store.manifest_name == self._store.manifest_name:
            return Collection(self.path, store, self.manifest, self.codec, self.adapter)
        return Collection._of(self.path, store)

    def _newest(self) -> Collection:
        return self._at(RowStore.open(self.path / ROWS_FOLDER))

    def _newest_with_these_codes(self) -> Collection:
        """The newest version; raises UserError where its rows were coded by another codec."""
        newest = self._newest()
        if _codes_of(newest.manifest) != _codes_of(self.manifest):
            raise UserError(
                f"what was made of version {self.version} holds for its codes, and rows of "
                f"{self.path} were coded anew by version {newest.version}: open it again, and run "
                "it again."
            )
        return newest

    def _with(self, **changes: str | None) -> Collection:
        """A new version with the newest one's rows and manifest, but for some of its fields."""
        newest = self._newest_with_these_codes()
        manifest = replace(newest.manifest, **changes)  # type: ignore[arg-type]
        name = write_manifest(manifest, self.path / FILES_FOLDER)
        sync_folder(self.path)
        try:
            store = commit_manifest(self.path / ROWS_FOLDER, name, newest._store.manifest_name)
        except ManifestChanged:
            return self._with(**changes)
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
        codec stays as it was fitted: that of the newest version, whichever this is.
        Raises UserError, and adds nothing, where vectors do not fit or are not finite, ids repeat
        or are there already, columns differ, the collection was built anew with another model, the
        disk is full, or another process is writing.
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
        newest = self._newest()
        newest._check_model(self.manifest)
        try:
            return newest._put(rows, found, vectors, replacing, progress)
        except ManifestChanged:  # while rows were coded
            return newest.add(rows, vectors, replacing=replacing, progress=progress)

    def _put(
        self,
        rows: Iterable[RowLike],
        found: Survey,
        vectors: NDArray[Any],
        replacing: bool,
        progress: Progress | None,
    ) -> Collection:
        """As add; raises ManifestChanged where the codec may be another one by now."""
        if vectors.shape[1] != self.dim:
            raise UserError(
                f"vectors of this collection have {self.dim} coordinates; got {vectors.shape[1]}: "
                "use the model it was built with."
            )
        stored = None
        if self.has_vectors:
            stored = vectors
            check_range(vectors, self._store.shape("vector")[1])
        codes, facts = _coded(self.codec, self.adapter, vectors, progress or quiet())
        store = put_rows(
            self.path / ROWS_FOLDER,
            rows,
            found,
            Arrays(codes, facts, stored, self.codec.level_ends),
            made_from=self._store.manifest_name,
            replacing=replacing,
            progress=progress,
        )
        return self._at(store)

    def _check_model(self, before: Manifest) -> None:
        """Raise UserError where this version has another model than one that was opened before."""
        now = self.manifest
        if (now.model, now.encoder) != (before.model, before.encoder):
            raise UserError(
                "rows are added by the model that the collection had when it was opened, "
                f"{before.model!r}, and {self.path} was built anew with {now.model!r} meanwhile: "
                "open it again."
            )

    def check_add(self, rows: Iterable[RowLike], *, replacing: bool = False) -> None:
        """Raise UserError where add would refuse rows for their ids or columns: before encoding."""
        check_rows(self.path / ROWS_FOLDER, rows, survey(rows), replacing=replacing)

    def refit(self, *, seed: int | None = None, progress: Progress | None = None) -> Collection:
        """A new version whose codec is fitted on the rows as they are now, returned open.

        The spec and the codec's other settings stay, and so do adapter, plan and lists; every row
        is coded anew from its stored vector, and deleted rows leave. seed: another one than the
        codec's. Memory: the codec's sample, all codes, and blocks of vectors.
        Raises UserError where only codes are stored, the plan does not fit the new codec, the disk
        is full, or another process is writing or has written.
        """
        vectors = self.vectors()
        codec = Codec(**self.codec.get_params())
        if seed is not None:
            codec.set_params(seed=seed)
        sample = vectors
        if self.adapter is not None:
            rng = np.random.default_rng(codec.seed)
            count = min(len(vectors), codec.sample_rows)
            picks = np.sort(rng.choice(len(vectors), count, replace=False))
            sample = self.adapter.transform(np.asarray(vectors[picks]))
        codec.fit(sample, progress=progress)
        codes, facts = _coded(codec, self.adapter, vectors, progress or quiet())
        files = self.path / FILES_FOLDER
        unnamed = files / f"new-{os.getpid()}.safetensors"
        codec.save(unnamed)
        evidence = self.evidence()
        if evidence is not None:
            evidence.pop("plan", None)  # measured with the codes before
        manifest = replace(
            self.manifest,
            codec_file=adopt(unnamed, files),
            spec=codec.spec,
            coded_version=self.version,
            evidence_file=None if evidence is None else put_json(evidence, files),
        )
        self.plan.check(
            code_bytes=codec.bytes,
            level_ends=codec.level_ends,
            dim=codec.dim,
            has_vectors=True,
            sign_bytes=codec.sign_bytes,
            lists=0 if self.lists is None else self.lists.count,
            has_graph=self.graph is not None,
        )
        name = write_manifest(manifest, files)
        sync_folder(self.path)
        arrays = Arrays(codes, facts, None, codec.level_ends)
        store = recode_rows(self.path / ROWS_FOLDER, arrays, name, self.version, progress)
        return Collection(self.path, store, manifest, codec, self.adapter)

    def delete(self, ids: Iterable[str]) -> Collection:
        """A new version without the rows of these ids, returned open; older versions keep them.

        Raises UserError, and deletes nothing, where an id is not there, no row would be left, or
        another process is writing.
        """
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            raise UserError("rows are deleted by their ids; got none: name at least one.")
        return self._at(delete_rows(self.path / ROWS_FOLDER, wanted))

    def compact(self, keep: timedelta = KEPT_VERSIONS) -> tuple[Collection, int]:
        """A new version without deleted rows and in few files, returned open, and bytes freed.

        keep: versions older than this are removed, but for tagged ones. Rows get other positions.
        Raises UserError where the disk is full or another process is writing.
        """
        store, freed = compact_rows(self.path / ROWS_FOLDER, keep)
        freed += Cache(store, self.path / CACHE_FOLDER).clean()
        return self._at(store), freed

    def versions(self) -> list[Version]:
        """The versions that are kept, the newest last."""
        return list_versions(self.path / ROWS_FOLDER)

    def tag(self, name: str, version: int | None = None) -> None:
        """Name a version, this one where none is given: compaction lets it stand.

        A name that another version has moves. Raises UserError where the name is none, there is no
        such version, or another process is writing.
        """
        tag_version(self.path / ROWS_FOLDER, name, self.version if version is None else version)

    def untag(self, name: str) -> None:
        """Take a name from its version; raises UserError where there is no such name."""
        untag(self.path / ROWS_FOLDER, name)


def _codes_of(manifest: Manifest) -> tuple[str, str | None]:
    """What makes codes of vectors: the names of codec and adapter."""
    return manifest.codec_file, manifest.adapter_file


def _coded(
    codec: Codec, adapter: Adapter | None, vectors: NDArray[Any], progress: Progress
) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
    """Codes (m, b) and facts of untouched vectors (m, d)."""
    codes, facts = [], []
    progress.start("encode", len(vectors))
    for start in range(0, len(vectors), _CODED_ROWS):
        some = vectors[start : start + _CODED_ROWS]
        mapped = some if adapter is None else adapter.transform(some)
        codes.append(codec.encode(mapped))
        facts.append(codec.facts(codes[-1], mapped))
        progress.advance(len(some))
    progress.finish()
    names = facts[0]
    return np.concatenate(codes), {
        name: np.concatenate([each[name] for each in facts]) for name in names
    }
