"""Bootstrap intervals over queries, plain and paired.

Every interval is a percentile bootstrap (Efron and Tibshirani 1993, chapter 13): the queries
are drawn again with replacement, the mean of each draw is taken, and the interval is where the
middle of those means lies. Paired figures use the same draw for both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import UserError

LEVEL = 0.95
DRAWS = 10_000
MARGIN = 0.01
"""Non-inferior means: no worse than this, on the measure's own scale."""
FEWEST = 10
"""Fewer queries than this prove nothing: their bootstrap intervals are far too narrow."""

_BLOCK_CELLS = 2_000_000  # draws x queries held at a time: 16 MB of counts


@dataclass(frozen=True)
class Interval:
    """A figure, the ends of its interval, and the number of queries behind it."""

    value: float
    low: float
    high: float
    n: int


def bootstrap_mean(
    values: NDArray[Any], seed: int = 0, level: float = LEVEL, draws: int = DRAWS
) -> Interval:
    """The mean of (q,) values with its interval.

    level: the share of draws within the interval. Time is draws x q, memory is bounded.
    Raises UserError if there are no values.
    """
    return bootstrap_means(np.asarray(values)[:, None], seed, level, draws)[0]


def bootstrap_means(
    values: NDArray[Any], seed: int = 0, level: float = LEVEL, draws: int = DRAWS
) -> list[Interval]:
    """The mean of each column of (q, c) values with its interval, all from the same draws.

    Equal to bootstrap_mean column by column, at hardly more than the cost of one.
    Memory beyond a bounded block is draws x c float64.
    """
    table = np.asarray(values, dtype=np.float64)
    means = _means_of_draws(table, seed, draws)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    centre = table.mean(axis=0)
    return [
        Interval(float(v), float(a), float(b), len(table))
        for v, a, b in zip(centre, low, high, strict=True)
    ]


def paired_difference(
    a: NDArray[Any],
    b: NDArray[Any],
    seed: int = 0,
    level: float = LEVEL,
    draws: int = DRAWS,
) -> Interval:
    """The mean of a - b with its interval; a, b: (q,), entry i of both from query i."""
    left, right = _pair(a, b)
    return bootstrap_mean(left - right, seed, level, draws)


def paired_ratio(
    a: NDArray[Any],
    b: NDArray[Any],
    seed: int = 0,
    level: float = LEVEL,
    draws: int = DRAWS,
) -> Interval:
    """The mean of a by the mean of b with its interval: the share of b's quality that a keeps.

    a, b: (q,), entry i of both from query i. Draws in which b's mean is 0 are left out.
    Raises UserError if b's mean is 0.
    """
    left, right = _pair(a, b)
    if len(right) and right.mean() == 0:
        raise UserError(
            f"a share needs something to be kept; got quality 0 in all {len(right)} queries. "
            "Check that queries and relevant rows belong together."
        )
    means = _means_of_draws(np.stack([left, right], axis=1), seed, draws)
    means = means[means[:, 1] != 0]
    low, high = np.quantile(means[:, 0] / means[:, 1], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(left.mean() / right.mean()), float(low), float(high), len(left))


def non_inferior(difference: Interval, margin: float = MARGIN) -> bool:
    """Whether a paired difference proves a loss smaller than margin."""
    return difference.n >= FEWEST and difference.low > -margin


def better(difference: Interval) -> bool:
    """Whether a paired difference proves a gain."""
    return difference.n >= FEWEST and difference.low > 0


def _pair(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(
            f"paired values must be two flat arrays of one length; got {left.shape} and "
            f"{right.shape}"
        )
    return left, right


def _means_of_draws(table: NDArray[np.float64], seed: int, draws: int) -> NDArray[np.float64]:
    q = len(table)
    if q == 0:
        raise UserError("an interval needs at least one query; got none. Give some queries.")
    rng = np.random.default_rng(seed)
    means = np.empty((draws, table.shape[1]))
    block = max(1, _BLOCK_CELLS // q)
    for start in range(0, draws, block):
        some = min(block, draws - start)
        drawn = rng.integers(0, q, (some, q), dtype=np.int64)
        if table.shape[1] == 1:
            means[start : start + some, 0] = table[:, 0][drawn].mean(axis=1)
            continue
        # how often each query was drawn; the sums of all columns are then one product
        drawn += np.arange(some)[:, None] * q
        counts = np.bincount(drawn.ravel(), minlength=some * q).reshape(some, q)
        means[start : start + some] = counts.astype(np.float64) @ table / q
    return means
