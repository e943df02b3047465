"""The losses of adapters as pieces that can be added up and left out one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from nestvec.learn.adapters.examples import Batch
from nestvec.learn.adapters.memory import Queue
from nestvec.learn.losses.lean import nested_info_nce
from nestvec.learn.losses.nested import nested
from nestvec.learn.losses.ranking import pairwise_rank
from nestvec.learn.losses.similarity import (
    nearest_in_memory,
    neighbour_similarity,
    pair_similarity,
    recovery,
)
from nestvec.nesting import Nesting

_NOWHERE = -1e4
"""A score of nothing: of finite size, since 0 times an infinite one would be no number."""

Apply = Callable[[Tensor], Tensor]
"""Frozen vectors (n, d) through everything trained so far: (n, w)."""


@dataclass(frozen=True, eq=False)
class Mapped:
    """A batch after the adapter: documents (c, w), and queries (b, w) where there are labels."""

    documents: Tensor
    queries: Tensor | None


Objective = Callable[[Mapped, Batch, Apply], Tensor]
"""A scalar to lower."""


@dataclass(frozen=True, eq=False)
class Weighed:
    """sum of weight x objective; L_total of SMEC is L_rank + .1 L_unsup."""

    parts: Sequence[tuple[float, Objective]]

    def __call__(self, mapped: Mapped, batch: Batch, apply: Apply) -> Tensor:
        """The sum."""
        values = [weight * part(mapped, batch, apply) for weight, part in self.parts]
        return torch.stack(values).sum()


def pieces(objective: Objective) -> list[Objective]:
    """What an objective is the sum of, sums within it taken apart; itself where it is none."""
    if not isinstance(objective, Weighed):
        return [objective]
    return [piece for _, part in objective.parts for piece in pieces(part)]


@dataclass(frozen=True, eq=False)
class Contrast:
    """InfoNCE at every width, against the batch's documents that do not answer.

    A second answer would count as a wrong one, so it is left out of its query's sum.
    """

    nesting: Nesting
    temperature: float = 0.05

    def __call__(self, mapped: Mapped, batch: Batch, apply: Apply) -> Tensor:
        """Needs labels."""
        queries = _labelled(mapped)
        return nested_info_nce(
            queries,
            mapped.documents,
            self.nesting,
            temperatures=(self.temperature,),
            ignored=batch.other_answers,
        ).total


@dataclass(frozen=True, eq=False)
class Rank:
    """L_rank at every width: a graded document above all of lower grade (see pairwise_rank).

    scale: what cosines are multiplied by; 1 is the papers' formula.
    """

    nesting: Nesting
    scale: float = 1.0

    def __call__(self, mapped: Mapped, batch: Batch, apply: Apply) -> Tensor:
        """Needs labels."""
        grades = batch.grades
        assert grades is not None

        def rank(queries: Tensor, documents: Tensor) -> Tensor:
            return pairwise_rank(self.scale * (queries @ documents.T), grades)

        return nested(rank, (_labelled(mapped), mapped.documents), self.nesting).total


@dataclass(frozen=True, eq=False)
class PairSimilarity:
    """L_pair of Matryoshka-Adaptor at every width, over the batch's documents."""

    nesting: Nesting

    def __call__(self, mapped: Mapped, batch: Batch, apply: Apply) -> Tensor:
        """No labels are used; 0 of a single document."""
        if len(batch.documents) < 2:
            return mapped.documents.sum() * 0
        loss = partial(pair_similarity, batch.documents)
        return nested(loss, (mapped.documents,), self.nesting, normalized=False).total


@dataclass(frozen=True, eq=False)
class TopSimilarity:
    """L_topk of Matryoshka-Adaptor at every width: each document's k nearest of the batch."""

    nesting: Nesting
    k: int = 10

    def __call__(self, mapped: Mapped, batch: Batch, apply: Apply) -> Tensor:
        """No labels are used; 0 of a single document."""
        full = batch.documents
        if len(full) < 2:
            return mapped.documents.sum() * 0
        own = batch.rows[:, None] == batch.rows[None, :]
        near = nearest_in_memory(full, full, self.k, own)

        def loss(cut: Tensor) -> Tensor:
            return neighbour_similarity(full, cut, full, cut, near)

        return nested(loss, (mapped.documents,), self.nesting, normalized=False).total


@dataclass(frozen=True, eq=False)
class MemorySimilarity:
    """L_unsup of SMEC with S-XBM: nearest of a queue of frozen vectors (arXiv:2510.12474).

    Of the batch's documents the first `anchors` look for their k nearest in the queue, and of the
    queue only what they find is mapped, so that a step's cost hardly grows with the queue. The
    batch enters the queue afterwards. The paper gives neither k nor the number of anchors.
    """

    nesting: Nesting
    queue: Queue
    k: int = 4
    anchors: int = 64

    def __call__(self, mapped: Mapped, batch: Batch, apply: Apply) -> Tensor:
        """No labels are used; 0 while the queue is empty."""
        full, rows = batch.documents[: self.anchors], batch.rows[: self.anchors]
        held = self.queue.vectors()
        if len(held) <= self.k:
            self.queue.push(batch.documents, batch.rows)
            return mapped.documents.sum() * 0
        own = rows[:, None] == self.queue.names()[None, :]
        near = nearest_in_memory(full, held, self.k, own)
        found, places = torch.unique(near, return_inverse=True)
        memory = held[found]
        theirs = apply(memory)

        def loss(cut: Tensor, memory_cut: Tensor) -> Tensor:
            return neighbour_similarity(full, cut, memory, memory_cut, places)

        mine = mapped.documents[: self.anchors]
        value = sum(
            weight * loss(mine[:, :width], theirs[:, :width])
            for width, weight in zip(self.nesting.widths, self.nesting.weights, strict=True)
        )
        self.queue.push(batch.documents, batch.rows)
        assert isinstance(value, Tensor)
        return value


def recovered(mapped: Mapped, batch: Batch, apply: Apply) -> Tensor:
    """L_rec: adapted vectors stay near the full ones, documents' and queries'."""
    loss = recovery(batch.documents, mapped.documents)
    if batch.queries is None or mapped.queries is None:
        return loss
    return (loss + recovery(batch.queries, mapped.queries)) / 2


class Prediction(nn.Module):
    """L_pred of Search-Adaptor: a query's vector predicted from its document's; dropped after.

    mean over graded pairs of y_ij |q_i - p(c_j)|, p one linear layer that starts as the identity;
    the paper's form as secondary texts give it.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.predictor = nn.Linear(dim, dim)
        nn.init.eye_(self.predictor.weight)
        nn.init.zeros_(self.predictor.bias)

    def forward(self, mapped: Mapped, batch: Batch, apply: Apply) -> Tensor:
        """Needs labels."""
        queries, grades = _labelled(mapped), batch.grades
        assert grades is not None
        query, document = grades.nonzero(as_tuple=True)
        guessed = self.predictor(mapped.documents)[document]
        gaps = (queries[query] - guessed).abs().mean(dim=1)
        lost: Tensor = (grades[query, document] * gaps).sum() / grades.sum().clamp_min(1e-9)
        return lost


@dataclass(frozen=True, eq=False)
class Distillation:
    """KL of scores at every width from the full vectors' scores, over the batch's documents.

    Lists of in-batch scores by `temperature`; without labels documents are the queries, each left
    out of its own list, of which it would be all.
    """

    nesting: Nesting
    temperature: float = 0.05

    def __call__(self, mapped: Mapped, batch: Batch, apply: Apply) -> Tensor:
        """Labels are not needed."""
        asked = batch.documents if batch.queries is None else batch.queries
        own = batch.rows[:, None] == batch.rows[None, :] if batch.queries is None else None
        loss = list_divergence(asked, batch.documents, self.temperature, own)

        asking = mapped.documents if mapped.queries is None else mapped.queries
        return nested(loss, (asking, mapped.documents), self.nesting).total


def list_divergence(
    queries: Tensor, documents: Tensor, temperature: float, left_out: Tensor | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """KL of score lists from those of full unit vectors (b, d) and (c, d), a mean over queries.

    A list is the softmax of a query's cosines over temperature. left_out: (b, c) bool, documents
    that a query's list goes without. The loss takes cut unit vectors (b, w) and (c, w).
    """

    def listed(some: Tensor, others: Tensor) -> Tensor:
        scores = some @ others.T / temperature
        if left_out is not None:
            scores = scores.masked_fill(left_out, _NOWHERE)
        return torch.log_softmax(scores, dim=1)

    teacher = listed(queries, documents)

    def loss(cut_queries: Tensor, cut_documents: Tensor) -> Tensor:
        lists = listed(cut_queries, cut_documents)
        return functional.kl_div(lists, teacher, log_target=True, reduction="batchmean")

    return loss


def _labelled(mapped: Mapped) -> Tensor:
    assert mapped.queries is not None, "this loss needs labels"
    return mapped.queries
