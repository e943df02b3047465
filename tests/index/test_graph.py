"""Plans that walk a graph to near rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nestvec.errors import MissingExtra, UserError
from nestvec.index import graph
from nestvec.index.collection import Collection
from nestvec.index.graph import Graph, GraphOver
from nestvec.index.snapshot import open_version

N = 3000


@pytest.fixture(scope="module", params=["sign", "6B", "16d"])
def opened(
    request: pytest.FixtureRequest,
    make: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    material = make(N, "cosine", "sign16+4xcb16")
    path: Path = tmp_path_factory.mktemp("graph") / "a.nv"
    return material.collection(path).make_graph(request.param, 12)


def test_a_walk_finds_nearly_what_a_scan_of_the_same_finds(opened: Any, queries: Any) -> None:
    stage = opened.graph.over.on
    for walked, scanned in zip(
        opened.rank(queries, f"graph=300;{stage}:300,raw:10"),
        opened.rank(queries, f"{stage}:300,raw:10"),
        strict=True,
    ):
        both = np.intersect1d(walked.rows, scanned.rows)
        # of 16 signs many rows tie, and a walk ends at any of them
        assert len(both) >= (5 if stage == "sign" else 8)
        first = walked.stages[0]
        assert 290 <= first.scanned <= 310
        assert first.kept == first.scanned
        # each row that it came by costs what is compared of it, in the least every row it gave
        assert first.bytes >= 300 * opened._reader.bytes_read(opened.plan)[0] // N


def test_stages_rank_what_the_walk_leads_to_as_they_rank_all_rows(
    opened: Any, queries: Any
) -> None:
    for plan in ("graph=200;6B:50", "graph=200;sign4:50", "graph=100;raw:20", "graph=100;5d:20"):
        whole = opened.rank(queries, f"{plan.split(';')[1].split(':')[0]}:{N}")
        for walked, every in zip(opened.rank(queries, plan), whole, strict=True):
            place = {row: at for at, row in enumerate(every.rows.tolist())}
            found = [place[row] for row in walked.rows.tolist()]
            assert found == sorted(found)
            np.testing.assert_allclose(walked.scores, every.scores[found], rtol=1e-5, atol=1e-5)


def test_where_most_rows_would_be_found_all_are(opened: Any, queries: Any) -> None:
    for one, other in zip(
        opened.rank(queries, f"graph={N // 4};6B:100,raw:10"),
        opened.rank(queries, "6B:100,raw:10"),
        strict=True,
    ):
        assert one.rows.tolist() == other.rows.tolist()
        assert one.stages[0].scanned == N


@pytest.mark.parametrize("metric", ["dot", "l2"])
def test_other_metrics_walk_by_angle(
    make: Callable[..., Any], tmp_path: Path, queries: Any, metric: str
) -> None:
    collection = make(N, metric).collection(tmp_path / "a.nv").make_graph("8B")
    found = collection.rank(queries, "graph=400;8B:400,raw:10")
    exact = collection.rank(queries, "8B:400,raw:10")
    shared = [len(np.intersect1d(a.rows, b.rows)) for a, b in zip(found, exact, strict=True)]
    assert np.mean(shared) > 5


def test_a_graph_lives_with_the_collection(
    make: Callable[..., Any], tmp_path: Path, queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    material = make(N)
    place = tmp_path / "a.nv"
    linked = material.cut(slice(2000)).collection(place).make_graph("16d")
    grown = linked.add(material.rows[2000:], material.vectors[2000:])
    grown = grown.delete(f"r{row}" for row in range(0, N, 3))
    plan = "graph=150;raw:10"
    for walked, every in zip(
        grown.search(queries, plan), grown.search(queries, "raw:10"), strict=True
    ):
        ids = {hit.id for hit in walked.hits}
        assert len(ids & {hit.id for hit in every.hits}) >= 8
        assert len(ids) == 10
        assert not any(int(hit.id[1:]) % 3 == 0 for hit in walked.hits)
    few = grown.search(queries, "graph=100;raw:100", where="year < 2600")
    assert all(int(hit.id[1:]) < 600 for found in few for hit in found.hits)
    assert all(len(found.hits) == 100 for found in few)
    assert open_version(place, 1).graph is None
    # whoever comes later reads what was built
    before = grown.rank(queries, plan)
    with monkeypatch.context() as patched:
        patched.delattr(Graph, "_built")
        after = Collection.open(place).rank(queries, plan)
    assert [found.rows.tolist() for found in before] == [found.rows.tolist() for found in after]
    compacted, _ = grown.compact()
    assert compacted.graph is not None
    kept = [path.name for path in (place / "cache").glob("*.usearch")]
    compacted.graph.prepare()
    assert len([*(place / "cache").glob("*.usearch")]) == 1 > len(kept)


def test_a_place_that_cannot_be_written_costs_time_only(
    make: Callable[..., Any], tmp_path: Path, queries: Any
) -> None:
    linked = make(N).collection(tmp_path / "a.nv").make_graph("8B")
    for path in (tmp_path / "a.nv" / "cache").glob("*"):
        path.unlink()
    (tmp_path / "a.nv" / "cache").rmdir()
    (tmp_path / "a.nv" / "cache").write_text("not a folder")
    reopened = Collection.open(linked.path)
    (found,) = reopened.rank(queries[:1], "graph=100;8B:100,raw:10")
    assert len(found.rows) == 10


@pytest.mark.parametrize(
    ("on", "links", "said"),
    [
        ("8x", 16, "write sign, 8B or 64d"),
        ("sign", 16, "sign"),
        ("99B", 16, "99"),
        ("8B", 1, "2 to 256 links; got 1"),
    ],
)
def test_what_does_not_fit_is_refused(
    make: Callable[..., Any], tmp_path: Path, on: str, links: int, said: str
) -> None:
    collection = make(300).collection(tmp_path / "a.nv")
    with pytest.raises(UserError, match=said):
        collection.make_graph(on, links)
    with pytest.raises(UserError, match="make the links with nestvec graph"):
        collection.checked_plan("graph=40;8B:40,raw:10")
    assert Collection.open(collection.path).manifest.graph is None


def test_without_the_library_the_extra_is_named(
    make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = make(300).collection(tmp_path / "a.nv")

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(graph.importlib, "import_module", missing)
    with pytest.raises(MissingExtra, match=r"nestvec\[graph\]"):
        collection.make_graph("8B")
    assert Collection.open(collection.path).manifest.graph is None


def test_what_a_graph_is_over_has_one_text_form() -> None:
    for over in (GraphOver("sign"), GraphOver("8B", 32), GraphOver("64d", 2)):
        assert GraphOver.parse(str(over)) == over
