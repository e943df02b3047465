"""A model whose leading coordinates say most from the start: its vectors turned to their axes."""

from __future__ import annotations

from typing import Any

import torch

from nestvec.errors import UserError
from nestvec.learn.sentence_model import add_matrix

SAMPLE = 5_000


def rotate(model: Any, texts: list[str], *, batch: int = 64) -> None:
    """Turn a model's vectors by the right singular vectors of those of a sample, in place.

    Inner products and cosines of whole vectors stay what they were; prefixes become the best
    subspaces of their width (Eckart and Young 1936), which is where training prefixes starts from.
    The turn is a Dense part that sentence-transformers saves and loads, and is trained with the
    rest. texts: of which the first 5,000 are encoded. Raises UserError where they are fewer than
    the model's dimensions.
    """
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
    add_matrix(model, axes.flip(1).T.float())
