"""What a search reads: runs of all rows for a scan, single rows for survivors.

The only place that knows how columns, fragments and cached layouts become arrays of codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.adapters.adapter import Adapter
from nestvec.codec.directions import directions
from nestvec.codec.nested import Codec
from nestvec.index.bounds import (
    FACT_BYTES,
    SAMPLE_ROWS,
    block_ends,
    coded_blocks,
    principal_axes,
)
from nestvec.index.cache import BLOCK_ROWS, Cache
from nestvec.index.columns import code_groups
from nestvec.index.kernels_vectors import gathered, products, widened
from nestvec.index.plan import Plan
from nestvec.index.runs import BoundRun, CodeRun, PlaneRun, PrefixRun, SignRun, VectorRun
from nestvec.index.store import Fragment, RowStore

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]

_BOUND_ROWS = 1 << 13
# Survivors are read from row-major arrays of about one cache line.
_SEGMENT_BYTES = 64
# Fewer rows than one in so many are read one by one, more as a run of all.
_FEW = 16


class Reader:
    """The arrays of one collection, by runs and by single rows."""

    def __init__(
        self, store: RowStore, cache: Cache, codec: Codec, adapter: Adapter | None = None
    ) -> None:
        self._store = store
        self._adapter = adapter
        self._cache = cache
        self._codec = codec
        self._only: Mapping[int, NDArray[np.bool_]] | None = None
        self._starts = np.array([fragment.start for fragment in store.fragments], np.int64)
        self._groups = code_groups(codec.level_ends)
        # Rows that were deleted are scanned, and not found.
        self.count = store.count
        self.has_vectors = "vector" in store.columns
        self.vector_itemsize = store.shape("vector")[1].itemsize if self.has_vectors else 0
        # An adapter reads a vector whole, whatever width comes out.
        self.vector_read = None if adapter is None else adapter.dim
        self.vector_bytes = (self.vector_read or codec.dim) * self.vector_itemsize

    def bytes_read(self, plan: Plan) -> tuple[int, ...]:
        """Bytes that each stage of a plan reads for one query, facts counted."""
        return plan.bytes_read(
            rows=self.count,
            dim=self._codec.dim,
            metric=self._codec.metric,
            cuts=self._codec.cuts,
            vector_itemsize=self.vector_itemsize,
            vector_read=self.vector_read,
            sign_bytes=self._codec.sign_bytes,
        )

    def restricted(self, only: Mapping[int, NDArray[np.bool_]]) -> Reader:
        """The same, but only these rows of each fragment, by its number, may be found."""
        other = copy(self)
        other._only = only
        return other

    def alive(self, fragment: Fragment) -> NDArray[np.bool_] | None:
        """Which rows of a fragment may be found; None for all."""
        if self._only is not None:
            return self._only[fragment.number]
        return self._store.alive(fragment)

    def _among(self, fragment: Fragment, low: int, high: int) -> slice | NDArray[np.bool_]:
        """Which of a fragment's rows from low to high may be found."""
        alive = self.alive(fragment)
        return slice(None) if alive is None else alive[low:high]

    def plane_runs(self, cut: int) -> Iterator[PlaneRun]:
        """All rows in order, fragment by fragment, as compiled scans want them."""
        for fragment in self._store.fragments:
            packed = exact = None
            if cut in self._codec.cuts:
                packed = self._cache.column(fragment, f"norm_{cut}")
            else:
                exact = self._exact_norms(fragment, cut)
            yield PlaneRun(
                fragment.start,
                fragment.rows,
                self._planes(fragment, cut),
                packed,
                exact,
                self._lengths(fragment),
                self._cache.column(fragment, "seq"),
                self.alive(fragment),
            )

    def sign_runs(self, n_bytes: int) -> Iterator[SignRun]:
        """The signs that all rows' codes begin with, n_bytes each, fragment by fragment."""
        for fragment in self._store.fragments:
            yield SignRun(
                fragment.start,
                8 * n_bytes,
                self._cache.slices(fragment, self._groups[0], n_bytes),
                self._cache.column(fragment, "seq"),
                self.alive(fragment),
            )

    def code_runs(self, cut: int, run_rows: int) -> Iterator[CodeRun]:
        """All rows in order, their first `cut` code bytes, by runs of about run_rows."""
        for fragment in self._store.fragments:
            planes = self._planes(fragment, cut)
            norms = self._norms(fragment, cut)
            lengths = self._lengths(fragment)
            seqs = self._cache.column(fragment, "seq")
            blocks = max(1, run_rows // BLOCK_ROWS)
            for first in range(0, -(-fragment.rows // BLOCK_ROWS), blocks):
                low = first * BLOCK_ROWS
                high = min(low + blocks * BLOCK_ROWS, fragment.rows)
                some = self._among(fragment, low, high)
                yield CodeRun(
                    np.arange(fragment.start + low, fragment.start + high)[some],
                    _run_codes(planes, first, blocks, cut, high - low)[some],
                    norms(slice(low, high))[some],
                    None if lengths is None else lengths[low:high][some],
                    seqs[low:high][some],
                )

    def vector_runs(self, width: int, run_rows: int) -> Iterator[VectorRun]:
        """All rows in order, the first `width` coordinates of their stored vectors."""
        for fragment in self._store.fragments:
            vectors = self._cache.column(fragment, "vector")
            lengths = self._lengths(fragment)
            seqs = self._cache.column(fragment, "seq")
            norms = self._vector_norms(fragment, width)
            for low in range(0, fragment.rows, run_rows):
                high = min(low + run_rows, fragment.rows)
                some = self._among(fragment, low, high)
                yield VectorRun(
                    np.arange(fragment.start + low, fragment.start + high)[some],
                    self._mapped(vectors, slice(low, high), width)[some],
                    None if lengths is None else lengths[low:high][some],
                    seqs[low:high][some],
                    norms[low:high][some],
                )

    def prefix_runs(self, width: int) -> Iterator[PrefixRun]:
        """The first `width` coordinates of all rows' vectors, fragment by fragment."""
        for fragment in self._store.fragments:
            yield PrefixRun(
                fragment.start,
                fragment.rows,
                self._prefixes(fragment, width),
                self._lengths(fragment),
                self._cache.column(fragment, "seq"),
                self.alive(fragment),
            )

    def bound_runs(self) -> Iterator[BoundRun]:
        """The bounds of all rows' stored vectors, fragment by fragment."""
        dim = self._codec.dim
        ends = block_ends(dim)
        first = ends[0] + FACT_BYTES
        rest = dim - ends[0] + FACT_BYTES * (len(ends) - 1)
        for fragment in self._store.fragments:
            axes = self._axes(fragment)
            yield BoundRun(
                fragment.start,
                axes,
                self._bounds(fragment, "first", first, axes),
                self._bounds(fragment, "rest", rest, axes),
                self._lengths(fragment),
                self.alive(fragment),
            )

    @property
    def fragments(self) -> tuple[Fragment, ...]:
        """The runs of rows that never change, in order."""
        return self._store.fragments

    def derived(
        self,
        fragment: Fragment,
        name: str,
        shape: tuple[int, ...],
        dtype: Any,
        parts: Callable[[], Iterable[NDArray[Any]]],
    ) -> NDArray[Any]:
        """An array of a fragment that parts() computes, in order, where it is not kept yet."""
        return self._cache.derived(fragment, name, shape, dtype, parts)

    def seqs(self, rows: I64) -> I64:
        """The seq (m,) of some rows."""
        return self._gather("seq", rows)

    def codes(self, rows: I64, start: int, stop: int) -> U8:
        """Codes (m, stop) of some rows; only the bytes [start, stop) are read, others are 0."""
        out = np.zeros((len(rows), stop), np.uint8)
        for fragment, mine, local in self._by_fragment(rows):
            for segment in self._segments():
                first, last = segment[0][0], segment[-1][1]
                low, high = max(start, first), min(stop, last)
                if low < high:
                    array = self._cache.scattered(self._cache.rows(fragment, segment))
                    out[mine, low:high] = array[local, low - first : high - first]
        return out

    def norms(self, rows: I64, cut: int) -> F32:
        """The divisors (m,) of some rows at a cut."""
        out = np.empty(len(rows), np.float32)
        for fragment, mine, local in self._by_fragment(rows):
            out[mine] = self._norms(fragment, cut)(local)
        return out

    def lengths(self, rows: I64) -> F32 | None:
        """The lengths |x| (m,) of some rows; None for cosine."""
        if self._codec.metric == "cosine":
            return None
        return self._gather("length", rows)

    def vectors(self, rows: I64, width: int) -> F32:
        """The first `width` coordinates of some rows' stored vectors: (m, width) float32."""
        out = np.empty((len(rows), width), np.float32)
        for fragment, mine, local in self._by_fragment(rows):
            vectors = self._cache.column(fragment, "vector")
            if len(local) * _FEW < fragment.rows:
                vectors = self._cache.scattered(vectors)
            out[mine] = self._mapped(vectors, local, width)
        return out

    def products(self, rows: I64, prefix: F32) -> tuple[F32, F32]:
        """Of some rows' stored vectors by their first w coordinates: (m,) each, float32.

        Their products with a query's prefix (w,), and with themselves.
        """
        dots, squares = (np.empty(len(rows), np.float32) for _ in range(2))
        for fragment, mine, local in self._by_fragment(rows):
            vectors = self._cache.column(fragment, "vector")
            if len(local) * _FEW < fragment.rows:
                vectors = self._cache.scattered(vectors)
            if self._adapter is None and vectors.dtype == np.float16:
                dots[mine], squares[mine] = products(vectors, local, prefix)
            else:
                found = self._mapped(vectors, local, len(prefix))
                dots[mine] = np.einsum("nd,d->n", found, prefix)
                squares[mine] = np.einsum("nd,nd->n", found, found)
        return dots, squares

    def _mapped(self, vectors: NDArray[Any], rows: slice | I64, width: int) -> F32:
        """The first `width` coordinates of some rows, adapted where there is an adapter."""
        if self._adapter is not None:
            return self._adapter.transform(vectors[rows], width)
        if vectors.dtype == np.float16:
            return widened(vectors, rows, width)
        if vectors.dtype == np.float32 and not isinstance(rows, slice):
            return gathered(vectors, rows, width)
        return np.ascontiguousarray(vectors[rows, :width], dtype=np.float32)

    def _gather(self, name: str, rows: I64) -> NDArray[Any]:
        out = np.empty(len(rows), self._store.shape(name)[1])
        for fragment, mine, local in self._by_fragment(rows):
            out[mine] = self._cache.column(fragment, name)[local]
        return out

    def _by_fragment(self, rows: I64) -> Iterator[tuple[Fragment, NDArray[Any] | slice, I64]]:
        if len(self._store.fragments) == 1:
            yield self._store.fragments[0], slice(None), rows
            return
        numbers = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(numbers):
            fragment = self._store.fragments[number]
            mine = np.flatnonzero(numbers == number)
            yield fragment, mine, rows[mine] - fragment.start

    def _segments(self) -> Iterator[tuple[tuple[int, int], ...]]:
        segment: list[tuple[int, int]] = []
        for group in self._groups:
            segment.append(group)
            if group[1] - segment[0][0] >= _SEGMENT_BYTES or group == self._groups[-1]:
                yield tuple(segment)
                segment = []

    def _norms(self, fragment: Fragment, cut: int) -> Callable[[slice | I64], F32]:
        if cut in self._codec.cuts:
            packed = self._cache.column(fragment, f"norm_{cut}")
            return lambda rows: self._codec.unpack_norms(packed[rows], cut)
        exact = self._exact_norms(fragment, cut)
        return lambda rows: exact[rows]

    def _planes(self, fragment: Fragment, cut: int) -> U8:
        return self._cache.planes(fragment, tuple(g for g in self._groups if g[0] < cut))

    def _exact_norms(self, fragment: Fragment, cut: int) -> F32:
        name, shape = f"exact-norm-{cut}", (fragment.rows,)
        return self._cache.derived(
            fragment, name, shape, np.float32, lambda: self._derive(fragment, cut)
        )

    def _derive(self, fragment: Fragment, cut: int) -> Iterator[F32]:
        planes = self._planes(fragment, cut)
        for first in range(-(-fragment.rows // BLOCK_ROWS)):
            rows = min(BLOCK_ROWS, fragment.rows - first * BLOCK_ROWS)
            codes = np.zeros((rows, self._codec.bytes), np.uint8)
            codes[:, :cut] = _run_codes(planes, first, 1, cut, rows)
            norms = self._codec.norms(codes, cut)
            # A reconstruction of zeros has the sum 0 with every query, whatever divides it.
            yield np.where(norms > 0, norms, np.float32(1))

    def _axes(self, fragment: Fragment) -> F32:
        """The principal axes (d, d) of a fragment's vectors."""
        dim = self._codec.dim

        def parts() -> Iterator[F32]:
            vectors = self._cache.column(fragment, "vector")
            step = max(1, fragment.rows // SAMPLE_ROWS)
            yield principal_axes(directions(self._mapped(vectors, slice(None, None, step), dim)))

        return self._cache.derived(fragment, "bounds-axes", (dim, dim), np.float32, parts)

    def _bounds(self, fragment: Fragment, name: str, width: int, axes: F32) -> U8:
        which = slice(0, 1) if name == "first" else slice(1, None)
        return self._cache.derived(
            fragment,
            f"bounds-{name}",
            (fragment.rows, width),
            np.uint8,
            lambda: self._blocks(fragment, axes, which),
        )

    def _blocks(self, fragment: Fragment, axes: F32, which: slice) -> Iterator[U8]:
        vectors = self._cache.column(fragment, "vector")
        for low in range(0, fragment.rows, _BOUND_ROWS):
            some = slice(low, min(low + _BOUND_ROWS, fragment.rows))
            rows = directions(self._mapped(vectors, some, len(axes)))
            yield np.concatenate(coded_blocks(rows, axes)[which], axis=1)

    def _vector_norms(self, fragment: Fragment, width: int) -> F32:
        """The lengths (rows,) of vectors' first coordinates."""
        vectors = self._cache.column(fragment, "vector")

        def parts() -> Iterator[F32]:
            for low in range(0, fragment.rows, _BOUND_ROWS):
                some = slice(low, min(low + _BOUND_ROWS, fragment.rows))
                rows = self._mapped(vectors, some, width)
                yield np.sqrt(np.einsum("nd,nd->n", rows, rows))

        shape = (fragment.rows,)
        return self._cache.derived(fragment, f"vector-norm-{width}", shape, np.float32, parts)

    def _prefixes(self, fragment: Fragment, width: int) -> F32:
        vectors = self._cache.column(fragment, "vector")

        def blocks() -> Iterator[F32]:
            for low in range(0, fragment.rows, BLOCK_ROWS):
                some = slice(low, min(low + BLOCK_ROWS, fragment.rows))
                block = np.zeros((1, width, BLOCK_ROWS), np.float32)
                block[0, :, : some.stop - low] = directions(self._mapped(vectors, some, width)).T
                yield block

        shape = (-(-fragment.rows // BLOCK_ROWS), width, BLOCK_ROWS)
        return self._cache.derived(fragment, f"prefix-{width}", shape, np.float32, blocks)

    def _lengths(self, fragment: Fragment) -> F32 | None:
        if self._codec.metric == "cosine":
            return None
        return self._cache.column(fragment, "length")


def _run_codes(planes: U8, first: int, blocks: int, cut: int, rows: int) -> U8:
    """Codes (rows, cut) of blocks first to first + blocks, as a view of (cut, rows) planes."""
    part = planes[first : first + blocks, :cut].transpose(1, 0, 2)
    return part.reshape(cut, -1)[:, :rows].T
