"""A sentence-transformers loss over layers and widths: a drop-in for that library's trainer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from nestvec.learn.distributed import unwrapped
from nestvec.learn.layers import Layers
from nestvec.learn.losses.nested import Parts
from nestvec.learn.losses.two_d import draw, two_d, uniform_layers
from nestvec.learn.losses.wrapped import NestedLoss
from nestvec.nesting import Nesting

_KEY = "sentence_embedding"


class NestedLayersLoss(NestedLoss):
    """Any loss of sentence-transformers at a drawn layer and at the last, at every width.

    model, loss, nesting, normalized: as NestedLoss. kind: "uniform" (both layers at every width)
    or "two_d" (2DMSE: both at full width and at one drawn width). alignment: weight of the term
    that draws the shallow layer to the last. seed: of the draws, which depend on it and on the
    number of training steps alone, so that all processes draw alike. parts: of the last step.

    The model's forward runs once a column and is not patched; its encoder is told to hand out its
    hidden states, which `close` takes back. Intermediate states of a pre-norm encoder get its
    final norm. Li et al. 2024, 2DMSE (arXiv:2402.14776).
    """

    steps: Tensor

    def __init__(
        self,
        model: Any,
        loss: nn.Module,
        nesting: Nesting | str | Iterable[int],
        *,
        normalized: bool = True,
        kind: str = "uniform",
        alignment: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(model, loss, nesting, normalized=normalized)
        self.kind = kind
        self.alignment = alignment
        self.seed = seed
        self.layers = Layers(model)
        self.parts: Parts | None = None
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(
        self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None
    ) -> dict[str, Tensor]:
        """{"total": the loss of a batch}."""
        bare = unwrapped(self.model)
        columns = [
            self.layers.read(bare, features, self.model(features)) for features in sentence_features
        ]
        layers = list(zip(*columns, strict=True))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.steps))
        drawn = draw(len(layers), self.nesting.widths, generator)
        if self.training:
            self.steps += 1

        def loss(*cut: Tensor) -> Tensor:
            found: Tensor = self.loss([{_KEY: column} for column in cut], labels)
            return found

        if self.kind == "two_d":
            parts = two_d(loss, layers, drawn, normalized=self.normalized, alignment=self.alignment)
        else:
            parts = uniform_layers(
                loss,
                layers,
                drawn.layer,
                self.nesting,
                normalized=self.normalized,
                alignment=self.alignment,
            )
        self.parts = parts
        return {"total": parts.total}

    def close(self) -> None:
        """Hidden states are handed out as before."""
        self.layers.close()
