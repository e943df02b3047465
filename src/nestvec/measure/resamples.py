"""Bootstrap intervals of figures that are no mean of items: correlations of ranks, V-measures.

Items are drawn again with replacement, and the figure is worked out anew for every draw. All
columns share the draws, so differences between them are paired (Efron and Tibshirani 1993,
chapter 13).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nestvec.errors import UserError
from nestvec.measure.clusters import v_of_counts
from nestvec.measure.intervals import LEVEL, Interval

F64 = NDArray[np.float64]
Draws = NDArray[np.int64]

DRAWS = 1_000
"""Fewer than for means: each draw ranks or counts all items again."""

_CELLS = 2_000_000  # draws x items held at a time


def draw_counts(items: int, seed: int = 0, draws: int = DRAWS) -> Draws:
    """How often each item is drawn, (draws, items) int64; every row sums to items."""
    if items == 0:
        raise UserError("an interval needs at least one item; got none. Give some items.")
    rng = np.random.default_rng(seed)
    return rng.multinomial(items, np.full(items, 1 / items), size=draws)


def spearman_of_draws(scores: F64, grades: F64, counts: Draws) -> F64:
    """Spearman's correlation of scores with grades, (n,) each, in every draw: (draws,).

    Ties share the mean of their ranks, an item drawn twice ties with itself. NaN where a side is
    constant within a draw.
    """
    found = np.empty(len(counts))
    step = max(1, _CELLS // max(1, len(scores)))
    for start in range(0, len(counts), step):
        some = counts[start : start + step].astype(np.float64)
        left, right = (_centred_ranks(side, some) for side in (scores, grades))
        with np.errstate(invalid="ignore", divide="ignore"):
            found[start : start + step] = (some * left * right).sum(axis=1) / np.sqrt(
                (some * left**2).sum(axis=1) * (some * right**2).sum(axis=1)
            )
    return found


def v_measure_of_draws(labels: ArrayLike, clusters: ArrayLike, counts: Draws) -> F64:
    """The V-measure of clusters with labels, (n,) each, in every draw: (draws,).

    As clusters.v_measure of the drawn items.
    """
    _, truth = np.unique(np.asarray(labels), return_inverse=True)
    _, found = np.unique(np.asarray(clusters), return_inverse=True)
    # only the cells that occur are counted: labels x clusters may be far larger than n
    _, both = np.unique(truth * (int(found.max()) + 1) + found, return_inverse=True)
    values = np.empty(len(counts))
    for draw, weights in enumerate(counts):
        of_label, of_cluster, of_both = (np.bincount(x, weights) for x in (truth, found, both))
        values[draw] = v_of_counts(of_label, of_cluster, of_both)
    return values


def paired_intervals(
    values: F64, of_draws: Callable[[int], F64], items: int, against: int = 0
) -> list[tuple[Interval, Interval]]:
    """For each column its interval, and that of its difference from the column `against`.

    values: (c,) of all items; of_draws(column): (draws,), all from the same draws. Draws in which
    a figure does not exist (NaN) are left out.
    """
    base = of_draws(against)
    found = []
    for column, value in enumerate(values):
        drawn = base if column == against else of_draws(column)
        found.append(
            (
                _interval(float(value), drawn, items),
                _interval(float(value - values[against]), drawn - base, items),
            )
        )
    return found


def _interval(value: float, drawn: F64, items: int) -> Interval:
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), items)


def _centred_ranks(values: F64, counts: F64) -> F64:
    """Mean ranks of values (n,) among the drawn items, less their mean: (draws, n)."""
    _, place, sizes = np.unique(values, return_inverse=True, return_counts=True)
    order = np.argsort(place, kind="stable")
    first = np.cumsum(sizes) - sizes
    of_value = np.add.reduceat(counts[:, order], first, axis=1)
    ranks = np.cumsum(of_value, axis=1) - (of_value - 1) / 2
    mean = (counts.sum(axis=1, keepdims=True) + 1) / 2
    centred: F64 = (ranks - mean)[:, place]
    return centred
