"""A search by shares against the same search by one machine: rows, scores and order to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nestvec.errors import UserError
from nestvec.index.collection import Collection
from nestvec.index.shares import Dealt, LocalShares, deal
from nestvec.index.store import ROWS_FOLDER, Fragment, RowStore

from .conftest import DIM, Row, made, points

ADDED = 3


@pytest.fixture(scope="module", params=["cosine", "l2"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A collection of four fragments with deleted rows, ties and lists, and it dealt in three."""
    path = tmp_path_factory.mktemp("shares") / "c.nv"
    material = made(700, request.param, "sign16+12xcb16")
    collection = material.collection(path, plan="7B:50,raw:10")
    for i in range(ADDED):
        vectors = points(150 + 60 * i, 10 + i)
        vectors[:20] = material.vectors[:20]  # the same vectors again: ties
        rows = [Row(f"new{i}-{j}", title=f"{j}") for j in range(len(vectors))]
        collection = collection.add(rows, vectors)
    collection = collection.delete([material.rows[3].id, "new1-5", "new2-0"])
    collection = collection.make_lists("7B", 12)
    store = RowStore.open(path / ROWS_FOLDER)
    dealt = Dealt.open(path)
    dealt.shares = LocalShares(path, store.version, deal(store.fragments, 3))
    return Collection.open(path), dealt


PLANS = [
    "15B:30",
    "sign:60",
    "sign:200,7B:60,15B:20,raw:10",
    "sign2:200,raw:10",
    "8d:100,raw:7",
    "raw:10",
    "exact:10",
    "probe=3;11B:40,raw:10",
    "probe=2;sign:40,15B:10",
    "sure=2;7B:200,raw:5",
    "sure=1;sign:300,15B:100,raw:3",
]


@pytest.mark.parametrize("plan", PLANS)
def test_shares_find_what_one_machine_finds(pair, plan: str) -> None:
    one, dealt = pair
    queries = np.concatenate([points(5, 77), points(700, 0)[:2]])  # two are rows, often stored
    wanted = one.rank(queries, plan)
    found = dealt.rank(queries, plan)
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(b.rows, a.rows)
        np.testing.assert_array_equal(b.scores, a.scores)
        assert [(s.stage, s.scanned, s.kept) for s in b.stages] == [
            (s.stage, s.scanned, s.kept) for s in a.stages
        ]


def test_hits_have_their_texts_and_filters_hold(pair) -> None:
    one, dealt = pair
    queries = points(3, 5)
    where = "id LIKE 'new%'"
    wanted = one.search(queries, "15B:40,raw:8", where=where)
    found = dealt.search(queries, "15B:40,raw:8", where=where)
    assert [r.hits for r in found] == [r.hits for r in wanted]
    assert all(hit.id.startswith("new") for result in found for hit in result.hits)
    none = dealt.search(queries, "15B:40,raw:8", where="id = 'nobody'")
    assert [r.hits for r in none] == [(), (), ()]


def test_a_plan_or_query_that_does_not_fit_is_refused(pair) -> None:
    _, dealt = pair
    with pytest.raises(UserError, match="more bytes than the code has"):
        dealt.rank(points(1, 0), "999B:10")
    with pytest.raises(UserError, match="must have the shape"):
        dealt.rank(np.zeros((1, DIM + 1), np.float32))


def test_fragments_are_dealt_evenly_and_each_once() -> None:
    rows = [700, 150, 210, 270, 10]
    starts = np.concatenate([[0], np.cumsum(rows)]).tolist()
    fragments = [Fragment(i, starts[i], n, 0, f"{i}") for i, n in enumerate(rows)]
    assert deal(fragments, 3) == [[0], [3, 4], [2, 1]]
    assert sorted(number for own in deal(fragments, 9) for number in own) == [0, 1, 2, 3, 4]
    with pytest.raises(UserError, match="1 searcher or more"):
        deal(fragments, 0)


def test_an_older_version_is_dealt_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "c.nv"
    material = made(300)
    first = material.collection(path)
    first.add([Row("late")], points(1, 3))
    store = RowStore.open(path / ROWS_FOLDER, first.version)
    dealt = Dealt._of(path, store)
    dealt.shares = LocalShares(path, store.version, deal(store.fragments, 2))
    assert dealt.count == 300
    wanted = first.rank(points(4, 8))
    for a, b in zip(wanted, dealt.rank(points(4, 8)), strict=True):
        np.testing.assert_array_equal(b.rows, a.rows)
