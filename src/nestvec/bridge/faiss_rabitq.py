"""RaBitQ of the faiss library, its estimates read off its codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.bridge.faiss_library import require_faiss
from nestvec.bridge.rabitq_codes import Readings, read_off
from nestvec.choose.decoded import row_lengths
from nestvec.choose.methods import Rows, Size, queries_of_l2
from nestvec.codec.directions import directions
from nestvec.progress import Progress

F32 = NDArray[np.float32]

_BLOCK = 8192


@dataclass(frozen=True)
class Rabitq:
    """Gao and Long 2024 (arXiv:2405.12497) and its extension to more bits (arXiv:2409.09913).

    Directions are turned by a random rotation; a float query is compared by faiss's unbiased
    estimator. code_bytes are the bits, fact_bytes the factors that faiss stores with them.
    """

    bits: tuple[int, ...] = (1, 2, 4)
    name: str = "rabitq"

    def fit(self, sample: F32, metric: str, seed: int, progress: Progress) -> RabitqFitted:
        """Draw the rotation and take the centroid of the sample."""
        require_faiss()
        dim = sample.shape[1]
        drawn = np.random.default_rng(seed).standard_normal((dim, dim))
        rotation = np.linalg.qr(drawn)[0].astype(np.float32)
        centre = directions(sample).mean(axis=0) @ rotation
        return RabitqFitted(metric, rotation, centre.astype(np.float32), self.bits)


@dataclass(frozen=True, eq=False)
class RabitqFitted:
    """A rotation (d, d) and a centroid (d,) in rotated space."""

    metric: str
    rotation: F32
    centre: F32
    bits: tuple[int, ...]

    def index(self, bits: int) -> Any:
        """An empty faiss index of so many bits a coordinate, whose queries stay float."""
        faiss = require_faiss()
        index = faiss.IndexRaBitQ(len(self.centre), faiss.METRIC_INNER_PRODUCT, bits)
        faiss.copy_array_to_vector(self.centre, index.center)
        index.is_trained = True
        index.qb = 0
        return index

    @property
    def sizes(self) -> tuple[Size, ...]:
        """One a number of bits, the rotation and the centroid in float32."""
        dim = len(self.centre)
        own = 4 * dim * (dim + 1)
        length = 0 if self.metric == "cosine" else 4
        return tuple(
            Size(None, code, int(self.index(bits).code_size) - code + length, own)
            for bits in self.bits
            for code in [-(-dim * bits // 8)]
        )

    def encode(self, documents: NDArray[Any], progress: Progress) -> RabitqEncoded:
        """Codes of the documents at every number of bits."""
        progress.start("encode", len(documents) * len(self.bits))
        readings = []
        for bits in self.bits:
            index, parts = self.index(bits), []
            for at in range(0, len(documents), _BLOCK):
                rows = directions(documents[at : at + _BLOCK]) @ self.rotation
                parts.append(self._read(index, rows, bits))
                progress.advance(len(rows))
            readings.append(Readings.joined(parts))
        progress.finish()
        return RabitqEncoded(self, tuple(readings), row_lengths(documents, self.metric))

    def _read(self, index: Any, rows: F32, bits: int) -> Readings:
        index.reset()
        index.add(np.ascontiguousarray(rows))
        codes = require_faiss().vector_to_array(index.codes).reshape(len(rows), -1)

        def scores(queries: F32) -> F32:
            found, order = index.search(queries, index.ntotal)
            values: F32 = np.empty_like(found)
            np.put_along_axis(values, order, found, axis=1)
            return values

        return read_off(codes, self.centre, bits, scores)


@dataclass(frozen=True, eq=False)
class RabitqEncoded:
    """Codes with their factors for every number of bits, and lengths (n,) for dot and l2."""

    fitted: RabitqFitted
    readings: tuple[Readings, ...]
    lengths: F32 | None

    def map_queries(self, queries: F32) -> list[F32]:
        """Rotated queries with a 1 before them."""
        return [queries_of_l2(queries @ self.fitted.rotation)] * len(self.fitted.bits)

    def views(self, rows: Rows) -> Iterator[F32]:
        """The affine function of a query that faiss's estimate is, one row of (m, 1 + d) each."""
        for bits, readings in zip(self.fitted.bits, self.readings, strict=True):
            view = readings.functions(rows, self.fitted.centre, bits)
            if self.lengths is not None:
                own = self.lengths[rows]
                view = view * own[:, None]
                if self.fitted.metric == "l2":
                    view[:, 0] -= 0.5 * own * own
            yield view
