"""Tasks beside retrieval: judged similarity, clustering and classification, at every size.

A task is put to vectors of its texts as each method shows them, and answers with one figure or
several; the full vectors stand beside every size, paired item by item. Texts compare by cosine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.baselines import FullVectors
from nestvec.choose.evidence import Cell, Evidence, Part
from nestvec.choose.geometry import Geometry, geometry_of, shows_vectors
from nestvec.choose.methods import Method, Size, unique_names
from nestvec.codec.directions import directions
from nestvec.errors import UserError
from nestvec.measure.clusters import correct, v_measure
from nestvec.measure.intervals import Interval, bootstrap_means
from nestvec.measure.resamples import (
    draw_counts,
    paired_intervals,
    spearman_of_draws,
    v_measure_of_draws,
)
from nestvec.measure.similarity import spearman
from nestvec.progress import Progress, quiet
from nestvec.vectors import prefix

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Answers = dict[str, NDArray[Any]]
"""{measure: what a size answers for each item}."""

_PAIRS = 2_000


class Task(Protocol):
    """Something that vectors (n, d) of unit length can be good for."""

    @property
    def kind(self) -> str:
        """sts, clustering, classification or classes."""

    @property
    def items(self) -> int:
        """How many items the measures are taken over."""

    @property
    def together(self) -> NDArray[np.int64]:
        """Rows that belong together, (p, 2), for alignment; p may be 0."""

    @property
    def parts(self) -> Mapping[str, NDArray[np.int64]]:
        """Places in the answers that are told apart, by name; the first `items` are told of all."""

    def answers(self, vectors: F32) -> Answers:
        """What these vectors answer, for every measure of the task."""

    def values(self, measure: str, answers: Sequence[NDArray[Any]], seed: int) -> Judged:
        """Each size's figure, and its difference from the first, with intervals."""


Judged = list[tuple[Interval, Interval]]


class _Undivided:
    """A task whose items are told of together alone."""

    @property
    def parts(self) -> Mapping[str, NDArray[np.int64]]:
        """None."""
        return {}


@dataclass(frozen=True, eq=False)
class Similarity(_Undivided):
    """Pairs of texts with grades: Spearman's correlation of cosines with grades.

    pairs: (p, 2) rows of the vectors; grades: (p,). Belonging together are pairs whose grade lies
    in the upper fifth of the scale, as in SimCSE (arXiv:2104.08821, section 5).
    """

    pairs: NDArray[np.int64]
    grades: F64
    kind: str = "sts"

    @property
    def items(self) -> int:
        """Pairs."""
        return len(self.pairs)

    @property
    def together(self) -> NDArray[np.int64]:
        """Pairs of high grades."""
        least, most = self.grades.min(), self.grades.max()
        close: NDArray[np.int64] = self.pairs[self.grades > least + 0.8 * (most - least)]
        return close[:_PAIRS]

    def answers(self, vectors: F32) -> Answers:
        """The cosine of every pair."""
        left, right = vectors[self.pairs[:, 0]], vectors[self.pairs[:, 1]]
        return {"spearman": np.einsum("pd,pd->p", left, right, dtype=np.float64)}

    def values(self, measure: str, answers: Sequence[NDArray[Any]], seed: int) -> Judged:
        """Correlations, 0 where all cosines are one; pairs are drawn again."""
        counts = draw_counts(self.items, seed)
        found = [spearman(cosines, self.grades) if np.ptp(cosines) else 0.0 for cosines in answers]

        def of_draws(size: int) -> F64:
            return np.nan_to_num(spearman_of_draws(answers[size], self.grades, counts))

        return paired_intervals(np.array(found), of_draws, self.items)


@dataclass(frozen=True, eq=False)
class Clustering(_Undivided):
    """Labelled texts: V-measure of as many k-means clusters as there are labels.

    labels: (n,), of the vectors. Texts are drawn again; clusters are not made anew for a draw.
    """

    labels: NDArray[Any]
    seed: int = 0
    kind: str = "clustering"

    @property
    def items(self) -> int:
        """Texts."""
        return len(self.labels)

    @property
    def together(self) -> NDArray[np.int64]:
        """Pairs of texts of one label."""
        return same_label(self.labels, np.arange(self.items), self.seed)

    def answers(self, vectors: F32) -> Answers:
        """The cluster of every text."""
        from nestvec.measure.probes import cluster

        return {"v_measure": cluster(vectors, len(np.unique(self.labels)), self.seed)}

    def values(self, measure: str, answers: Sequence[NDArray[Any]], seed: int) -> Judged:
        """V-measures."""
        counts = draw_counts(self.items, seed)
        found = np.array([v_measure(self.labels, clusters) for clusters in answers])
        return paired_intervals(
            found, lambda i: v_measure_of_draws(self.labels, answers[i], counts), self.items
        )


@dataclass(frozen=True, eq=False)
class Classification(_Undivided):
    """Labelled texts to learn from and to be tested on: accuracy of two simple learners.

    labels: (n,), of the vectors; train, test: their rows. Measures: linear-probe (logistic
    regression) and 1-NN (the label of the nearest train text).
    """

    labels: NDArray[Any]
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    seed: int = 0
    kind: str = "classification"

    @property
    def items(self) -> int:
        """Test texts."""
        return len(self.test)

    @property
    def together(self) -> NDArray[np.int64]:
        """Pairs of test texts of one label."""
        return same_label(self.labels, self.test, self.seed)

    def answers(self, vectors: F32) -> Answers:
        """Which test texts get the right label."""
        from nestvec.measure.probes import linear_probe, nearest_labels

        known, train, test = self.labels[self.train], vectors[self.train], vectors[self.test]
        truth = self.labels[self.test]
        return {
            "linear-probe": correct(truth, linear_probe(train, known, test)),
            "1-NN": correct(truth, nearest_labels(train, known, test)),
        }

    def values(self, measure: str, answers: Sequence[NDArray[Any]], seed: int) -> Judged:
        """Accuracies; test texts are drawn again."""
        table = np.array(answers, np.float64)
        intervals = bootstrap_means(np.concatenate([table, table - table[0]]).T, seed)
        return list(zip(intervals[: len(table)], intervals[len(table) :], strict=True))


def same_label(labels: NDArray[Any], rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Pairs (p, 2) among the rows, of one label each and no row in two, drawn by seed."""
    mixed = np.random.default_rng(seed).permutation(rows)
    mixed = mixed[np.argsort(labels[mixed], kind="stable")]
    pairs: list[tuple[int, int]] = []
    at = 0
    while at + 1 < len(mixed):
        alike = labels[mixed[at]] == labels[mixed[at + 1]]
        if alike:
            pairs.append((mixed[at], mixed[at + 1]))
        at += 2 if alike else 1
    drawn = np.random.default_rng(seed).permutation(len(pairs))[:_PAIRS]
    return np.array(pairs, np.int64).reshape(-1, 2)[np.sort(drawn)]


def evaluate_task(
    vectors: NDArray[Any],
    task: Task,
    methods: Sequence[Method],
    *,
    fit_on: NDArray[np.int64] | None = None,
    layers: Mapping[int, tuple[F32, Sequence[int]]] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Evidence]:
    """Put a task to every method at every size: evidence for each of the task's measures.

    vectors: (n, d) of the task's texts. fit_on: rows that methods are fitted on, all where None.
    layers: {layer: (vectors (n, d) of that layer, widths)}, measured at those widths and set
    beside the full vectors of the whole model. Memory: some copies of the vectors.
    """
    began = time.perf_counter()
    unique_names(methods)
    listener = progress or quiet()
    whole = np.asarray(vectors, np.float32)
    sample = whole if fit_on is None else whole[fit_on]
    found: list[tuple[str, int | None, Size, Geometry]] = []
    answers: list[Answers] = []
    unfit: dict[str, str] = {}
    widths = {layer: list(each) for layer, (_, each) in (layers or {}).items()}
    listener.start(f"measuring {task.kind}", 1 + len(methods) + sum(map(len, widths.values())))
    for method in (FullVectors(), *methods):
        fitted = method.fit(sample, "cosine", seed, quiet())
        views = fitted.encode(whole, quiet()).views(slice(0, len(whole)))
        for size, view in zip(fitted.sizes, views, strict=False):
            if not shows_vectors(view, size, whole.shape[1]):
                unfit[method.name] = "its codes compare with queries alone"
                break
            unit = directions(view)
            answers.append(task.answers(unit))
            found.append((method.name, None, size, geometry_of(unit, task.together, seed)))
        listener.advance(1)
    for layer, (of_layer, each) in (layers or {}).items():
        for width in each:
            unit = prefix(np.asarray(of_layer, np.float32), width)
            answers.append(task.answers(unit))
            size = Size(width, 4 * width, 0, 0)
            found.append((f"layer {layer}", layer, size, geometry_of(unit, task.together, seed)))
            listener.advance(1)
    listener.finish()
    evidence = []
    for measure in answers[0]:
        asked = [each[measure] for each in answers]
        judged = task.values(measure, [each[: task.items] for each in asked], seed)
        parts = []
        for name, places in task.parts.items():
            told = task.values(measure, [each[places] for each in asked], seed)
            some = tuple(map(_cell, found[1:], told[1:]))
            parts.append(Part(name, len(places), told[0][0], some))
        evidence.append(
            Evidence(
                measure=measure,
                kind=task.kind,
                metric="cosine",
                documents=len(whole),
                dim=whole.shape[1],
                queries=task.items,
                full=judged[0][0],
                cells=tuple(map(_cell, found[1:], judged[1:])),
                parts=tuple(parts),
                fitted_rows=len(sample),
                fitted_on_relevant=fit_on is None,
                seed=seed,
                left_out=tuple(f"{name}: {why}" for name, why in unfit.items()),
            )
        )
    seconds = round(time.perf_counter() - began, 3)
    return [replace(each, seconds=seconds) for each in evidence]


def _cell(found: tuple[str, int | None, Size, Geometry], judged: tuple[Interval, Interval]) -> Cell:
    method, layer, size, geometry = found
    value, delta = judged
    return Cell(
        method, size.dims, size.code_bytes, size.fact_bytes, size.codec_bytes,
        value.value, value.low, value.high, delta.value, delta.low, delta.high,
        layer, geometry.intrinsic_dimension, geometry.alignment, geometry.uniformity,
    )  # fmt: skip


def similarity_task(
    left: Sequence[str], right: Sequence[str], grades: Sequence[float]
) -> tuple[list[str], Similarity]:
    """The distinct texts of graded pairs, and the task that they set.

    Raises UserError where all grades are one.
    """
    if len(set(grades)) < 2:
        raise UserError(
            f"graded pairs need two different grades; got {len(grades)} pairs, all alike."
        )
    texts = list(dict.fromkeys((*left, *right)))
    row_of = {text: row for row, text in enumerate(texts)}
    pairs = np.array([(row_of[a], row_of[b]) for a, b in zip(left, right, strict=True)], np.int64)
    return texts, Similarity(pairs, np.asarray(grades, np.float64))
