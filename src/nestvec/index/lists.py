"""Inverted lists: rows sorted by their nearest center, so that a query reads the nearest lists.

Derived per fragment and kept in the cache: the order of rows by list, where each list ends, and the
scanned arrays in that order. Nothing of it is needed to open a collection.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.centers import ROWS_A_CENTER, Centers
from nestvec.codec.directions import directions
from nestvec.codec.nested import Codec
from nestvec.codec.scores import Prepared
from nestvec.errors import UserError
from nestvec.index import bit_slices, fused
from nestvec.index.cache import BLOCK_ROWS
from nestvec.index.plan import Plan, Stage, StageKind
from nestvec.index.reader import Reader
from nestvec.index.runs import PlaneRun, SignRun
from nestvec.index.scan import Shortlist
from nestvec.index.store import Fragment
from nestvec.progress import Progress, quiet

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

_ON = re.compile(r"([1-9][0-9]*)([Bd])")
_SAMPLE_ROWS = 250_000
_RUN_ROWS = 1 << 14


class Lists:
    """A collection's rows by their nearest center.

    name: of the centers' content; it names what is kept in the cache. Sorting holds one run of
    rows, and 12 bytes a row of a fragment.
    """

    def __init__(self, centers: Centers, name: str, reader: Reader, codec: Codec) -> None:
        self.centers = centers
        self._name = f"lists-{name[:12]}"
        self._reader = reader
        self._codec = codec
        # of fragments with deleted rows, which are left, in the order of the lists
        self._left: dict[int, NDArray[np.bool_]] = {}

    @property
    def count(self) -> int:
        """The number of lists."""
        return len(self.centers.centers)

    def prepare(self, progress: Progress | None = None) -> None:
        """Sort the rows of all fragments that are not sorted yet."""
        listener = progress or quiet()
        listener.start("sorting into lists", self._reader.count)
        for fragment in self._reader.fragments:
            self._order(fragment)
            listener.advance(fragment.rows)
        listener.finish()

    def nearest(self, queries: F32, probe: int) -> I64:
        """The lists (q, probe) nearest to queries (q, d)."""
        return self.centers.nearest(directions(queries[:, : self.centers.width]), probe)

    def spans(self, fragment: Fragment, nearest: I64) -> I64:
        """Where lists (..., probe) stand in a fragment's order: (..., probe, 2)."""
        ends = self._ends(fragment)
        return np.stack([ends[nearest], ends[nearest + 1]], axis=-1)

    def scanned(self, nearest: I64) -> I64:
        """The number of rows (q,) in each query's lists (q, probe)."""
        counts = np.zeros(len(nearest), np.int64)
        for fragment in self._reader.fragments:
            spans = self.spans(fragment, nearest)
            counts += (spans[..., 1] - spans[..., 0]).sum(axis=1)
        return counts

    def rows(self, nearest: I64, reader: Reader) -> I64:
        """The positions of one query's lists (probe,), of rows that the reader may find."""
        found = []
        for fragment in self._reader.fragments:
            order, alive = self._order(fragment), reader.alive(fragment)
            for low, high in self.spans(fragment, nearest):
                some = order[low:high].astype(np.int64)
                found.append(fragment.start + (some if alive is None else some[alive[some]]))
        return np.concatenate(found)

    def scan(
        self, stage: Stage, nearest: I64, prepared: Prepared, reader: Reader
    ) -> list[Shortlist]:
        """For each query the best of its lists (q, probe) by bytes of codebooks or by signs."""
        fragments = self._reader.fragments
        spans = [self.spans(fragment, nearest) for fragment in fragments]
        keep = max(1, min(stage.keep, int(self.scanned(nearest).max())))
        if stage.kind == "sign":
            signs = [self._signs(fragment, reader) for fragment in fragments]
            planes = self._codec.sign_planes(prepared, stage.amount)
            found = fused.scan_sign_spans(zip(signs, spans, strict=True), planes, keep)
        else:
            cut = stage.amount
            runs = [self._run(fragment, cut, reader) for fragment in fragments]
            pairs = zip(runs, spans, strict=True)
            found = fused.scan_spans(self._codec, prepared, pairs, cut, keep)
        return [replace(each, rows=self._positions(each.rows)) for each in found]

    def _positions(self, places: I64) -> I64:
        """Positions of rows, of which places in the order of their fragment's lists are given."""
        out = np.empty_like(places)
        for fragment in self._reader.fragments:
            mine = (places >= fragment.start) & (places < fragment.start + fragment.rows)
            order = self._order(fragment)
            out[mine] = fragment.start + order[places[mine] - fragment.start].astype(np.int64)
        return out

    def _run(self, fragment: Fragment, cut: int, reader: Reader) -> PlaneRun:
        """A fragment in the order of its lists."""
        lengths = None
        if self._codec.metric != "cosine":
            lengths = self._sorted(fragment, "length", np.float32, _lengths)
        return PlaneRun(
            fragment.start,
            fragment.rows,
            self._planes(fragment, cut),
            None,
            self._sorted(fragment, f"norm-{cut}", np.float32, _norms_at(cut)),
            lengths,
            self._sorted(fragment, "seq", np.int64, _seqs),
            self._alive(fragment, reader),
        )

    def _signs(self, fragment: Fragment, reader: Reader) -> SignRun:
        """The signs of a fragment in the order of its lists."""
        n_bytes = self._codec.sign_bytes
        shape = bit_slices.slice_shape(fragment.rows, n_bytes)

        def blocks() -> Iterator[NDArray[np.uint64]]:
            for positions in self._positions_by(fragment, bit_slices.BLOCK_ROWS):
                yield bit_slices.bit_slices(self._reader.codes(positions, 0, n_bytes))

        slices = self._reader.derived(fragment, f"{self._name}-slices", shape, np.uint64, blocks)
        seqs = self._sorted(fragment, "seq", np.int64, _seqs)
        return SignRun(fragment.start, 8 * n_bytes, slices, seqs, self._alive(fragment, reader))

    def _alive(self, fragment: Fragment, reader: Reader) -> NDArray[np.bool_] | None:
        """Which rows may be found, in the order of the lists; None for all."""
        alive = reader.alive(fragment)
        if alive is None:
            return None
        if reader is not self._reader:  # a filter's
            return alive[self._order(fragment)]
        if fragment.number not in self._left:
            self._left[fragment.number] = alive[self._order(fragment)]
        return self._left[fragment.number]

    def _planes(self, fragment: Fragment, cut: int) -> U8:
        shape = (-(-fragment.rows // BLOCK_ROWS), cut, BLOCK_ROWS)

        def blocks() -> Iterator[U8]:
            for positions in self._positions_by(fragment, BLOCK_ROWS):
                block = np.zeros((1, cut, BLOCK_ROWS), np.uint8)
                block[0, :, : len(positions)] = self._reader.codes(positions, 0, cut).T
                yield block

        return self._reader.derived(fragment, f"{self._name}-planes-{cut}", shape, np.uint8, blocks)

    def _sorted(self, fragment: Fragment, name: str, dtype: Any, of: Any) -> NDArray[Any]:
        """What `of` reads of a fragment's rows, in the order of its lists."""
        return self._reader.derived(
            fragment,
            f"{self._name}-{name}",
            (fragment.rows,),
            dtype,
            lambda: (of(self._reader, rows) for rows in self._positions_by(fragment, _RUN_ROWS)),
        )

    def _positions_by(self, fragment: Fragment, rows: int) -> Iterator[I64]:
        order = self._order(fragment)
        for low in range(0, fragment.rows, rows):
            yield fragment.start + order[low : low + rows].astype(np.int64)

    def _order(self, fragment: Fragment) -> NDArray[np.int32]:
        """The fragment's rows by list, in the order of the rows within one: (n,)."""

        def parts() -> Iterator[NDArray[np.int32]]:
            yield np.argsort(self._assigned(fragment), kind="stable").astype(np.int32)

        name, shape = f"{self._name}-order", (fragment.rows,)
        return self._reader.derived(fragment, name, shape, np.int32, parts)

    def _ends(self, fragment: Fragment) -> I64:
        """Where lists begin and end in that order: (lists + 1,)."""

        def parts() -> Iterator[I64]:
            counts = np.bincount(self._assigned(fragment), minlength=self.count)
            yield np.concatenate([[0], np.cumsum(counts)])

        name, shape = f"{self._name}-ends", (self.count + 1,)
        return self._reader.derived(fragment, name, shape, np.int64, parts)

    def _assigned(self, fragment: Fragment) -> NDArray[np.int32]:
        """The list (n,) of each row."""

        def parts() -> Iterator[NDArray[np.int32]]:
            for low in range(0, fragment.rows, _RUN_ROWS):
                high = min(low + _RUN_ROWS, fragment.rows)
                rows = np.arange(fragment.start + low, fragment.start + high)
                yield self.centers.assign(sorted_by(self._reader, self._codec, self.centers, rows))

        name, shape = f"{self._name}-assigned", (fragment.rows,)
        return self._reader.derived(fragment, name, shape, np.int32, parts)


def fit_centers(
    reader: Reader,
    codec: Codec,
    on: str,
    count: int,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Centers:
    """Centers of a drawn sample of the rows; on: "8B", a cut of the code, or "64d", a width.

    Memory: the sample, 64 rows a list and 250,000 at most, with two copies, and one run of rows.
    Raises UserError where `on` does not fit the collection, or lists are too many.
    """
    kind, amount = _parsed(on, reader, codec)
    most = min(reader.count, _SAMPLE_ROWS)
    if not 1 <= count <= most:
        raise UserError(
            f"lists are at least 1, and no more than the rows, or {_SAMPLE_ROWS:,}; got {count:,}: "
            f"write a number up to {most:,}."
        )
    listener = progress or quiet()
    wanted = min(reader.count, _SAMPLE_ROWS, max(10_000, ROWS_A_CENTER * count))
    picks = np.sort(np.random.default_rng(seed).choice(reader.count, wanted, replace=False))
    like = Centers(kind, amount, np.empty((0, 0), np.float32))
    listener.start("clustering", 1)
    sample = [
        sorted_by(reader, codec, like, picks[at : at + _RUN_ROWS])
        for at in range(0, wanted, _RUN_ROWS)
    ]
    centers = Centers.fit(kind, amount, np.concatenate(sample), count, seed=seed)
    listener.advance(1)
    listener.finish()
    return centers


def sorted_by(reader: Reader, codec: Codec, centers: Centers, rows: I64) -> F32:
    """What centers sort some rows by: (m, w) of length 1."""
    if centers.kind == "bytes":
        codes = reader.codes(rows, 0, centers.amount)
        return directions(codec.decode(codes, centers.amount))
    return directions(reader.vectors(rows, centers.amount))


def _parsed(on: str, reader: Reader, codec: Codec) -> tuple[StageKind, int]:
    match = _ON.fullmatch(on)
    if match is None:
        raise UserError(
            f"lists are sorted by a cut of the code or a width of the vectors; got {on!r}: write "
            "8B or 64d, for instance."
        )
    kind: StageKind = "bytes" if match[2] == "B" else "dims"
    Plan((Stage(kind, int(match[1]), 1),)).check(
        code_bytes=codec.bytes,
        level_ends=codec.level_ends,
        dim=codec.dim,
        has_vectors=reader.has_vectors,
    )
    return kind, int(match[1])


def _seqs(reader: Reader, rows: I64) -> I64:
    return reader.seqs(rows)


def _lengths(reader: Reader, rows: I64) -> F32:
    found = reader.lengths(rows)
    assert found is not None
    return found


def _norms_at(cut: int) -> Any:
    return lambda reader, rows: reader.norms(rows, cut)
