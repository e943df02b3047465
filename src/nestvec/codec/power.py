"""Spectral power: vectors are mapped by x -> x S^a before the first codebook."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

_BLOCK = 8192
# Real vectors have constant coordinates: without a floor their directions would be blown up.
_FLOOR = 1e-3


def second_moment(rows: F32) -> NDArray[np.float64]:
    """S = mean of x x^T (d, d) over rows (n, d), summed in float64 by blocks."""
    d = rows.shape[1]
    total = np.zeros((d, d))
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        total += block.T @ block
    return total / len(rows)


class SpectralMap:
    """x -> x S^a and back, with S the second moment of the fitted rows, its spectrum floored.

    The floor is a thousandth of the mean eigenvalue. The matrix is stored as float16 and its
    inverse computed from the stored one, so both sides agree after loading. exponent 0 is the
    identity and stores nothing. SpecTemp (arXiv:2603.19339) sets such an exponent label-free.
    """

    def __init__(self, exponent: float, matrix: F32 | None = None) -> None:
        self.exponent = exponent
        self.matrix = matrix
        self.inverse: F32 | None = None
        if matrix is not None:
            self.inverse = np.linalg.inv(matrix.astype(np.float64)).astype(np.float32)

    @classmethod
    def fitted(cls, moment: NDArray[np.float64], exponent: float) -> SpectralMap:
        """The map of a second moment (d, d)."""
        if exponent == 0:
            return cls(0.0)
        values, vectors = np.linalg.eigh(moment)
        floored = np.maximum(values, _FLOOR * values.mean())
        # Scaled to a mean eigenvalue of one, so that float16 holds it whatever the data's scale.
        power = (floored / floored.mean()) ** exponent
        matrix = ((vectors * power) @ vectors.T).astype(np.float16).astype(np.float32)
        return cls(exponent, matrix)

    def forward(self, rows: F32) -> F32:
        """Rows (n, d) in code space."""
        return rows if self.matrix is None else rows @ self.matrix

    def backward(self, rows: F32) -> F32:
        """Rows (n, d) of code space in the original space."""
        return rows if self.inverse is None else rows @ self.inverse

    def queries(self, queries: F32) -> F32:
        """Queries (q, d) whose products with rows of code space are those of the original."""
        return queries if self.inverse is None else queries @ self.inverse.T

    def arrays(self) -> dict[str, NDArray[Any]]:
        """matrix (d, d) float16, or nothing."""
        return {} if self.matrix is None else {"matrix": self.matrix.astype(np.float16)}
