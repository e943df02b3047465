"""Losses against a teacher: its scores, its vectors, or the softmax of its vectors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nestvec.errors import UserError


def score_divergence(scores: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """KL(softmax(teacher / T) || softmax(scores / T)), mean over rows; a scalar.

    scores, teacher: (q, c); the teacher gets no gradient. Of scores, this is Starbucks' term for
    retrieval; of embeddings as logits, its term for STS, 2DMSE's alignment and ESE's second
    (arXiv:2410.13230, arXiv:2402.14776; AnglE's code).
    """
    if scores.shape != teacher.shape:
        raise UserError(
            f"a teacher's scores have the student's shape {tuple(scores.shape)}; got "
            f"{tuple(teacher.shape)}."
        )
    student = functional.log_softmax(scores / temperature, dim=-1)
    wanted = functional.log_softmax(teacher.detach() / temperature, dim=-1)
    return functional.kl_div(student, wanted, reduction="batchmean", log_target=True)


def vector_distance(embeddings: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of (n, m) from a teacher's (n, m), who gets no gradient; a scalar."""
    if embeddings.shape != teacher.shape:
        raise UserError(
            f"a teacher's vectors have the student's shape {tuple(embeddings.shape)}; got "
            f"{tuple(teacher.shape)}; cut or reduce the wider."
        )
    return functional.mse_loss(embeddings, teacher.detach())


def principal_target(embeddings: Tensor, width: int) -> Tensor:
    """ESE's target (n, width) of embeddings (n, d): h U S, without gradient.

    U, S: the leading singular vectors and values of softmax_rows(h^T h / sqrt(d)). Signs of U are
    set so that each column's largest entry is positive, else they would move between batches.
    Li et al. 2025, "ESE" (ICLR), as in AnglE's AngleESETrainer.
    """
    with torch.no_grad():
        rows = embeddings.float()
        gram = torch.softmax(rows.T @ rows / rows.shape[1] ** 0.5, dim=-1)
        vectors, values, _ = torch.linalg.svd(gram)
        top = vectors[:, :width]
        largest = top.gather(0, top.abs().argmax(dim=0, keepdim=True))
        target: Tensor = rows @ (top * largest.sign()) * values[:width]
        return target.to(embeddings.dtype)


def ese_alignment(embeddings: Tensor, target: Tensor, *, temperature: float = 1.0) -> Tensor:
    """MSE(a, b) + T KL(softmax(b / T) || softmax(a / T)), batchmean; a scalar; ESE's D(a, b)."""
    divergence = score_divergence(embeddings, target, temperature=temperature)
    return vector_distance(embeddings, target) + temperature * divergence
