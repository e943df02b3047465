"""Which queries to read more for: a router over the scores of a narrow ranking.

A narrow plan ranks every query; the router looks at the scores it gave and widens only the queries
whose narrow ranking is likely to be worse than the wide plan's. It is fitted on queries whose
quality by both plans is known, and judged on others. AdaWidth (arXiv:2608.23862) routes so between
widths of a vector, by 18 order statistics and boosted trees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import MissingExtra, UserError
from nestvec.measure.intervals import (
    FEWEST,
    MARGIN,
    Interval,
    better,
    bootstrap_mean,
    bootstrap_means,
    non_inferior,
    paired_difference,
)

try:
    from sklearn.base import BaseEstimator
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils.validation import check_is_fitted
except ImportError:
    raise MissingExtra("a scikit-learn estimator", "train") from None

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

FEATURES = ("first", "to second", "to k", "at the edge", "to last", "spread", "entropy")
"""What order_statistics tells of a ranking, in its order."""
TEMPERATURE = 0.05
"""Divides scores before the softmax whose entropy is taken, as cosines are trained by."""
_SHARES = np.linspace(0.0, 1.0, 101)


def order_statistics(scores: NDArray[Any], k: int) -> F64:
    """What the scores of a ranking tell of how firm its first k are: (q, 7), as FEATURES has them.

    scores: (q, m), falling, m > k >= 2. With s1 >= s2 >= ...: s1; s1 - s2; s1 - sk; sk - s(k + 1),
    by which the last hit is in; s1 - sm; the standard deviation of s1 ... sk; and the entropy of
    softmax(s / TEMPERATURE) over all m by log m, from 0, one row alone, to 1, all alike.
    Raises UserError for other shapes, and scores that rise or are not finite.
    """
    s = np.asarray(scores, np.float64)
    if k < 2 or s.ndim != 2 or s.shape[1] <= k:
        raise UserError(
            f"a router compares the first k hits, 2 or more, with those after them; got scores of "
            f"shape {s.shape} for k {k}. Rank 2 k rows."
        )
    if not np.isfinite(s).all() or (np.diff(s, axis=1) > 0).any():
        raise UserError("a ranking's scores are finite and fall from hit to hit; got others.")
    weights = np.exp((s - s[:, :1]) / TEMPERATURE)
    shares = weights / weights.sum(axis=1, keepdims=True)
    logs = np.log(np.where(shares > 0, shares, 1.0))
    entropy = -(shares * logs).sum(axis=1) / np.log(s.shape[1])
    return np.stack(
        [
            s[:, 0],
            s[:, 0] - s[:, 1],
            s[:, 0] - s[:, k - 1],
            s[:, k - 1] - s[:, k],
            s[:, 0] - s[:, -1],
            s[:, :k].std(axis=1),
            entropy,
        ],
        axis=1,
    )


def agreement(hits: NDArray[np.int64], other: NDArray[np.int64]) -> F64:
    """The share of each list's rows (q, k) that another list of the query holds as well: (q,).

    Between two short widths, a further sign of how firm a ranking is. -1, no row, is in none.
    """
    same = (hits[:, :, None] == other[:, None, :]) & (hits >= 0)[:, :, None]
    found: F64 = same.any(axis=2).mean(axis=1)
    return found


@dataclass(frozen=True)
class Costs:
    """What a query costs by the narrow plan and by the wide one, in one unit, whatever it is.

    A query that is widened pays for both.
    """

    narrow: float
    wide: float

    def routed(self, share: float) -> float:
        """Of a query in the mean, where such a share is widened."""
        return self.narrow + share * self.wide

    def wide_share(self, share: float) -> float:
        """Of queries drawn at random that go to the wide plan at once, at the routed cost."""
        return share * self.wide / (self.wide - self.narrow)


@dataclass(frozen=True)
class Verdict:
    """What a router did for queries that it was not fitted on.

    share: of queries widened. cost: of a query in the mean. quality, narrow, wide: mean quality,
    routed and by either plan alone. at_random: expected, where queries drawn at random go to the
    wide plan at the same mean cost. from_narrow, from_wide, over_random: paired differences of
    routed from each. pays: whether it is used; reason: why, or why not.
    """

    share: float
    cost: float
    quality: Interval
    narrow: Interval
    wide: Interval
    at_random: float
    from_narrow: Interval
    from_wide: Interval
    over_random: Interval
    pays: bool
    reason: str


class Router(BaseEstimator):  # type: ignore[misc]
    """Widens the queries whose narrow ranking is likely to lose.

    A logistic regression on order_statistics of the first k scores, and on what else is known of
    the narrow ranking, tells how likely the wide plan is better; a query is widened where that is
    at least threshold_. The threshold is the highest, and so the cheapest, with which the routed
    queries are no worse than the wide plan by half of `margin` (paired interval), as told of
    queries whose likelihood came from the other folds' fit: what just does where it was chosen
    would fall short elsewhere as often as not, and the judge allows all of it. folds: of them.

    threshold_: 0 widens every query, and above 1 none. model_: the regression, None where there was
    nothing to tell apart. share_: of the fitting queries that are widened.
    """

    def __init__(
        self, k: int = 10, margin: float = MARGIN, folds: int = 5, random_state: int = 0
    ) -> None:
        self.k = k
        self.margin = margin
        self.folds = folds
        self.random_state = random_state

    def fit(
        self,
        scores: NDArray[Any],
        narrow: NDArray[Any],
        wide: NDArray[Any],
        more: NDArray[Any] | None = None,
    ) -> Router:
        """From queries whose quality is known by both plans.

        scores: (q, m) of the narrow ranking, falling, m > k. narrow, wide: (q,) quality of each
        query by either plan, higher is better. more: (q, f) or (q,), further features of the narrow
        ranking, such as agreement.
        Raises UserError for shapes that do not fit, and for fewer than 10 queries.
        """
        features = self._features(scores, more)
        loss = _losses(narrow, wide, len(features))
        lost = loss > 0
        self.n_features_in_ = features.shape[1]
        self.model_: Any = None
        fewest = int(min(lost.sum(), (~lost).sum()))
        if fewest < self.folds:
            # nothing to learn from: all of them, or none, as the target has it
            enough = non_inferior(paired_difference(narrow, wide), self.margin)
            self.threshold_ = 2.0 if enough else 0.0
            self.share_ = 0.0 if enough else 1.0
            return self
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
        folds = StratifiedKFold(self.folds, shuffle=True, random_state=self.random_state)
        told = cross_val_predict(model, features, lost, cv=folds, method="predict_proba")
        self.threshold_ = _threshold(told[:, 1], loss, self.margin / 2)
        self.share_ = float((told[:, 1] >= self.threshold_).mean())
        self.model_ = model.fit(features, lost)
        return self

    def likelihood(self, scores: NDArray[Any], more: NDArray[Any] | None = None) -> F64:
        """How likely the wide plan is better for each query: (q,)."""
        check_is_fitted(self, "threshold_")
        features = self._features(scores, more)
        if features.shape[1] != self.n_features_in_:
            raise UserError(
                f"a router reads what it was fitted on, {self.n_features_in_} features; got "
                f"{features.shape[1]}: give `more` in both or in neither."
            )
        if self.model_ is None:
            return np.ones(len(features))
        found: F64 = self.model_.predict_proba(features)[:, 1]
        return found

    def decide(self, scores: NDArray[Any], more: NDArray[Any] | None = None) -> Bools:
        """Which queries to ask again by the wide plan, (q,), by their narrow scores (q, m)."""
        decided: Bools = self.likelihood(scores, more) >= self.threshold_
        return decided

    def report(
        self,
        scores: NDArray[Any],
        narrow: NDArray[Any],
        wide: NDArray[Any],
        costs: Costs,
        more: NDArray[Any] | None = None,
    ) -> Verdict:
        """The judge's verdict on queries that were not fitted on; arguments as in fit.

        A router pays where the wide plan is needed (the narrow one alone is worse by more than
        the margin), routed queries are no worse than the wide plan's by the margin, they cost less
        than the wide plan, and they are better than queries drawn at random at the same cost;
        every comparison by the paired interval.
        """
        widened = self.decide(scores, more)
        low, high = np.asarray(narrow, np.float64), np.asarray(wide, np.float64)
        _losses(low, high, len(widened))
        routed = np.where(widened, high, low)
        share = float(widened.mean())
        drawn = min(1.0, costs.wide_share(share)) if costs.wide > costs.narrow else 1.0
        mixture = drawn * high + (1 - drawn) * low
        from_wide, over = paired_difference(routed, high), paired_difference(routed, mixture)
        cost = costs.routed(share)
        pays, reason = self._judged(paired_difference(low, high), from_wide, over, cost, costs)
        return Verdict(
            share,
            cost,
            bootstrap_mean(routed),
            bootstrap_mean(low),
            bootstrap_mean(high),
            float(mixture.mean()),
            paired_difference(routed, low),
            from_wide,
            over,
            pays,
            reason,
        )

    def _judged(
        self, narrow: Interval, routed: Interval, over: Interval, cost: float, costs: Costs
    ) -> tuple[bool, str]:
        if narrow.n < FEWEST:
            return False, f"not proven by {narrow.n} queries"
        if non_inferior(narrow, self.margin):
            return False, "the narrow plan alone is no worse"
        if cost >= costs.wide:
            return False, "the wide plan alone costs no more"
        if not non_inferior(routed, self.margin):
            return False, "worse than the wide plan, or not proven otherwise"
        if not better(over):
            return False, "no better than queries drawn at random, or not proven"
        return True, "as good as the wide plan, for less, and better than at random"

    def _features(self, scores: NDArray[Any], more: NDArray[Any] | None) -> F64:
        features = order_statistics(scores, self.k)
        if more is None:
            return features
        others = np.asarray(more, np.float64)
        others = others[:, None] if others.ndim == 1 else others
        if others.ndim != 2 or len(others) != len(features) or not np.isfinite(others).all():
            raise UserError(
                f"further features are finite numbers, a row a query; got the shape {others.shape} "
                f"for {len(features)} queries."
            )
        return np.concatenate([features, others], axis=1)


def _threshold(likelihood: F64, loss: F64, margin: float) -> float:
    """The highest likelihood from which on to widen, so that the others' loss is within margin."""
    levels = np.quantile(likelihood, 1 - _SHARES[1:-1])
    # ties widen more than their share: the table has what each level really leaves
    levels = np.concatenate([[2.0], np.unique(levels)[::-1], [0.0]])
    left = np.stack([np.where(likelihood >= level, 0.0, -loss) for level in levels], axis=1)
    for level, told in zip(levels, bootstrap_means(left), strict=True):
        if non_inferior(told, margin):
            return float(level)
    return 0.0


def _losses(narrow: NDArray[Any], wide: NDArray[Any], queries: int) -> F64:
    """What each query loses by the narrow plan."""
    low, high = np.asarray(narrow, np.float64), np.asarray(wide, np.float64)
    if low.shape != (queries,) or high.shape != (queries,):
        raise UserError(
            f"quality is a number a query by either plan; got the shapes {low.shape} and "
            f"{high.shape} for {queries} queries."
        )
    if queries < FEWEST:
        raise UserError(f"a router takes {FEWEST} queries at least; got {queries}.")
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise UserError("a query's quality is a finite number; got others.")
    return high - low
