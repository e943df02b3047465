"""A map that keeps, at every width, how the full vectors score documents for given queries."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nestvec.adapters.adapter import Stage
from nestvec.learn.adapters.examples import Batch, Examples, batches
from nestvec.learn.adapters.held_out import MOST_QUERIES
from nestvec.learn.adapters.modules import LinearMap
from nestvec.learn.adapters.objectives import Apply, Mapped, list_divergence
from nestvec.learn.adapters.running import Job, Trained, run
from nestvec.learn.adapters.spectrum import principal_axes
from nestvec.learn.losses.nested import nested
from nestvec.nesting import Nesting
from nestvec.vectors import normalize

POOL = 4_096
"""Documents that are scored at every step, at most, all of them mapped anew each time."""


@dataclass(frozen=True, eq=False)
class ScoreLists:
    """KL, at every width, of a query's scores of a pool of documents from the full vectors' ones.

    Scores are softmaxes of cosines over `temperature`. Which document answers is of no account, so
    queries need no labels; where there are none, documents ask, each left out of its own list.

    pool: (p, d) unit vectors; rows: (p,) which documents they are.
    """

    nesting: Nesting
    pool: Tensor
    rows: Tensor
    temperature: float = 0.05

    def __call__(self, mapped: Mapped, batch: Batch, apply: Apply) -> Tensor:
        """Labels are not used."""
        asked, asking, own = batch.queries, mapped.queries, None
        if asked is None or asking is None:
            asked, asking = batch.documents, mapped.documents
            own = batch.rows[:, None] == self.rows[None, :]

        loss = list_divergence(asked, self.pool, self.temperature, own)
        return nested(loss, (asking, apply(self.pool)), self.nesting).total


@dataclass(frozen=True, eq=False)
class ListsKept:
    """exp(-KL) of score lists that were not trained on, the mean over widths: 1 keeps them all."""

    lists: ScoreLists
    batch: Batch

    def __call__(self, apply: Apply) -> float:
        """Above 0, at most 1."""
        with torch.no_grad():
            queries = None if self.batch.queries is None else apply(self.batch.queries)
            mapped = Mapped(apply(self.batch.documents), queries)
            lost = self.lists(mapped, self.batch, apply).item()
        return math.exp(-lost / sum(self.lists.nesting.weights))


def pool_rows(examples: Examples, seed: int) -> NDArray[np.int64]:
    """At most 4,096 rows of documents, of examples.rows where they are given, drawn by seed."""
    free = np.arange(len(examples.documents)) if examples.rows is None else examples.rows
    return np.sort(np.random.default_rng(seed).permutation(free)[:POOL])


def fit_distilled(job: Job) -> Trained:
    """One matrix from SVD; every width scores documents for the given queries as full vectors do.

    Training stops early by the lists of up to 1,000 queries (or documents) held out.
    """
    training = job.settings.training
    rows = pool_rows(job.fitted, training.seed)
    documents = normalize(np.asarray(job.fitted.documents[rows]))
    lists = ScoreLists(
        job.nesting,
        torch.from_numpy(documents).to(training.device),
        torch.from_numpy(rows).to(training.device),
        job.settings.temperature,
    )
    module = LinearMap(principal_axes(job.examples.documents, training.seed))
    asked = next(batches(job.held, MOST_QUERIES, training.seed, torch.device(training.device)))
    history = run(job, module, lists, job.nesting, score=ListsKept(lists, asked))
    return Trained([Stage(job.examples.dim, module.maps())], [history])
