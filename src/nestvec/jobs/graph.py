"""Linking a collection's rows to their neighbours."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nestvec.index.collection import Collection
from nestvec.index.graph import LINKS
from nestvec.jobs.checks import check_collection
from nestvec.progress import Progress


@dataclass(frozen=True)
class Linked:
    """The graph that a collection has now. on: what rows are linked by."""

    on: str
    links: int
    rows: int
    graph_bytes: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """A flat object."""
        return asdict(self)


def graph(
    path: str | os.PathLike[str],
    *,
    on: str | None = None,
    links: int | None = None,
    progress: Progress | None = None,
) -> Linked:
    """Link the rows of the collection at path to near ones, for plans with graph.

    on, links: as for Collection.make_graph.
    Raises UserError where there is no collection, on or links do not fit it, or another process is
    writing; MissingExtra without the extra 'graph'.
    """
    begun = time.monotonic()
    check_collection(path)
    made = Collection.open(Path(path)).make_graph(
        on, LINKS if links is None else links, progress=progress
    )
    assert made.graph is not None
    over = made.graph.over
    return Linked(
        over.on, over.links, made.count, made.graph.size_bytes(), time.monotonic() - begun
    )
