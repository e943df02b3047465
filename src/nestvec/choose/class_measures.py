"""What labelled vectors are good for at a size: probes, neighbours, few examples, agreement.

A Task for choose/tasks.py: train rows are learned from and searched, test rows are told; further
groups of test rows (changed pictures, other sets) are asked of the same train rows and told apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.tasks import Answers, Judged, same_label
from nestvec.measure.classes import (
    ap_at_k,
    first_right,
    nearest_rows,
    precision_at_k,
    relevant_hits,
)
from nestvec.measure.intervals import bootstrap_means
from nestvec.measure.shots import few_shot

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

HITS = 10
SHOTS = (1, 3, 5, 7, 9)
DRAWS = 5
"""Draws of the examples of each number of shots, whose mean is told."""
PROBE, NEAREST = "linear-probe", "1-NN"
_AS_FULL, _COARSE = ", as full", ", coarse"


@dataclass(frozen=True, eq=False)
class LabelledVectors:
    """Vectors (n, d) of train rows, test rows and further groups, with numbers of classes (n,).

    train, test: their rows. groups: {name: rows} that are told apart. A group is asked among the
    train rows of its own classes, as ImageNet-A and -R are. parts: {name: places in test}. coarse:
    (c,) the number of the group that stands for each class, None where there is no map.
    """

    labels: I64
    train: I64
    test: I64
    groups: Mapping[str, I64] = field(default_factory=dict)
    test_parts: Mapping[str, I64] = field(default_factory=dict)
    coarse: I64 | None = None
    seed: int = 0
    kind: str = "classes"

    @property
    def items(self) -> int:
        """Test rows; answers hold those of the groups behind them."""
        return len(self.test)

    @property
    def together(self) -> I64:
        """Pairs of test rows of one class."""
        return same_label(self.labels, self.test, self.seed)

    @property
    def parts(self) -> dict[str, I64]:
        """Places in the answers of every part and group."""
        found = {name: np.asarray(places) for name, places in self.test_parts.items()}
        start = len(self.test)
        for name, rows in self.groups.items():
            found[name] = start + np.arange(len(rows))
            start += len(rows)
        return found

    def answers(self, vectors: F32) -> Answers:
        """Every measure of the test rows, and behind them of the groups."""
        from nestvec.measure.probes import probe_scores

        known, train = self.labels[self.train], vectors[self.train]
        asked = [self.test, *self.groups.values()]
        names, scores = probe_scores(train, known, vectors[np.concatenate(asked)])
        found: dict[str, list[NDArray[Any]]] = {}
        start = 0
        for i, rows in enumerate(asked):
            own = np.arange(len(known))
            table = scores[start : start + len(rows)]
            start += len(rows)
            if i:
                within = np.unique(self.labels[rows])
                own = np.flatnonzero(np.isin(known, within))
                table = np.where(np.isin(names, within), table, -np.inf)
            probed = names[table.argmax(axis=1)]
            told = self._asked(vectors[rows], self.labels[rows], probed, train[own], known[own])
            for name, values in told.items():
                found.setdefault(name, []).append(values)
        return {name: np.concatenate(values) for name, values in found.items()}

    def _asked(
        self, vectors: F32, truth: I64, probed: I64, train: F32, known: I64
    ) -> dict[str, NDArray[Any]]:
        hits = nearest_rows(train, vectors, HITS)
        relevant, totals = relevant_hits(hits, known, truth)
        nearest = known[hits[:, 0]]
        found: dict[str, NDArray[Any]] = {
            PROBE: (probed == truth).astype(np.float64),
            NEAREST: first_right(relevant),
            f"mAP@{HITS}": ap_at_k(relevant, HITS, totals),
            f"P@{HITS}": precision_at_k(relevant, HITS),
        }
        fewest = int(np.unique(self.labels[self.train], return_counts=True)[1].min())
        for shots in SHOTS:
            if shots <= fewest:
                right = few_shot(train, known, vectors, truth, shots, DRAWS, self.seed)
                found[f"{shots}-shot"] = right.mean(axis=0)
        found[PROBE + _AS_FULL], found[NEAREST + _AS_FULL] = probed, nearest
        if self.coarse is not None:
            for name, labels in ((PROBE, probed), (NEAREST, nearest)):
                same = self.coarse[labels] == self.coarse[truth]
                found[name + _COARSE] = same.astype(np.float64)
        return found

    def values(self, measure: str, answers: Sequence[NDArray[Any]], seed: int) -> Judged:
        """Means with intervals over rows; agreement is with the labels at full width."""
        table = np.array(answers)
        if measure.endswith(_AS_FULL):
            table = table == table[0]
        table = table.astype(np.float64)
        intervals = bootstrap_means(np.concatenate([table, table - table[0]]).T, seed)
        return list(zip(intervals[: len(table)], intervals[len(table) :], strict=True))


def head_and_tail(labels: I64, truth: I64) -> dict[str, I64]:
    """Places of test rows whose class has many, and few, train rows: {"head": ..., "tail": ...}.

    labels: (n,) of train rows; truth: (m,) of test rows. Head classes are those with as many rows
    as the middle class or more. None where the largest class is not four times the smallest.
    """
    names, counts = np.unique(labels, return_counts=True)
    if len(names) < 2 or counts.max() < 4 * counts.min():
        return {}
    rich = np.isin(truth, names[counts >= np.median(counts)])
    return {"head classes": np.flatnonzero(rich), "tail classes": np.flatnonzero(~rich)}
