"""Losses over layers and widths: 2DMSE, all layers at once (ESE), and fixed pairs (Starbucks).

A layer's embeddings are the pooled outputs of one layer of an encoder, (n, d) each, one a column
of the data (anchor, positive, ...): layers is a sequence of such sequences, shallowest first and
the whole model last. The embedding output, before the first layer, is not among them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from nestvec.errors import UserError
from nestvec.learn.losses.distillation import ese_alignment, principal_target, score_divergence
from nestvec.learn.losses.nested import Loss, Parts, nested, prefixes
from nestvec.nesting import Nesting

Layers = Sequence[Sequence[Tensor]]
_UNIFORM_TEMPERATURE = 0.3


@dataclass(frozen=True)
class Draw:
    """The shallow layer, counted from 1, and the width that one step of 2DMSE trains."""

    layer: int
    width: int


def draw(depth: int, widths: Sequence[int], generator: torch.Generator) -> Draw:
    """A shallow layer from 1 to depth - 1 and one of the widths, both uniform.

    All processes of a distributed run must draw with generators in the same state, or their
    collectives meet unequal widths.
    """
    if depth < 2:
        raise UserError(f"training layers takes a model of at least 2; got {depth}.")
    layer = int(torch.randint(1, depth, (), generator=generator))
    pick = int(torch.randint(0, len(widths), (), generator=generator))
    return Draw(layer, widths[pick])


def two_d(
    loss: Loss, layers: Layers, drawn: Draw, *, normalized: bool = True, alignment: float = 1.0
) -> Parts:
    """L(L, d) + L(l, d) + L(L, m) + L(l, m) + alignment (KL(l, L; d) + KL(l, L; m)).

    loss: of embeddings. drawn: the step's l and m; KL is of softmaxed coordinates, the last layer
    being the teacher, mean over columns.
    Li et al. 2024, 2DMSE (arXiv:2402.14776), as in the survey arXiv:2406.01607.
    """
    depth, dim = len(layers), layers[-1][0].shape[-1]
    shallow, last = layers[drawn.layer - 1], layers[-1]
    values = {}
    for name, columns in ((drawn.layer, shallow), (depth, last)):
        for width in dict.fromkeys((dim, drawn.width)):
            cut = prefixes(columns, width, normalized=normalized)
            values[layer_name(name, width)] = loss(*cut)
    total = torch.stack(list(values.values())).sum()
    if drawn.width == dim:
        total = 2 * total
    aligned = [_alignment(shallow, last, width) for width in (dim, drawn.width)]
    values["alignment"] = torch.stack(aligned).sum()
    return Parts(
        total + alignment * values["alignment"], {k: v.detach() for k, v in values.items()}
    )


def uniform_layers(
    loss: Loss,
    layers: Layers,
    layer: int,
    nesting: Nesting,
    *,
    normalized: bool = True,
    alignment: float = 1.0,
) -> Parts:
    """The last layer and one drawn layer, each at every width, weighing alike.

    sum_m c_m [L(L, m) + L(l, m)] + alignment T KL(L || l) with T = .3, of softmaxed coordinates at
    full width, mean over columns; the last layer is the teacher. This is the uniform weighting of
    sentence-transformers' AdaptiveLayerLoss over MatryoshkaLoss, for a layer l drawn uniformly.
    """
    depth = len(layers)
    values: dict[str, Tensor] = {}
    total = layers[-1][0].new_zeros(())
    for name, columns in ((layer, layers[layer - 1]), (depth, layers[-1])):
        here = nested(loss, columns, nesting, normalized=normalized)
        total = total + here.total
        for width, value in zip(nesting.widths, here.parts.values(), strict=True):
            values[layer_name(name, width)] = value
    aligned = torch.stack(
        [
            score_divergence(a, b, temperature=_UNIFORM_TEMPERATURE)
            for a, b in zip(layers[layer - 1], layers[-1], strict=True)
        ]
    ).mean()
    values["alignment"] = aligned.detach()
    return Parts(total + alignment * _UNIFORM_TEMPERATURE * aligned, values)


def ese(loss: Loss, layers: Layers, width: int, *, normalized: bool = True) -> Parts:
    """Every layer at one width, deeper layers weighing more; the last at full width as well.

    loss(H) + loss(H[:k]) + D(H[:k], P(H))
    + 1/(n-1) sum_{i=0}^{n-2} [loss(h_i[:k]) + D(h_i[:k], P(h_i))] / (1 + ln(1 + i)), with D and
    P as in distillation.ese_alignment and principal_target, mean over columns.
    Li et al. 2025, ESE (ICLR), as in AnglE's AngleESETrainer.
    """
    depth, dim = len(layers), layers[-1][0].shape[-1]
    values = {layer_name(depth, dim): loss(*prefixes(layers[-1], dim, normalized=normalized))}
    total = values[layer_name(depth, dim)]
    for i, columns in enumerate(layers):
        here = loss(*prefixes(columns, width, normalized=normalized))
        values[layer_name(i + 1, width)] = here
        aligned = torch.stack(
            [ese_alignment(x[..., :width], principal_target(x, width)) for x in columns]
        ).mean()
        share = 1.0 if i == depth - 1 else 1 / ((depth - 1) * (1 + math.log(1 + i)))
        total = total + share * (here + aligned)
    return Parts(total, {name: value.detach() for name, value in values.items()})


def fixed_pairs(
    loss: Loss,
    layers: Layers,
    pairs: Sequence[tuple[int, int]],
    *,
    normalized: bool = True,
    alignment: float = 1.0,
    of_scores: bool = False,
) -> Parts:
    """sum over pairs (l, m) of L(l, m) + alignment KL(full || (l, m)), every step.

    of_scores: KL of softmaxed scores of the first column against the second, Starbucks' term for
    retrieval; else of softmaxed embeddings cut to m, its term for STS. The teacher, the last
    layer at full width, gets no gradient.
    Zhuang et al. 2024, Starbucks (arXiv:2410.13230).
    """
    depth, dim = len(layers), layers[-1][0].shape[-1]
    check_pairs_of_layers(pairs, depth, dim)
    values: dict[str, Tensor] = {}
    total = layers[-1][0].new_zeros(())
    full = prefixes(layers[-1], dim, normalized=normalized)
    for layer, width in pairs:
        cut = prefixes(layers[layer - 1], width, normalized=normalized)
        here = loss(*cut)
        values[layer_name(layer, width)] = here
        total = total + here
        if (layer, width) == (depth, dim):
            continue
        if of_scores:
            total = total + alignment * score_divergence(cut[0] @ cut[1].T, full[0] @ full[1].T)
        else:
            total = total + alignment * _alignment(layers[layer - 1], layers[-1], width)
    return Parts(total, {name: value.detach() for name, value in values.items()})


def check_pairs_of_layers(pairs: Sequence[tuple[int, int]], depth: int, dim: int) -> None:
    """Raise UserError unless every pair (layer, width) is within the model and both rise."""
    rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(pairs))
    inside = all(1 <= layer <= depth and 1 <= width <= dim for layer, width in pairs)
    if not pairs or not rising or not inside:
        raise UserError(
            f"pairs of layer and width rise, up to {depth} layers and width {dim}; got "
            f"{list(pairs)}; try {[(depth // 2 or 1, dim // 2 or 1), (depth, dim)]}."
        )


def layer_name(layer: int, width: int) -> str:
    """ "layer 3:64", layers counted from 1."""
    return f"layer {layer}:{width}"


def _alignment(shallow: Sequence[Tensor], last: Sequence[Tensor], width: int) -> Tensor:
    parts = [
        score_divergence(a[..., :width], b[..., :width]) for a, b in zip(shallow, last, strict=True)
    ]
    return torch.stack(parts).mean()
