"""A model whose leading coordinates say most from the start: its vectors turned to their axes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from nestvec.errors import UserError

SAMPLE = 5_000


def insert_before_unit_length(model: Any, part: nn.Module) -> None:
    """Put a part at the end of a sentence-transformers model, before a final normalization."""
    from sentence_transformers.sentence_transformer.modules import Normalize

    part.to(next(model.parameters()).device)
    last = len(model) - 1
    if isinstance(model[last], Normalize):
        unit = model._modules.pop(list(model._modules)[last])
        model.append(part)
        model.append(unit)
    else:
        model.append(part)


def rotate(model: Any, texts: list[str], *, batch: int = 64) -> None:
    """Turn a model's vectors by the right singular vectors of those of a sample, in place.

    Inner products and cosines of whole vectors stay what they were; prefixes become the best
    subspaces of their width (Eckart and Young 1936), which is where training prefixes starts from.
    The turn is a Dense part that sentence-transformers saves and loads, and is trained with the
    rest. texts: of which the first 5,000 are encoded. Raises UserError where they are fewer than
    the model's dimensions.
    """
    from sentence_transformers.sentence_transformer.modules import Dense

    dim = int(model.get_embedding_dimension())
    sample = texts[:SAMPLE]
    if len(sample) < dim:
        raise UserError(
            f"a rotation needs at least as many texts as dimensions, {dim}; got {len(sample)}; "
            "leave model.rotate out."
        )
    vectors = model.encode(
        sample, batch_size=batch, show_progress_bar=False, convert_to_tensor=True
    )
    rows = vectors.double().cpu()
    _, axes = torch.linalg.eigh(rows.T @ rows)
    turn = Dense(dim, dim, bias=False, activation_function=nn.Identity())
    with torch.no_grad():
        turn.linear.weight.copy_(axes.flip(1).T.float())
    insert_before_unit_length(model, turn)
