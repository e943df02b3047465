"""Compacting a collection: deleted rows and old versions leave the disk."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from nestvec.errors import UserError
from nestvec.index.collection import KEPT_VERSIONS, Collection
from nestvec.jobs.checks import check_collection


@dataclass(frozen=True)
class Compacted:
    """What compaction left: rows, and the bytes of old files that it removed."""

    rows: int
    freed_bytes: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """A flat object."""
        return asdict(self)


def compact(
    path: str | os.PathLike[str], keep_days: float = KEPT_VERSIONS.total_seconds() / 86_400
) -> Compacted:
    """Write the collection at path anew without deleted rows, and remove old versions.

    keep_days: versions younger than this stay; 0 removes all but the newest. Searches that are
    running go on as long as their version stays.
    Raises UserError where there is no collection, the disk is full, or another process is writing.
    """
    if not keep_days >= 0:
        raise UserError(f"versions are kept for 0 days or more; got {keep_days:g}.")
    begun = time.monotonic()
    check_collection(path)
    after, freed = Collection.open(Path(path)).compact(timedelta(days=keep_days))
    return Compacted(after.count, freed, time.monotonic() - begun)
