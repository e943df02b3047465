"""How gradients of an adapter behave: mean, variance and norm, by coordinate, width and epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nestvec.learn.adapters.modules import LinearMap
from nestvec.learn.adapters.objectives import Mapped, Objective

F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Epoch:
    """Gradients of one pass, for every output coordinate (w,).

    norm: mean length of a step's gradient of the coordinate's column of weights. mean: length of
    the mean gradient. variance: mean squared distance of a step's gradient from that mean.
    """

    norm: F64
    mean: F64
    variance: F64

    @property
    def noise(self) -> float:
        """Summed variance over the summed squared mean: how much a step is chance."""
        return float(self.variance.sum() / max((self.mean**2).sum(), 1e-30))


class GradientWatch:
    """Collects the gradients of the linear map in what is trained; pass it as `watch`.

    epoch_steps: steps a pass. Memory: one matrix of the map's shape.
    """

    def __init__(self, epoch_steps: int) -> None:
        self._steps = epoch_steps
        self._sum: Tensor | None = None
        self._norms: list[Tensor] = []
        self.epochs: list[Epoch] = []

    def __call__(self, step: int, module: nn.Module) -> None:
        """Take one step's gradients in."""
        linear = next(each for each in module.modules() if isinstance(each, LinearMap))
        gradient = linear.weight.grad
        if gradient is None:
            return
        if self._sum is None or self._sum.shape != gradient.shape:
            self._sum, self._norms = torch.zeros_like(gradient), []
        self._sum += gradient
        self._norms.append(gradient.norm(dim=0).detach())
        if len(self._norms) == self._steps:
            self._close()

    def _close(self) -> None:
        assert self._sum is not None
        count = len(self._norms)
        norms = torch.stack(self._norms).double()
        mean = (self._sum.double() / count).norm(dim=0)
        variance = (norms**2).mean(dim=0) - mean**2
        self.epochs.append(
            Epoch(norms.mean(dim=0).numpy(), mean.numpy(), variance.clamp_min(0).numpy())
        )
        self._sum, self._norms = None, []


def norms_by_width(
    weight: Tensor,
    documents: Tensor,
    queries: Tensor,
    grades: Tensor,
    losses: Sequence[tuple[int, Objective]],
) -> list[tuple[int, float, float]]:
    """(width, gradient norm, prefix norm) of one batch under a linear map (d, w).

    losses: an objective of each width alone. The gradient is that of the first min(widths) columns,
    which all widths share, per coordinate; the prefix norm is the mean length of the first `width`
    coordinates of mapped documents. The paper's claim is that the former goes as one over the
    latter squared (SMEC, arXiv:2510.12474).
    """
    from nestvec.learn.adapters.examples import Batch

    least = min(width for width, _ in losses)
    found = []
    for width, loss in losses:
        trained = weight.detach().clone().requires_grad_(True)
        mapped = Mapped(documents @ trained, queries @ trained)
        rows = torch.arange(len(documents))
        value = loss(mapped, Batch(documents, rows, queries, grades), trained.__rmatmul__)
        (gradient,) = torch.autograd.grad(value, trained)
        norm = float(gradient[:, :least].norm() / least)
        prefix = float(mapped.documents[:, :width].detach().norm(dim=1).mean())
        found.append((width, norm, prefix))
    return found
