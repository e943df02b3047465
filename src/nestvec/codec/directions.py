"""Directions of vectors."""

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
