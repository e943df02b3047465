"""Queries that documents tie together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def connected(queries: NDArray[Any], rows: NDArray[Any]) -> NDArray[np.int64]:
    """(p,) a number for each pair's group: equal where documents connect two queries.

    queries, rows: (p,) the query and the document of each judged pair.
    """
    parents: dict[int, int] = {}

    def root(query: int) -> int:
        parents.setdefault(query, query)
        while parents[query] != query:
            parents[query] = parents[parents[query]]
            query = parents[query]
        return query

    first_with: dict[int, int] = {}
    for query, row in zip(queries.tolist(), rows.tolist(), strict=True):
        parents[root(query)] = root(first_with.setdefault(row, query))
    return np.array([root(query) for query in queries.tolist()], dtype=np.int64)
