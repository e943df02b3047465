"""Quantizers of the faiss library as methods of an evaluation.

Each is given the correction that our codec gives itself, the norm of the
reconstruction in one byte a row, and is charged for it. RaBitQ brings its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.bridge.faiss_library import available, by_blas, require_faiss
from nestvec.bridge.faiss_products import Product, RotatedProduct
from nestvec.bridge.faiss_rabitq import Rabitq
from nestvec.choose.decoded import (
    byte_norms,
    cut_decodes,
    fact_bytes,
    few_of,
    lengthened,
    norm_range,
    row_lengths,
)
from nestvec.choose.methods import BYTE_COUNTS, Method, Rows, Size, queries_of_l2
from nestvec.codec.directions import directions
from nestvec.codec.ranges import ByteRange
from nestvec.progress import Progress

__all__ = [
    "Product",
    "Rabitq",
    "Residual",
    "RotatedProduct",
    "available",
    "faiss_methods",
    "require_faiss",
]

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

# a block's products with all codewords are held: 67 MB for 32 codebooks
_BLOCK = 2048


def faiss_methods() -> list[Method]:
    """pq, opq, rq and rabitq.

    Raises MissingExtra where faiss is not installed.
    """
    require_faiss()
    return [Product(), RotatedProduct(), Residual(), Rabitq()]


@dataclass(frozen=True)
class Residual:
    """Chen et al. 2010 with faiss's beam: one code of `bytes`, cut at every smaller count.

    all_entries: the beam is used in training, too, and codebooks are trained on what every entry of
    it leaves: faiss's default. Without it, on what the nearest codewords leave, which ranks
    better by .01 and takes a tenth of the time.
    """

    beam: int = 8
    bytes: int = 32
    all_entries: bool = False
    name: str = "rq"

    def fit(self, sample: F32, metric: str, seed: int, progress: Progress) -> ResidualFitted:
        """Train one residual quantizer, and the range of norms of every cut."""
        faiss = require_faiss()
        rows = directions(sample)
        dim = rows.shape[1]
        progress.start(f"Fitting {self.name}", None)
        residual = faiss.ResidualQuantizer(dim, self.bytes, 8)
        residual.max_beam_size = self.beam if self.all_entries else 1
        residual.cp.seed = seed + 1
        residual.cp.min_points_per_centroid = 1
        with by_blas(faiss):
            # faiss wants a row a codeword; where there are fewer, they are repeated
            residual.train(np.ascontiguousarray(np.resize(rows, (max(len(rows), 256, dim), dim))))
        residual.max_beam_size = self.beam
        # a third of the time for the same codes
        residual.use_beam_LUT = 1
        books = faiss.vector_to_array(residual.codebooks).reshape(self.bytes, -1, dim).copy()
        cuts = tuple(count for count in BYTE_COUNTS if count <= self.bytes)
        few = few_of(rows)
        decodes = cut_decodes(books, residual.compute_codes(few), cuts)
        spans = tuple(norm_range(decoded) for decoded in decodes)
        progress.finish()
        return ResidualFitted(metric, residual, books, cuts, spans)


@dataclass(frozen=True, eq=False)
class ResidualFitted:
    """A trained residual quantizer, its codebooks (b, 256, d), and a range of norms a cut."""

    metric: str
    quantizer: Any
    codebooks: F32
    cuts: tuple[int, ...]
    spans: tuple[ByteRange, ...]

    @property
    def sizes(self) -> tuple[Size, ...]:
        """One a cut, codebooks in float32."""
        each = 4 * self.codebooks.shape[1] * self.codebooks.shape[2]
        fact = fact_bytes(self.metric)
        return tuple(Size(None, cut, fact, cut * each) for cut in self.cuts)

    def encode(self, documents: NDArray[Any], progress: Progress) -> ResidualCodes:
        """Codes of the documents, and the norms of every cut."""
        codes = np.empty((len(documents), len(self.codebooks)), np.uint8)
        facts = np.empty((len(self.cuts), len(documents)), np.float32)
        progress.start("encode", len(documents))
        for at in range(0, len(documents), _BLOCK):
            rows = np.ascontiguousarray(directions(documents[at : at + _BLOCK]))
            own = self.quantizer.compute_codes(rows)
            codes[at : at + _BLOCK] = own
            for i, decoded in enumerate(cut_decodes(self.codebooks, own, self.cuts)):
                facts[i, at : at + _BLOCK] = byte_norms(decoded, self.spans[i])
            progress.advance(len(rows))
        progress.finish()
        return ResidualCodes(self, codes, facts, row_lengths(documents, self.metric))


@dataclass(frozen=True, eq=False)
class ResidualCodes:
    """Codes (n, b), norms (cuts, n), and lengths (n,) for dot and l2."""

    fitted: ResidualFitted
    codes: U8
    norms: F32
    lengths: F32 | None

    def map_queries(self, queries: F32) -> list[F32]:
        """Queries as they are."""
        mapped = queries_of_l2(queries) if self.fitted.metric == "l2" else queries
        return [mapped] * len(self.fitted.cuts)

    def views(self, rows: Rows) -> Iterator[F32]:
        """Reconstructions by their norms at every cut."""
        decodes = cut_decodes(self.fitted.codebooks, self.codes[rows], self.fitted.cuts)
        for norms, decoded in zip(self.norms, decodes, strict=True):
            view = decoded / norms[rows][:, None]
            yield lengthened(view, self.lengths, rows, self.fitted.metric)
