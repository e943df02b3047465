"""A text classifier with heads at several layers: texts that are sure early go no deeper."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from nestvec.errors import MissingExtra, UserError
from nestvec.learn.classifier import NestedClassifier, checked_texts
from nestvec.learn.layer_reader import LayerReader
from nestvec.learn.models import load_heads
from nestvec.learn.objective import Objective
from nestvec.learn.sentence_model import load_model, quiet_libraries
from nestvec.progress import Progress, quiet

try:
    from sklearn.utils.validation import check_is_fitted
except ImportError:
    raise MissingExtra("a scikit-learn estimator", "train") from None

I64 = NDArray[np.int64]
_AT_ONCE = 4_096  # texts whose states are kept between layers: 100 MB at 16 tokens, 384 wide


class Stops(Protocol):
    """What says where texts stop; nestvec.Cascade does, fitted on logits by layer."""

    def run(self, X: Callable[[int, I64], NDArray[Any]], rows: I64 | None = None) -> Any:
        """Labels and widths, which are layers here, of rows, by logits that are asked for."""


class EarlyClassifier(NestedClassifier):
    """A text encoder fine-tuned with class heads at several layers and widths.

    layers: that have heads beside the last, which always has, counted from 1. What the other
    settings say is NestedClassifier's; all heads are trained at once, deeper ones weighing more
    (nestvec.learn.losses.heads.layered_cross_entropy). A cascade over layers then runs unsure texts
    alone through the rest of the encoder:

        cascade = nv.Cascade(policy="keep").fit(
            early.logits_by_layer(held_out), labels, early.classes_
        )
        labels, layers = early.run(cascade, texts)

    layers_: that have heads, the last among them; costs of a cascade are layers if none are given.
    classes_, widths_, model_, n_steps_: as there.
    """

    def __init__(
        self,
        model: str = "minilm",
        layers: Sequence[int] = (1, 2, 3, 4),
        widths: Sequence[int] = (64, 384),
        head: str = "separate",
        epochs: float = 3.0,
        batch: int = 32,
        learning_rate: float = 5e-5,
        smoothing: float = 0.0,
        max_tokens: int | None = None,
        bfloat16: bool = False,
        random_state: int = 0,
        width: int | None = None,
    ) -> None:
        super().__init__(
            model, widths, head, epochs, batch, learning_rate, smoothing, max_tokens, bfloat16,
            random_state, width,
        )  # fmt: skip
        self.layers = layers

    @classmethod
    def load(
        cls, folder: str | os.PathLike[str], *, max_tokens: int | None = None
    ) -> EarlyClassifier:
        """The classifier that `nestvec train` with layers.kind "heads" wrote, ready to be used.

        max_tokens: where texts are cut, by default as in its training.
        Raises UserError where the folder has no heads at layers.
        """
        place = Path(folder)
        heads, widths, labels = load_heads(place)
        early = tuple(layer for layer in heads if layer is not None)
        if not early:
            raise UserError(
                f"a classifier over layers has heads at some; {place} has at the last alone: train "
                'it with layers.kind "heads".'
            )
        with quiet_libraries():
            model = load_model(str(place), str(place), max_tokens=max_tokens, remote_code=False)
        made = cls(str(place), early, widths, max_tokens=max_tokens)
        made.model_ = model.eval()
        made.widths_, made.classes_ = widths, np.asarray(labels)
        made.heads_ = heads.pop(None)
        made.early_heads_ = {layer: one for layer, one in heads.items() if layer is not None}
        made._place_heads()
        return made

    def logits_by_layer(
        self, X: Any, *, progress: Progress | None = None
    ) -> dict[int, NDArray[np.float32]]:
        """{layer: logits (n, classes)} of texts (n,) at `width`, by one pass through the layers."""
        texts = self._checked(X)
        found: dict[int, list[NDArray[np.float32]]] = {layer: [] for layer in self.layers_}
        listener = progress or quiet()
        listener.start("labelling at every layer", len(texts))
        for start in range(0, len(texts), _AT_ONCE):
            some = texts[start : start + _AT_ONCE]
            read = self.reader(some)
            for layer, kept in found.items():
                kept.append(read(layer, np.arange(len(some))))
            listener.advance(len(some))
        listener.finish()
        return {layer: np.concatenate(kept) for layer, kept in found.items()}

    def run(
        self, cascade: Stops, X: Any, *, progress: Progress | None = None
    ) -> tuple[NDArray[Any], I64]:
        """Labels (n,) of texts (n,), and the layer (n,) that each stopped at.

        cascade: a fitted nestvec.Cascade over some of layers_. Raises UserError where it reads
        layers that have no heads.
        """
        texts = self._checked(X)
        labels, layers = [], []
        listener = progress or quiet()
        listener.start("labelling", len(texts))
        for start in range(0, len(texts), _AT_ONCE):
            some = texts[start : start + _AT_ONCE]
            stopped = cascade.run(self.reader(some), np.arange(len(some)))
            labels.append(stopped.labels)
            layers.append(np.asarray(stopped.widths, np.int64))
            listener.advance(len(some))
        listener.finish()
        return np.concatenate(labels), np.concatenate(layers)

    def reader(self, X: Any) -> Callable[[int, I64], NDArray[np.float32]]:
        """A function of a layer and rows (m,) of X that gives their logits (m, classes).

        What rows were read last is kept: asked for a deeper layer of some of them, only the layers
        between run. Memory: hidden states of those rows.
        """
        texts = self._checked(X)
        reader = LayerReader(self.model_, texts, batch=self.batch)
        width = self._width()

        def logits(layer: int, rows: I64) -> NDArray[np.float32]:
            if layer not in self.layers_:
                listed = ", ".join(map(str, self.layers_))
                raise UserError(f"layers that have heads are {listed}; got {layer}; take one.")
            embeddings = reader.read(layer, rows)
            with torch.inference_mode():
                found = self._heads_at(layer)(embeddings)[width]
            return np.asarray(found.numpy(), np.float32)

        return logits

    def score_by_layer(self, X: Any, y: Any) -> dict[int, float]:
        """{layer: accuracy} at `width`."""
        truth = np.asarray(y)
        return {
            layer: float((self.classes_[found.argmax(axis=1)] == truth).mean())
            for layer, found in self.logits_by_layer(X).items()
        }

    def _heads_at(self, layer: int) -> Any:
        return self.early_heads_.get(layer, self.heads_)

    def _checked(self, X: Any) -> list[str]:
        check_is_fitted(self, "model_")
        return checked_texts(X)

    def _tables(self) -> dict[str, Any]:
        return {
            **super()._tables(),
            "layers": {"kind": "heads", "at": [int(layer) for layer in self.layers]},
        }

    def _keep_heads(self, objective: Objective) -> None:
        super()._keep_heads(objective)
        self.early_heads_ = {int(at): one for at, one in objective.early_heads.items()}
        self._place_heads()

    def _place_heads(self) -> None:
        """Heads are few numbers, and stay where logits are wanted."""
        self.layers_ = (*sorted(self.early_heads_), LayerReader(self.model_, []).depth)
        assert self.heads_ is not None
        for one in (self.heads_, *self.early_heads_.values()):
            one.cpu().eval()
