"""Losses that hold similarities of cut vectors to those of full ones; labels play no part."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nestvec.errors import UserError


def pair_similarity(full: Tensor, cut: Tensor) -> Tensor:
    """Mean over pairs i != j of |cos(e_i, e_j) - cos(e'_i[:m], e'_j[:m])|; a scalar.

    full: (n, d), without gradient; cut: (n, m), rows in the same order. L_pair of
    Matryoshka-Adaptor (arXiv:2407.20243), which sums where this takes the mean. Raises UserError
    for fewer than two rows, or rows that do not match.
    """
    _check_rows(full, cut, least=2)
    gaps = (_cosines(full.detach(), full.detach()) - _cosines(cut, cut)).abs()
    n = len(full)
    return (gaps.sum() - gaps.diagonal().sum()) / (n * (n - 1))


def neighbour_similarity(
    full: Tensor, cut: Tensor, memory: Tensor, memory_cut: Tensor, neighbours: Tensor
) -> Tensor:
    """Mean over i and j in NN_k(i) of |cos(e_i, e_j) - cos(e_i[:m], e_j[:m])|; a scalar.

    full (n, d), cut (n, m): the batch; memory (c, d), memory_cut (c, m): the rows it is compared
    with, the batch itself or a queue; neighbours (n, k): their rows in memory, as
    nearest_in_memory finds them. L_unsup of SMEC (arXiv:2510.12474), and L_topk of
    Matryoshka-Adaptor (arXiv:2407.20243) with the batch as memory; both sum where this takes the
    mean. full and memory get no gradient.
    """
    _check_rows(full, cut)
    _check_rows(memory, memory_cut)
    wanted = _cosines(full.detach(), memory.detach()).gather(1, neighbours)
    left = functional.normalize(cut, dim=-1)
    right = functional.normalize(memory_cut, dim=-1)[neighbours]
    return (wanted - torch.einsum("nm,nkm->nk", left, right)).abs().mean()


def nearest_in_memory(full: Tensor, memory: Tensor, k: int, own: Tensor | None = None) -> Tensor:
    """Rows (n, k) of memory (c, d) with the largest cosine to each of full (n, d), best first.

    own: (n, c) bool, which rows of memory each is itself: they are not its neighbours.
    k is lowered to what is left of memory for every row, but not below 1.
    """
    with torch.no_grad():
        cosines = _cosines(full, memory)
        left = len(memory)
        if own is not None:
            cosines = cosines.masked_fill(own, float("-inf"))
            left -= int(own.sum(dim=1).max())
        return cosines.topk(max(1, min(k, left)), dim=1).indices


def recovery(full: Tensor, adapted: Tensor) -> Tensor:
    """Mean absolute difference of adapted (n, d) from full (n, d); a scalar.

    L_rec of Search-Adaptor (arXiv:2310.08750) and Matryoshka-Adaptor (arXiv:2407.20243).
    """
    if full.shape != adapted.shape:
        raise UserError(
            f"recovered vectors have the shape {tuple(full.shape)} of the full ones; got "
            f"{tuple(adapted.shape)}."
        )
    return (adapted - full.detach()).abs().mean()


def _cosines(left: Tensor, right: Tensor) -> Tensor:
    return functional.normalize(left, dim=-1) @ functional.normalize(right, dim=-1).T


def _check_rows(full: Tensor, cut: Tensor, least: int = 1) -> None:
    if full.ndim != 2 or cut.ndim != 2 or len(full) != len(cut) or len(full) < least:
        raise UserError(
            f"similarities compare at least {least} rows of full (n, d) with as many of cut "
            f"(n, m); got {tuple(full.shape)} and {tuple(cut.shape)}."
        )
