"""Measures of retrieval where what is relevant to a query is every row of its class.

Classes have far more rows than a list has places, so that these start from the lists alone, where
metrics.py starts from the rank of every relevant row. Everything is told query by query, as
intervals take it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.measure.metrics import exact_top

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

_BLOCK = 512


def nearest_rows(rows: F32, queries: F32, k: int) -> NDArray[np.int64]:
    """The k rows (n, d) of the largest cosine with each query (q, d), best first: (q, min(k, n)).

    Ties go to the smaller row. A vector of zeros has the cosine 0 with all.
    Memory: 512 x n float32 beside a copy of the rows.
    Raises ValueError where a number is not finite.
    """
    database, asked = _units(rows), _units(queries)
    found = [
        exact_top(asked[start : start + _BLOCK] @ database.T, k)
        for start in range(0, len(asked), _BLOCK)
    ]
    return np.concatenate(found) if found else np.empty((0, min(k, len(rows))), np.int64)


def relevant_hits(
    hits: NDArray[np.int64], database: NDArray[Any], labels: NDArray[Any]
) -> tuple[Bools, NDArray[np.int64]]:
    """Which hits bear their query's label, (q, k), and how many rows of all do, (q,).

    hits: (q, k) rows, best first, -1 where a list is shorter. database: (n,) the rows' labels;
    labels: (q,) the queries'.
    """
    found = (database[hits] == labels[:, None]) & (hits >= 0)
    names, counts = np.unique(database, return_counts=True)
    at = np.minimum(np.searchsorted(names, labels), len(names) - 1)
    return found, np.where(names[at] == labels, counts[at], 0)


def ap_at_k(relevant: Bools, k: int, totals: NDArray[Any]) -> F64:
    """Average precision of each list's first k: (q,), whose mean is mAP@k.

    relevant: (q, >= 1) from the best hit on; places that a shorter list lacks are not relevant.
    totals: (q,) relevant rows that there are. The precision at every relevant hit, summed, by
    min(total, k), so that the best list there could be has 1; without any relevant row it is 0.
    (trec_eval's map_cut, Measure "AP", divides by total even where a list has fewer places.)
    """
    best: F64 = np.maximum(np.minimum(totals, k), 1).astype(np.float64)
    return _precisions(relevant, k) / best


def ap_by_k(relevant: Bools, k: int) -> F64:
    """As ap_at_k, but divided by k, however few rows are relevant: (q,).

    This is what the code of MRL (Kusupati et al. 2022, arXiv:2205.13147) reports as mAP@k.
    """
    return _precisions(relevant, k) / k


def precision_at_k(relevant: Bools, k: int) -> F64:
    """The share of the first k places that hold a relevant row: (q,)."""
    found: F64 = relevant[:, :k].sum(axis=1) / k
    return found


def first_right(relevant: Bools) -> F64:
    """1 where the first hit is relevant, 0 elsewhere: (q,), whose mean is 1-NN accuracy."""
    return relevant[:, 0].astype(np.float64)


def _precisions(relevant: Bools, k: int) -> F64:
    assert k >= 1, "a list has a first place"
    first = relevant[:, :k].astype(np.float64)
    places = np.arange(1, first.shape[1] + 1)
    summed: F64 = (first * np.cumsum(first, axis=1) / places).sum(axis=1)
    return summed


def _units(vectors: F32) -> F32:
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32, copy=False)
