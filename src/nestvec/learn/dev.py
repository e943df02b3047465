"""Quality at every width during training, all of them from one encoding of the dev data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.data.training import Examples
from nestvec.measure.clusters import correct
from nestvec.measure.metrics import Measure, Relevance, ranks_of_relevant
from nestvec.measure.similarity import spearman
from nestvec.vectors import prefix

F32 = NDArray[np.float32]
_BLOCK = 1024
_MEASURES = {"pairs": "nDCG@10", "scored": "spearman", "labelled": "1-NN"}
_MEASURE = Measure.parse("nDCG@10")


class DevMeasure:
    """The quality of a model at every width.

    Pairs: nDCG@10 of each anchor's positives among all of the dev data's. Scored pairs:
    Spearman's correlation of cosines with scores. Labelled texts: accuracy of the nearest other
    text's label.
    """

    def __init__(self, dev: Examples, widths: Sequence[int], *, batch: int = 64) -> None:
        self.widths = tuple(widths)
        self.measure = _MEASURES[dev.shape]
        self._dev = dev
        self._batch = batch

    def by_width(self, model: Any) -> dict[int, float]:
        """{width: value} of a model."""
        columns = self._dev.columns
        texts = list(columns.values())
        if self._dev.shape == "labelled":
            vectors = self._encode(model, texts[0])
            labels = np.asarray(texts[1])
            return {w: _nearest_label(prefix(vectors, w), labels) for w in self.widths}
        if self._dev.shape == "scored":
            left, right = self._encode(model, texts[0]), self._encode(model, texts[1])
            grades = np.asarray(texts[2])
            cosines = {w: (prefix(left, w) * prefix(right, w)).sum(axis=1) for w in self.widths}
            return {w: spearman(cosines[w], grades) for w in self.widths}
        anchors, positives, relevance = _judged(texts[0], texts[1])
        queries, documents = self._encode(model, anchors), self._encode(model, positives)
        return {w: _ndcg(prefix(queries, w), prefix(documents, w), relevance) for w in self.widths}

    def _encode(self, model: Any, texts: Sequence[str]) -> F32:
        vectors = model.encode(
            list(texts),
            batch_size=self._batch,
            show_progress_bar=False,
            convert_to_numpy=True,
            truncate_dim=None,
        )
        return np.asarray(vectors, np.float32)


def _judged(
    anchors: Sequence[str], positives: Sequence[str]
) -> tuple[list[str], list[str], Relevance]:
    """The distinct anchors, the distinct positives, and which of these belong to each anchor."""
    row_of = {text: row for row, text in enumerate(dict.fromkeys(positives))}
    gains: dict[str, dict[int, float]] = {}
    for anchor, positive in zip(anchors, positives, strict=True):
        gains.setdefault(anchor, {})[row_of[positive]] = 1.0
    return list(gains), list(row_of), Relevance.from_gains(list(gains.values()))


def _ndcg(queries: F32, documents: F32, relevance: Relevance) -> float:
    values = []
    for start in range(0, len(queries), _BLOCK):
        part = relevance.take(slice(start, start + _BLOCK))
        ranks = ranks_of_relevant(queries[start : start + _BLOCK] @ documents.T, part)
        values.append(_MEASURE.values(ranks, part))
    return float(np.concatenate(values).mean())


def _nearest_label(vectors: F32, labels: NDArray[Any]) -> float:
    found = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), _BLOCK):
        scores = vectors[start : start + _BLOCK] @ vectors.T
        rows = np.arange(len(scores))
        scores[rows, start + rows] = -np.inf
        found[start : start + _BLOCK] = scores.argmax(axis=1)
    return float(correct(labels, labels[found]).mean())
