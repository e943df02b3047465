"""Correlations between two lists of numbers, for judged similarity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import UserError


def pearson(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The linear correlation of a and b, both (n,), in [-1, 1].

    Raises UserError if there are fewer than two pairs or either side is constant.
    """
    left, right = _centred(a), _centred(b)
    if left.shape != right.shape:
        raise ValueError(f"both sides must be one length; got {left.shape} and {right.shape}")
    return float(np.clip(left @ right, -1.0, 1.0))


def spearman(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The correlation of the ranks of a and b, both (n,), in [-1, 1]; ties share a rank.

    Raises UserError if there are fewer than two pairs or either side is constant.
    """
    return pearson(average_ranks(a), average_ranks(b))


def average_ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """The rank of each value, from 1, ties sharing the mean of their ranks; (n,) float64."""
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank: NDArray[np.float64] = (last - (counts - 1) / 2.0)[place]
    return mean_rank


def _centred(values: NDArray[Any]) -> NDArray[np.float64]:
    flat = np.asarray(values, dtype=np.float64)
    if flat.ndim != 1:
        raise ValueError(f"a correlation takes flat arrays; got shape {flat.shape}")
    if not np.isfinite(flat).all():
        raise UserError(
            "a correlation needs finite numbers; got NaN or infinity at position "
            f"{int(np.flatnonzero(~np.isfinite(flat))[0])}. Leave such pairs out."
        )
    if len(flat) < 2 or flat.min() == flat.max():
        raise UserError(
            f"a correlation needs two different values on both sides; got {len(flat)} value(s), "
            "all equal. Give pairs that differ."
        )
    centred: NDArray[np.float64] = flat - flat.mean()
    return centred / np.linalg.norm(centred)
