"""Directions of vectors, and how far a reconstruction points the same way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


def directions(vectors: NDArray[Any]) -> F32:
    """Rows (n, d) as float32 of length one; a row of zeros stays zero."""
    rows = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, np.float32(1))).astype(np.float32)


def norms_and_cosines(decoded: F32, towards: F32) -> tuple[F32, F32]:
    """|x_n| (n,), 1 where it is 0, and cos(x, x_n) (n,), of reconstructions and unit vectors."""
    norms = np.linalg.norm(decoded, axis=1)
    safe = np.where(norms > 0, norms, np.float32(1))
    return safe, np.einsum("nd,nd->n", decoded, towards) / safe
