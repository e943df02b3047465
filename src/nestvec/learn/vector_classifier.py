"""A classifier of frozen vectors that labels by every prefix of a map of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nestvec.adapters.adapter import Adapter, Stage
from nestvec.adapters.maps import Linear
from nestvec.errors import MissingExtra, UserError
from nestvec.learn.adapters.modules import LinearMap
from nestvec.learn.adapters.settings import check_device, default_widths
from nestvec.learn.adapters.spectrum import principal_axes
from nestvec.learn.losses.heads import SeparateHeads, TiedHead, nested_cross_entropy
from nestvec.nesting import Nesting
from nestvec.progress import Progress, quiet
from nestvec.vectors import normalize

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets, unique_labels
    from sklearn.utils.validation import check_is_fitted
except ImportError:
    raise MissingExtra("a scikit-learn estimator", "train") from None

F32 = NDArray[np.float32]
# Multiplications of a step below which threads wait for one another more than they work: with a
# batch of 256 and 384 dimensions on two busy cores, 40 steps took 0.7 to 1.1 s for 2.1 to 5.2.
_ONE_THREAD = 2**27
_HEADS: dict[str, type[SeparateHeads | TiedHead]] = {"separate": SeparateHeads, "tied": TiedHead}


class VectorClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Labels of vectors whose encoder stays as it is: one matrix from SVD, and heads on its widths.

    Matrix and heads are trained together by cross entropy summed over widths (MRL, MRL-E;
    Kusupati et al. 2022, arXiv:2205.13147, eq. 1); vectors are read at length 1. widths: rising,
    by default powers of two from 16 and the vectors' own. head: "separate" or "tied". epochs,
    batch, learning_rate (of AdamW, falling as a cosine), decay, smoothing, random_state, device: of
    the training. width: what predict and score use, by default the widest.

    classes_: labels; widths_; map_: an Adapter, whose prefixes the heads read; losses_: the mean of
    each epoch. Memory: the vectors, and a batch.
    """

    def __init__(
        self,
        widths: Sequence[int] | None = None,
        head: str = "separate",
        epochs: int = 30,
        batch: int = 256,
        learning_rate: float = 3e-3,
        decay: float = 0.01,
        smoothing: float = 0.0,
        random_state: int = 0,
        device: str = "cpu",
        width: int | None = None,
    ) -> None:
        self.widths = widths
        self.head = head
        self.epochs = epochs
        self.batch = batch
        self.learning_rate = learning_rate
        self.decay = decay
        self.smoothing = smoothing
        self.random_state = random_state
        self.device = device
        self.width = width

    def fit(self, X: NDArray[Any], y: Any, progress: Progress | None = None) -> VectorClassifier:
        """Train on vectors X (n, d) and labels (n,).

        Raises UserError for vectors that are not finite, widths above d, labels that are not one a
        row, fewer than two classes, another head, and counts or rates not above 0.
        """
        vectors, labels = self._checked(X, y)
        classes = unique_labels(labels)
        if len(classes) < 2:
            raise UserError(f"a classifier needs 2 classes or more; got 1 class, {classes[0]!r}.")
        rows = torch.from_numpy(normalize(vectors)).to(self.device)
        dim = vectors.shape[1]
        widths = (*default_widths(dim), dim) if self.widths is None else tuple(self.widths)
        if max(widths) > dim:
            raise UserError(f"widths go up to the vectors' own, {dim}; got {max(widths)}.")
        nesting = Nesting(widths)
        torch.manual_seed(self.random_state)
        # coordinates of about 1, from which heads of their usual start learn as fast as they can
        axes = principal_axes(vectors, self.random_state) * np.float32(dim**0.5)
        matrix = LinearMap(np.ascontiguousarray(axes[:, : widths[-1]])).to(self.device)
        heads: SeparateHeads | TiedHead = _HEADS[self.head](nesting, len(classes))
        heads.to(self.device)
        numbers = torch.from_numpy(np.searchsorted(classes, labels)).to(self.device)
        threads = torch.get_num_threads()
        if self.batch * dim * widths[-1] < _ONE_THREAD:
            torch.set_num_threads(1)
        try:
            self.losses_ = self._train(matrix, heads, nesting, rows, numbers, progress or quiet())
        finally:
            torch.set_num_threads(threads)
        self.classes_, self.widths_, self.n_features_in_ = classes, nesting.widths, dim
        weight = matrix.weight.detach().cpu().numpy()
        self.map_ = Adapter("classes", dim, widths, (Stage(widths[-1], (Linear(weight),)),))
        self.heads_ = heads.cpu().eval()
        return self

    def _train(
        self,
        matrix: LinearMap,
        heads: SeparateHeads | TiedHead,
        nesting: Nesting,
        rows: Tensor,
        numbers: Tensor,
        progress: Progress,
    ) -> list[float]:
        n = len(rows)
        steps = -(-n // self.batch)
        weights = [*matrix.parameters(), *heads.parameters()]
        optimizer = torch.optim.AdamW(weights, lr=self.learning_rate, weight_decay=self.decay)
        rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps * self.epochs)
        drawn = torch.Generator().manual_seed(self.random_state)
        losses = []
        progress.start("train", steps * self.epochs)
        for _ in range(self.epochs):
            summed = 0.0
            order = torch.randperm(n, generator=drawn)
            for first in range(0, n, self.batch):
                picks = order[first : first + self.batch].to(rows.device)
                logits = heads(matrix(rows[picks]))
                loss = nested_cross_entropy(
                    logits, numbers[picks], nesting, smoothing=self.smoothing
                ).total
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                rates.step()
                summed += float(loss.detach()) * len(picks) / n
                progress.advance(1)
            losses.append(summed)
        progress.finish()
        if not np.isfinite(losses).all():
            raise UserError(
                f"a loss must stay a number; it was {losses[-1]}. Lower the learning rate below "
                f"{self.learning_rate:g}."
            )
        return losses

    def heads(self) -> dict[int, tuple[F32, F32]]:
        """{width: (weight (classes, width), bias (classes,))}, as numpy has them."""
        check_is_fitted(self)
        state = {name: each.numpy() for name, each in self.heads_.state_dict().items()}
        if "head.weight" in state:
            weight, bias = state["head.weight"], state["head.bias"]
            return {width: (weight[:, :width], bias) for width in self.widths_}
        return {
            width: (state[f"heads.{i}.weight"], state[f"heads.{i}.bias"])
            for i, width in enumerate(self.widths_)
        }

    def logits(self, X: NDArray[Any]) -> dict[int, F32]:
        """{width: (n, classes)} of vectors (n, d)."""
        check_is_fitted(self)
        mapped = self._mapped(X)
        with torch.no_grad():
            found = self.heads_(mapped)
        return {width: each.numpy() for width, each in found.items()}

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        """Labels (n,) at `width`."""
        check_is_fitted(self)
        width = self.widths_[-1] if self.width is None else self.width
        if width not in self.widths_:
            raise UserError(
                f"width must be one that was trained, {', '.join(map(str, self.widths_))}; got "
                f"{width}."
            )
        found: NDArray[Any] = self.classes_[self.logits(X)[width].argmax(axis=1)]
        return found

    def score_by_width(self, X: NDArray[Any], y: Any) -> dict[int, float]:
        """{width: accuracy}."""
        labels = np.asarray(y)
        return {
            width: float((self.classes_[found.argmax(axis=1)] == labels).mean())
            for width, found in self.logits(X).items()
        }

    def _mapped(self, X: NDArray[Any]) -> Tensor:
        vectors = np.asarray(X, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.n_features_in_:
            raise UserError(
                f"vectors are (n, {self.n_features_in_}), as those trained on; got {vectors.shape}."
            )
        (linear,) = self.map_.stages[0].maps
        return torch.from_numpy(linear.apply(normalize(vectors)))

    def _checked(self, X: NDArray[Any], y: Any) -> tuple[F32, NDArray[Any]]:
        check_classification_targets(y)
        vectors, labels = np.asarray(X, np.float32), np.asarray(y)
        if vectors.ndim != 2 or labels.shape != (len(vectors),) or not len(vectors):
            raise UserError(
                f"labels are one a vector; got {labels.shape} for vectors {vectors.shape}."
            )
        if not np.isfinite(vectors).all():
            raise UserError("vectors are finite numbers; some are not. Leave those rows out.")
        if self.head not in _HEADS:
            raise UserError(f"a head is one of {', '.join(_HEADS)}; got {self.head!r}.")
        for name in ("epochs", "batch", "learning_rate"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be above 0; got {getattr(self, name)}.")
        check_device(self.device)
        return vectors, labels
