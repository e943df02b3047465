"""Plans that read the nearest lists alone, against lists made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nestvec.codec.centers import Centers
from nestvec.errors import UserError
from nestvec.index.collection import Collection
from nestvec.index.snapshot import open_version

N, LISTS = 1500, 12


@pytest.fixture(scope="module", params=["cosine", "dot", "l2"])
def opened(
    request: pytest.FixtureRequest,
    make: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    material = make(N, request.param)
    path: Path = tmp_path_factory.mktemp("lists") / "a.nv"
    return material, material.collection(path).make_lists("8B", LISTS)


def unit(rows: Any) -> Any:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def lists_by_hand(collection: Any, features: Any) -> Any:
    return (unit(features) @ collection.lists.centers.centers.T).argmax(axis=1)


@pytest.mark.parametrize("plan", ["8B:20", "3B:40", "12B:20", "raw:20", "5d:20"])
@pytest.mark.parametrize("probe", [1, 3])
def test_the_best_of_the_nearest_lists_are_found(
    opened: Any, queries: Any, plan: str, probe: int
) -> None:
    material, collection = opened
    decoded = material.codec.decode(material.codes, 8)
    of_row = lists_by_hand(collection, decoded)
    nearest = np.argsort(-(unit(queries) @ collection.lists.centers.centers.T), axis=1)[:, :probe]
    everything = collection.rank(queries, plan.split(":")[0] + f":{N}")
    found = collection.rank(queries, f"probe={probe};{plan}")
    keep = int(plan.split(":")[1])
    for one, whole, own in zip(found, everything, nearest, strict=True):
        within = np.isin(of_row[whole.rows], own)
        assert one.rows.tolist() == whole.rows[within][:keep].tolist()
        np.testing.assert_allclose(one.scores, whole.scores[within][:keep], rtol=1e-5, atol=1e-5)
        assert one.stages[0].scanned == within.sum()
    alone = [collection.rank(query[None], f"probe={probe};{plan}")[0] for query in queries]
    for one, other in zip(found, alone, strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)


def test_all_lists_are_all_rows(opened: Any, queries: Any) -> None:
    _, collection = opened
    for plan in ("8B:30", "8B:200,12B:50,raw:10", "6d:30,raw:5"):
        for one, other in zip(
            collection.rank(queries, f"probe={LISTS};{plan}"),
            collection.rank(queries, plan),
            strict=True,
        ):
            assert one.rows.tolist() == other.rows.tolist()
            np.testing.assert_allclose(one.scores, other.scores, rtol=1e-6)


def test_bytes_read_are_of_the_probed_rows_and_the_centers(opened: Any, queries: Any) -> None:
    material, collection = opened
    length = 0 if material.codec.metric == "cosine" else 4
    (found,) = collection.rank(queries[:1], "probe=2;8B:50,raw:5")
    first, last = found.stages
    assert first.bytes == first.scanned * (9 + length) + LISTS * 16 * 4
    assert first.scanned < N / 2
    assert last.scanned == min(50, first.kept)


def test_lists_live_with_the_collection(
    make: Callable[..., Any], tmp_path: Path, queries: Any
) -> None:
    material = make(300)
    place = tmp_path / "a.nv"
    first = material.cut(slice(200)).collection(place).make_lists("8d", 7, seed=3)
    assert first.lists is not None
    grown = first.add(material.rows[200:], material.vectors[200:])
    grown = grown.delete(f"r{row}" for row in range(0, 300, 5))
    plan = "probe=3;8B:40,raw:10"
    of_row = lists_by_hand(grown, material.vectors[:, :8])
    nearest = np.argsort(-(unit(queries[:, :8]) @ first.lists.centers.centers.T), axis=1)[:, :3]
    hits = grown.search(queries, "probe=3;8B:300")
    whole = grown.search(queries, "8B:300")
    for some, every, own in zip(hits, whole, nearest, strict=True):
        within = [hit.id for hit in every.hits if of_row[int(hit.id[1:])] in own]
        assert [hit.id for hit in some.hits] == within
        assert not any(int(hit.id[1:]) % 5 == 0 for hit in some.hits)
    some = grown.search(queries, "probe=7;8B:300", where="year < 2050")[0].hits
    assert {int(hit.id[1:]) for hit in some} == {row for row in range(50) if row % 5}
    before = [[hit.id for hit in found.hits] for found in grown.search(queries, plan)]
    compacted, _ = grown.compact()
    after = [[hit.id for hit in found.hits] for found in compacted.search(queries, plan)]
    assert before == after
    # another version has its own lists, and the same seed gives the same
    assert open_version(place, 1).lists is None
    again = compacted.make_lists("8d", 7, seed=4)
    assert again.lists is not None
    assert not np.array_equal(again.lists.centers.centers, first.lists.centers.centers)
    (place / "cache").rename(tmp_path / "old")
    twice = Collection.open(place).make_lists("8d", 7, seed=4)
    assert twice.lists is not None
    np.testing.assert_array_equal(twice.lists.centers.centers, again.lists.centers.centers)
    one, other = again.rank(queries, plan), twice.rank(queries, plan)
    assert [found.rows.tolist() for found in one] == [found.rows.tolist() for found in other]


def test_signs_are_read_of_lists_too(
    make: Callable[..., Any], tmp_path: Path, queries: Any
) -> None:
    collection = make(300, "cosine", "sign16+4xcb16").collection(tmp_path / "a.nv")
    listed = collection.make_lists(count=5)
    assert listed.lists is not None
    assert (listed.lists.centers.kind, listed.lists.centers.amount) == ("bytes", 7)
    for one, other in zip(
        listed.rank(queries, "probe=5;sign4:30,raw:5"),
        listed.rank(queries, "sign4:30,raw:5"),
        strict=True,
    ):
        assert one.rows.tolist() == other.rows.tolist()
    decoded = listed.codec.decode(listed.codes(), 7)
    of_row = lists_by_hand(listed, decoded)
    nearest = listed.lists.nearest(queries, 2)
    everything = listed.rank(queries, "sign:300")
    for plan in ("probe=2;sign:40", "probe=2;sign:300"):
        found = listed.rank(queries, plan)
        for one, whole, own in zip(found, everything, nearest, strict=True):
            within = whole.rows[np.isin(of_row[whole.rows], own)]
            assert one.rows.tolist() == within[: int(plan.split(":")[1])].tolist()
        for i, query in enumerate(queries):
            assert listed.rank(query[None], plan)[0].rows.tolist() == found[i].rows.tolist()
    left = listed.delete(f"r{row}" for row in range(0, 300, 3))
    for ranking in left.rank(queries, "probe=2;sign:300"):
        assert not (ranking.rows % 3 == 0).any()


def test_fewer_rows_than_asked_for(make: Callable[..., Any], tmp_path: Path, queries: Any) -> None:
    collection = make(300).collection(tmp_path / "a.nv").make_lists("8B", 100)
    assert collection.lists is not None
    counts = collection.lists.scanned(collection.lists.nearest(queries, 1))
    for found, count in zip(collection.search(queries, "probe=1;8B:200"), counts, strict=True):
        assert len(found.hits) == count


def test_lists_that_cannot_be(make: Callable[..., Any], tmp_path: Path, queries: Any) -> None:
    collection = make(300).collection(tmp_path / "a.nv")
    with pytest.raises(UserError, match="there are 0: make some with nestvec lists"):
        collection.rank(queries, "probe=1;8B:10")
    for on, count, says in [
        ("8", 5, "got '8': write 8B or 64d"),
        ("13B", 5, "more bytes than the code has"),
        ("17d", 5, "more coordinates than a vector has"),
        ("8B", 301, "got 301: write a number up to 300"),
        ("8B", 0, "got 0"),
    ]:
        with pytest.raises(UserError, match=says):
            collection.make_lists(on, count)
    listed = collection.make_lists("8B", 5)
    with pytest.raises(UserError, match="got 6, and there are 5"):
        listed.rank(queries, "probe=6;8B:10")


def test_centers_by_hand(tmp_path: Path) -> None:
    centers = Centers("dims", 2, np.array([[1, 0], [0, 1], [-1, 0]], np.float32))
    rows = np.array([[1, 0.5], [0.1, 1], [-1, -1], [1, 1]], np.float32)
    assert centers.assign(rows).tolist() == [0, 1, 2, 0]
    assert centers.nearest(rows[:2], 2).tolist() == [[0, 1], [1, 0]]
    centers.save(tmp_path / "c.safetensors")
    again = Centers.load(tmp_path / "c.safetensors")
    assert (again.kind, again.amount, again.width) == ("dims", 2, 2)
    np.testing.assert_array_equal(again.centers, centers.centers)
