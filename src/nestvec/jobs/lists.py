"""Sorting a collection's rows into lists."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nestvec.index.collection import Collection
from nestvec.jobs.checks import check_collection
from nestvec.jobs.settings import check_seed
from nestvec.progress import Progress


@dataclass(frozen=True)
class Listed:
    """The lists that a collection has now. on: what rows are sorted by. shortest, longest: rows."""

    lists: int
    on: str
    rows: int
    shortest: int
    longest: int
    centers_bytes: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """A flat object."""
        return asdict(self)


def lists(
    path: str | os.PathLike[str],
    *,
    on: str | None = None,
    count: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Listed:
    """Sort the rows of the collection at path into lists, which plans with probe then read.

    on, count: as for Collection.make_lists. seed: of the sample and of k-means.
    Raises UserError where there is no collection, on or count do not fit it, or another process is
    writing.
    """
    begun = time.monotonic()
    check_collection(path)
    check_seed(seed)
    made = Collection.open(Path(path)).make_lists(on, count, seed=seed, progress=progress)
    assert made.lists is not None
    centers = made.lists.centers
    counts = made.lists.scanned(np.arange(made.lists.count)[:, None])
    return Listed(
        made.lists.count,
        f"{centers.amount}{'B' if centers.kind == 'bytes' else 'd'}",
        made.count,
        int(counts.min()),
        int(counts.max()),
        centers.size_bytes(),
        time.monotonic() - begun,
    )
