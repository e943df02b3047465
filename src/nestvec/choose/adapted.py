"""Adapted vectors as methods of a grid: queries and documents go through the adapter first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.adapters.adapter import Adapter
from nestvec.choose.methods import Encoded, Fitted, Method, Rows, Size
from nestvec.progress import Progress

F32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class AdaptedFloat:
    """The adapter's output in float32 at each of its widths; nothing is fitted."""

    name: str
    adapter: Adapter
    widths: tuple[int, ...]

    def fit(self, sample: F32, metric: str, seed: int, progress: Progress) -> AdaptedFloat:
        """Itself: the adapter is trained."""
        return self

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Four bytes a coordinate; the adapter's own size is what a width needs of it."""
        return tuple(
            Size(w, 4 * w, 0, self.adapter.cut(w).size_bytes()) for w in sorted(self.widths)
        )

    def encode(self, documents: NDArray[Any], progress: Progress) -> AdaptedRows:
        """The documents themselves: they are mapped block by block."""
        return AdaptedRows(self, documents)


@dataclass(frozen=True, eq=False)
class AdaptedRows:
    """Documents and the adapter that they are read by."""

    method: AdaptedFloat
    documents: NDArray[Any]

    def map_queries(self, queries: F32) -> list[F32]:
        """Queries through the adapter at each width."""
        return [self.method.adapter.transform(queries, w) for w in sorted(self.method.widths)]

    def views(self, rows: Rows) -> Iterator[F32]:
        """Rows through the adapter at each width."""
        block = np.asarray(self.documents[rows], np.float32)
        for width in sorted(self.method.widths):
            yield self.method.adapter.transform(block, width)


@dataclass(frozen=True, eq=False)
class AdaptedMethod:
    """Another method over adapted vectors; its own size grows by the adapter's."""

    name: str
    adapter: Adapter
    inner: Method

    def fit(self, sample: F32, metric: str, seed: int, progress: Progress) -> AdaptedFitted:
        """Fit the other method on the adapted sample."""
        adapted = self.adapter.transform(sample)
        return AdaptedFitted(self.adapter, self.inner.fit(adapted, metric, seed, progress))


@dataclass(frozen=True, eq=False)
class AdaptedFitted:
    """A method fitted on adapted vectors."""

    adapter: Adapter
    inner: Fitted

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The other method's, the adapter counted in."""
        own = self.adapter.size_bytes()
        return tuple(replace(s, codec_bytes=s.codec_bytes + own) for s in self.inner.sizes)

    def encode(self, documents: NDArray[Any], progress: Progress) -> AdaptedEncoded:
        """All documents adapted (float32, in memory) and encoded."""
        adapted = self.adapter.transform(documents)
        return AdaptedEncoded(self.adapter, self.inner.encode(adapted, progress))


@dataclass(frozen=True, eq=False)
class AdaptedEncoded:
    """Encoded adapted documents."""

    adapter: Adapter
    inner: Encoded

    def map_queries(self, queries: F32) -> list[F32]:
        """Adapted, then as the other method has them."""
        return self.inner.map_queries(self.adapter.transform(queries))

    def views(self, rows: Rows) -> Iterator[F32]:
        """The other method's."""
        return self.inner.views(rows)
