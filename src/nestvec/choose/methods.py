"""What an evaluation compares: methods that write vectors smaller, and the nested code itself.

A method is fitted on a sample, encodes the documents, and then shows them, block by block, at
each of its sizes as plain vectors whose inner products with its queries are the scores that a
search by that method would give. So one loop of matrix products serves every method.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.nested import Codec
from nestvec.progress import Progress

F32 = NDArray[np.float32]
Rows = slice | NDArray[np.int64]

BYTE_COUNTS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536)
"""The sizes at which methods are compared, in code bytes a vector; a nested code's cuts first."""


@dataclass(frozen=True)
class Size:
    """One size of a method: what is read of a row, and what the method itself takes.

    dims: leading coordinates kept, None where a code has none. code_bytes and fact_bytes are a
    row's; codec_bytes is the whole method's, when only what this size needs is kept.
    """

    dims: int | None
    code_bytes: int
    fact_bytes: int
    codec_bytes: int


class Encoded(Protocol):
    """Documents as a method keeps them."""

    def map_queries(self, queries: F32) -> list[F32]:
        """Queries (q, d) as each size scores with them: (q, w) for every size, w its own."""

    def views(self, rows: Rows) -> Iterator[F32]:
        """The chosen rows at each size in turn: (m, w) float32, w as in map_queries.

        Inner products with the mapped queries rank as the method's scores do. An array may be
        overwritten when the next is asked for.
        """


class Fitted(Protocol):
    """A method after its fit."""

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The sizes at which it is measured, rising in bytes."""

    def encode(self, documents: NDArray[Any], progress: Progress) -> Encoded:
        """The documents (n, d), perhaps a memmap, as the method keeps them."""


class Method(Protocol):
    """A way to write vectors in fewer bytes."""

    @property
    def name(self) -> str:
        """What tables call it."""

    def fit(self, sample: F32, metric: str, seed: int, progress: Progress) -> Fitted:
        """Learn from sample (m, d). metric: cosine, dot or l2."""


def dims_for(dim: int, coordinate_bytes: int) -> tuple[int, ...]:
    """Widths of a prefix method: those of BYTE_COUNTS at so many bytes a coordinate, and dim."""
    widths = {count // coordinate_bytes for count in BYTE_COUNTS}
    return tuple(sorted({w for w in widths if 1 <= w < dim} | {dim}))


def with_norms_of_l2(vectors: F32) -> F32:
    """(m, w) to (m, 1 + w): inner products with queries_of_l2 rank as -|q - x|^2 does."""
    halves = -0.5 * np.einsum("mw,mw->m", vectors, vectors)
    return np.concatenate([halves[:, None], vectors], axis=1).astype(np.float32, copy=False)


def queries_of_l2(queries: F32) -> F32:
    """(q, w) to (q, 1 + w), a 1 before each."""
    return np.concatenate([np.ones((len(queries), 1), np.float32), queries], axis=1)


@dataclass(frozen=True, eq=False)
class NestedMethod:
    """A nested code fitted on the sample, at every declared cut.

    Attributes are the codec's parameters; name is what tables call it.
    """

    spec: str = "32xcb"
    beam: int = 8
    power: float | str = "auto"
    name: str = "nested"

    def fit(self, sample: F32, metric: str, seed: int, progress: Progress) -> NestedFitted:
        """Fit the codec."""
        codec = Codec(self.spec, metric=metric, beam=self.beam, power=self.power, seed=seed)
        return NestedFitted(codec.fit(sample, progress=progress))


@dataclass(frozen=True, eq=False)
class NestedFitted:
    """A fitted codec as a method."""

    codec: Codec

    @property
    def sizes(self) -> tuple[Size, ...]:
        """One a declared cut; the norm is one byte, lengths (dot, l2) are four."""
        return nested_sizes(self.codec)

    def encode(self, documents: NDArray[Any], progress: Progress) -> NestedCodes:
        """Codes and facts of the documents."""
        codes = self.codec.encode(documents, progress)
        return NestedCodes("nested", self.codec, codes, self.codec.facts(codes, documents))


def nested_sizes(codec: Codec) -> tuple[Size, ...]:
    """The declared cuts of a codec, the whole code the last."""
    facts = 1 if codec.metric == "cosine" else 5
    return tuple(Size(None, cut, facts, codec.size_bytes(cut)) for cut in codec.cuts)


@dataclass(frozen=True, eq=False)
class NestedCodes:
    """Codes and facts that exist already, as a method of their own: nothing is fitted again.

    codes: (n, bytes) uint8; facts: as Codec.facts gives them.
    """

    name: str
    codec: Codec
    codes: NDArray[np.uint8]
    facts: dict[str, NDArray[Any]]

    @property
    def sizes(self) -> tuple[Size, ...]:
        """One a declared cut."""
        return nested_sizes(self.codec)

    def fit(self, sample: F32, metric: str, seed: int, progress: Progress) -> NestedCodes:
        """Itself: the codec is fitted."""
        return self

    def encode(self, documents: NDArray[Any], progress: Progress) -> NestedCodes:
        """Itself: the documents are encoded."""
        return self

    def map_queries(self, queries: F32) -> list[F32]:
        """Queries as they are: reconstructions lie in the original space."""
        mapped = queries_of_l2(queries) if self.codec.metric == "l2" else queries
        return [mapped] * len(self.codec.cuts)

    def views(self, rows: Rows) -> Iterator[F32]:
        """x_n at each cut, deeper ones added to the ones before, by the byte of its norm."""
        lengths = self.facts.get("length")
        for cut, decoded in self.codec.reconstructions(self.codes[rows], self.codec.cuts):
            norms = self.codec.unpack_norms(self.facts[f"norm_{cut}"][rows], cut)
            if lengths is None:
                yield np.divide(decoded, norms[:, None], dtype=np.float32)
                continue
            view = np.multiply(decoded, (lengths[rows] / norms)[:, None], dtype=np.float32)
            if self.codec.metric == "dot":
                yield view
            else:
                # the true length is known, so it stands where the reconstruction's would
                halves = (-0.5 * lengths[rows] ** 2)[:, None]
                yield np.concatenate([halves, view], axis=1)


def unique_names(methods: Sequence[Method]) -> list[str]:
    """The methods' names. Raises ValueError where two share one."""
    names = [method.name for method in methods]
    if len(set(names)) != len(names):
        raise ValueError(f"methods of one evaluation must differ in name; got {names}")
    return names
