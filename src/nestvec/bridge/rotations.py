"""Rotations for product quantizers: where to start, and the best one for given reconstructions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


def even_axes(rows: F32, parts: int) -> F32:
    """Principal axes (d, d) of rows (n, d), a row each, in an order that suits equal parts.

    Axes of falling variance go to the part whose product of variances is least and that has room:
    Ge et al. 2013, "Optimized product quantization", the parametric solution (eigenvalue
    allocation).
    """
    centred = rows - rows.mean(axis=0)
    variances, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    # in ratio to the least, so that no logarithm is negative; padded coordinates vary by nothing
    logs = np.log(np.maximum(variances[::-1], 1e-12 * max(variances[-1], 1e-300)))
    logs -= logs[-1]
    room = len(logs) // parts
    totals = np.zeros(parts)
    shared: list[list[int]] = [[] for _ in range(parts)]
    for axis, log in enumerate(logs):
        part = int(np.argmin(totals))
        shared[part].append(axis)
        totals[part] = totals[part] + log if len(shared[part]) < room else np.inf
    order = [axis for part in shared for axis in part]
    return np.ascontiguousarray(axes[:, ::-1][:, order].T, dtype=np.float32)


def nearest_rotation(rows: F32, wanted: F32) -> F32:
    """The orthogonal (d, d) by which rows (n, d) @ it come nearest to wanted (n, d).

    Procrustes: U V' of the singular vectors of rows' wanted (Schönemann 1966), the second half of
    a round of Ge et al. 2013.
    """
    left, _, right = np.linalg.svd(rows.T @ wanted)
    return np.ascontiguousarray(left @ right, dtype=np.float32)
