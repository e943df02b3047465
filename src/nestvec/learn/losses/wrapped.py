"""A sentence-transformers loss at every width: a drop-in for that library's trainer.

No forward is patched. The wrapped loss gets a stand-in for its model that hands over embeddings
which were made before; the real model runs once a column, whatever the number of widths.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from nestvec.errors import UserError
from nestvec.learn.losses.nested import prefix_name, prefixes
from nestvec.nesting import Nesting

_KEY = "sentence_embedding"


class Handed(nn.Module):
    """In the place of a model: gives back the embedding that its features already hold."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """The features, untouched."""
        return features

    def get_embedding_dimension(self) -> int:
        """Coordinates of the real model's embeddings."""
        return self.dim


class NestedLoss(nn.Module):
    """sum over widths m of c_m loss(x[:m], ...), for any loss of sentence-transformers.

    model: the sentence-transformers model; loss: made with the same model, and changed so that it
    no longer runs it (its `model` becomes a stand-in). nesting: a Nesting, its text ("32,64,128")
    or widths in any order. normalized: prefixes are brought to unit length, as losses of cosines
    want; pass False for losses of magnitudes (MarginMSE, Triplet, MSE against a teacher).
    A teacher's vectors as labels, as wide as the model, are cut and normalized alike.
    forward gives {"32": loss, ...}, weighed: the trainer sums and logs them by width.
    Raises UserError where the loss caches gradients itself (see cached()), or widths do not fit.

    Kusupati et al. 2022 (arXiv:2205.13147, eq. 1).
    """

    def __init__(
        self,
        model: Any,
        loss: nn.Module,
        nesting: Nesting | str | Iterable[int],
        *,
        normalized: bool = True,
    ) -> None:
        super().__init__()
        self.nesting = _as_nesting(nesting)
        dim = int(model.get_embedding_dimension())
        if self.nesting.widths[-1] > dim:
            self.nesting.check(dim)
        if hasattr(loss, "mini_batch_size"):
            raise UserError(
                f"{type(loss).__name__} caches gradients and runs the model itself; wrap the loss "
                "it caches for, and cache outside of it."
            )
        self.model = model
        self.normalized = normalized
        self.dim = dim
        hand_over(loss, model, Handed(dim))
        self.loss = loss

    def forward(
        self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None
    ) -> dict[str, Tensor]:
        """Losses by width, weighed."""
        columns = [self.model(features)[_KEY] for features in sentence_features]
        found = {}
        for width, weight in zip(self.nesting.widths, self.nesting.weights, strict=True):
            cut = prefixes(columns, width, normalized=self.normalized)
            value = self.loss([{_KEY: column} for column in cut], self._labels(labels, width))
            found[prefix_name(width)] = weight * value
        return found

    def _labels(self, labels: Tensor | None, width: int) -> Tensor | None:
        vectors = labels is not None and labels.ndim in (2, 3) and labels.shape[-1] == self.dim
        if labels is None or not vectors:
            return labels
        return prefixes([labels], width, normalized=self.normalized)[0]

    def get_config_dict(self) -> dict[str, Any]:
        """What the model card says of the loss."""
        return {
            "loss": type(self.loss).__name__,
            "nesting": str(self.nesting),
            "normalized": self.normalized,
        }


def hand_over(loss: nn.Module, model: Any, stand_in: Handed) -> None:
    """Put the stand-in wherever the loss, or a loss inside it, holds the model."""
    for name, child in list(loss.named_children()):
        if child is model:
            setattr(loss, name, stand_in)
        else:
            hand_over(child, model, stand_in)


def _as_nesting(nesting: Nesting | str | Iterable[int]) -> Nesting:
    if isinstance(nesting, Nesting):
        return nesting
    if isinstance(nesting, str):
        return Nesting.parse(nesting)
    return Nesting(tuple(sorted(nesting)))
