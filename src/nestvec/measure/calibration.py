"""Whether confidence can be believed: its calibration, and what the surest rows gain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

BINS = 15


def calibration_error(sure: F64, right: Bools, bins: int = BINS) -> float:
    """How far confidence is from accuracy: the mean over equal bins of (0, 1], weighted by rows.

    sure: (n,) confidence of each row's label in (0, 1]; right: (n,) whether the label is right.
    0 where there are no rows. Expected calibration error (Guo et al. 2017, arXiv:1706.04599).
    """
    if not len(sure):
        return 0.0
    at = np.clip(np.ceil(np.asarray(sure) * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(at, np.asarray(right, np.float64) - sure, bins)
    return float(np.abs(gaps).sum() / len(sure))


def accuracy_of_surest(sure: F64, right: Bools, shares: Sequence[float]) -> list[float]:
    """The accuracy of the surest share of rows, for each share: selective accuracy by coverage.

    sure, right: (n,), n >= 1. Of rows that are as sure as each other those that come first are
    taken. A share takes one row at least (El-Yaniv and Wiener 2010, JMLR 11).
    """
    order = np.argsort(-np.asarray(sure), kind="stable")
    gained = np.cumsum(np.asarray(right, np.float64)[order])
    counts = [min(max(round(share * len(order)), 1), len(order)) for share in shares]
    return [float(gained[count - 1] / count) for count in counts]
