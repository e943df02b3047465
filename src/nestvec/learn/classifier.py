"""A text classifier with a head for every width, as scikit-learn has classifiers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nestvec.data.model_files import find_model
from nestvec.data.training import Examples
from nestvec.errors import MissingExtra, UserError
from nestvec.learn.objective import Objective
from nestvec.learn.recipe import parse_recipe
from nestvec.learn.sentence_model import load_model, quiet_libraries
from nestvec.learn.trainer import train_model

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets, unique_labels
    from sklearn.utils.validation import check_is_fitted
except ImportError:
    raise MissingExtra("a scikit-learn estimator", "train") from None


class NestedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A text encoder fine-tuned with nested class heads: labels from every prefix of a vector.

    model: "minilm", a folder or a hub name. widths: rising, at most the model's. head: "separate"
    (MRL: a head a width) or "tied" (MRL-E: one for all). epochs, batch, learning_rate, smoothing,
    max_tokens, bfloat16, random_state: of the training. width: what predict, predict_proba and
    score use, by default the widest.

    classes_: labels; widths_: trained; model_: the sentence-transformers model; n_steps_.
    Kusupati et al. 2022 (arXiv:2205.13147, eq. 1).
    """

    def __init__(
        self,
        model: str = "minilm",
        widths: Sequence[int] = (16, 32, 64, 128, 384),
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
        self.model = model
        self.widths = widths
        self.head = head
        self.epochs = epochs
        self.batch = batch
        self.learning_rate = learning_rate
        self.smoothing = smoothing
        self.max_tokens = max_tokens
        self.bfloat16 = bfloat16
        self.random_state = random_state
        self.width = width

    def fit(self, X: Any, y: Any) -> NestedClassifier:
        """Train encoder and heads on texts (n,) and their labels (n,).

        Raises UserError where texts or labels do not fit, before the model is loaded.
        """
        texts = checked_texts(X)
        check_classification_targets(y)
        labels = np.asarray(y)
        if labels.ndim != 1 or len(labels) != len(texts):
            raise UserError(
                f"labels are one a text; got {labels.shape} for {len(texts)} texts; give as many."
            )
        classes = unique_labels(labels)
        if len(classes) < 2:
            raise UserError(f"a classifier needs 2 classes or more; got 1 class, {classes[0]!r}.")
        recipe = parse_recipe(self._tables(), where="the estimator")
        files = find_model(self.model)
        torch.manual_seed(self.random_state)
        with quiet_libraries():
            model = load_model(
                self.model, files.location, max_tokens=self.max_tokens, remote_code=False
            )
        objective = Objective(model, recipe, classes=len(classes))
        names = [str(label) for label in labels]
        numbers = {str(label): number for number, label in enumerate(classes)}
        examples = Examples("labelled", {"text": texts, "label": names}, "fit")
        with tempfile.TemporaryDirectory() as folder:
            done = train_model(objective, recipe, examples, Path(folder), labels=numbers)
        self.classes_ = classes
        self.widths_ = objective.nesting.widths
        self.model_ = model
        self._keep_heads(objective)
        self.n_steps_ = done.steps
        return self

    def _keep_heads(self, objective: Objective) -> None:
        self.heads_ = objective.heads

    def _tables(self) -> dict[str, Any]:
        """The recipe of the training."""
        return {
            "model": {"name": self.model, "max_tokens": self.max_tokens}
            if self.max_tokens
            else {"name": self.model},
            "data": {"train": "texts given to fit"},
            "nesting": {"widths": list(self.widths)},
            "loss": {
                "kind": "cross_entropy",
                "head": self.head,
                "smoothing": self.smoothing,
            },
            "train": {
                "epochs": self.epochs,
                "batch": self.batch,
                "learning_rate": self.learning_rate,
                "bfloat16": self.bfloat16,
                "seed": self.random_state,
            },
        }

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Vectors (n, d) of texts, of which every prefix in widths_ was trained."""
        check_is_fitted(self)
        vectors = self.model_.encode(
            checked_texts(X), show_progress_bar=False, convert_to_numpy=True
        )
        return np.asarray(vectors, np.float32)

    def predict_proba_by_width(self, X: Any) -> dict[int, NDArray[np.float64]]:
        """{width: probabilities (n, classes)} from one encoding of the texts."""
        vectors = torch.as_tensor(self.transform(X))
        heads = self.heads_
        assert heads is not None
        device = next(heads.parameters()).device
        with torch.no_grad():
            logits = heads(vectors.to(device))
            return {
                width: torch.softmax(found.double(), dim=-1).cpu().numpy()
                for width, found in logits.items()
            }

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities (n, classes) at `width`."""
        check_is_fitted(self)
        return self.predict_proba_by_width(X)[self._width()]

    def _width(self) -> int:
        """That labels are read at."""
        width = self.widths_[-1] if self.width is None else self.width
        if width not in self.widths_:
            raise UserError(
                f"width must be one that was trained, {', '.join(map(str, self.widths_))}; got "
                f"{width}."
            )
        return int(width)

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels (n,) at `width`."""
        chances = self.predict_proba(X)
        found: NDArray[Any] = self.classes_[chances.argmax(axis=1)]
        return found

    def score_by_width(self, X: Any, y: Any) -> dict[int, float]:
        """{width: accuracy} from one encoding of the texts."""
        labels = np.asarray(y)
        return {
            width: float((self.classes_[found.argmax(axis=1)] == labels).mean())
            for width, found in self.predict_proba_by_width(X).items()
        }

    def __sklearn_tags__(self) -> Any:
        """Texts, one a sample."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.non_deterministic = False
        return tags


def checked_texts(X: Any) -> list[str]:
    """Texts (n,) as a list. Raises UserError where one holds nothing, or there are none."""
    texts = [X] if isinstance(X, str) else list(X)
    for place, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"texts must be strings that hold something; got {text!r} at {place}.")
    if not texts:
        raise UserError("texts must be one or more; got none.")
    return texts
