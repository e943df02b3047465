"""The one split-and-compare: pick on one half of the queries, tell the truth on the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.relevance import QueryTask
from nestvec.errors import UserError
from nestvec.measure.groups import connected
from nestvec.measure.intervals import (
    Interval,
    better,
    bootstrap_mean,
    non_inferior,
    paired_difference,
    paired_ratio,
)
from nestvec.measure.metrics import Relevance

F64 = NDArray[np.float64]

FEWEST_OF_A_HALF = 0.3
"""Where documents tie so many queries together that a half falls below this share, queries are
split one by one, and the split says so."""


@dataclass(frozen=True, eq=False)
class Split:
    """Two halves of the queries.

    choosing: (q,) bool, the half to pick on; the rest is reported on. by: "document" where no
    relevant document is on both sides, "query" where documents are too widely shared for that.
    """

    choosing: NDArray[np.bool_]
    by: Literal["document", "query"]

    @property
    def reporting(self) -> NDArray[np.bool_]:
        """(q,) bool, the half to report on."""
        return ~self.choosing


def halves(task: QueryTask, seed: int = 0) -> Split:
    """Two halves of a task's queries, as even as documents allow, drawn by seed.

    Queries that share a relevant document, directly or through others, stay together. A query
    that is itself a row (agreement) is its own document: what it finds nearest is shared with
    many others and belongs to none.
    Raises UserError where there is a single query.
    """
    q = task.relevance.queries
    if q < 2:
        raise UserError(f"choosing and reporting need at least 2 queries; got {q}. Give more.")
    alone = np.arange(q)
    groups = alone if task.own_rows is not None else query_groups(task.relevance)
    choosing = _even_halves(groups, seed)
    smaller = min(int(choosing.sum()), q - int(choosing.sum()))
    if smaller >= max(1, q * FEWEST_OF_A_HALF):
        return Split(choosing, "document")
    return Split(_even_halves(alone, seed), "query")


def query_groups(relevance: Relevance) -> NDArray[np.int64]:
    """(q,) a number for each query's group: equal where relevant documents connect two queries."""
    groups = np.arange(relevance.queries, dtype=np.int64)
    groups[relevance.query_of] = connected(relevance.query_of, relevance.rows)
    return groups


def _even_halves(groups: NDArray[Any], seed: int) -> NDArray[np.bool_]:
    names, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    drawn = np.random.default_rng(seed).permutation(len(names))
    # the largest first, each to the smaller half: as even as groups allow
    order = drawn[np.argsort(-sizes[drawn], kind="stable")]
    first = np.zeros(len(names), dtype=bool)
    counts = [0, 0]
    for group in order:
        side = int(counts[1] < counts[0])
        first[group] = side == 0
        counts[side] += int(sizes[group])
    return first[place]


@dataclass(frozen=True)
class Comparison:
    """A candidate against a baseline on the same queries.

    value, baseline: means with intervals; difference: value less baseline, paired; share: value
    by baseline, paired, None where the baseline is 0. non_inferior, better: what that proves.
    """

    value: Interval
    baseline: Interval
    difference: Interval
    share: Interval | None
    non_inferior: bool
    better: bool

    def to_config(self) -> dict[str, Any]:
        """A JSON-able record."""
        return asdict(self)

    @classmethod
    def from_config(cls, record: dict[str, Any]) -> Comparison:
        """The comparison that to_config describes."""
        share = record["share"]
        return cls(
            Interval(**record["value"]),
            Interval(**record["baseline"]),
            Interval(**record["difference"]),
            None if share is None else Interval(**share),
            record["non_inferior"],
            record["better"],
        )


def compare(candidate: F64, baseline: F64, seed: int = 0) -> Comparison:
    """Compare values (q,) with a baseline's (q,), entry i of both from query i."""
    difference = paired_difference(candidate, baseline, seed)
    return Comparison(
        bootstrap_mean(candidate, seed),
        bootstrap_mean(baseline, seed),
        difference,
        paired_ratio(candidate, baseline, seed) if baseline.mean() != 0 else None,
        non_inferior(difference),
        better(difference),
    )


Select = Callable[[F64, F64], int]
"""Picks a row of values (c, h), given the baseline's (h,): both of the choosing half alone."""


def split_and_compare(
    candidates: F64, baseline: F64, split: Split, select: Select, seed: int = 0
) -> tuple[int, Comparison]:
    """Pick a candidate on one half of the queries and compare it on the other.

    candidates: (c, q) values; baseline: (q,). select sees the choosing half only.
    Returns the picked row, and its comparison over the reporting half.
    """
    picked = select(candidates[:, split.choosing], baseline[split.choosing])
    reporting = split.reporting
    return picked, compare(candidates[picked, reporting], baseline[reporting], seed)
