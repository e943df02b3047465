"""The divisor of a score: what one byte a row and cut makes of a raw sum.

At a cut n the raw sum <q, x_n> is divided by |x_n| cos(x, x_n)^b. With b = 0 this is the norm of
the reconstruction; with b = 1 it is RaBitQ's unbiased estimator (arXiv:2405.12497). Short cuts
rank best near 0, where the cosine is mostly noise, long cuts near 1: b is fitted for each cut.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
TOP = 10


def divisors(norms: F32, cosines: F32, exponent: float) -> F32:
    """norms * cosines ** exponent (n,), both (n,); cosines are held at .05 or more."""
    if exponent == 0:
        return norms
    held = np.maximum(cosines, np.float32(0.05))
    return (norms * held ** np.float32(exponent)).astype(np.float32)


def top_rows(scores: F32, k: int) -> NDArray[np.int64]:
    """The k best columns of scores (q, n) for each query, in no order (q, k)."""
    return np.argpartition(-scores, k - 1, axis=1)[:, :k]


def agreement(exact: NDArray[np.int64], scores: F32) -> float:
    """Mean share of each query's exact top k rows (q, k) among the k best of scores (q, n)."""
    found = top_rows(scores, exact.shape[1])
    hits = (exact[:, :, None] == found[:, None, :]).any(axis=2)
    return float(hits.mean())


def fit_exponent(sums: F32, norms: F32, cosines: F32, exact: NDArray[np.int64]) -> float:
    """The exponent of EXPONENTS whose scores agree best with exact search, ties to the smaller.

    sums: (q, n) raw sums of held-out queries with rows at one cut; norms, cosines: (n,) of those
    rows; exact: (q, k) their exact nearest rows. No labels.
    """
    found = [agreement(exact, sums / divisors(norms, cosines, e)) for e in EXPONENTS]
    return EXPONENTS[int(np.argmax(found))]
