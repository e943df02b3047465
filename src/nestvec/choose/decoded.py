"""Codes of any quantizer shown as vectors, with the correction that our own codec gives itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.methods import Rows, Size, queries_of_l2
from nestvec.codec.directions import directions
from nestvec.codec.ranges import ByteRange
from nestvec.progress import Progress

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_BLOCK = 8192
_OTHERS = 2_000


def few_of(rows: F32) -> F32:
    """At most 2,000 of the rows (m, d), evenly: enough to fit the range of their norms on."""
    return np.ascontiguousarray(rows[:: max(1, -(-len(rows) // _OTHERS))])


def norm_range(decoded: F32) -> ByteRange:
    """The range that the norms of reconstructions (m, d) span."""
    return ByteRange.spanning(np.linalg.norm(decoded, axis=1))


def byte_norms(decoded: F32, span: ByteRange) -> F32:
    """|x_n| (m,) of reconstructions (m, d) as their byte says it."""
    return span.unpack(span.pack(np.linalg.norm(decoded, axis=1)))


def fact_bytes(metric: str) -> int:
    """Bytes a row beside the code: the norm's, and the length's under dot and l2."""
    return 1 if metric == "cosine" else 5


def row_lengths(documents: NDArray[Any], metric: str) -> F32 | None:
    """|x| (n,) where the metric needs it, by blocks; None under cosine."""
    if metric == "cosine":
        return None
    out = np.empty(len(documents), np.float32)
    for at in range(0, len(documents), _BLOCK):
        block = np.asarray(documents[at : at + _BLOCK], np.float32)
        out[at : at + _BLOCK] = np.linalg.norm(block, axis=1)
    return out


def lengthened(view: F32, lengths: F32 | None, rows: Rows, metric: str) -> F32:
    """Views (m, d) of directions at the rows' own lengths; for l2 with -|x|^2 / 2 before them."""
    if lengths is None:
        return view
    own = lengths[rows][:, None]
    if metric == "dot":
        return view * own
    return np.concatenate([-0.5 * own * own, view * own], axis=1)


class Quantizer(Protocol):
    """Anything trained that turns directions (m, d) into codes (m, b) and back."""

    def encode(self, rows: F32) -> U8:
        """Codes of unit rows."""

    def decode(self, codes: U8) -> F32:
        """Reconstructions in the original space."""


@dataclass(frozen=True, eq=False)
class Stage:
    """One size: a quantizer of its own and the range of its norms."""

    size: Size
    quantizer: Quantizer
    span: ByteRange


def calibrated(size: Size, quantizer: Quantizer, rows: F32) -> Stage:
    """A quantizer with the range of its norms over some unit rows (m, d)."""
    return Stage(size, quantizer, norm_range(quantizer.decode(quantizer.encode(few_of(rows)))))


@dataclass(frozen=True, eq=False)
class StagesFitted:
    """A quantizer a size, none of which shares bytes with another."""

    metric: str
    stages: tuple[Stage, ...]

    @property
    def sizes(self) -> tuple[Size, ...]:
        """One a quantizer."""
        return tuple(stage.size for stage in self.stages)

    def encode(self, documents: NDArray[Any], progress: Progress) -> StagesEncoded:
        """Codes of the documents by every quantizer."""
        progress.start("encode", len(documents) * len(self.stages))
        codes, facts = [], []
        for stage in self.stages:
            own = np.empty((len(documents), stage.size.code_bytes), np.uint8)
            fact = np.empty(len(documents), np.float32)
            for at in range(0, len(documents), _BLOCK):
                rows = directions(documents[at : at + _BLOCK])
                own[at : at + _BLOCK] = stage.quantizer.encode(rows)
                decoded = stage.quantizer.decode(own[at : at + _BLOCK])
                fact[at : at + _BLOCK] = byte_norms(decoded, stage.span)
                progress.advance(len(rows))
            codes.append(own)
            facts.append(fact)
        progress.finish()
        return StagesEncoded(self, tuple(codes), tuple(facts), row_lengths(documents, self.metric))


@dataclass(frozen=True, eq=False)
class StagesEncoded:
    """Codes (n, b) and norms (n,) for each size; lengths (n,) for dot and l2."""

    fitted: StagesFitted
    codes: tuple[U8, ...]
    norms: tuple[F32, ...]
    lengths: F32 | None

    def map_queries(self, queries: F32) -> list[F32]:
        """Queries as they are."""
        mapped = queries_of_l2(queries) if self.fitted.metric == "l2" else queries
        return [mapped] * len(self.codes)

    def views(self, rows: Rows) -> Iterator[F32]:
        """Reconstructions by their norms."""
        for stage, codes, norms in zip(self.fitted.stages, self.codes, self.norms, strict=True):
            view = stage.quantizer.decode(codes[rows]) / norms[rows][:, None]
            yield lengthened(view, self.lengths, rows, self.fitted.metric)


def cut_decodes(codebooks: F32, codes: U8, cuts: tuple[int, ...]) -> Iterator[F32]:
    """The sum (m, d) of the first codewords of codes (m, b) at rising cuts; one array, reused.

    codebooks: (b, K, d).
    """
    decoded = np.zeros((len(codes), codebooks.shape[2]), np.float32)
    done = 0
    for cut in cuts:
        for level in range(done, cut):
            decoded += codebooks[level][codes[:, level]]
        done = cut
        yield decoded
