"""A collection that begins with a few rows: kept as they are until a codec is fitted to them.

For stores that take texts as they come, where `nestvec build` wants all of them at once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.nested import Codec
from nestvec.data.encoder import Encoder
from nestvec.data.rows import Row
from nestvec.errors import UserError
from nestvec.index import creation
from nestvec.index.collection import Collection
from nestvec.index.columns import code_column, code_groups
from nestvec.index.files import one_writer
from nestvec.index.manifest import Manifest
from nestvec.index.snapshot import Snapshot
from nestvec.progress import Progress
from nestvec.vectors import check_vectors

F32 = NDArray[np.float32]

UNFITTED_SPEC = "float16"
"""The code of a collection whose codec was not fitted: the coordinates themselves."""
_IDS_A_FILTER = 10_000
_SHORTLIST, _HITS = 1_000, 10


def begin(
    path: Path, rows: Sequence[Row], vectors: F32, metric: str, encoder: Encoder | None = None
) -> Collection:
    """A new collection of a few rows and their vectors (n, d), its code not fitted; open.

    encoder: what made the vectors, where nestvec can load it again: the collection then answers
    texts by itself. Raises UserError where path exists, ids repeat, or vectors do not fit.
    """
    check_vectors(vectors, "the embeddings")
    codec = Codec(UNFITTED_SPEC, metric=metric, power=0.0).fit(vectors)
    codes = codec.encode(vectors)
    manifest = Manifest(
        metric=metric,
        dim=codec.dim,
        rows=len(rows),
        spec=codec.spec,
        plan=f"{codec.bytes}B:{_HITS}",
        **({} if encoder is None else _origin(encoder)),
    )
    facts = codec.facts(codes, vectors)
    creation.create(
        path, rows, codes=codes, facts=facts, vectors=None, codec=codec, manifest=manifest
    )
    return Collection.open(path)


def fit_codec(
    path: Path,
    spec: str,
    plan: str | None = None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Collection:
    """The collection at path, which was begun here, written anew with a fitted codec; open.

    plan: the new one; where None, the whole code finds 1,000 rows that are ranked by their vectors,
    which stay beside the codes in float16. Older versions go. Memory: all vectors in float32.
    Raises UserError where the codec is fitted already, spec or plan do not fit, or another process
    is writing.
    """
    with one_writer(path):
        before = Collection.open(path)
        if before.manifest.spec != UNFITTED_SPEC:
            raise UserError(
                f"the codec of {path} is fitted already ({before.manifest.spec}): nestvec refit "
                f"{path} fits it again, on the rows as they are now."
            )
        vectors = before.codec.decode(before.codes())
        if before.codec.metric != "cosine":
            vectors *= before.facts()["length"][:, None]
        codec = Codec(spec, metric=before.codec.metric, seed=seed).fit(vectors, progress=progress)
        codes = codec.encode(vectors, progress)
        taken = plan or f"{codec.bytes}B:{_SHORTLIST},raw:{_HITS}"
        creation.replace(
            path,
            _Kept(before),
            codes=codes,
            facts=codec.facts(codes, vectors),
            vectors=vectors.astype(np.float16),
            codec=codec,
            manifest=replace(before.manifest, plan=taken, coded_version=0),
            progress=progress,
        )
    return Collection.open(path)


def remove(path: Path) -> None:
    """Take a collection away, whole; raises UserError while another process is writing."""
    gone = path.with_name(f"{path.name}.deleted")
    shutil.rmtree(gone, ignore_errors=True)
    with one_writer(path):
        os.rename(path, gone)
    shutil.rmtree(gone)


def positions_of(collection: Snapshot, ids: Sequence[str]) -> NDArray[np.int64]:
    """Positions (m,) of the rows of these ids that are there, rising."""
    found = [np.empty(0, np.int64)]
    for at in range(0, len(ids), _IDS_A_FILTER):
        quoted = ("'" + name.replace("'", "''") + "'" for name in ids[at : at + _IDS_A_FILTER])
        found.append(collection.matching(f"id IN ({', '.join(quoted)})"))
    return np.unique(np.concatenate(found))


def mapped_vectors(collection: Snapshot, rows: NDArray[np.int64]) -> F32:
    """Vectors (m, d) at some positions as queries are mapped: stored ones, else decoded codes."""
    if collection.has_vectors:
        stored = np.asarray(collection.rows(rows, ("vector",))["vector"], np.float32)
        return stored if collection.adapter is None else collection.adapter.transform(stored)
    names = [code_column(*group) for group in code_groups(collection.codec.level_ends)]
    codes = collection.rows(rows, names)
    parts = [np.asarray(codes[name], np.uint8).reshape(len(rows), -1) for name in names]
    return collection.codec.decode(np.concatenate(parts, axis=1))


def equal_to(wanted: Mapping[str, Any]) -> str:
    """The SQL predicate of rows whose columns have these values.

    Raises UserError for a name or a value that SQL has no plain word for.
    """
    parts = []
    for name, value in wanted.items():
        if "`" in name or not isinstance(value, (str, bool, int, float)):
            raise UserError(
                "a filter says what columns equal, as texts, numbers or truth values; got "
                f'{name!r}: {value!r}. Write a SQL predicate, such as "year >= 2020".'
            )
        said = "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
        parts.append(f"`{name}` = {said}")
    return " AND ".join(parts) or "true"


def _origin(encoder: Encoder) -> dict[str, Any]:
    """What a manifest says of a model, so that a collection can be asked by texts."""
    said = encoder.describe()
    prompts = {kind: str(said.get(f"{kind}_prompt") or "") for kind in ("query", "document")}
    settings = {
        "model": encoder.name,
        "query_prompt": prompts["query"],
        "doc_prompt": prompts["document"],
        "trust_remote_code": bool(said.get("trust_remote_code")),
        "api": said.get("url"),
        "dimensions": said.get("dimensions", said.get("width")),
    }
    return {
        "model": encoder.name,
        "revision": encoder.revision,
        "prompts": prompts,
        "encoder": {"settings": settings, "description": said, "documents": "text"},
    }


@dataclass(frozen=True)
class _Kept:
    """The rows of a collection, read anew at each pass."""

    collection: Snapshot

    def __iter__(self) -> Iterator[Row]:
        names = self.collection.columns
        users = [name for name in names if name not in ("id", "text", "title")]
        for batch in self.collection.batches(names):
            for at, name in enumerate(batch["id"]):
                own = {key: batch[key][at] for key in users}
                yield Row(name, batch["text"][at], batch["title"][at], own)
