"""Losses that order scores by grades: CoSENT and the pairwise rank loss of adapters."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nestvec.errors import UserError


def cosent(left: Tensor, right: Tensor, grades: Tensor, *, scale: float = 20.0) -> Tensor:
    """log(1 + sum exp(scale (s_j - s_i))) over pairs with grade i above grade j; a scalar.

    left, right: (n, m), rows i belong together, s_i their cosine. grades: (n,), higher is nearer.
    Su 2022, "CoSENT", kexue.fm/archives/8847.
    """
    if left.shape != right.shape or grades.shape != left.shape[:1]:
        raise UserError(
            "CoSENT takes left (n, m), right (n, m) and grades (n,); got "
            f"{tuple(left.shape)}, {tuple(right.shape)} and {tuple(grades.shape)}."
        )
    scores = functional.cosine_similarity(left, right) * scale
    gaps = scores[None, :] - scores[:, None]
    gaps = gaps[grades[:, None] > grades[None, :]]
    return torch.logsumexp(torch.cat([gaps.new_zeros(1), gaps]), dim=0)


def pairwise_rank(scores: Tensor, grades: Tensor) -> Tensor:
    """sum_ijk 1[y_ij > y_ik] (y_ij - y_ik) log(1 + exp(s_ik - s_ij)) by the number of pairs.

    scores, grades: (q, c), of q queries with c documents. 0 where no grades differ.
    Yoon et al. 2024, Search-Adaptor (arXiv:2310.08750); Matryoshka-Adaptor (arXiv:2407.20243);
    SMEC (arXiv:2510.12474), which sum where this takes the mean, so that the number of documents
    does not change the step.
    """
    if scores.shape != grades.shape or scores.ndim != 2:
        raise UserError(
            "a rank loss takes scores and grades of one shape (q, c); got "
            f"{tuple(scores.shape)} and {tuple(grades.shape)}."
        )
    # Only rows (i, j) that are above something: q x positives x c, not q x c x c.
    query, better = (grades > grades.amin(dim=1, keepdim=True)).nonzero(as_tuple=True)
    above = (grades[query, better][:, None] - grades[query]).clamp_min(0)
    gaps = scores[query] - scores[query, better][:, None]
    lost = above * functional.softplus(gaps)
    return lost.sum() / (above > 0).sum().clamp_min(1)
