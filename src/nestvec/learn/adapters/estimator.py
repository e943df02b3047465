"""Adapters as scikit-learn has transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import MissingExtra, UserError
from nestvec.learn.adapters.examples import Examples
from nestvec.learn.adapters.methods import AdapterSettings, fit_adapter
from nestvec.learn.adapters.settings import Training, default_widths

try:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.utils.validation import check_is_fitted
except ImportError:
    raise MissingExtra("a scikit-learn estimator", "train") from None


class VectorAdapter(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A map of frozen vectors whose prefixes are good, trained with pairs or without.

    method: a name of nestvec adapt's, such as "linear" or "smec". widths: to be good at, rising;
    by default powers of two from 16. epochs, batch, learning_rate, temperature, random_state,
    device: of the training. blend: draw the map of linear back towards SVD as far as held-out
    examples rank better by it. width: coordinates that transform gives, by default the widest.

    adapter_: what was trained, which numpy applies and save() writes; n_features_in_.
    """

    def __init__(
        self,
        method: str = "linear",
        widths: Sequence[int] | None = None,
        epochs: int = 10,
        batch: int = 1_024,
        learning_rate: float = 2e-3,
        temperature: float = 0.03,
        random_state: int = 0,
        device: str = "cpu",
        blend: bool = True,
        width: int | None = None,
    ) -> None:
        self.method = method
        self.widths = widths
        self.epochs = epochs
        self.batch = batch
        self.learning_rate = learning_rate
        self.temperature = temperature
        self.random_state = random_state
        self.device = device
        self.blend = blend
        self.width = width

    def fit(
        self,
        X: NDArray[Any],
        y: NDArray[Any] | None = None,
        *,
        pairs: NDArray[Any] | None = None,
        grades: NDArray[Any] | None = None,
    ) -> VectorAdapter:
        """Train on documents X (n, d), float16 or float32, perhaps a memory map.

        y: queries (q, d); None trains without labels. pairs: (p, 2), row of the query and of the
        document that answers it; where None, query i is answered by document i, and there are as
        many of both. grades: (p,) above 0, by default 1.
        Raises UserError for what cannot be used.
        """
        if y is not None and pairs is None:
            if len(y) != len(X):
                raise UserError(
                    f"without pairs, query i is answered by document i; got {len(y)} queries for "
                    f"{len(X)} documents. Give pairs."
                )
            pairs = np.stack([np.arange(len(X))] * 2, axis=1)
        rows = None if pairs is None else np.asarray(pairs, np.int64)
        rated = None if grades is None else np.asarray(grades, np.float32)
        examples = Examples(X, y, rows, rated)
        dim = examples.dim
        widths = default_widths(dim) if self.widths is None else self.widths
        settings = AdapterSettings(
            widths=tuple(widths),
            training=Training(
                batch=self.batch,
                rate=self.learning_rate,
                epochs=self.epochs,
                seed=self.random_state,
                device=self.device,
            ),
            temperature=self.temperature,
            blend=self.blend,
        )
        self.adapter_ = fit_adapter(self.method, examples, settings)
        self.n_features_in_ = dim
        return self

    def transform(self, X: NDArray[Any]) -> NDArray[np.float32]:
        """Documents or queries (n, d) mapped, cut to width and at length 1: (n, width)."""
        check_is_fitted(self, "adapter_")
        return self.adapter_.transform(np.asarray(X), self.width)
