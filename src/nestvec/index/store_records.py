"""What a commit records of the files it writes: synced, and hashed by the columns they hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nestvec.index.checksums import record
from nestvec.index.files import sync_tree
from nestvec.index.store import lance_library

_MAGIC = b"LANC"


@contextmanager
def recording(folder: Path) -> Iterator[None]:
    """Around a commit: what was written before it is synced and recorded, and what it writes."""
    sync_tree(folder)
    record(folder, layout)
    yield
    sync_tree(folder)
    record(folder, layout)


def layout(path: Path) -> list[tuple[int, str]]:
    """Where parts of a data file end, in order, and the columns they belong to ("" for none).

    A file that a killed writer left unfinished has no such parts.
    """
    with path.open("rb") as file:
        file.seek(-min(len(_MAGIC), path.stat().st_size), os.SEEK_END)
        if file.read() != _MAGIC:  # Lance panics over such a file
            return []
    lance_library()
    from lance.file import LanceFileReader

    found = LanceFileReader(str(path)).metadata()
    buffers = [
        (buffer.position, buffer.position + buffer.size, name)
        for name, column in zip(found.schema.names, found.columns, strict=True)
        for each in (column.column_buffers, *(page.buffers for page in column.pages))
        for buffer in each
    ]
    ends: list[tuple[int, str]] = []
    for start, end, name in sorted(buffers):
        ends += [(start, ""), (end, name)]
    return ends
