"""Vectors, questions and true answers that search.py measures on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

DIM, K, CLUSTERS = 384, 10, 256
QUERIES = 200
BLOCK = 1 << 16


def make(work: Path, data: Path | None, rows: int) -> None:
    """vectors.npy (n, 384) float32 of length 1, queries.npy, truth.npy (q, 10)."""
    work.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    real = None
    if data is not None:
        folder = data / "acl_abstracts" / "minilm"
        real = unit(np.load(folder / "docs.npy").astype(np.float32))
        asked = unit(np.load(folder / "test_queries.npy").astype(np.float32))
        queries = asked[np.sort(rng.choice(len(asked), QUERIES, replace=False))]
    if rows == 0:
        assert real is not None, "--rows 0 needs --data"
        np.save(work / "vectors.npy", real)
    else:
        out = np.lib.format.open_memmap(work / "vectors.npy", "w+", np.float32, (rows, DIM))
        for start, block in synthetic(real, rows, rng):
            out[start : start + len(block)] = block
        if real is None:
            picks = np.sort(rng.choice(rows, QUERIES, replace=False))
            noise = 0.03 * rng.standard_normal((QUERIES, DIM)).astype(np.float32)
            queries = unit(out[picks] + noise)
    vectors = np.load(work / "vectors.npy", mmap_mode="r")
    np.save(work / "queries.npy", queries)
    np.save(work / "truth.npy", exact(vectors, queries))


def synthetic(real: F32 | None, rows: int, rng: np.random.Generator) -> Iterator[tuple[int, F32]]:
    """(start, rows) of rows about the real clusters' centers, with the real spectrum about them."""
    from nestvec.codec.kmeans import progressive_kmeans, threads

    if real is None:
        spectrum = (np.arange(1, DIM + 1) ** -0.6).astype(np.float32)
        axes = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0].astype(np.float32)
        drawn = rng.standard_normal((CLUSTERS, DIM)).astype(np.float32)
        centers = unit((drawn * spectrum @ axes).astype(np.float32))
        spread, shares = 0.06 * spectrum / spectrum.mean(), np.full(CLUSTERS, 1 / CLUSTERS)
    else:
        with threads() as pool:
            centers = progressive_kmeans(real, CLUSTERS, pool, seed=0)
        nearest = (real @ centers.T - (centers**2).sum(axis=1) / 2).argmax(axis=1)
        rest = real - centers[nearest]
        values, vectors = np.linalg.eigh((rest.T @ rest).astype(np.float64) / len(rest))
        axes = vectors.T.astype(np.float32)
        spread = np.sqrt(np.maximum(values, 0)).astype(np.float32)
        shares = np.bincount(nearest, minlength=CLUSTERS) / len(real)
    for start in range(0, rows, BLOCK):
        n = min(BLOCK, rows - start)
        noise = rng.standard_normal((n, DIM)).astype(np.float32) * spread.astype(np.float32)
        yield start, unit(centers[rng.choice(CLUSTERS, n, p=shares)] + noise @ axes)


def unit(rows: F32) -> F32:
    """At length 1."""
    found: F32 = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def exact(vectors: F32, queries: F32) -> NDArray[np.int64]:
    """The rows (q, 10) nearest to each query, by blocks."""
    best = np.full((len(queries), K), -np.inf, np.float32)
    found = np.zeros((len(queries), K), np.int64)
    for start in range(0, len(vectors), BLOCK):
        scores = queries @ np.asarray(vectors[start : start + BLOCK]).T
        both = np.concatenate([best, scores], axis=1)
        rows = np.arange(start, start + scores.shape[1])
        names = np.concatenate([found, np.broadcast_to(rows, scores.shape)], axis=1)
        top = np.argpartition(-both, K, axis=1)[:, :K]
        best, found = np.take_along_axis(both, top, 1), np.take_along_axis(names, top, 1)
    return found
