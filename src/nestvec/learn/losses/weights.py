"""Weights of widths that are trained, and widths that are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nestvec.learn.losses.nested import Loss, Parts, nested
from nestvec.nesting import Nesting


class LearnedWeights(nn.Module):
    """sum over widths m of exp(-s_m) L_m + s_m / 2, s_m trained, 0 at first.

    s_m is the log variance of a width's loss: a loss that stays high gets less weight, and the
    second term keeps weights from vanishing. Kendall, Gal and Cipolla 2018 (arXiv:1705.07115,
    eq. 10, with 1 / sigma^2 as they have it for classification).
    """

    def __init__(self, nesting: Nesting) -> None:
        super().__init__()
        self.nesting = nesting
        self.log_variances = nn.Parameter(torch.zeros(len(nesting.widths)))

    def weights(self) -> Tensor:
        """exp(-s_m), (widths,)."""
        return torch.exp(-self.log_variances)

    def forward(self, loss: Loss, columns: Sequence[Tensor], *, normalized: bool = True) -> Parts:
        """The weighed sum of a loss of the columns at every width."""
        single = [
            nested(loss, columns, Nesting((width,)), normalized=normalized)
            for width in self.nesting.widths
        ]
        values = torch.stack([part.total for part in single])
        total = (self.weights() * values + self.log_variances / 2).sum()
        return Parts(total, {name: v for part in single for name, v in part.parts.items()})


def sampled_nesting(nesting: Nesting, count: int, generator: torch.Generator) -> Nesting:
    """So many of the widths, drawn without replacement, their weights raised by widths / count.

    Each width is drawn with the chance count / widths, so the expected loss is that of all.
    All processes of a distributed run must draw with generators in the same state.
    """
    total = len(nesting.widths)
    if count >= total:
        return nesting
    picks = sorted(torch.randperm(total, generator=generator)[:count].tolist())
    return Nesting(
        tuple(nesting.widths[i] for i in picks),
        tuple(nesting.weights[i] * total / count for i in picks),
    )
