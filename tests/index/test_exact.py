from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nestvec.errors import UserError
from nestvec.index import exact


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_an_exact_search_finds_what_a_search_of_all_vectors_does(
    make: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    metric: str,
) -> None:
    collection = make(300, metric, "12xcb16").collection(tmp_path / "c.nv")
    rng = np.random.default_rng(1)
    queries = rng.standard_normal((9, 16)).astype(np.float32) * 3
    queries[0] = 0 if metric != "cosine" else queries[0]
    expected = collection.rank(queries, "raw:10")
    whole = collection.rank(queries, "exact")
    monkeypatch.setattr(exact, "FEWEST_ROWS", 0)
    monkeypatch.setattr(exact, "_CANDIDATES", 10)
    monkeypatch.setattr(exact, "_DOTS", 600)
    found = collection.rank(queries, "exact:10")
    for one, two, three in zip(expected, found, whole, strict=True):
        assert two.rows.tolist() == three.rows.tolist() == one.rows.tolist()
        assert two.scores.tolist() == three.scores.tolist() == one.scores.tolist()
        assert [stage.stage for stage in two.stages] == ["exact:10"]
        assert two.stages[0].kept == 10
    assert all(ranking.stages[0].share == 1 for ranking in whole)
    assert all(ranking.stages[0].share is None for ranking in expected)


def test_few_vectors_are_read_where_rows_are_spread_unevenly(
    make_of: Callable[..., Any], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((40, 32)) * np.exp(-np.arange(32) / 6)
    vectors = centers[rng.integers(0, 40, 5_000)] + 0.05 * rng.standard_normal((5_000, 32))
    vectors[100:110] = vectors[0]  # equal rows tie to the smaller seq
    collection = make_of(vectors.astype(np.float32), "4xcb16").collection(tmp_path / "c.nv")
    queries = vectors[:20].astype(np.float32)
    expected, found = (collection.rank(queries, plan) for plan in ("raw:10", "exact:10"))
    for one, two in zip(expected, found, strict=True):
        assert two.rows.tolist() == one.rows.tolist()
        assert two.scores.tolist() == one.scores.tolist()
    shares = [ranking.stages[0].share for ranking in found]
    assert max(shares) < 0.5
    again = collection.rank(queries[:1], "exact:10")
    assert again[0].stages[0].bytes == found[0].stages[0].bytes


def test_more_hits_than_rows_are_all_rows(make: Callable[..., Any], tmp_path: Path) -> None:
    collection = make(300, "cosine", "12xcb16").collection(tmp_path / "c.nv")
    query = np.ones((1, 16), np.float32)
    assert len(collection.rank(query, "exact:400")[0].rows) == 300
    assert len(collection.rank(query, "exact", k=3)[0].rows) == 3


def test_an_exact_stage_stands_alone_and_needs_vectors(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    material = make(300, "cosine", "12xcb16")
    collection = material.collection(tmp_path / "c.nv", "4B:10", vectors=None)
    query = np.ones((1, 16), np.float32)
    with pytest.raises(UserError, match="stored vectors, and this collection keeps only"):
        collection.rank(query, "exact")
    with pytest.raises(UserError, match="stands alone; got 8B:20,exact:10"):
        collection.rank(query, "8B:20,exact:10")
