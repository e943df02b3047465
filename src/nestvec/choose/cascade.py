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

from nestvec.choose.thresholds import (
    CONFIDENCES,
    COUNTED,
    F64,
    I64,
    POLICIES,
    confidence,
    expected_errors,
    frontier,
    greedy,
    outcome,
    spent,
    temperature_of,
    widen,
)
from nestvec.choose.thresholds import oracle as oracle
from nestvec.errors import MissingExtra, UserError

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.validation import check_is_fitted
except ImportError:
    raise MissingExtra("a scikit-learn estimator", "train") from None

EXPECTED = 0.005
"""The accuracy that "expected" may lose where no target is given."""
Logits = Mapping[int, NDArray[Any]] | Callable[[int, I64], NDArray[Any]]
"""{width: (n, classes)}, or what gives them (m, classes) for a width and the rows (m,) asked."""


@dataclass(frozen=True)
class Stopped:
    """Where rows stopped. labels: (n,). widths: (n,) the last width read. confidence: (n,)."""

    labels: NDArray[Any]
    widths: I64
    confidence: F64


class Cascade(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Stops at the first width whose confidence is above its threshold.

    policy: how thresholds are fitted. "greedy": for every width and the next the smallest of a grid
    with which the two are most often right, pair by pair (MRL, arXiv:2205.13147, app. D.1).
    "accuracy": the least expected cost whose held-out accuracy is at least `target`, by default the
    widest one's. "keep": the least expected cost at which a share `target`, by default 1, of the
    rows that the widest labels right keep that label. "expected": the least expected cost at which
    the accuracy that the widest expects to be lost, by its probabilities at a temperature fitted on
    the labels, is at most `target`, by default .005. "cost": the most accuracy at an expected cost
    of `target` at most. costs: of reading each width, narrowest first, by default the widths.
    counted: what a row costs, "last", the last width's as in the paper, or "sum", of all that it
    read; then widths that do not pay are not read at all. calibrate: divide logits by a temperature
    a width, that of the least held-out log loss (Guo et al. 2017, arXiv:1706.04599). confidence:
    "largest", the largest softmax as in the paper, or "margin", what that is above the second
    largest: where a classifier is often wrong, the least sure rows by the first are those that no
    width labels right, and by the second those that a wider one may label otherwise.

    "accuracy" sets rows that only a narrow width happens to label right against rows that only the
    widest does, and so takes luck of the held-out rows for skill: on new rows it loses some. "keep"
    counts the losses alone, luck among them, and saves little where many labels are wrong.
    "expected" has no luck of labels in it, and is as right as the widest's probabilities are.

    classes_: labels in the order of the logits' columns. widths_; costs_, thresholds_ (w - 1,), 1
    where a width is not read; temperatures_ (w,).
    """

    def __init__(
        self,
        policy: str = "greedy",
        target: float | None = None,
        costs: Sequence[float] | None = None,
        counted: str = "last",
        calibrate: bool = False,
        confidence: str = "largest",
    ) -> None:
        self.policy = policy
        self.target = target
        self.costs = costs
        self.counted = counted
        self.calibrate = calibrate
        self.confidence = confidence

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
        if self.counted not in COUNTED:
            raise UserError(f"a cost counts the last width or the sum; got {self.counted!r}.")
        if self.confidence not in CONFIDENCES:
            raise UserError(
                f"a confidence is one of {', '.join(CONFIDENCES)}; got {self.confidence!r}."
            )
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
        heats = zip(logits, self.temperatures_, strict=True)
        sure = np.stack([confidence(z, heat, self.confidence) for z, heat in heats])
        wrong = np.stack([z.argmax(axis=1) != right for z in logits])
        if self.policy == "greedy":
            self.thresholds_ = greedy(sure, wrong)
        elif self.policy == "expected":
            errors = expected_errors(logits, temperature_of(logits[-1], right))
            self.thresholds_ = self._expected(sure, errors)
        else:
            self.thresholds_ = self._fitted(sure, wrong)
        return self

    def _fitted(self, sure: F64, wrong: NDArray[np.bool_]) -> F64:
        """Thresholds of the policies with a target."""
        if self.policy == "keep":
            return self._keeping(sure, wrong & ~wrong[-1], int((~wrong[-1]).sum()))
        found = [
            (each, *outcome(each, sure, wrong, self.costs_, self.counted))
            for each in frontier(sure, wrong, self.costs_, self.counted)
        ]
        if self.policy == "accuracy":
            target = 1.0 - wrong[-1].mean() if self.target is None else self.target
            met = [each for each in found if 1.0 - each[1] >= target - 1e-12]
            if not met:
                raise UserError(
                    f"a target accuracy is one that held-out rows reach; got {target:g}, and they "
                    f"reach {1.0 - min(each[1] for each in found):.4f}. Lower it."
                )
            return min(met, key=lambda each: (each[2], each[1]))[0]
        if self.target is None or self.target < self.costs_[0]:
            raise UserError(
                f"a target cost is at least the narrowest width's, {self.costs_[0]:g}; got "
                f"{self.target}."
            )
        met = [each for each in found if each[2] <= self.target + 1e-12]
        return min(met, key=lambda each: (each[1], each[2]))[0]

    def _keeping(self, sure: F64, lost: NDArray[np.bool_], right: int) -> F64:
        """The cheapest thresholds by which few enough of the widest's right labels are lost."""
        share = 1.0 if self.target is None else self.target
        if not 0.0 < share <= 1.0:
            raise UserError(
                f"a share to keep is above 0 and at most 1; got {share:g}. Try 1 or .998."
            )
        return self._cheapest(sure, lost, (1.0 - share) * right / lost.shape[1])

    def _expected(self, sure: F64, errors: F64) -> F64:
        """The cheapest thresholds by which no more is expected to be lost than allowed."""
        allowed = EXPECTED if self.target is None else self.target
        if not 0.0 <= allowed < 1.0:
            raise UserError(
                f"an expected loss of accuracy is at least 0 and below 1; got {allowed:g}. Try "
                f"{EXPECTED:g}."
            )
        return self._cheapest(sure, errors - errors[-1], allowed)

    def _cheapest(self, sure: F64, lost: NDArray[Any], allowed: float) -> F64:
        """The least cost of those by which a mean row loses no more than allowed."""
        found = [
            (each, *outcome(each, sure, lost, self.costs_, self.counted))
            for each in frontier(sure, lost, self.costs_, self.counted)
        ]
        met = [each for each in found if each[1] <= allowed + 1e-12]
        return min(met, key=lambda each: (each[2], each[1]))[0]

    @property
    def visited_(self) -> tuple[int, ...]:
        """The widths that are read where rows are unsure enough, rising."""
        limits = (*self.thresholds_, -np.inf)
        read = [(w, t) for w, t in zip(self.widths_, limits, strict=True) if t < 1.0]
        # confidence is above 0, so all stop where the threshold is not
        ends = next(i for i, (_, limit) in enumerate(read) if limit <= 0.0)
        return tuple(width for width, _ in read[: ends + 1])

    def run(self, X: Logits, rows: I64 | None = None) -> Stopped:
        """Widen row by row until sure.

        X: {width: (n, classes)}, or a function of a width and the rows (m,) still unsure, which is
        asked for no others. rows: (n,) those to label; a function needs them.
        Raises UserError for widths that X has not.
        """
        check_is_fitted(self, "thresholds_")
        read = _reader(X, self.visited_)
        if rows is None:
            if callable(X):
                raise UserError("a function of logits needs rows to label; got none. Give rows.")
            rows = np.arange(len(next(iter(X.values()))))
        asked = np.asarray(rows)
        columns, widths, sure = widen(
            lambda width, left: read(width, asked[left]),
            len(asked),
            self.widths_,
            self.thresholds_,
            self.temperatures_,
            self.confidence,
        )
        return Stopped(self.classes_[columns], widths, sure)

    def predict(self, X: Logits, rows: I64 | None = None) -> NDArray[Any]:
        """Labels (n,) of rows; see run."""
        return self.run(X, rows).labels

    def cost(self, stopped: Stopped, counted: str | None = None) -> F64:
        """What each row (n,) cost, the last width's or the sum of those read, as `counted` says."""
        by_step = spent(self.thresholds_, self.costs_, counted or self.counted)
        return by_step[np.searchsorted(self.widths_, stopped.widths)]


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
