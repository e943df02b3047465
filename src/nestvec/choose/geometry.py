"""The shape of what a size shows, from a sample of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.methods import Encoded, Size
from nestvec.choose.relevance import QueryTask
from nestvec.codec.directions import directions
from nestvec.codec.kmeans import threads
from nestvec.measure.geometry import alignment, intrinsic_dimension, uniformity

F32 = NDArray[np.float32]

_ROWS = 2_000


@dataclass(frozen=True)
class Geometry:
    """Figures of measure/geometry.py, None where they do not exist."""

    intrinsic_dimension: int | None
    alignment: float | None
    uniformity: float | None


def geometry_of(unit: F32, together: NDArray[np.int64], seed: int) -> Geometry:
    """The geometry of vectors (n, d) of unit length, by at most 2,000 of them, drawn by seed.

    together: (p, 2) rows that belong together.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(unit))[:_ROWS])
    some = unit[rows]
    distinct = len(some) > 1 and bool((some != some[0]).any())
    return Geometry(
        intrinsic_dimension(some) if distinct else None,
        alignment(unit[together[:, 0]], unit[together[:, 1]]) if len(together) else None,
        uniformity(some) if len(some) > 1 else None,
    )


def shows_vectors(view: F32, size: Size, dim: int) -> bool:
    """Whether what a size shows are vectors, which compare with one another.

    view: (m, w) of vectors (m, dim). Where a constant stands beside the coordinates (PCA with its
    mean, RaBitQ, every method under l2), rows compare with mapped queries alone.
    """
    return bool(view.shape[1] == (size.dims or dim))


def geometry_of_sizes(
    encoded: Encoded, sizes: Sequence[Size], task: QueryTask, n: int, seed: int
) -> list[Geometry]:
    """The geometry of n encoded documents at each size; queries belong to their relevant rows.

    None where a size does not show vectors.
    """
    mapped, dim = encoded.map_queries(task.vectors), task.vectors.shape[1]
    # mapped queries are as wide as what is shown
    shown = [shows_vectors(*each, dim) for each in zip(mapped, sizes, strict=True)]
    if not any(shown):
        return [Geometry(None, None, None) for _ in sizes]
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.permutation(len(task.relevance.rows))[:_ROWS])
    rows = np.sort(rng.permutation(n)[:_ROWS])
    every, place = np.unique(
        np.concatenate([rows, task.relevance.rows[drawn]]), return_inverse=True
    )
    askers = task.relevance.query_of[drawn]

    def geometry(queries: F32, unit: F32 | None) -> Geometry:
        if unit is None:
            return Geometry(None, None, None)
        shape = geometry_of(unit[place[: len(rows)]], np.zeros((0, 2), np.int64), seed)
        gap = alignment(directions(queries[askers]), unit[place[len(rows) :]])
        return replace(shape, alignment=gap)

    views = zip(shown, encoded.views(every), strict=True)
    units = (directions(view) if are_vectors else None for are_vectors, view in views)
    jobs = zip(mapped, units, strict=True)
    found: list[Geometry] = []
    # sizes side by side, since one's eigenvalues are too little work for threads of BLAS
    with threads() as pool:
        while some := list(islice(jobs, pool.threads)):
            found += pool.executor.map(geometry, *zip(*some, strict=True))
    return found
