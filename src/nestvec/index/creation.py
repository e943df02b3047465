"""Writing a new collection: beside its place, whole and on disk, then renamed into it."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.adapters.adapter import Adapter
from nestvec.codec.nested import Codec
from nestvec.errors import UserError
from nestvec.index.checksums import CHECKS_FOLDER
from nestvec.index.columns import RowLike, survey
from nestvec.index.files import LOCK_FILE, adopt, put_bytes, sync_folder, sync_tree
from nestvec.index.manifest import Manifest, write_manifest
from nestvec.index.plan import Plan
from nestvec.index.store import ROWS_FOLDER
from nestvec.index.store_changes import Arrays, write_rows
from nestvec.progress import Progress

FILES_FOLDER = "files"
CACHE_FOLDER = "cache"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_OURS = {ROWS_FOLDER, FILES_FOLDER, CACHE_FOLDER, CHECKS_FOLDER, LOCK_FILE}


def create(
    path: Path,
    rows: Iterable[RowLike],
    *,
    codes: NDArray[np.uint8],
    facts: Mapping[str, NDArray[Any]],
    vectors: NDArray[Any] | None,
    codec: Codec,
    manifest: Manifest,
    adapter: Adapter | None = None,
    evidence: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a new collection at path, whole or not at all.

    rows: iterated over more than once, so not a generator; their order is the order of the arrays.
    codes: (n, b) uint8, facts: (n,) each, as codec.facts gives them; vectors: (n, d) float16 or
    float32, untouched, perhaps a map, or None to keep codes only. adapter: what they went through
    before the codec. manifest: rows, spec and files are filled in here. evidence: a JSON object,
    stored beside it.
    It is written in `<path>.partial`, which is a stale rest if it is there already.
    Raises UserError where path exists, rows repeat an id or do not match the arrays, the plan
    does not fit, or the disk is full.
    """
    if path.exists():
        raise UserError(
            f"a new collection needs a free place, and {path} exists: choose another, remove it, "
            "or ask for it to be replaced."
        )
    with _partial(path) as partial:
        _fill(partial, rows, codes, facts, vectors, codec, manifest, adapter, evidence, progress)
        os.rename(partial, path)
    sync_folder(path.parent)


def replace(
    path: Path,
    rows: Iterable[RowLike],
    *,
    codes: NDArray[np.uint8],
    facts: Mapping[str, NDArray[Any]],
    vectors: NDArray[Any] | None,
    codec: Codec,
    manifest: Manifest,
    adapter: Adapter | None = None,
    evidence: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> None:
    """As create, but an older collection at path makes way once the new one is whole.

    The older one stands at `<path>.replaced` for the moment of the exchange.
    Raises UserError where path is something else than a collection.
    """
    check_replaceable(path)
    with _partial(path) as partial:
        _fill(partial, rows, codes, facts, vectors, codec, manifest, adapter, evidence, progress)
        older = replaced_path(path)
        if path.exists():
            shutil.rmtree(older, ignore_errors=True)
            os.rename(path, older)
        os.rename(partial, path)
    sync_folder(path.parent)
    shutil.rmtree(older, ignore_errors=True)


def replaced_path(path: Path) -> Path:
    """Where a collection stands while the one that replaces it takes its place."""
    return path.with_name(path.name + ".replaced")


def check_replaceable(path: Path) -> None:
    """Raise UserError where path exists and is no collection."""
    if path.exists() and not (path / ROWS_FOLDER).is_dir():
        raise UserError(
            f"only a collection may be replaced, and {path} is none (no {ROWS_FOLDER} inside): "
            "choose another place."
        )


def _fill(
    folder: Path,
    rows: Iterable[RowLike],
    codes: NDArray[np.uint8],
    facts: Mapping[str, NDArray[Any]],
    vectors: NDArray[Any] | None,
    codec: Codec,
    manifest: Manifest,
    adapter: Adapter | None,
    evidence: Mapping[str, Any] | None,
    progress: Progress | None,
) -> None:
    Plan.parse(manifest.plan).check(
        code_bytes=codec.bytes,
        level_ends=codec.level_ends,
        dim=codec.dim,
        has_vectors=vectors is not None,
        sign_bytes=codec.sign_bytes,
    )
    found = survey(rows)
    _check_lengths(found.rows, codes, facts, vectors, codec)
    name = write_files(folder / FILES_FOLDER, codec, adapter, evidence, manifest, found.rows)
    arrays = Arrays(codes, facts, vectors, codec.level_ends)
    write_rows(folder / ROWS_FOLDER, rows, found, arrays, name, progress=progress)
    sync_tree(folder)


def write_files(
    files: Path,
    codec: Codec,
    adapter: Adapter | None,
    evidence: Mapping[str, Any] | None,
    manifest: Manifest,
    rows: int,
) -> str:
    """Store what a manifest names, and the manifest of so many rows, whose name is returned.

    files: a new folder. manifest: rows, dim, spec, metric and files are filled in here.
    """
    files.mkdir()
    unnamed = files / "codec.safetensors"
    codec.save(unnamed)
    adapter_file = None
    if adapter is not None:
        adapter.save(files / "adapter.safetensors")
        adapter_file = adopt(files / "adapter.safetensors", files)
    whole = changed(
        manifest,
        rows=rows,
        dim=codec.dim if adapter is None else adapter.dim,
        spec=codec.spec,
        metric=codec.metric,
        codec_file=adopt(unnamed, files),
        adapter_file=adapter_file,
        evidence_file=None if evidence is None else put_json(evidence, files),
    )
    return write_manifest(whole, files)


def put_json(value: Mapping[str, Any], files: Path) -> str:
    """Store a JSON object among the content-named files, and return its name."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
    return put_bytes(text.encode(), files, ".json")


def _check_lengths(
    n: int,
    codes: NDArray[np.uint8],
    facts: Mapping[str, NDArray[Any]],
    vectors: NDArray[Any] | None,
    codec: Codec,
) -> None:
    if n == 0:
        raise UserError("a collection needs at least one row; got none. Give it some texts.")
    lengths = {"codes": len(codes)} | {name: len(fact) for name, fact in facts.items()}
    if vectors is not None:
        lengths["vectors"] = len(vectors)
    for name, length in lengths.items():
        if length != n:
            raise UserError(
                f"every row needs one vector and one code; got {n:,} rows and {length:,} {name}: "
                "give as many of each, in the same order."
            )
    assert codes.shape[1] == codec.bytes, "codes are not this codec's"
    assert vectors is None or vectors.dtype in (np.float16, np.float32), vectors.dtype


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """An empty folder `<path>.partial`, gone afterwards unless it was renamed."""
    partial = path.with_name(path.name + ".partial")
    if partial.exists():
        strange = sorted(entry.name for entry in partial.iterdir() if entry.name not in _OURS)
        if strange:
            raise UserError(
                f"the place for an unfinished collection must be free, and {partial} holds "
                f"{strange[0]!r}, which is not part of one: move it away, and run again."
            )
        shutil.rmtree(partial)
    if not path.parent.is_dir():
        raise UserError(
            f"the folder of a new collection must exist, and {path.parent} does not: create it, "
            "or choose another place."
        )
    partial.mkdir()
    try:
        yield partial
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise UserError(
            f"a collection must fit on its disk, and {path.parent} has no space left: free "
            "some, or choose another folder, and run again."
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
