"""The principal axes of frozen vectors, and powers of their spectrum: no labels, no steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.exponent import fit_exponent
from nestvec.codec.power import second_moment
from nestvec.vectors import normalize

F32 = NDArray[np.float32]

MOST_ROWS = 50_000


def sample(vectors: NDArray[Any], seed: int) -> F32:
    """At most 50,000 rows of vectors (n, d), drawn by seed, at length 1."""
    if len(vectors) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(len(vectors), MOST_ROWS, replace=False))
        vectors = vectors[rows]
    return normalize(np.asarray(vectors))


def principal_axes(vectors: NDArray[Any], seed: int) -> F32:
    """(d, d) float32: right singular vectors of a sample of unit rows, largest first."""
    return _axes(second_moment(sample(vectors, seed)))[0]


def spectral_weights(vectors: NDArray[Any], seed: int) -> tuple[F32, F32]:
    """Principal axes (d, d), and a weight for each (d,): its eigenvalue's root to a power.

    With power 0 these are PCA's coordinates, with -1/2 whitened ones. The power is the one by
    which codes of disturbed rows find their rows best (codec/exponent.py). SpecTemp
    (arXiv:2603.19339) sets it from a local signal-to-noise ratio, of which no formula was found.
    """
    rows = sample(vectors, seed)
    moment = second_moment(rows)
    axes, values = _axes(moment)
    exponent = fit_exponent(rows, moment, seed)
    floored = np.maximum(values, 1e-3 * values.mean())
    return axes, ((floored / floored[0]) ** exponent).astype(np.float32)


def _axes(moment: NDArray[np.float64]) -> tuple[F32, NDArray[np.float64]]:
    values, axes = np.linalg.eigh(moment)
    return np.ascontiguousarray(axes[:, ::-1], np.float32), values[::-1]
