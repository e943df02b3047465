"""How alike two encodings of the same texts rank."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TOP = 10


def compare_rankings(exact: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """(least cosine, share of the ten nearest rows that are the same) of two encodings.

    exact, other: (n, d) of the same n texts, n > 10. Neighbours are sought among the n rows, by
    cosine, a row itself left out.
    """
    a = exact / np.linalg.norm(exact, axis=1, keepdims=True)
    b = other / np.linalg.norm(other, axis=1, keepdims=True)
    near = []
    for vectors in (a, b):
        scores = vectors @ vectors.T
        np.fill_diagonal(scores, -np.inf)
        near.append(np.argpartition(-scores, TOP, axis=1)[:, :TOP])
    shared = [len(np.intersect1d(one, two)) for one, two in zip(*near, strict=True)]
    return float((a * b).sum(axis=1).min()), float(np.mean(shared)) / TOP
