"""InfoNCE: a query's document against all others, in one direction or both."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nestvec.errors import UserError


def info_nce(
    queries: Tensor,
    documents: Tensor,
    *,
    temperature: float | Tensor = 0.05,
    both_directions: bool = False,
    beta: float = 0.0,
) -> Tensor:
    """Mean over queries of -log of the softmax weight of a query's own document; a scalar.

    queries: (n, m); documents: (c, m), c >= n, of which row i belongs to query i and the rest are
    hard negatives of all. Scores are inner products by `temperature`: pass unit rows for cosines.
    both_directions: the mean of this and of the loss of documents 0..n-1 against all queries.
    beta: concentration of negatives; each is weighed by exp(beta s) over its mean, s the inner
    product, without gradient (Robinson et al. 2021, arXiv:2010.04592, eq. 4; 0 weighs all alike).
    Raises UserError where shapes do not fit or the temperature is not above 0.

    van den Oord et al. 2018 (arXiv:1807.03748, eq. 4); Dinu et al., ICLR 2025, for L_tau.
    """
    check_pairs(queries, documents)
    check_temperature(temperature)
    products = queries @ documents.T
    one_way = _one_way(products, temperature, beta)
    if not both_directions:
        return one_way
    return (one_way + _one_way(products[:, : len(queries)].T, temperature, beta)) / 2


def negative_weights(scores: Tensor, temperature: float | Tensor) -> Tensor:
    """Share (n, c) that each negative has in the gradient of InfoNCE, by temperature.

    scores: (n, c) of negatives alone. Rows add up to 1: softmax(scores / temperature). Towards
    temperature 0 the hardest negative has it all (a triplet loss of margin 0), towards infinity
    all have the same (Dinu et al., ICLR 2025, section 3).
    """
    check_temperature(temperature)
    return torch.softmax(scores / temperature, dim=-1)


def check_pairs(queries: Tensor, documents: Tensor) -> None:
    """Raise UserError unless queries (n, m) and documents (c, m) fit, c >= n."""
    fits = (
        queries.ndim == 2
        and documents.ndim == 2
        and queries.shape[1] == documents.shape[1]
        and len(documents) >= len(queries) >= 1
    )
    if not fits:
        raise UserError(
            "a contrastive loss takes queries (n, m) and documents (c, m), c at least n; got "
            f"{tuple(queries.shape)} and {tuple(documents.shape)}; pass a document for each query."
        )


def check_temperature(temperature: float | Tensor) -> None:
    """Raise UserError unless the temperature is finite and above 0."""
    value = float(temperature)
    if not 0 < value < float("inf"):
        raise UserError(f"a temperature is a number above 0; got {value}; try 0.05.")


def _one_way(products: Tensor, temperature: float | Tensor, beta: float) -> Tensor:
    logits = products / temperature
    own = torch.arange(len(products), device=products.device)
    if beta:
        with torch.no_grad():
            tilt = beta * products
            mask = torch.zeros_like(tilt, dtype=torch.bool)
            mask[own, own] = True
            tilt = tilt.masked_fill(mask, float("-inf"))
            count = products.shape[1] - 1
            weight = tilt - torch.logsumexp(tilt, dim=1, keepdim=True) + torch.tensor(count).log()
            weight = weight.masked_fill(mask, 0.0)
        logits = logits + weight
    return functional.cross_entropy(logits, own)
