"""How good an adapter is on data that it was not trained on."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nestvec.learn.adapters.examples import Examples
from nestvec.learn.adapters.objectives import Apply
from nestvec.measure.metrics import Measure, Relevance, ranks_of_relevant
from nestvec.nesting import Nesting
from nestvec.vectors import normalize

MOST_QUERIES = 1_000
MOST_DOCUMENTS = 20_000
_NEIGHBOURS = 10


class HeldOut:
    """Mean over widths of nDCG@10 on held-out pairs; of R@10 by full vectors where there are none.

    At most 1,000 queries rank at most 20,000 documents, theirs among them, drawn by seed: memory
    is bounded by these and their scores (80 MB), whatever n. Without pairs the queries are
    documents themselves, of held.rows where they are given, and look for others than themselves.
    """

    def __init__(
        self, held: Examples, nesting: Nesting, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.nesting = nesting
        rng = np.random.default_rng(seed)
        n = len(held.documents)
        if held.pairs is None or held.queries is None:
            asked = rng.permutation(n if held.rows is None else held.rows)[:MOST_QUERIES]
            others = rng.permutation(np.setdiff1d(np.arange(n), asked))
            rows = np.union1d(asked, others[: max(0, MOST_DOCUMENTS - len(asked))])
            documents = normalize(np.asarray(held.documents[rows]))
            own = np.searchsorted(rows, np.sort(asked))
            queries = documents[own]
            self._measure = Measure.parse("R@10")
            self._own: NDArray[np.int64] | None = own
            scores = queries @ documents.T
            scores[np.arange(len(own)), own] = -np.inf
            count = min(_NEIGHBOURS, len(rows) - 1)
            top = np.argpartition(-scores, count - 1, axis=1)
            self._relevance = Relevance.from_top(top[:, :count])
        else:
            self._own = None
            self._measure = Measure.parse("nDCG@10")
            asked = rng.permutation(np.unique(held.pairs[:, 0]))[:MOST_QUERIES]
            mine = np.isin(held.pairs[:, 0], asked)
            pairs = held.pairs[mine]
            grades = np.ones(len(pairs)) if held.grades is None else held.grades[mine]
            others = rng.permutation(n)[: max(0, MOST_DOCUMENTS - len(pairs))]
            rows = np.union1d(pairs[:, 1], others)
            documents = normalize(np.asarray(held.documents[rows]))
            asked = np.unique(asked)
            queries = normalize(np.asarray(held.queries[asked]))
            gains: list[dict[int, float]] = [{} for _ in asked]
            at = np.searchsorted(asked, pairs[:, 0]).tolist()
            places = np.searchsorted(rows, pairs[:, 1]).tolist()
            for query, place, grade in zip(at, places, grades.tolist(), strict=True):
                gains[query][place] = grade
            self._relevance = Relevance.from_gains(gains)
        self._documents = torch.from_numpy(documents).to(device)
        self._queries = torch.from_numpy(queries).to(device)

    def __call__(self, apply: Apply) -> float:
        """The mean over the nesting's widths."""
        return float(np.mean(list(self.by_width(apply).values())))

    def by_width(self, apply: Apply) -> dict[int, float]:
        """{width: value}."""
        with torch.no_grad():
            documents, queries = apply(self._documents), apply(self._queries)
            return {
                width: self._value(queries[:, :width], documents[:, :width])
                for width in self.nesting.widths
            }

    def _value(self, queries: Tensor, documents: Tensor) -> float:
        scores = functional.normalize(queries, dim=1) @ functional.normalize(documents, dim=1).T
        if self._own is not None:
            own = torch.from_numpy(self._own).to(scores.device)
            scores[torch.arange(len(own), device=scores.device), own] = float("-inf")
        ranks = ranks_of_relevant(scores.cpu().numpy(), self._relevance)
        return float(self._measure.values(ranks, self._relevance).mean())
