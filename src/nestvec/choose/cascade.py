"""Labels from the narrowest width that is sure: thresholds that are fitted on held-out rows.

A cascade holds no classifier. It reads the logits of one at several widths (or layers, or any
other steps), narrowest first, and decides row by row where to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import MissingExtra, UserError

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.validation import check_is_fitted
except ImportError:
    raise MissingExtra("a scikit-learn estimator", "train") from None

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Logits = Mapping[int, NDArray[Any]] | Callable[[int, I64], NDArray[Any]]
"""{width: (n, classes)}, or what gives them (m, classes) for a width and the rows (m,) asked."""

GRID = np.linspace(0.1, 1.0, 100)
"""Thresholds tried, as the code of MRL (arXiv:2205.13147, app. D.1) has them."""
POLICIES = ("greedy", "accuracy", "cost")
_TEMPERATURES = np.geomspace(0.05, 20.0, 121)
_WEIGHTS = np.geomspace(1e-5, 1e3, 65)
_SWEEPS = 20


@dataclass(frozen=True)
class Stopped:
    """Where rows stopped. labels: (n,). widths: (n,) the last width read. confidence: (n,)."""

    labels: NDArray[Any]
    widths: I64
    confidence: F64


class Cascade(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Stops at the first width whose confidence, the largest softmax, is above its threshold.

    policy: how thresholds are fitted. "greedy": for every width and the next the smallest of GRID
    with which the two are most often right, pair by pair (MRL, arXiv:2205.13147, app. D.1).
    "accuracy": the least expected cost whose held-out accuracy is at least `target`, by default the
    widest one's. "cost": the most accuracy at an expected cost of `target` at most. costs: of
    reading each width, narrowest first, by default the widths. counted: what a row costs, "last",
    the last width's as in the paper, or "sum", of all that it read. calibrate: divide logits by a
    temperature a width, that of the least held-out log loss (Guo et al. 2017, arXiv:1706.04599).

    classes_: labels in the order of the logits' columns. widths_; costs_, thresholds_ (w - 1,),
    temperatures_ (w,).
    """

    def __init__(
        self,
        policy: str = "greedy",
        target: float | None = None,
        costs: Sequence[float] | None = None,
        counted: str = "last",
        calibrate: bool = False,
    ) -> None:
        self.policy = policy
        self.target = target
        self.costs = costs
        self.counted = counted
        self.calibrate = calibrate

    def fit(self, X: Mapping[int, NDArray[Any]], y: Any, classes: Any = None) -> Cascade:
        """Set thresholds on held-out logits {width: (n, classes)} and their labels (n,).

        classes: labels in the order of columns, by default 0, 1, ... Rows that the classifier was
        trained on make it look surer than it is.
        Raises UserError for widths, labels or settings that do not fit each other.
        """
        if self.policy not in POLICIES:
            raise UserError(
                f"a cascade's policy is one of {', '.join(POLICIES)}; got {self.policy!r}."
            )
        if self.counted not in ("last", "sum"):
            raise UserError(f"a cost counts the last width or the sum; got {self.counted!r}.")
        self.widths_ = tuple(sorted(X))
        logits = _checked(X, self.widths_)
        n, columns = logits[0].shape
        self.classes_ = np.arange(columns) if classes is None else np.asarray(classes)
        right = _columns_of(y, self.classes_, n, columns)
        costs = self.widths_ if self.costs is None else self.costs
        if len(costs) != len(self.widths_) or min(costs) <= 0:
            raise UserError(
                f"costs are above 0, one a width; got {list(costs)} for {len(self.widths_)} widths."
            )
        self.costs_ = np.asarray(costs, np.float64)
        self.temperatures_ = np.ones(len(logits))
        if self.calibrate:
            self.temperatures_ = np.array([temperature_of(each, right) for each in logits])
        sure = np.stack([confidence(z, t) for z, t in zip(logits, self.temperatures_, strict=True)])
        wrong = np.stack([z.argmax(axis=1) != right for z in logits])
        if self.policy == "greedy":
            self.thresholds_ = greedy(sure, wrong)
        else:
            self.thresholds_ = self._fitted(sure, wrong)
        return self

    def _fitted(self, sure: F64, wrong: NDArray[np.bool_]) -> F64:
        """Thresholds of the policies with a target."""
        spent = self.spent_
        found = [
            (each, *_outcome(each, sure, wrong, spent)) for each in frontier(sure, wrong, spent)
        ]
        if self.policy == "accuracy":
            target = 1.0 - wrong[-1].mean() if self.target is None else self.target
            met = [each for each in found if each[1] >= target - 1e-12]
            if not met:
                raise UserError(
                    f"a target accuracy is one that held-out rows reach; got {target:g}, and they "
                    f"reach {max(each[1] for each in found):.4f}. Lower it."
                )
            return min(met, key=lambda each: (each[2], -each[1]))[0]
        if self.target is None or self.target < spent[0]:
            raise UserError(
                f"a target cost is at least the narrowest width's, {spent[0]:g}; got {self.target}."
            )
        met = [each for each in found if each[2] <= self.target + 1e-12]
        return max(met, key=lambda each: (each[1], -each[2]))[0]

    @property
    def spent_(self) -> F64:
        """What a row has cost when it stops at each width (w,)."""
        return np.cumsum(self.costs_) if self.counted == "sum" else self.costs_

    def run(self, X: Logits, rows: I64 | None = None) -> Stopped:
        """Widen row by row until sure.

        X: {width: (n, classes)}, or a function of a width and the rows (m,) still unsure, which is
        asked for no others. rows: (n,) those to label; a function needs them.
        Raises UserError for widths that X has not.
        """
        check_is_fitted(self, "thresholds_")
        read = _reader(X, self.widths_)
        if rows is None:
            if callable(X):
                raise UserError("a function of logits needs rows to label; got none. Give rows.")
            rows = np.arange(len(next(iter(X.values()))))
        n = len(rows)
        labels, widths = np.empty(n, np.int64), np.empty(n, np.int64)
        surest = np.empty(n)
        left = np.arange(n)
        limits = (*self.thresholds_, -np.inf)
        for width, limit, heat in zip(self.widths_, limits, self.temperatures_, strict=True):
            if not len(left):
                break
            logits = np.asarray(read(width, rows[left]), np.float64)
            sure = confidence(logits, heat)
            stops = sure > limit
            done = left[stops]
            labels[done] = logits[stops].argmax(axis=1)
            widths[done], surest[done] = width, sure[stops]
            left = left[~stops]
        return Stopped(self.classes_[labels], widths, surest)

    def predict(self, X: Logits, rows: I64 | None = None) -> NDArray[Any]:
        """Labels (n,) of rows; see run."""
        return self.run(X, rows).labels

    def cost(self, stopped: Stopped) -> F64:
        """What each row (n,) cost, as `counted` says."""
        return self.spent_[np.searchsorted(self.widths_, stopped.widths)]


def confidence(logits: NDArray[Any], temperature: float = 1.0) -> F64:
    """The largest softmax of each row (n, classes)."""
    z = np.asarray(logits, np.float64) / temperature
    z = z - z.max(axis=1, keepdims=True)
    found: F64 = 1.0 / np.exp(z).sum(axis=1)
    return found


def temperature_of(logits: NDArray[Any], right: I64) -> float:
    """The temperature, of 121 from .05 to 20, with the least mean log loss."""
    z = np.asarray(logits, np.float64)
    z = z - z.max(axis=1, keepdims=True)
    own = z[np.arange(len(z)), right]
    losses = [
        float((np.log(np.exp(z / each).sum(axis=1)) - own / each).mean()) for each in _TEMPERATURES
    ]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def stops_at(thresholds: NDArray[Any], sure: F64) -> I64:
    """Which step (n,) rows stop at; sure: (w, n), thresholds: (w - 1,)."""
    above = np.concatenate([sure[:-1] > np.asarray(thresholds)[:, None], np.ones_like(sure[-1:])])
    found: I64 = above.argmax(axis=0)
    return found


def greedy(sure: F64, wrong: NDArray[np.bool_]) -> F64:
    """MRL's thresholds (w - 1,): of each step and the next, the smallest that errs least."""
    found = []
    for i in range(len(sure) - 1):
        errors = [np.where(sure[i] > t, wrong[i], wrong[i + 1]).sum() for t in GRID]
        found.append(GRID[int(np.argmin(errors))])
    return np.array(found)


def oracle(wrong: NDArray[np.bool_]) -> I64:
    """The first step (n,) that is right, the first of all where none is: no cascade does better."""
    found: I64 = (~wrong).argmax(axis=0)
    return found


def frontier(sure: F64, wrong: NDArray[np.bool_], spent: F64) -> list[F64]:
    """Thresholds that are best at some price of an error, cheapest cascade first.

    With them only the narrowest step, and only the widest.
    """
    w = len(sure)
    found = [np.zeros(w - 1), np.ones(w - 1)]
    before = found[0]
    for weight in _WEIGHTS * spent[-1]:
        before = best_thresholds(sure, wrong, spent, weight, [before, *found[:2]])
        found.append(before)
    return found


def best_thresholds(
    sure: F64, wrong: NDArray[np.bool_], spent: F64, weight: float, starts: Sequence[F64]
) -> F64:
    """Thresholds (w - 1,) of the least mean cost plus weight times the share of errors.

    From each start one threshold after another, the last first, is set to the best there is while
    the others stay, until none moves; the best end is kept, which no single threshold betters.
    """
    losses = spent[:, None] + weight * wrong
    n = np.arange(losses.shape[1])
    ends = []
    for start in starts:
        thresholds = start.copy()
        for _ in range(_SWEEPS):
            moved = False
            for i in reversed(range(len(thresholds))):
                other = _best_one(i, thresholds, sure, losses)
                moved |= other != thresholds[i]
                thresholds[i] = other
            if not moved:
                break
        ends.append((losses[stops_at(thresholds, sure), n].mean(), thresholds))
    return min(ends, key=lambda each: each[0])[1]


def _best_one(i: int, thresholds: F64, sure: F64, losses: F64) -> float:
    """The best threshold of step i while the others stay; what it is where it is as good."""
    reached = (sure[:i] <= thresholds[:i, None]).all(axis=0)
    if not reached.any():
        return float(thresholds[i])
    own, kept = sure[i, reached], losses[i, reached]
    later = i + 1 + stops_at(thresholds[i + 1 :], sure[i + 1 :, reached])
    going = losses[:, reached][later, np.arange(len(own))]
    order = np.argsort(-own, kind="stable")
    own, change = own[order], (kept - going)[order]
    # rows that are as sure as each other stop together
    last = np.append(np.flatnonzero(own[1:] < own[:-1]), len(own) - 1)
    totals = np.concatenate([[0.0], np.cumsum(change)[last]])
    best = int(np.argmin(totals))
    now = np.where(own > thresholds[i], change, 0.0).sum()
    if now <= totals[best] + 1e-12 * np.abs(totals).max():
        return float(thresholds[i])
    if best == 0:
        return 1.0
    below = own[last[best - 1] + 1] if best < len(totals) - 1 else 0.0
    return float((own[last[best - 1]] + below) / 2)


def _outcome(
    thresholds: F64, sure: F64, wrong: NDArray[np.bool_], spent: F64
) -> tuple[float, float]:
    """Accuracy and expected cost."""
    at = stops_at(thresholds, sure)
    return 1.0 - float(wrong[at, np.arange(len(at))].mean()), float(spent[at].mean())


def _checked(X: Mapping[int, NDArray[Any]], widths: tuple[int, ...]) -> list[NDArray[Any]]:
    if len(widths) < 2:
        raise UserError(f"a cascade needs at least two widths; got {list(widths)}. Give more.")
    logits = [np.asarray(X[width]) for width in widths]
    first = logits[0].shape
    for width, each in zip(widths, logits, strict=True):
        if each.ndim != 2 or each.shape != first or not len(each):
            raise UserError(
                f"logits are (rows, classes), alike at every width; got {each.shape} at {width} "
                f"and {first} at {widths[0]}."
            )
        if not np.isfinite(each).all():
            raise UserError(f"logits are finite numbers; some at {width} are not.")
    if first[1] < 2:
        raise UserError("a cascade tells at least two classes apart; got one. Give more labels.")
    return logits


def _columns_of(y: Any, classes: NDArray[Any], n: int, columns: int) -> I64:
    """The column (n,) of each label."""
    labels = np.asarray(y)
    if labels.shape != (n,):
        raise UserError(f"held-out labels are one a row; got {labels.shape} for {n:,} rows.")
    if len(classes) != columns:
        raise UserError(f"classes are one a column; got {len(classes)} for {columns} columns.")
    known = {label: i for i, label in enumerate(classes.tolist())}
    missing = sorted({str(label) for label in labels.tolist() if label not in known})
    if missing:
        raise UserError(
            f"held-out labels are among the {columns} classes; got {', '.join(missing[:5])}. "
            "Leave those rows out."
        )
    return np.array([known[label] for label in labels.tolist()], np.int64)


def _reader(X: Logits, widths: tuple[int, ...]) -> Callable[[int, I64], NDArray[Any]]:
    if callable(X):
        return X
    missing = [width for width in widths if width not in X]
    if missing:
        raise UserError(
            f"a cascade reads the widths it was fitted on; {', '.join(map(str, missing))} is not "
            "there. Give its logits."
        )
    table = X
    return lambda width, rows: np.asarray(table[width])[rows]
