"""A query's products in few bits, whose sums are quick to look up and bound what rows can score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]

_MOST_SUM = (1 << 15) - 1
# What every row reaches that scores above zero: one less than a limit of eight bits can say.
_MOST_DEFICIT = 253


def by_fours(tables: F32) -> tuple[U64, F32]:
    """Tables (q, b, K) of four queries in 16 bits each, of which sums take 15, and their bounds.

    Each query's products are counted from the least of their byte, in steps so long that the
    largest sum takes 15 bits. fours: (ceil(q / 4), b, K) uint64. bounds: (q, 2) float32, step and
    offset: a float32 sum of look-ups is at most offset + step * the sum of its numbers.
    """
    q, width, _ = tables.shape
    exact = tables.astype(np.float64)
    least = exact.min(axis=2)
    step = (exact.max(axis=2) - least).sum(axis=1) / (_MOST_SUM - width)
    step = np.where(step > 0, step, 1.0)
    counts = np.rint((exact - least[:, :, None]) / step[:, None, None]).astype(np.uint64)
    counts = np.pad(counts, ((0, -q % 4), (0, 0), (0, 0)))
    shifts = np.arange(0, 64, 16, dtype=np.uint64)[None, :, None, None]
    fours = (counts.reshape(-1, 4, *counts.shape[1:]) << shifts).sum(axis=1, dtype=np.uint64)
    # half a step of rounding a byte, and what float32 loses in the bound itself
    slack = 0.5 * width * step + _lost(exact, step * _MOST_SUM)
    return fours, np.stack([step, least.sum(axis=1) + slack], axis=1).astype(np.float32)


def by_deficits(tables: F32) -> tuple[U8, F32]:
    """How far the products of tables (q, b, K) stay behind the largest of their byte, in 8 bits.

    deficits: (q, b, K) uint8, in whole steps, 255 at most. bounds: (q, 2) float32, step and top: a
    float32 sum of look-ups is at most top - step * the sum of their deficits. A step is so long
    that rows of sums above zero have fewer than 254 in all.
    """
    exact = tables.astype(np.float64)
    most = exact.max(axis=2)
    top = most.sum(axis=1)
    top += _lost(exact, top)
    step = top / _MOST_DEFICIT
    step = np.where(step > 0, step, 1.0)
    behind = (most[:, :, None] - exact) / step[:, None, None]
    deficits = np.minimum(np.floor(behind), 255).astype(np.uint8)
    return deficits, np.stack([step, top], axis=1).astype(np.float32)


def _lost(exact: F64, more: F64) -> F64:
    """What float32 may lose in adding up look-ups (q, b, K) and so much more."""
    width = exact.shape[1]
    size = np.abs(exact).max(axis=2).sum(axis=1) + np.abs(more)
    lost: F64 = 2 * (width + 4) * float(np.finfo(np.float32).eps) * size
    return lost
