"""Adding a source's rows to a collection."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nestvec.data.rows import Row
from nestvec.data.source import Source, open_source
from nestvec.errors import UserError
from nestvec.index.collection import Collection
from nestvec.jobs.checks import check_collection
from nestvec.jobs.embed import work_folder
from nestvec.jobs.encoders import kind_of
from nestvec.jobs.material import encode_source
from nestvec.jobs.search import Opened
from nestvec.progress import Progress, quiet


@dataclass(frozen=True)
class Added:
    """What was added. replaced: rows of the same ids that made way. rows: in the collection now."""

    added: int
    replaced: int
    rows: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """A flat object."""
        return asdict(self)


@dataclass(frozen=True)
class _Rows:
    """The source's rows, read anew at each pass."""

    source: Source

    def __iter__(self) -> Iterator[Row]:
        return self.source.rows()


def add(
    path: str | os.PathLike[str],
    src: str | os.PathLike[str],
    *,
    replace: bool = False,
    text_column: str | None = None,
    vector_column: str | None = None,
    split: str = "none",
    kind: str | None = None,
    skip_broken: bool = False,
    trust_remote_code: bool = False,
    api: str | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Added:
    """Add the rows of a source to the collection at path, in one commit.

    src: texts for a collection of texts, or images for one of images, which its own model encodes
    as it did the others; vectors for one of vectors. replace: rows of the same ids are replaced;
    otherwise they are refused.
    text_column, vector_column, split, kind, skip_broken: how src is read. trust_remote_code, api,
    device: as for open_collection. An interrupted run leaves `<path>.work`, and goes on there when
    run again.
    Raises UserError, and adds nothing, for what cannot be used, a source of the other kind, ids
    that repeat or are there already, columns that the collection has not, and while another
    process is writing.
    """
    begun = time.monotonic()
    check_collection(path)
    listener = progress or quiet()
    source = open_source(
        src,
        text_column=text_column,
        vector_column=vector_column,
        split=split,
        kind=kind,
        skip_broken=skip_broken,
    )
    before = Collection.open(Path(path))
    opened = Opened(before, trust_remote_code=trust_remote_code, api=api, device=device)
    _check_kind(before, source)
    source.survey(listener)
    rows = _Rows(source)
    before.check_add(rows, replacing=replace)
    place = Path(path)
    if source.kind == "vectors":
        vectors = source.vectors
    else:
        titled = before.manifest.encoder.get("documents") == "title and text"
        work = work_folder(place)
        vectors = encode_source(source, opened.encoder, work, listener, titled).vectors
    after = before.add(rows, vectors, replacing=replace, progress=listener)
    del vectors
    shutil.rmtree(work_folder(place), ignore_errors=True)
    added = source.tally.rows
    return Added(added, before.count + added - after.count, after.count, time.monotonic() - begun)


def _check_kind(collection: Collection, source: Source) -> None:
    kind = kind_of(collection.manifest.encoder)
    if kind == source.kind:
        return
    raise UserError(
        f"{collection.path} was built from {kind}, and {source.path} holds {source.kind}: add "
        f"{kind}, or build a collection of its own."
    )
