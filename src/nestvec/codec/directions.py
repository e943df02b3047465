"""Directions of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import UserError

F32 = NDArray[np.float32]


def directions(vectors: NDArray[Any]) -> F32:
    """Rows (n, d) as float32 of length one; a row of zeros stays zero."""
    rows = np.asarray(vectors, np.float32)
    # squares of large float32 numbers need float64
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))[:, None]
    return (rows / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def check_finite(vectors: NDArray[Any], start: int = 0) -> None:
    """Raise UserError where a row of vectors (n, d), counted from start, is not finite."""
    fine = np.isfinite(vectors).all(axis=1)
    if not fine.all():
        raise UserError(
            f"vectors must be finite; got NaN or infinity in row {start + int(fine.argmin())}; "
            "remove such rows."
        )
