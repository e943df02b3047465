"""Quantizers of the faiss library as methods of an evaluation; the one file that imports it.

Each is given the correction that our codec gives itself, the norm of the
reconstruction in one byte a row, and is charged for it. RaBitQ brings its own.
faiss takes as many threads as its omp_set_num_threads was told, or OMP_NUM_THREADS says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.decoded import (
    StagesFitted,
    byte_norms,
    calibrated,
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
from nestvec.errors import MissingExtra
from nestvec.progress import Progress

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_BLOCK = 8192
_MOST_BYTES = 64


def available() -> bool:
    """Whether the faiss library is installed."""
    return find_spec("faiss") is not None


def require_faiss() -> Any:
    """The faiss module. Raises MissingExtra where it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise MissingExtra("comparing with faiss (pq, opq, rq, rabitq)", "bench") from error
    return faiss


def faiss_methods() -> list[Method]:
    """pq, opq, rq and rabitq.

    Raises MissingExtra where faiss is not installed.
    """
    require_faiss()
    return [Product(), RotatedProduct(), Residual(), Rabitq()]


def _code_sizes(dim: int) -> list[int]:
    return [count for count in BYTE_COUNTS if count <= min(_MOST_BYTES, dim)]


def _padded(rows: F32, width: int) -> F32:
    """Rows (m, d) with zeros up to width: a product quantizer needs equal parts."""
    if rows.shape[1] == width:
        return np.ascontiguousarray(rows)
    out = np.zeros((len(rows), width), np.float32)
    out[:, : rows.shape[1]] = rows
    return out


@dataclass(frozen=True, eq=False)
class _TrainedProduct:
    """A product quantizer of padded rows, after a rotation (width, width) where there is one."""

    quantizer: Any
    dim: int
    rotation: F32 | None

    def encode(self, rows: F32) -> U8:
        padded = _padded(rows, self.quantizer.d)
        if self.rotation is not None:
            padded = padded @ self.rotation
        codes: U8 = self.quantizer.compute_codes(np.ascontiguousarray(padded))
        return codes

    def decode(self, codes: U8) -> F32:
        decoded: F32 = self.quantizer.decode(np.ascontiguousarray(codes))
        if self.rotation is not None:
            decoded = decoded @ self.rotation.T
        return decoded[:, : self.dim]

    @property
    def own_bytes(self) -> int:
        books = 4 * int(self.quantizer.d) * int(self.quantizer.ksub)
        return books + (0 if self.rotation is None else self.rotation.nbytes)


def _bits(rows: int) -> int:
    """Bits of a codebook: 8, or fewer where there are no rows for 256 codewords."""
    return min(8, max(1, rows.bit_length() - 1))


def _empty_product(faiss: Any, width: int, count: int, rows: int, seed: int) -> Any:
    product = faiss.ProductQuantizer(width, count, _bits(rows))
    product.cp.seed = seed + 1
    # faiss's own 25 rank no better in twice the time
    product.cp.niter = 10
    # faiss prints a warning below 39 rows a codeword; printing is not this room's to do
    product.cp.min_points_per_centroid = 1
    return product


def _each_size(
    name: str,
    sample: F32,
    metric: str,
    progress: Progress,
    train: Callable[[F32, int], _TrainedProduct],
) -> StagesFitted:
    """A quantizer that train(padded rows, count) makes for every byte count."""
    rows = directions(sample)
    dim = sample.shape[1]
    counts = _code_sizes(dim)
    progress.start(f"Fitting {name}", len(counts))
    stages = []
    for count in counts:
        trained = train(_padded(rows, -(-dim // count) * count), count)
        size = Size(None, int(trained.quantizer.code_size), fact_bytes(metric), trained.own_bytes)
        stages.append(calibrated(size, trained, rows))
        progress.advance(1)
    progress.finish()
    return StagesFitted(metric, tuple(stages))


@dataclass(frozen=True)
class Product:
    """Jegou et al. 2011: a quantizer of one-byte parts for every byte count up to 64."""

    name: str = "pq"

    def fit(self, sample: F32, metric: str, seed: int, progress: Progress) -> StagesFitted:
        """Train one quantizer a byte count."""
        faiss = require_faiss()
        dim = sample.shape[1]

        def train(padded: F32, count: int) -> _TrainedProduct:
            width = padded.shape[1]
            product = _empty_product(faiss, width, count, len(padded), seed)
            product.train(padded)
            return _TrainedProduct(product, dim, None)

        return _each_size(self.name, sample, metric, progress, train)


@dataclass(frozen=True)
class RotatedProduct:
    """Ge et al. 2013: a product quantizer after a learned rotation, one of both a byte count.

    The rotation starts from their parametric solution. From there three rounds of faiss's
    alternation between rotation and quantizer rank as well as ten from its random start, in a
    quarter of the time; its own default is 50. rows: the rotation is learned from, at most.
    """

    rounds: int = 3
    rows: int = 20_000
    name: str = "opq"

    def fit(self, sample: F32, metric: str, seed: int, progress: Progress) -> StagesFitted:
        """Train one rotation and quantizer a byte count."""
        faiss = require_faiss()
        dim = sample.shape[1]

        def train(padded: F32, count: int) -> _TrainedProduct:
            rotation = self._rotation(faiss, padded, count, seed)
            product = _empty_product(faiss, padded.shape[1], count, len(padded), seed)
            product.train(np.ascontiguousarray(padded @ rotation))
            return _TrainedProduct(product, dim, rotation)

        return _each_size(self.name, sample, metric, progress, train)

    def _rotation(self, faiss: Any, padded: F32, count: int, seed: int) -> F32:
        width = padded.shape[1]
        turn = faiss.OPQMatrix(width, count, width)
        turn.niter, turn.niter_pq, turn.niter_pq_0 = self.rounds, 2, 5
        padded = padded[:: -(-len(padded) // self.rows)]
        turn.pq = _empty_product(faiss, width, count, len(padded), seed)
        faiss.copy_array_to_vector(even_axes(padded, count).ravel(), turn.A)
        # with fewer rows than coordinates faiss writes past an array and ends the process;
        # repeated rows have the same best rotation
        turn.train(np.resize(padded, (max(len(padded), width), width)))
        matrix = faiss.vector_to_array(turn.A).reshape(width, width)
        return np.ascontiguousarray(matrix.T, dtype=np.float32)


def even_axes(rows: F32, parts: int) -> F32:
    """Principal axes (d, d) of rows (n, d), a row each, in an order that suits equal parts.

    Axes of falling variance go to the part whose product of variances is least and that has room:
    Ge et al. 2013, "Optimized product quantization", the parametric solution (eigenvalue
    allocation).
    """
    centred = rows - rows.mean(axis=0)
    variances, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    # in ratio to the least, so that no logarithm is negative; padded coordinates vary by nothing
    logs = np.log(np.maximum(variances[::-1], 1e-12 * max(variances[-1], 1e-300)))
    logs -= logs[-1]
    room = len(logs) // parts
    totals = np.zeros(parts)
    shared: list[list[int]] = [[] for _ in range(parts)]
    for axis, log in enumerate(logs):
        part = int(np.argmin(totals))
        shared[part].append(axis)
        totals[part] = totals[part] + log if len(shared[part]) < room else np.inf
    order = [axis for part in shared for axis in part]
    return np.ascontiguousarray(axes[:, ::-1][:, order].T, dtype=np.float32)


@dataclass(frozen=True)
class Residual:
    """Chen et al. 2010 with faiss's beam: one code of `bytes`, cut at every smaller count.

    all_entries: codebooks are trained on what every entry of the beam leaves, faiss's default,
    rather than the best entry; that takes six times as long for no better ranks.
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
        residual.max_beam_size = self.beam
        if not self.all_entries:
            residual.train_type |= faiss.ResidualQuantizer.Train_top_beam
        residual.cp.seed = seed + 1
        residual.cp.min_points_per_centroid = 1
        # faiss wants a row a codeword; where there are fewer, they are repeated
        residual.train(np.ascontiguousarray(np.resize(rows, (max(len(rows), 256), dim))))
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
        """The documents themselves: codes are made again for every block that is shown."""
        return RabitqEncoded(self, documents, row_lengths(documents, self.metric))


@dataclass(frozen=True, eq=False)
class RabitqEncoded:
    """Documents, and their lengths (n,) for dot and l2."""

    fitted: RabitqFitted
    documents: NDArray[Any]
    lengths: F32 | None

    def map_queries(self, queries: F32) -> list[F32]:
        """Rotated queries with a 1 before them."""
        return [queries_of_l2(queries @ self.fitted.rotation)] * len(self.fitted.bits)

    def views(self, rows: Rows) -> Iterator[F32]:
        """The affine function of a query that faiss's estimate is, one row of (m, 1 + d) each."""
        rotated = np.ascontiguousarray(directions(self.documents[rows]) @ self.fitted.rotation)
        for bits in self.fitted.bits:
            index = self.fitted.index(bits)
            index.add(rotated)
            view = estimates_as_vectors(index, rotated if bits == 1 else None)
            if self.lengths is not None:
                own = self.lengths[rows]
                view = view * own[:, None]
                if self.fitted.metric == "l2":
                    view[:, 0] -= 0.5 * own * own
            yield view


def estimates_as_vectors(index: Any, rows: F32 | None) -> F32:
    """An index's scores as inner products with (1, query): (m, 1 + d).

    With one bit the estimate is <q, decoded> + <x - decoded, centre>, and rows (m, d) give x.
    With more bits faiss's decoding leaves the extra bits out, so that the function is read off
    at the origin and at the unit vectors, which costs d + 1 searches.
    """
    if rows is not None:
        decoded = index.reconstruct_n(0, index.ntotal)
        centre = require_faiss().vector_to_array(index.center)
        return np.concatenate([((rows - decoded) @ centre)[:, None], decoded], axis=1)
    probes = np.concatenate([np.zeros((1, index.d)), np.eye(index.d)]).astype(np.float32)
    scores, found = index.search(probes, index.ntotal)
    values = np.empty_like(scores)
    np.put_along_axis(values, found, scores, axis=1)
    values[1:] -= values[0]
    return np.ascontiguousarray(values.T)
