"""Any loss of embeddings at every width of a nesting, summed, with its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from nestvec.errors import UserError
from nestvec.nesting import Nesting

Loss = Callable[..., Tensor]
"""A loss of one or more embeddings (n, m), equally wide, that gives a scalar."""


@dataclass(frozen=True, eq=False)
class Parts:
    """A summed loss and what it is made of.

    total: a scalar to back-propagate. parts: {name: scalar without gradient}, before weighing;
    names are widths ("64"), temperatures ("64@0.05") or layers ("layer 3:64").
    """

    total: Tensor
    parts: Mapping[str, Tensor]


def prefix_name(width: int, temperature: float | None = None) -> str:
    """ "64", or "64@0.05"."""
    return str(width) if temperature is None else f"{width}@{temperature:g}"


def prefixes(embeddings: Sequence[Tensor], width: int, *, normalized: bool) -> list[Tensor]:
    """The first coordinates (n, width) of every embedding (n, d), at unit length if wished."""
    cut = [embedding[..., :width] for embedding in embeddings]
    return [functional.normalize(part, dim=-1) for part in cut] if normalized else cut


def nested(
    loss: Loss | Sequence[Loss],
    embeddings: Sequence[Tensor],
    nesting: Nesting,
    *,
    normalized: bool = True,
) -> Parts:
    """sum over widths m of c_m loss(x[:m], y[:m], ...).

    loss: one for all widths, or one a width. embeddings: (n, d) each. normalized: cut prefixes
    are brought to unit length, which losses of cosines want; losses of logits or magnitudes do
    not (MRL's equation 1 has none).
    Raises UserError where the nesting is wider than the embeddings, or losses do not match it.

    Kusupati et al. 2022 (arXiv:2205.13147, eq. 1 and appendix C).
    """
    losses = _a_loss_each(loss, nesting)
    _check_width(embeddings, nesting)
    values = [
        one(*prefixes(embeddings, width, normalized=normalized))
        for one, width in zip(losses, nesting.widths, strict=True)
    ]
    total = torch.stack([c * v for c, v in zip(nesting.weights, values, strict=True)]).sum()
    names = map(prefix_name, nesting.widths)
    return Parts(total, {name: v.detach() for name, v in zip(names, values, strict=True)})


def _a_loss_each(loss: Loss | Sequence[Loss], nesting: Nesting) -> Sequence[Loss]:
    if not isinstance(loss, Sequence):
        return [loss] * len(nesting.widths)
    if len(loss) != len(nesting.widths):
        raise UserError(
            f"losses are one for all widths or one a width; got {len(loss)} for "
            f"{len(nesting.widths)} widths; give one."
        )
    return loss


def _check_width(embeddings: Sequence[Tensor], nesting: Nesting) -> None:
    for embedding in embeddings:
        if embedding.shape[-1] < nesting.widths[-1]:
            nesting.check(embedding.shape[-1])
