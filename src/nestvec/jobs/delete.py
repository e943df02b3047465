"""Deleting rows of a collection."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nestvec.index.collection import Collection


@dataclass(frozen=True)
class Deleted:
    """How many rows were deleted, and how many are left."""

    deleted: int
    rows: int

    def to_json(self) -> dict[str, Any]:
        """{deleted, rows}."""
        return asdict(self)


def delete(path: str | os.PathLike[str], ids: Iterable[str]) -> Deleted:
    """Leave the rows of these ids out of the collection at path from now on, in one commit.

    Raises UserError, and deletes nothing, where there is no collection, an id is not in it, no row
    would be left, or another process is writing.
    """
    before = Collection.open(Path(path))
    after = before.delete(ids)
    return Deleted(before.count - after.count, after.count)
