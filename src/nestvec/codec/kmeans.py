"""k-means in bounded memory, repeatable by seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.kernels import sums_by_codeword

F32 = NDArray[np.float32]

_BLOCK = 4096
# Four instead of ten cost 1 to 2 points of nDCG@10 at 4 and 8 bytes.
_ITERATIONS = 10


def nearest(rows: F32, centers: F32) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The nearest center of each row (n,) and |row - center|^2 - |row|^2 (n,); ties to the first.

    rows: (n, d); centers: (K, d). Works by blocks of 4,096 rows.
    """
    squares = np.einsum("kd,kd->k", centers, centers)
    words = np.empty(len(rows), np.int64)
    gaps = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        scores = block @ centers.T
        scores *= -2.0
        scores += squares
        best = scores.argmin(axis=1)
        words[start : start + _BLOCK] = best
        gaps[start : start + _BLOCK] = scores[np.arange(len(block)), best]
    return words, gaps


def lloyd(rows: F32, centers: F32, iterations: int) -> F32:
    """Centers (k, d) after Lloyd's iterations from the given ones, over rows (n, d).

    A center that loses all its rows becomes a twin of a large one, moved aside by a thousandth,
    as FAISS does. Lloyd 1982, "Least squares quantization in PCM".
    """
    aside = np.where(np.arange(rows.shape[1]) % 2, 1 / 1024, -1 / 1024).astype(np.float32)
    for _ in range(iterations):
        words, _gaps = nearest(rows, centers)
        sums = np.zeros_like(centers)
        counts = np.zeros(len(centers), np.int64)
        sums_by_codeword(sums, counts, rows, words)
        filled = counts > 0
        moved = centers.copy()
        moved[filled] = sums[filled] / counts[filled, None]
        empty = np.flatnonzero(~filled)
        if len(empty):
            large = np.argsort(-counts, kind="stable")[: len(empty)]
            empty = empty[: len(large)]
            moved[empty] = moved[large] * (1 + aside)
            moved[large] = moved[large] * (1 - aside)
        if np.array_equal(moved, centers):
            break
        centers = moved
    return centers


def progressive_kmeans(rows: F32, k: int, *, seed: int, steps: int = 10) -> F32:
    """Centers (k, d) float32 of k-means that starts on few principal components and adds more.

    rows: (n, d) float32, n >= 1. The centers start as k rows drawn at random, in the first
    component; each of the steps takes more components, 1 to d in equal ratios, and runs Lloyd's.
    On embeddings the codebooks it finds rank far better than those of k-means from random rows in
    all d coordinates (nDCG@10 of 8 bytes .45 against .31), whose centers stay noisy. With fewer
    rows than k, rows repeat.
    Memory beyond the rows: a copy of them, d x d, and 4,096 x k distances.
    The idea is FAISS's ProgressiveDimClustering.
    """
    n, d = rows.shape
    mean = rows.mean(axis=0)
    spread = (rows.T @ rows) / np.float32(n) - np.outer(mean, mean)
    _, axes = np.linalg.eigh(spread.astype(np.float64))
    axes = np.ascontiguousarray(axes[:, ::-1]).astype(np.float32)
    turned = (rows - mean) @ axes
    rng = np.random.default_rng(seed)
    picks = np.sort(rng.choice(n, k, replace=False)) if n >= k else np.arange(k) % n
    widths = sorted({max(1, round(d ** (step / steps))) for step in range(1, steps + 1)})
    centers = np.ascontiguousarray(turned[picks, : widths[0]])
    for width in widths:
        wider = np.zeros((k, width), np.float32)
        wider[:, : centers.shape[1]] = centers
        centers = lloyd(np.ascontiguousarray(turned[:, :width]), wider, _ITERATIONS)
    result: F32 = centers @ axes.T + mean
    return result
