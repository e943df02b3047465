"""The versions of a collection, and the names that people give them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nestvec.index.collection import Collection
from nestvec.index.store_versions import Version
from nestvec.jobs.checks import check_collection


@dataclass(frozen=True)
class Versions:
    """The versions that a collection keeps, the newest last."""

    versions: tuple[Version, ...]

    def to_json(self) -> dict[str, Any]:
        """{versions: [{number, written, rows, tags}]}; written in ISO 8601, UTC."""
        return {
            "versions": [
                {
                    "number": each.number,
                    "written": each.written.isoformat(timespec="seconds"),
                    "rows": each.rows,
                    "tags": list(each.tags),
                }
                for each in self.versions
            ]
        }


def versions(path: str | os.PathLike[str]) -> Versions:
    """What `nestvec versions` lists; raises UserError where there is no collection."""
    check_collection(path)
    return Versions(tuple(Collection.open(Path(path)).versions()))


def tag(path: str | os.PathLike[str], name: str, version: int | None = None) -> Versions:
    """Name a version of the collection at path, the newest where none is given.

    It opens by that name, and compaction lets it stand; a name that another version has moves.
    Raises UserError where there is no collection or no such version, the name is none, or another
    process is writing.
    """
    check_collection(path)
    opened = Collection.open(Path(path))
    opened.tag(name, version)
    return Versions(tuple(opened.versions()))


def untag(path: str | os.PathLike[str], name: str) -> Versions:
    """Take a name from its version; raises UserError where there is no such name."""
    check_collection(path)
    opened = Collection.open(Path(path))
    opened.untag(name)
    return Versions(tuple(opened.versions()))
