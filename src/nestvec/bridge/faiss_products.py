"""Product quantizers of the faiss library, plain and after a learned rotation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nestvec.bridge.faiss_library import by_blas, require_faiss
from nestvec.bridge.rotations import even_axes, nearest_rotation
from nestvec.choose.decoded import Stage, StagesFitted, calibrated, fact_bytes
from nestvec.choose.methods import BYTE_COUNTS, Size
from nestvec.codec.directions import directions
from nestvec.codec.kmeans import threads
from nestvec.progress import Progress

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_MOST_BYTES = 64
_SIDE_BY_SIDE = 2


def _code_sizes(dim: int) -> list[int]:
    return [count for count in BYTE_COUNTS if count <= min(_MOST_BYTES, dim)]


def _padded(rows: F32, width: int) -> F32:
    """Rows (m, d) with zeros up to width: a product quantizer needs equal parts."""
    if rows.shape[1] == width:
        return np.ascontiguousarray(rows)
    out = np.zeros((len(rows), width), np.float32)
    out[:, : rows.shape[1]] = rows
    return out


class _Codebooks:
    """A product quantizer of faiss for rows (n, width) in `count` parts of one byte each.

    Where there are no rows for 256 codewords, codebooks are smaller.
    """

    def __init__(self, width: int, count: int, rows: int, seed: int) -> None:
        self._faiss = require_faiss()
        bits = min(8, max(1, rows.bit_length() - 1))
        self.quantizer = self._faiss.ProductQuantizer(width, count, bits)
        # faiss's own way to the nearest codeword takes nine times as long; kept, since the
        # quantizer does not own it
        self._nearest = self._faiss.IndexFlatL2(width // count)
        self.quantizer.assign_index = self._nearest
        self.quantizer.cp.seed = seed + 1
        # faiss prints a warning below 39 rows a codeword; printing is not this room's to do
        self.quantizer.cp.min_points_per_centroid = 1

    def train(self, rows: F32, iterations: int) -> None:
        """So many iterations of k-means a part, from where the last ones ended."""
        self.quantizer.cp.niter = iterations
        with by_blas(self._faiss):
            self.quantizer.train(rows)
        self.quantizer.train_type = self._faiss.ProductQuantizer.Train_hot_start

    def encode(self, rows: F32) -> U8:
        """Codes of contiguous rows (n, width)."""
        codes = np.empty((len(rows), self.quantizer.code_size), np.uint8)
        with by_blas(self._faiss):
            self.quantizer.compute_codes_with_assign_index(
                self._faiss.swig_ptr(rows), self._faiss.swig_ptr(codes), len(rows)
            )
        return codes

    def decode(self, codes: U8) -> F32:
        """Reconstructions (n, width)."""
        decoded: F32 = self.quantizer.decode(np.ascontiguousarray(codes))
        return decoded


@dataclass(frozen=True, eq=False)
class _TrainedProduct:
    """Codebooks of padded rows, after a rotation (width, width) where there is one."""

    codebooks: _Codebooks
    dim: int
    rotation: F32 | None

    def encode(self, rows: F32) -> U8:
        padded = _padded(rows, self.codebooks.quantizer.d)
        if self.rotation is not None:
            padded = padded @ self.rotation
        return self.codebooks.encode(padded)

    def decode(self, codes: U8) -> F32:
        decoded = self.codebooks.decode(codes)
        if self.rotation is not None:
            decoded = decoded @ self.rotation.T
        return decoded[:, : self.dim]

    @property
    def own_bytes(self) -> int:
        quantizer = self.codebooks.quantizer
        books = 4 * int(quantizer.d) * int(quantizer.ksub)
        return books + (0 if self.rotation is None else self.rotation.nbytes)

    @property
    def code_bytes(self) -> int:
        return int(self.codebooks.quantizer.code_size)


def _each_size(
    name: str,
    sample: F32,
    metric: str,
    progress: Progress,
    train: Callable[[F32, int], _TrainedProduct],
) -> StagesFitted:
    """A quantizer that train(padded rows, count) makes for every byte count.

    Two byte counts are trained side by side, by half of the threads each: one alone is too little
    work for many threads, and more at a time would hold more copies of the rows.
    """
    rows = directions(sample)
    dim = sample.shape[1]
    counts = _code_sizes(dim)
    progress.start(f"Fitting {name}", len(counts))
    faiss = require_faiss()
    share = max(1, faiss.omp_get_max_threads() // _SIDE_BY_SIDE)

    def stage(count: int) -> Stage:
        faiss.omp_set_num_threads(share)  # of the calling thread alone
        trained = train(_padded(rows, -(-dim // count) * count), count)
        size = Size(None, trained.code_bytes, fact_bytes(metric), trained.own_bytes)
        return calibrated(size, trained, rows)

    stages: list[Stage] = []
    with threads() as pool:
        for at in range(0, len(counts), _SIDE_BY_SIDE):
            some = counts[at : at + _SIDE_BY_SIDE]
            stages += pool.executor.map(stage, some)
            progress.advance(len(some))
    progress.finish()
    return StagesFitted(metric, tuple(stages))


@dataclass(frozen=True)
class Product:
    """Jegou et al. 2011: a quantizer of one-byte parts for every byte count up to 64.

    Ten iterations of k-means: faiss's own 25 rank no better in twice the time.
    """

    iterations: int = 10
    name: str = "pq"

    def fit(self, sample: F32, metric: str, seed: int, progress: Progress) -> StagesFitted:
        """Train one quantizer a byte count."""
        dim = sample.shape[1]

        def train(padded: F32, count: int) -> _TrainedProduct:
            codebooks = _Codebooks(padded.shape[1], count, len(padded), seed)
            codebooks.train(padded, self.iterations)
            return _TrainedProduct(codebooks, dim, None)

        return _each_size(self.name, sample, metric, progress, train)


@dataclass(frozen=True)
class RotatedProduct:
    """Ge et al. 2013: a product quantizer after a learned rotation, one of both a byte count.

    The rotation starts from their parametric solution; each round improves the codebooks and takes
    the best rotation for what they decode to. Five rounds rank as well as ten of faiss's OPQMatrix
    from its random start (its own default is 50), and the codebooks go on from the last round.
    rows: the rotation is learned from, at most.
    """

    rounds: int = 5
    rows: int = 20_000
    name: str = "opq"

    def fit(self, sample: F32, metric: str, seed: int, progress: Progress) -> StagesFitted:
        """Train one rotation and quantizer a byte count."""
        dim = sample.shape[1]

        def train(padded: F32, count: int) -> _TrainedProduct:
            few = padded[:: -(-len(padded) // self.rows)]
            codebooks = _Codebooks(padded.shape[1], count, len(few), seed)
            rotation = np.ascontiguousarray(even_axes(few, count).T)
            for done in range(self.rounds):
                turned = few @ rotation
                codebooks.train(turned, 2 if done else 5)
                rotation = nearest_rotation(few, codebooks.decode(codebooks.encode(turned)))
            codebooks.train(padded @ rotation, 5 if self.rounds else 10)
            return _TrainedProduct(codebooks, dim, rotation)

        return _each_size(self.name, sample, metric, progress, train)
