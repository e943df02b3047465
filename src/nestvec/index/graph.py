"""A graph over a cut: a search walks to the nearest rows instead of reading all.

HNSW (Malkov & Yashunin 2018, arXiv:1603.09320) by usearch, one graph a fragment, derived and kept
in the cache as a file that every reader maps. It holds a copy of what it is over, beside its links:
signs as bits by Hamming distance, or decoded cuts and widths of the vectors in float16 by angle.
Threads build it in no fixed order, so two builds of one graph may find slightly other rows.
"""

from __future__ import annotations

import importlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.directions import directions
from nestvec.codec.kernels import thread_count
from nestvec.codec.nested import Codec
from nestvec.codec.scores import Prepared
from nestvec.errors import MissingExtra, UserError
from nestvec.index.cache import Cache
from nestvec.index.plan import Plan, Stage
from nestvec.index.reader import Reader
from nestvec.index.store import Fragment
from nestvec.progress import Progress, quiet

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

LINKS = 16
_EXPANSION_ADD = 128
_RUN_ROWS = 1 << 14
# Where fewer than so many times the rows asked for may be found, all of them are taken.
_FEW = 4
_ON = re.compile(r"sign|([1-9][0-9]*)([Bd])")
_TEXT = re.compile(r"([a-z0-9Bd]+)/([0-9]+)")


@dataclass(frozen=True)
class GraphOver:
    """What a graph is over, "sign", "8B" or "64d", and how many links a row has."""

    on: str
    links: int = LINKS

    def __str__(self) -> str:
        return f"{self.on}/{self.links}"

    @classmethod
    def parse(cls, text: str) -> GraphOver:
        """What str gave."""
        match = _TEXT.fullmatch(text)
        assert match is not None
        return cls(match[1], int(match[2]))

    @property
    def stage(self) -> Stage:
        """The stage that reads the same of a row."""
        match = _ON.fullmatch(self.on)
        assert match is not None
        if match[1] is None:
            return Stage("sign", 1, 1)
        return Stage("bytes" if match[2] == "B" else "dims", int(match[1]), 1)

    def check(self, reader: Reader, codec: Codec) -> None:
        """Raise UserError where a collection has no such cut, or links are out of bounds."""
        if _ON.fullmatch(self.on) is None:
            raise UserError(
                "a graph is over the signs, a cut of the code or a width of the vectors; got "
                f"{self.on!r}: write sign, 8B or 64d, for instance."
            )
        if not 2 <= self.links <= 256:
            raise UserError(f"rows of a graph have 2 to 256 links; got {self.links}: try {LINKS}.")
        stage, ends = self.stage, codec.level_ends
        if stage.kind == "sign" and not codec.sign_bytes:
            raise UserError(
                "a graph over signs needs a code that begins with them; got one of other levels: "
                f"link rows by {ends[-1]}B, or build with --spec sign256+24xcb."
            )
        if stage.kind == "bytes" and stage.amount not in ends:
            nearest = min(ends, key=lambda end: abs(end - stage.amount))
            raise UserError(
                f"a graph is over a cut where a level ends; got {self.on}: try {nearest}B."
            )
        Plan((stage,)).check(
            code_bytes=codec.bytes,
            level_ends=codec.level_ends,
            dim=codec.dim,
            has_vectors=reader.has_vectors,
            sign_bytes=codec.sign_bytes,
        )


@dataclass(frozen=True, eq=False)
class Walked:
    """Rows (m,) that a walk for one query ended at, rising, and the bytes it read of the graph."""

    rows: I64
    bytes: int


class Graph:
    """A collection's rows by their neighbours.

    Memory: the pages of the graph that walks touch; building holds the graph of one fragment.
    """

    def __init__(self, over: GraphOver, reader: Reader, codec: Codec, cache: Cache) -> None:
        self.over = over
        self._reader = reader
        self._codec = codec
        self._cache = cache
        self._open: dict[str, Any] = {}

    def prepare(self, progress: Progress | None = None) -> None:
        """Build the graphs of all fragments that have none yet."""
        listener = progress or quiet()
        listener.start("linking rows", self._reader.count)
        for fragment in self._reader.fragments:
            self._of(fragment, listener)
        listener.finish()

    def size_bytes(self) -> int:
        """Bytes of all graphs."""
        return sum(int(self._of(each).serialized_length) for each in self._reader.fragments)

    def walk(
        self, queries: F32, prepared: Prepared | None, wanted: int, reader: Reader
    ) -> list[Walked]:
        """For each query about `wanted` near rows of every fragment that the reader may find."""
        asked = self._asked(queries, prepared)
        found: list[list[I64]] = [[] for _ in queries]
        read = np.zeros(len(queries), np.int64)
        for fragment in self._reader.fragments:
            alive = reader.alive(fragment)
            left = fragment.rows if alive is None else int(alive.sum())
            if left <= _FEW * wanted:
                every = np.arange(fragment.rows) if alive is None else np.flatnonzero(alive)
                for near in found:
                    near.append(fragment.start + every)
                continue
            graph = self._of(fragment)
            count = min(fragment.rows, math.ceil(wanted * fragment.rows / left))
            graph.expansion_search = count
            for i, query in enumerate(asked):
                matches = graph.search(query, count, threads=1)
                rows: I64 = np.asarray(matches.keys).astype(np.int64)
                found[i].append(fragment.start + (rows if alive is None else rows[alive[rows]]))
                read[i] += int(matches.computed_distances) * self._row_bytes
        return [
            Walked(np.sort(np.concatenate(near)), int(size))
            for near, size in zip(found, read, strict=True)
        ]

    @property
    def _row_bytes(self) -> int:
        """What is read of a row to tell how far it is; its links are not counted."""
        if self.over.on == "sign":
            return self._codec.sign_bytes
        stage = self.over.stage
        return 2 * (self._codec.dim if stage.kind == "bytes" else stage.amount)

    def _asked(self, queries: F32, prepared: Prepared | None) -> NDArray[Any]:
        """Queries as the graph compares them with rows."""
        if self.over.on == "sign":
            prepared = self._codec.prepare(queries) if prepared is None else prepared
            return self._codec.sign_planes(prepared, 1)[:, 0]
        if self.over.stage.kind == "bytes":
            return directions(queries)
        return directions(np.ascontiguousarray(queries[:, : self.over.stage.amount]))

    def _linked(self, rows: I64) -> NDArray[Any]:
        """Rows as the graph holds them."""
        stage = self.over.stage
        if stage.kind == "sign":
            return self._reader.codes(rows, 0, self._codec.sign_bytes)
        if stage.kind == "bytes":
            codes = self._reader.codes(rows, 0, stage.amount)
            return directions(self._codec.decode(codes, stage.amount))
        return directions(self._reader.vectors(rows, stage.amount))

    def _of(self, fragment: Fragment, progress: Progress | None = None) -> Any:
        if fragment.key not in self._open:
            listener = progress or quiet()
            kept: list[Any] = []

            def write(path: Path) -> None:
                kept.append(self._built(fragment, listener))
                try:
                    kept[0].save(str(path))
                except RuntimeError as error:
                    raise OSError(f"cannot write {path}") from error

            name = f"graph-{self.over.on}-{self.over.links}.usearch"
            path = self._cache.file(fragment, name, write)
            graph = None
            if path is not None:
                graph = _index().restore(str(path), view=True)
            if graph is None:
                graph = kept[0] if kept else self._built(fragment, listener)
            self._open[fragment.key] = graph
        return self._open[fragment.key]

    def _built(self, fragment: Fragment, progress: Progress) -> Any:
        bits = self.over.on == "sign"
        first = self._linked(np.array([fragment.start]))
        graph = _index()(
            ndim=first.shape[1] * (8 if bits else 1),
            metric="hamming" if bits else "cos",
            dtype="b1" if bits else "f16",
            connectivity=self.over.links,
            expansion_add=_EXPANSION_ADD,
        )
        for low in range(0, fragment.rows, _RUN_ROWS):
            rows = np.arange(low, min(low + _RUN_ROWS, fragment.rows))
            graph.add(rows, self._linked(fragment.start + rows), threads=thread_count())
            progress.advance(len(rows))
        return graph


def _index() -> Any:
    try:
        return importlib.import_module("usearch.index").Index
    except ImportError:
        raise MissingExtra("a plan with graph", "graph") from None
