"""Classification heads over prefixes: one a width (MRL), or one that all widths share (MRL-E)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from nestvec.errors import UserError
from nestvec.learn.losses.nested import Parts, prefix_name
from nestvec.learn.losses.two_d import layer_name
from nestvec.nesting import Nesting


class SeparateHeads(nn.Module):
    """logits_m = W_m x[:m] + b_m, a head of its own for every width m.

    Kusupati et al. 2022 (arXiv:2205.13147, eq. 1): MRL; about 2 L d parameters for L classes.
    """

    def __init__(self, nesting: Nesting, classes: int) -> None:
        super().__init__()
        self.nesting = nesting
        self.heads = nn.ModuleList(nn.Linear(width, classes) for width in nesting.widths)

    def forward(self, embeddings: Tensor) -> dict[int, Tensor]:
        """{width: logits (n, classes)} of embeddings (n, d)."""
        pairs = zip(self.nesting.widths, self.heads, strict=True)
        return {width: head(embeddings[..., :width]) for width, head in pairs}


class TiedHead(nn.Module):
    """logits_m = W[:, :m] x[:m] + b, one head and one bias for all widths: MRL-E.

    A width's logits are those of the width before plus what the coordinates between add, so that
    all widths together cost the products of the widest, forward and back.
    """

    def __init__(self, nesting: Nesting, classes: int) -> None:
        super().__init__()
        self.nesting = nesting
        self.head = nn.Linear(nesting.widths[-1], classes)

    def forward(self, embeddings: Tensor) -> dict[int, Tensor]:
        """{width: logits (n, classes)} of embeddings (n, d)."""
        widths = self.nesting.widths
        sizes = [width - before for before, width in zip((0, *widths), widths, strict=False)]
        # split, not slices: the gradient of a slice is as large as the whole weight
        columns = torch.split(self.head.weight, sizes, dim=1)
        parts = torch.split(embeddings[..., : widths[-1]], sizes, dim=-1)
        found: dict[int, Tensor] = {}
        logits: Tensor = self.head.bias
        for width, part, column in zip(widths, parts, columns, strict=True):
            logits = logits + functional.linear(part, column)
            found[width] = logits
        return found


def nested_cross_entropy(
    logits: Mapping[int, Tensor], labels: Tensor, nesting: Nesting, *, smoothing: float = 0.0
) -> Parts:
    """sum over widths m of c_m CE(logits_m, y).

    logits: {width: (n, classes)}; labels: (n,) int64. smoothing: of labels, 0.1 in the paper.
    Raises UserError where a width of the nesting has no logits.
    Kusupati et al. 2022 (arXiv:2205.13147, eq. 1).
    """
    missing = [width for width in nesting.widths if width not in logits]
    if missing:
        raise UserError(f"every width of a nesting needs logits; got none for {missing}.")
    values = {
        width: functional.cross_entropy(logits[width], labels, label_smoothing=smoothing)
        for width in nesting.widths
    }
    weighed = [c * values[m] for c, m in zip(nesting.weights, nesting.widths, strict=True)]
    parts = {prefix_name(width): value.detach() for width, value in values.items()}
    return Parts(torch.stack(weighed).sum(), parts)


def layered_cross_entropy(
    logits: Mapping[int, Mapping[int, Tensor]],
    labels: Tensor,
    nesting: Nesting,
    *,
    smoothing: float = 0.0,
) -> Parts:
    """sum over layers l of l L_l / sum over layers of l, L_l the nested cross entropy at layer l.

    logits: {layer: {width: (n, classes)}}, layers counted from 1. Deeper layers weigh more, so that
    the last loses little by the others, as in PABEE (Zhou et al. 2020, arXiv:2006.04152).
    """
    total, parts = torch.zeros((), device=labels.device), {}
    for layer, by_width in logits.items():
        here = nested_cross_entropy(by_width, labels, nesting, smoothing=smoothing)
        total = total + layer * here.total
        for width, value in zip(nesting.widths, here.parts.values(), strict=True):
            parts[layer_name(layer, width)] = value
    return Parts(total / sum(logits), parts)
