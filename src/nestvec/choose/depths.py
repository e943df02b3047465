"""How deep a stage must keep rows so that the wanted ones survive it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]

MARGIN = 0.25
"""Of what a target allows to be missed, the share that is kept as margin."""


def places(wanted: Sequence[set[int]], rankings: Sequence[I64]) -> NDArray[np.float64]:
    """The place, from 0, of every wanted row in its query's ranking; inf where it is not in it."""
    found: list[float] = []
    for own, rows in zip(wanted, rankings, strict=True):
        at = {int(row): place for place, row in enumerate(rows) if int(row) in own}
        found += [at.get(row, math.inf) for row in own]
    return np.array(found)


def within(firsts: Sequence[I64], seconds: Sequence[I64], depth: int) -> Iterator[I64]:
    """The second stage's rankings of what the first keeps at a depth."""
    for first, second in zip(firsts, seconds, strict=True):
        yield second[np.isin(second, first[:depth])]


def depth_for(ranks: NDArray[np.float64], target: float) -> int | None:
    """The fewest rows, to two digits, within which the target's share of wanted rows stands.

    And a little more than it: depths that just reach it on these queries miss it on half of others.
    """
    if not len(ranks):
        return None
    share = target + MARGIN * (1 - target)
    place = np.sort(ranks)[math.ceil(share * len(ranks) - 1e-9) - 1]
    return None if math.isinf(place) else rounded(int(place) + 1)


def rounded(depth: int) -> int:
    """The same or a little more, two digits of it not zero."""
    unit = 10 ** max(0, len(str(depth)) - 2)
    return int(-(-depth // unit) * unit)


def rising_depths(k: int, deep: int) -> list[int]:
    """Rising depths, each about half as much again as the one before."""
    found = [rounded(max(2 * k, 20))]
    while found[-1] < deep:
        found.append(min(deep, rounded(found[-1] * 3 // 2)))
    return found
