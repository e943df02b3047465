"""The compiled loop of ranks: one pass over a query's scores for each of its relevant rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nestvec.compiled import compiled

Scores = NDArray[np.float32] | NDArray[np.float64]
I64 = NDArray[np.int64]


@compiled(boundscheck=False)
def count_ranks(scores: Scores, indptr: I64, rows: I64, ranks: I64) -> None:
    """Write the rank, from 1, of each relevant row into ranks (m,); equal scores rank by row.

    scores: (q, n); indptr: (q + 1,) where each query's part of rows (m,) begins.
    """
    for query in range(len(indptr) - 1):
        own = scores[query]
        for entry in range(indptr[query], indptr[query + 1]):
            row = rows[entry]
            target = own[row]
            # 32 bits, so that as many are counted at once as are compared
            above = np.int32(1)
            for other in range(row):
                above = np.int32(above + (own[other] >= target))
            for other in range(row + 1, len(own)):
                above = np.int32(above + (own[other] > target))
            ranks[entry] = above
