"""What the written queries of several targets share.

A target holds signs, prefixes (cuts) and whole vectors, and compares them by its own functions.
So that its plain measures give the scores that a plan gives here, a cut under dot and l2 is the
prefix stretched to the length of the whole vector: <q, x> of stretched prefixes is |q| |x| times
their cosine, and |q - x|^2 is |q|^2 + |x|^2 less twice that (index.scan.vector_scores).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nestvec.index.plan import Plan

F32 = NDArray[np.float32]

ADAPTED = "Vectors are adapted, and so must a query be: Snapshot.map_queries does it."
"""What a written query says where its collection has an adapter."""
CUT_OF_QUERY = '''\
def cut(query, width):
    """The first coordinates, stretched to the length of the whole."""
    first = query[:width]
    return first * (np.linalg.norm(query) / max(np.linalg.norm(first), 1e-30))
'''
"""cut_of for one query (d,), as a written query has it; asked_cut calls it."""


def asked_cut(width: int, metric: str) -> str:
    """The first coordinates of a query, in the Python of a written query."""
    return f"query[:{width}]" if metric == "cosine" else f"cut(query, {width})"


def cut_of(vectors: F32, width: int, metric: str) -> F32:
    """What is held, or asked, of the first `width` coordinates of vectors (n, d): (n, width)."""
    prefix = np.ascontiguousarray(vectors[:, :width])
    if metric == "cosine" or width == vectors.shape[1]:
        return prefix
    whole = np.linalg.norm(vectors.astype(np.float64), axis=1)
    part = np.linalg.norm(prefix.astype(np.float64), axis=1)
    stretch = (whole / np.where(part > 0, part, 1.0)).astype(np.float32)
    stretched: F32 = prefix * stretch[:, None]
    return stretched


def widths_of(plan: Plan) -> tuple[int, ...]:
    """The widths of a plan's cuts, rising."""
    return tuple(stage.amount for stage in plan.stages if stage.kind == "dims")


def reads_signs(plan: Plan) -> bool:
    """Whether a plan has a stage of signs."""
    return any(stage.kind == "sign" for stage in plan.stages)
