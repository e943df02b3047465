"""The best rows so far: by score, higher first, then by seq, smaller first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

_FEW = 1_024


def best(scores: F32, seqs: I64, keep: int) -> I64:
    """Indices (min(keep, m),) of the best of (m,) scores, in no order.

    Among equal scores the smaller seq wins, so the choice does not depend on the order of rows.
    """
    m = len(scores)
    if m <= keep:
        return np.arange(m)
    edge = np.partition(scores, m - keep)[m - keep]
    above = np.flatnonzero(scores > edge)
    level = np.flatnonzero(scores == edge)
    missing = keep - len(above)
    if len(level) > missing:
        level = level[np.argpartition(seqs[level], missing - 1)[:missing]]
    return np.concatenate((above, level))


def ranked(scores: F32, seqs: I64) -> I64:
    """The order (m,) that puts the best first."""
    return np.lexsort((seqs, -scores))


def best_ranked(scores: F32, seqs: I64, keep: int) -> I64:
    """Indices (min(keep, m),) of the best of (m,) scores, the best first."""
    # few are sorted sooner than parted
    if len(scores) <= _FEW:
        return ranked(scores, seqs)[:keep]
    at = best(scores, seqs, keep)
    return at[ranked(scores[at], seqs[at])]


class Selection:
    """A running choice of the best `keep` rows, in the memory of two runs' winners.

    rows: positions. sums: raw sums, to be added to by later stages. All (m,), in no order.
    """

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.rows = np.empty(0, np.int64)
        self.seqs = np.empty(0, np.int64)
        self.sums = np.empty(0, np.float32)
        self.scores = np.empty(0, np.float32)

    @property
    def floor(self) -> np.float32:
        """A row below this score cannot enter; minus infinity until `keep` rows are held."""
        if len(self.scores) < self.keep:
            return np.float32(-np.inf)
        lowest: np.float32 = self.scores.min()
        return lowest

    def offer(self, rows: I64, seqs: I64, sums: F32, scores: F32) -> None:
        """Consider the rows at some positions; seqs, sums and scores are theirs (m,)."""
        floor = self.floor
        if floor > -np.inf:
            at = np.flatnonzero(scores >= floor)
            at = at[best(scores[at], seqs[at], self.keep)]
        else:
            at = best(scores, seqs, self.keep)
        self.take(rows[at], seqs[at], sums[at], scores[at])

    def take(self, rows: I64, seqs: I64, sums: F32, scores: F32) -> None:
        """Consider some rows by position."""
        rows = np.concatenate((self.rows, rows))
        seqs = np.concatenate((self.seqs, seqs))
        sums = np.concatenate((self.sums, sums))
        scores = np.concatenate((self.scores, scores))
        at = best(scores, seqs, self.keep)
        self.rows, self.seqs, self.sums, self.scores = rows[at], seqs[at], sums[at], scores[at]
