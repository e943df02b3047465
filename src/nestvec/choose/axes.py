"""Ordered axes: ways to write a vector as coordinates of which the leading ones say most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.kmeans import threads


@dataclass(frozen=True, eq=False)
class Axes:
    """An orthonormal basis, best axis first: a reordering, or a rotation about a centre.

    order: (d,) coordinates in their new order, or None. rotation: (d, d) float32, columns are
    axes, or None. centre: (d,) float32 that is subtracted first and kept in the
    reconstruction, or None. At most one of order and rotation is given.
    """

    order: NDArray[np.intp] | None = None
    rotation: NDArray[np.float32] | None = None
    centre: NDArray[np.float32] | None = None

    def turn(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(m, d) vectors by these axes, not centred: (m, d)."""
        if self.order is not None:
            return np.ascontiguousarray(x[:, self.order])
        return x if self.rotation is None else x @ self.rotation

    def size_bytes(self, width: int) -> int:
        """Bytes to keep of the first width axes: float32 rotation and centre, 2-byte order."""
        if self.rotation is not None:
            centre = 0 if self.centre is None else 4 * len(self.centre)
            return 4 * width * len(self.rotation) + centre
        return 0 if self.order is None else 2 * width


def leading(sample: NDArray[np.float32], seed: int) -> Axes:
    """The coordinates as they come: what a Matryoshka model orders by training."""
    return Axes()


def random(sample: NDArray[np.float32], seed: int) -> Axes:
    """The coordinates in an order drawn by seed."""
    return Axes(order=np.random.default_rng(seed).permutation(sample.shape[1]))


def variance(sample: NDArray[np.float32], seed: int) -> Axes:
    """The coordinates by falling variance over the sample (m, d); ties to the smaller one."""
    return Axes(order=np.argsort(-np.var(sample, axis=0, dtype=np.float64), kind="stable"))


def pca(sample: NDArray[np.float32], seed: int) -> Axes:
    """The principal axes of the centred sample.

    The mean is kept in the reconstruction. Cosine between centred vectors, the usual short cut,
    asks another question and ranks worse even at full width.
    """
    centre = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    return Axes(rotation=_principal(sample - centre), centre=centre)


def svd(sample: NDArray[np.float32], seed: int) -> Axes:
    """The right singular vectors of the uncentred sample, by falling singular value."""
    return Axes(rotation=_principal(sample))


def _principal(x: NDArray[np.float32]) -> NDArray[np.float32]:
    with threads():
        second = (x.T @ x).astype(np.float64)
        _, axes = np.linalg.eigh(second)
    # eigh rises; copied, so that slices of leading axes are contiguous rows of memory
    return np.ascontiguousarray(axes[:, ::-1], dtype=np.float32)
