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
    ignored: Tensor | None = None,
) -> Tensor:
    """Mean over queries of -log of the softmax weight of a query's own document; a scalar.

    queries: (n, m); documents: (c, m), c >= n, of which row i belongs to query i and the rest are
    hard negatives of all. Scores are inner products by `temperature`: pass unit rows for cosines.
    both_directions: the mean of this and of the loss of documents 0..n-1 against all queries.
    beta: concentration of negatives; each is weighed by exp(beta s) over its mean, s the inner
    product, without gradient (Robinson et al. 2021, arXiv:2010.04592, eq. 4; 0 weighs all alike).
    ignored: (n, c) bool, the scores that no sum holds, in either direction: of documents that
    answer a query beside its own, which else would count as wrong ones.
    Raises UserError where shapes do not fit, the temperature is not above 0, or a query's own
    document is ignored.

    van den Oord et al. 2018 (arXiv:1807.03748, eq. 4); Dinu et al., ICLR 2025, for L_tau.
    """
    check_pairs(queries, documents)
    check_temperature(temperature)
    check_ignored(ignored, queries, documents)
    products = queries @ documents.T
    one_way = _one_way(products, temperature, beta, ignored)
    if not both_directions:
        return one_way
    n = len(queries)
    back = None if ignored is None else ignored[:, :n].T
    return (one_way + _one_way(products[:, :n].T, temperature, beta, back)) / 2


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


def check_ignored(ignored: Tensor | None, queries: Tensor, documents: Tensor) -> None:
    """Raise UserError unless ignored is None or (n, c) bool without a query's own document."""
    if ignored is None:
        return
    wanted = (len(queries), len(documents))
    if ignored.dtype != torch.bool or ignored.shape != wanted:
        raise UserError(
            f"what is ignored is a boolean for every score, {wanted}; got {ignored.dtype} of "
            f"{tuple(ignored.shape)}; pass such a tensor or None."
        )
    if ignored.diagonal().any():
        raise UserError(
            "a query's own document is never ignored; got that of query "
            f"{int(ignored.diagonal().nonzero()[0])}; set the diagonal to False."
        )


def _one_way(
    products: Tensor, temperature: float | Tensor, beta: float, ignored: Tensor | None
) -> Tensor:
    logits = products / temperature
    own = torch.arange(len(products), device=products.device)
    if beta:
        with torch.no_grad():
            tilt = beta * products
            mask = torch.zeros_like(tilt, dtype=torch.bool) if ignored is None else ignored.clone()
            mask[own, own] = True
            tilt = tilt.masked_fill(mask, float("-inf"))
            count = (~mask).sum(dim=1, keepdim=True).log().to(tilt.dtype)
            weight = tilt - torch.logsumexp(tilt, dim=1, keepdim=True) + count
            weight = weight.masked_fill(mask, 0.0)
        logits = logits + weight
    if ignored is not None:
        logits = logits.masked_fill(ignored, float("-inf"))
    return functional.cross_entropy(logits, own)
