"""Where a cascade stops: confidence, the thresholds of each policy, and widening row by row.

Arrays alone. sure and wrong are (w, n): how sure each of w steps is of its label of each of n
held-out rows, and whether that label is wrong, or how likely. A row stops at the first step that
is surer than its threshold (w - 1,), at the last one if at none. A threshold of 1 is never passed:
that step is not read, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

GRID = np.linspace(0.1, 1.0, 100)
"""Thresholds tried, as the code of MRL (arXiv:2205.13147, app. D.1) has them."""
POLICIES = ("greedy", "accuracy", "keep", "expected", "cost")
CONFIDENCES = ("largest", "margin")
"""What a row is sure by: its largest softmax, or what that is above the second largest."""
COUNTED = ("last", "sum")
_TEMPERATURES = np.geomspace(0.05, 20.0, 121)
_WEIGHTS = np.geomspace(1e-5, 1e3, 65)
_SWEEPS = 20


def probabilities(logits: NDArray[Any], temperature: float = 1.0) -> F64:
    """The softmax (n, classes) of logits (n, classes)."""
    z = np.asarray(logits, np.float64) / temperature
    found: F64 = np.exp(z - z.max(axis=1, keepdims=True))
    found /= found.sum(axis=1, keepdims=True)
    return found


def confidence(logits: NDArray[Any], temperature: float = 1.0, kind: str = "largest") -> F64:
    """How sure each row (n, classes) is, by one of CONFIDENCES; above 0."""
    z = np.asarray(logits, np.float64) / temperature
    z = z - z.max(axis=1, keepdims=True)
    found: F64 = 1.0 / np.exp(z).sum(axis=1)
    if kind == "margin":
        second = np.partition(z, -2, axis=1)[:, -2]
        # two that tie leave nothing; a threshold of 0 stops them all the same
        found = np.maximum(found * -np.expm1(second), np.finfo(np.float64).tiny)
    return found


def expected_errors(logits: Sequence[NDArray[Any]], temperature: float) -> F64:
    """How likely each step's label of each row is wrong (w, n), as the last step believes.

    logits: (n, classes) of each step. temperature: of the last one's. What a narrow step loses to
    the last by it has none of the luck of single labels in it, and is never below 0.
    """
    believed = probabilities(logits[-1], temperature)
    rows = np.arange(len(believed))
    return np.stack([1.0 - believed[rows, np.asarray(z).argmax(axis=1)] for z in logits])


def temperature_of(logits: NDArray[Any], right: I64) -> float:
    """The temperature, of 121 from .05 to 20, with the least mean log loss."""
    z = np.asarray(logits, np.float64)
    z = z - z.max(axis=1, keepdims=True)
    own = z[np.arange(len(z)), right]
    losses = [
        float((np.log(np.exp(z / each).sum(axis=1)) - own / each).mean()) for each in _TEMPERATURES
    ]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def widen(
    read: Callable[[int, I64], NDArray[Any]],
    n: int,
    widths: Sequence[int],
    thresholds: Sequence[float] | F64,
    temperatures: Sequence[float] | F64,
    kind: str = "largest",
) -> tuple[I64, I64, F64]:
    """The column (n,) of each row's label, the width (n,) it stopped at, and its confidence (n,).

    read: logits (m, classes) of a width and the rows (m,) that are still unsure, asked for no
    others. A width whose threshold is 1 or more is not asked for. kind: of CONFIDENCES.
    """
    columns, stopped = np.empty(n, np.int64), np.empty(n, np.int64)
    surest = np.empty(n)
    left = np.arange(n)
    for width, limit, heat in zip(widths, (*thresholds, -np.inf), temperatures, strict=True):
        if not len(left):
            break
        if limit >= 1.0:
            continue
        logits = np.asarray(read(width, left), np.float64)
        sure = confidence(logits, heat, kind)
        stops = sure > limit
        done = left[stops]
        columns[done] = logits[stops].argmax(axis=1)
        stopped[done], surest[done] = width, sure[stops]
        left = left[~stops]
    return columns, stopped, surest


def stops_at(thresholds: NDArray[Any], sure: F64) -> I64:
    """Which step (n,) rows stop at; sure: (w, n), thresholds: (w - 1,)."""
    above = np.concatenate([sure[:-1] > np.asarray(thresholds)[:, None], np.ones_like(sure[-1:])])
    found: I64 = above.argmax(axis=0)
    return found


def spent(thresholds: F64, costs: F64, counted: str) -> F64:
    """What a row has cost when it stops at each step (w,): that step, or the sum of those read."""
    if counted == "last":
        return costs
    found: F64 = np.cumsum(np.where(np.append(thresholds < 1.0, True), costs, 0.0))
    return found


def outcome(
    thresholds: F64, sure: F64, wrong: NDArray[Any], costs: F64, counted: str
) -> tuple[float, float]:
    """The share of rows that end wrong, and the expected cost."""
    at = stops_at(thresholds, sure)
    share = float(wrong[at, np.arange(len(at))].mean())
    return share, float(spent(thresholds, costs, counted)[at].mean())


def oracle(wrong: Bools) -> I64:
    """The first step (n,) that is right, the first of all where none is: no cascade does better."""
    found: I64 = (~wrong).argmax(axis=0)
    return found


def greedy(sure: F64, wrong: Bools) -> F64:
    """MRL's thresholds (w - 1,): of each step and the next, the smallest that errs least."""
    found = []
    for i in range(len(sure) - 1):
        errors = [np.where(sure[i] > t, wrong[i], wrong[i + 1]).sum() for t in GRID]
        found.append(GRID[int(np.argmin(errors))])
    return np.array(found)


def frontier(sure: F64, wrong: NDArray[Any], costs: F64, counted: str = "last") -> list[F64]:
    """Thresholds that are best at some price of an error, cheapest cascade first.

    With them only the narrowest step, and only the widest.
    """
    w = len(sure)
    found = [np.zeros(w - 1), np.ones(w - 1)]
    before = found[0]
    for weight in _WEIGHTS * (costs.sum() if counted == "sum" else costs[-1]):
        before = best_thresholds(sure, wrong, costs, weight, [before, *found[:2]], counted)
        found.append(before)
    return found


def best_thresholds(
    sure: F64,
    wrong: NDArray[Any],
    costs: F64,
    weight: float,
    starts: Sequence[F64],
    counted: str = "last",
) -> F64:
    """Thresholds (w - 1,) of the least mean cost plus weight times the share of errors.

    From each start one threshold after another, the last first, is set to the best there is while
    the others stay, until none moves; the best end is kept, which no single threshold betters.
    """
    ends = []
    for start in starts:
        thresholds = np.array(start, np.float64)
        for _ in range(_SWEEPS):
            moved = False
            for i in reversed(range(len(thresholds))):
                other = _best_one(i, thresholds, sure, wrong, costs, weight, counted)
                moved |= other != thresholds[i]
                thresholds[i] = other
            if not moved:
                break
        share, cost = outcome(thresholds, sure, wrong, costs, counted)
        ends.append((cost + weight * share, thresholds))
    return min(ends, key=lambda each: each[0])[1]


def _best_one(
    i: int, thresholds: F64, sure: F64, wrong: NDArray[Any], costs: F64, weight: float, counted: str
) -> float:
    """The best threshold of step i while the others stay; what it is where it is as good."""
    reached = np.flatnonzero((sure[:i] <= thresholds[:i, None]).all(axis=0))
    if not len(reached):
        return float(thresholds[i])
    # from here on: what a row that came so far has yet to pay
    later = spent(thresholds[i + 1 :], costs[i + 1 :], counted)
    at = stops_at(thresholds[i + 1 :], sure[i + 1 :, reached])
    going = later[at] + weight * wrong[i + 1 + at, reached]
    entry = float(costs[i]) * len(reached) if counted == "sum" else 0.0
    kept = weight * wrong[i, reached] + (0.0 if counted == "sum" else costs[i])
    own = sure[i, reached]
    order = np.argsort(-own, kind="stable")
    own, change = own[order], (kept - going)[order]
    # rows that are as sure as each other stop together; none stops where the step is not read
    last = np.append(np.flatnonzero(own[1:] < own[:-1]), len(own) - 1)
    totals = np.concatenate([[0.0], entry + np.cumsum(change)[last]])
    best = int(np.argmin(totals))
    now = 0.0
    if thresholds[i] < 1.0:
        now = entry + np.where(own > thresholds[i], change, 0.0).sum()
    if now <= totals[best] + 1e-12 * np.abs(totals).max():
        return float(thresholds[i])
    if best == 0:
        return 1.0
    below = own[last[best - 1] + 1] if best < len(totals) - 1 else 0.0
    return float((own[last[best - 1]] + below) / 2)
