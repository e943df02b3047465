"""k-means in bounded memory, repeatable by seed on any number of threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nestvec.codec.kernels import add_to_sums, thread_count

F32 = NDArray[np.float32]
T = TypeVar("T")

_BLOCK = 2048
_STEPS = 10
# Rows are shared out in so many shares on every machine: sums are added in one order everywhere.
_SHARES = 8
# Lloyd's iterations a step. Four instead of ten at the narrow steps cost 1 to 2 points of nDCG@10
# at 4 and 8 bytes.
_ITERATIONS = 10
# Short: so many up to half of the components, and above; where rows are few, more learn them by
# heart. These steps take most of the time.
_NARROW = 1 / 20  # of the components, up to which steps take ten in any case
_MIDDLE_ITERATIONS = 4
_WIDE_ITERATIONS = 2


_LOCK = Lock()
_FITS: list[threadpool_limits | None] = []
"""One entry a running fit; the first holds what BLAS goes back to when the last ends."""


class Pool(NamedTuple):
    """Threads that k-means runs on, and their number."""

    executor: Executor
    threads: int


@contextmanager
def threads() -> Iterator[Pool]:
    """Threads for k-means, during which BLAS uses one a call.

    BLAS's own threads wait for one another by spinning. Called some hundred times a codebook, in
    turns with compiled loops, they cost more than they bring, and on a busy machine five times as
    much.
    """
    count = min(thread_count(), _SHARES)
    with _blas_alone(), ThreadPoolExecutor(count, "k-means") as executor:
        yield Pool(executor, count)


@contextmanager
def _blas_alone() -> Iterator[None]:
    """BLAS with one thread, for as long as any fit runs: the setting is the whole process's."""
    with _LOCK:
        _FITS.append(threadpool_limits(1, user_api="blas") if not _FITS else None)
    try:
        yield
    finally:
        with _LOCK:
            kept = _FITS.pop()
            if kept is not None:
                kept.restore_original_limits()


def lloyd(rows: F32, centers: F32, iterations: int, pool: Pool) -> F32:
    """Centers (k, d) after Lloyd's iterations from the given ones, over rows (n, d).

    A row goes to its nearest center; ties go to the first. A center that loses all its rows
    becomes a twin of a large one, moved aside by a thousandth, as FAISS does. Lloyd 1982, "Least
    squares quantization in PCM".
    """
    aside = np.where(np.arange(rows.shape[1]) % 2, 1 / 1024, -1 / 1024).astype(np.float32)
    for _ in range(iterations):
        sums, counts = _sums(rows, centers, pool)
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


def _sums(rows: F32, centers: F32, pool: Pool) -> tuple[F32, NDArray[np.int64]]:
    """Sums (k, d) and counts (k,) of the rows nearest to each center."""
    squares = np.einsum("kd,kd->k", centers, centers)
    turned = np.ascontiguousarray(centers.T) * np.float32(-2)

    def task(start: int, stop: int) -> tuple[F32, NDArray[np.int64]]:
        sums = np.zeros_like(centers)
        counts = np.zeros(len(centers), np.int64)
        for first in range(start, stop, _BLOCK):
            block = rows[first : min(first + _BLOCK, stop)]
            distances = block @ turned
            distances += squares
            add_to_sums(sums, counts, block, distances.argmin(axis=1))
        return sums, counts

    parts = _shared_out(task, len(rows), pool)
    total, count = parts[0]
    for sums, counts in parts[1:]:
        total += sums
        count += counts
    return total, count


def _shared_out(task: Callable[[int, int], T], n: int, pool: Pool) -> list[T]:
    """What task gives for each of at most 8 even ranges of n rows, in order."""
    bounds = [n * i // _SHARES for i in range(_SHARES + 1)]
    ranges = [(a, b) for a, b in itertools.pairwise(bounds) if a < b]

    def every(first: int) -> list[T]:
        return [task(a, b) for a, b in ranges[first :: pool.threads]]

    done = list(pool.executor.map(every, range(min(pool.threads, len(ranges)))))
    return [done[i % pool.threads][i // pool.threads] for i in range(len(ranges))]


def progressive_kmeans(rows: F32, k: int, pool: Pool, *, seed: int, short: bool = False) -> F32:
    """Centers (k, d) float32 of k-means that starts on few principal components and adds more.

    rows: (n, d) float32, n >= 1. The centers start as k rows drawn at random, in the first
    component; each of ten steps takes more components, 1 to d in equal ratios, and runs Lloyd's.
    On embeddings the codebooks it finds rank far better than those of k-means from random rows in
    all d coordinates (nDCG@10 of 8 bytes .45 against .31), whose centers stay noisy. With fewer
    rows than k, rows repeat. short: few iterations at wide steps, for rows that are few.
    Memory beyond the rows: two copies of them, 8 times d x d and k x d, and 2,048 x k distances a
    thread.
    The idea is FAISS's ProgressiveDimClustering.
    """
    n, d = rows.shape
    mean = rows.mean(axis=0)
    squared = _shared_out(lambda a, b: rows[a:b].T @ rows[a:b], n, pool)
    spread = sum(squared[1:], squared[0]) / np.float32(n) - np.outer(mean, mean)
    _, axes = np.linalg.eigh(spread.astype(np.float64))
    axes = np.ascontiguousarray(axes[:, ::-1]).astype(np.float32)
    turned = np.concatenate(_shared_out(lambda a, b: (rows[a:b] - mean) @ axes, n, pool))
    rng = np.random.default_rng(seed)
    picks = np.sort(rng.choice(n, k, replace=False)) if n >= k else np.arange(k) % n
    widths = sorted({max(1, round(d ** (step / _STEPS))) for step in range(1, _STEPS + 1)})
    centers = np.ascontiguousarray(turned[picks, : widths[0]])
    for width in widths:
        wider = np.zeros((k, width), np.float32)
        wider[:, : centers.shape[1]] = centers
        iterations = _ITERATIONS
        if short and width > _NARROW * d:
            iterations = _MIDDLE_ITERATIONS if width <= d / 2 else _WIDE_ITERATIONS
        centers = lloyd(np.ascontiguousarray(turned[:, :width]), wider, iterations, pool)
    result: F32 = centers @ axes.T + mean
    return result
