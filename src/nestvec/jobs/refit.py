"""Fitting a collection's codec anew, on the rows that it has now."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nestvec.index.collection import Collection
from nestvec.index.snapshot import Drift
from nestvec.jobs.checks import check_collection
from nestvec.jobs.settings import check_seed
from nestvec.progress import Progress


@dataclass(frozen=True)
class Refitted:
    """What was coded anew. drift: of the rows added before, None where there were none."""

    rows: int
    spec: str
    drift: Drift | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """{rows, spec, drift, seconds}."""
        return asdict(self)


def refit(
    path: str | os.PathLike[str], *, seed: int | None = None, progress: Progress | None = None
) -> Refitted:
    """Fit the codec of the collection at path on its rows as they are now, and code all anew.

    One commit; older versions keep their codec. seed: another one than the codec's own.
    Raises UserError where there is no collection, it keeps only codes, its plan does not fit the
    new codec, the disk is full, or another process is writing.
    """
    begun = time.monotonic()
    check_collection(path)
    if seed is not None:
        check_seed(seed)
    before = Collection.open(Path(path))
    drift = before.drift()
    after = before.refit(seed=seed, progress=progress)
    return Refitted(after.count, after.codec.spec, drift, time.monotonic() - begun)
