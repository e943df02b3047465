"""What an export is made from and what it gives: the protocol that every target fills.

A target is another engine that holds a collection's rows in its own types. Its file in this room
has one public name, `TARGET`; jobs/export.py finds it by its name in TARGETS.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.bridge.row_signs import RowSigns, coordinate_signs, signs_of_code
from nestvec.errors import UserError
from nestvec.index.columns import Kind
from nestvec.index.plan import Plan, Stage, StageKind
from nestvec.index.snapshot import Snapshot
from nestvec.nesting import Nesting

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

BATCH_ROWS = 2_048

TARGETS: Mapping[str, str] = {
    "pgvector": "nestvec.bridge.pgvector",
    "sqlite-vec": "nestvec.bridge.sqlite_vec",
    "qdrant": "nestvec.bridge.qdrant",
    "lancedb": "nestvec.bridge.lancedb",
    "faiss": "nestvec.bridge.faiss_export",
}
"""A target's name on the command line, and the file that fills the protocol for it."""
ENCODER_TARGET = "onnx"
"""The one that takes a collection's encoder, not its rows: jobs/export_encoder.py."""


@dataclass(frozen=True, eq=False)
class Rows:
    """A run of rows, in the collection's order.

    seqs: (m,) int64, unique; ties in a search go to the smaller one. ids, titles, texts: m each.
    columns: the user's, by name, m values each, None where there is none. vectors: (m, d) float32,
    adapted where the collection has an adapter. signs: (m, bits / 8 rounded up) uint8, the first
    in the high bit; bits that fill the last byte are 0.
    """

    seqs: I64
    ids: list[str]
    titles: list[str]
    texts: list[str]
    columns: dict[str, list[Any]]
    vectors: F32
    signs: U8


class Source:
    """A collection as targets read it: by runs of rows, in bounded memory.

    opened: the collection. count: rows. dim: coordinates of an (adapted) vector. metric: "cosine",
    "dot" or "l2". kinds: of the user's columns, by name; values of "json" are texts of it.
    """

    def __init__(self, opened: Snapshot) -> None:
        if not opened.has_vectors:
            raise UserError(
                f"an export needs stored vectors, and {opened.path} keeps only codes: build it "
                "again with its vectors."
            )
        self.opened = opened
        self.count = opened.count
        self.dim = opened.codec.dim
        self.metric = opened.codec.metric
        self.kinds: dict[str, Kind] = opened.kinds
        self._signs: RowSigns | None = None

    @property
    def name(self) -> str:
        """The collection's, without its ending."""
        return self.opened.path.resolve().stem

    @property
    def signs(self) -> RowSigns:
        """What the bits of rows and queries are: the code's own signs, or the coordinates'."""
        if self._signs is None:
            codec = self.opened.codec
            if codec.sign_bytes:
                self._signs = signs_of_code(codec)
            else:
                self._signs = coordinate_signs(self._vectors(), self.dim)
        return self._signs

    def rows(self, batch_rows: int = BATCH_ROWS) -> Iterator[Rows]:
        """All rows, by runs of at most batch_rows."""
        opened = self.opened
        names = ("seq", "id", "title", "text", *self.kinds)
        start = 0
        signs = self.signs
        positions = opened.positions()
        for batch in opened.batches(names):
            count = len(batch["id"])
            for low in range(0, count, batch_rows):
                part = slice(low, min(low + batch_rows, count))
                at = slice(start + part.start, start + part.stop)
                vectors = self._mapped(opened.vectors(positions[at]))
                if signs.of_code:
                    bits = opened.codes(positions[at])[:, : signs.bytes]
                else:
                    bits = signs.of_rows(vectors)
                yield Rows(
                    np.array(batch["seq"][part], np.int64),
                    batch["id"][part],
                    [title or "" for title in batch["title"][part]],
                    [text or "" for text in batch["text"][part]],
                    {name: batch[name][part] for name in self.kinds},
                    vectors,
                    bits,
                )
            start += count

    def width(self) -> int:
        """The width that a cut is made at where none is named.

        The trained one nearest to a third of the coordinates, else a third, in eights.
        """
        third = max(1, self.dim // 3)
        nesting = self.opened.manifest.nesting
        if nesting is not None:
            widths = [width for width in Nesting.parse(nesting).widths if width < self.dim]
            if widths:
                return min(widths, key=lambda width: abs(width - third))
        return max(8, round(third / 8) * 8) if self.dim > 16 else self.dim

    def _vectors(self) -> Iterator[F32]:
        positions = self.opened.positions()
        for start in range(0, len(positions), BATCH_ROWS):
            some = positions[start : start + BATCH_ROWS]
            yield self._mapped(self.opened.vectors(some))

    def _mapped(self, vectors: NDArray[Any]) -> F32:
        adapter = self.opened.adapter
        rows = np.asarray(vectors, np.float32)
        return rows if adapter is None else adapter.transform(rows)


@dataclass(frozen=True)
class Place:
    """Where an export goes.

    out: a folder or file. dsn: a server's address. name: of a table or collection there. Each is
    None where it was not given; a target says which it needs.
    """

    out: Path | None = None
    dsn: str | None = None
    name: str | None = None


@dataclass(frozen=True, eq=False)
class Exported:
    """What was written, and how it is asked.

    place: a table, folder or file, in words. rows: how many it holds. plan: what the staged query
    runs, in the language of plans; None where the target holds no rows. query: that query as the
    target's users write it. facts: name and value of what people should know. files: written
    beside or as the export. search: (queries (q, d) float32 as Snapshot.map_queries gives them, k)
    -> the hits' seqs (q, k) int64, -1 where there are fewer, by the very query shown; None where
    the target holds no rows. close: ends what search needs.
    """

    place: str
    rows: int
    plan: Plan | None
    query: str
    facts: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()
    search: Callable[[F32, int], I64] | None = None
    close: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True)
class Target:
    """One engine: how a collection gets into it.

    extra: the extra that brings its library. needs: "out", "dsn" or "out or dsn", what of a Place
    it cannot do without. plan: (source) -> the plan it takes where none is asked for; None where
    it holds no rows. check: (source, place, plan) -> raises UserError for what can be known before
    a row is read, such as a plan it cannot hold or a place that is not ours. write: (source, place,
    plan, progress) -> Exported; whole or not at all.
    """

    name: str
    extra: str
    needs: str
    plan: Callable[[Source], Plan] | None
    check: Callable[[Source, Place, Plan | None], None]
    write: Callable[..., Exported]


def target_named(name: str) -> Target:
    """The target of that name.

    Raises UserError for an unknown one, MissingExtra where its library is not installed.
    """
    if name not in TARGETS:
        known = ", ".join((*TARGETS, ENCODER_TARGET))
        raise UserError(f"an export goes to one of {known}; got {name!r}.")
    target = importlib.import_module(TARGETS[name]).TARGET
    assert isinstance(target, Target)
    return target


def staged_plan(source: Source) -> Plan:
    """Signs of all rows, a cut of a thousand, whole vectors of two hundred; ten hits."""
    count, width = source.count, source.width()
    stages = [Stage("sign", 1, min(1_000, count))]
    if width < source.dim:
        stages.append(Stage("dims", width, min(200, count)))
    return Plan((*stages, Stage("raw", 0, min(10, count))))


def check_kinds(plan: Plan, kinds: tuple[StageKind, ...], target: str, dim: int) -> None:
    """Raise UserError where a plan has stages of other kinds, or reads what no vector has."""
    words = {"sign": "sign:1000", "dims": f"{min(128, dim)}d:100", "raw": "raw:10"}
    if plan.probe is not None or plan.graph is not None or plan.sure is not None:
        raise UserError(
            f"{target} holds stages alone, without probe, graph or sure; got {plan}: leave them "
            "out."
        )
    for stage in plan.stages:
        if stage.kind not in kinds:
            known = ", ".join(words[kind] for kind in kinds if kind in words)
            raise UserError(
                f"{target} holds stages such as {known}; got {stage} in {plan}: write the plan "
                "of these."
            )
        if stage.kind == "dims" and stage.amount > dim:
            raise UserError(
                f"a stage may not read more coordinates than a vector has; got {stage} for {dim}."
            )
