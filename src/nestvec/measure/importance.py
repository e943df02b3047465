"""Which coordinates matter: what leaving one out does to scores, and who picked them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

_LEAST = 1e-12


def ware(
    left: NDArray[Any],
    right: NDArray[Any],
    *,
    divided_by: Literal["after", "before"] = "after",
) -> F64:
    """WARE (d,) of every coordinate: mean over pairs of |s' - s| / |s| without it.

    left, right: (p, d), pairs whose cosines are the scores. With s the score of all coordinates
    and s_j that without coordinate j, SMEC's formula (arXiv:2510.12474) is mean |y^ - y| / |y|,
    and texts about it differ on which of y^ and y is which:
        divided_by="after":  mean |s - s_j| / |s_j|, the score after the reduction below the line;
        divided_by="before": mean |s - s_j| / |s|.
    A score of 0 below the line counts as 1e-12. Memory: p x d x 8 bytes, three times.
    """
    a, b = np.asarray(left, np.float64), np.asarray(right, np.float64)
    products = a * b
    dots = products.sum(axis=1, keepdims=True)
    squares_a, squares_b = a * a, b * b
    whole = (squares_a.sum(axis=1, keepdims=True), squares_b.sum(axis=1, keepdims=True))
    full = dots / np.sqrt(np.maximum(whole[0] * whole[1], _LEAST**2))
    rest = (whole[0] - squares_a) * (whole[1] - squares_b)
    without = (dots - products) / np.sqrt(np.maximum(rest, _LEAST**2))
    below = without if divided_by == "after" else full
    change = np.abs(full - without) / np.maximum(np.abs(below), _LEAST)
    found: F64 = change.mean(axis=0)
    return found


def achievement_rate(chosen: NDArray[np.int64], importance: F64) -> float:
    """Share of the chosen coordinates (m,) among the m most important of importance (d,).

    Ties go to the smaller coordinate. SMEC (arXiv:2510.12474), by WARE.
    """
    best = np.argsort(-importance, kind="stable")[: len(chosen)]
    return float(np.isin(chosen, best).mean())
