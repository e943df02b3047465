"""Quality at every width, and layer where they are trained, from one encoding of the dev data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.data.training import Examples
from nestvec.learn.layers import Layers, encode_layers
from nestvec.learn.losses.nested import prefix_name
from nestvec.learn.losses.two_d import layer_name
from nestvec.learn.pixels import Pixels, encode_pictures
from nestvec.measure.clusters import correct
from nestvec.measure.metrics import Measure, Relevance, ranks_of_relevant
from nestvec.measure.similarity import spearman
from nestvec.vectors import prefix

F32 = NDArray[np.float32]
Cuts = Mapping[int | None, Sequence[int]]
"""{layer: widths}; None for the model itself, where no layers are trained."""

_BLOCK = 1024
_MEASURES = {"pairs": "nDCG@10", "scored": "spearman", "labelled": "1-NN"}
_MEASURE = Measure.parse("nDCG@10")


class DevMeasure:
    """The quality of a model at every cut.

    Pairs: nDCG@10 of each anchor's positives among all of the dev data's. Scored pairs:
    Spearman's correlation of cosines with scores. Labelled texts: accuracy of the nearest other
    text's label. layers: of the model, where cuts name any. pixels: of pictures, which then stand
    for texts: those of pairs have a text each, which is what a picture should find.
    """

    def __init__(
        self,
        dev: Examples,
        cuts: Cuts,
        *,
        layers: Layers | None = None,
        batch: int = 64,
        pixels: Pixels | None = None,
    ) -> None:
        self.measure = _MEASURES[dev.shape]
        self._dev = dev
        self._cuts = cuts
        self._layers = layers
        self._batch = batch
        self._pixels = pixels

    def by_cut(self, model: Any) -> dict[str, float]:
        """{cut: value} of a model; cuts are named "64" or "layer 3:64"."""
        columns = list(self._dev.columns.values())
        if self._dev.shape == "labelled":
            labels = np.asarray(columns[1])
            vectors = self._encode(model, columns[0])
            return {name: _nearest_label(x, labels) for name, x in self._cut(vectors)}
        if self._dev.shape == "scored":
            grades = np.asarray(columns[2])
            left, right = (self._encode(model, columns[i]) for i in (0, 1))
            both = zip(self._cut(left), self._cut(right), strict=True)
            return {name: spearman((x * y).sum(axis=1), grades) for (name, x), (_, y) in both}
        anchors, positives, relevance = _judged(columns[0], columns[1])
        queries, documents = self._encode(model, anchors), self._encode(model, positives)
        both = zip(self._cut(queries), self._cut(documents), strict=True)
        return {name: _ndcg(x, y, relevance) for (name, x), (_, y) in both}

    def _cut(self, vectors: dict[int | None, F32]) -> list[tuple[str, F32]]:
        """Every cut with its name, at unit length."""
        return [
            (
                prefix_name(width) if layer is None else layer_name(layer, width),
                prefix(vectors[layer], width),
            )
            for layer, widths in self._cuts.items()
            for width in widths
        ]

    def _encode(self, model: Any, texts: Sequence[Any]) -> dict[int | None, F32]:
        """{layer: vectors (n, d)} of the texts, or pictures by their places, in order."""
        if self._pixels is not None and not isinstance(texts[0], str):
            return {None: encode_pictures(model, self._pixels, texts, batch=self._batch)}
        if self._layers is None:
            found = model.encode(
                list(texts), batch_size=self._batch, show_progress_bar=False, truncate_dim=None
            )
            return {None: np.asarray(found, np.float32)}
        wanted = [layer for layer in self._cuts if layer is not None]
        of_layer = encode_layers(model, self._layers, texts, wanted, batch=self._batch)
        return {layer: of_layer[layer] for layer in wanted}


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
