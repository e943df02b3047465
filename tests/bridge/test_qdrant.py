"""Exports to Qdrant's own local mode, and by its local engine as if to a server."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("qdrant_client")

from qdrant_client import QdrantClient, models

from nestvec.bridge import qdrant
from nestvec.bridge.exported import Place, target_named
from nestvec.errors import UserError
from nestvec.index.plan import Plan

from .staged_in_numpy import assert_same_hits

TARGET = target_named("qdrant")


@pytest.fixture
def server(monkeypatch):
    """Qdrant's own engine in this process, in the place of a server."""
    client = QdrantClient(":memory:")
    monkeypatch.setattr(qdrant, "_remote", lambda url: client)
    return client


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_the_same_plan_here(source_of, queries, server, metric):
    source = source_of(metric)
    plan = Plan.parse("16d:150,32d:60,raw:10")
    exported = TARGET.write(source, Place(dsn="http://localhost:6333"), plan)
    assert_same_hits(exported, source, queries)


def test_points(source_of, queries, tmp_path):
    source = source_of()
    exported = TARGET.write(source, Place(tmp_path / "out"), TARGET.plan(source))
    assert str(exported.plan) == "16d:200,raw:10"
    assert_same_hits(exported, source, queries)
    asked = exported.search(queries[:1], 5)[0].tolist()
    exported.close()
    names: dict = {}
    exec(exported.query, names)
    ids, scores = names["search"](queries[0], 5)
    assert ids == asked
    assert (np.diff(scores) <= 1e-6).all()
    client = names["client"]
    info = client.get_collection("some_papers")
    assert info.points_count == source.count == 597
    assert {n: v.size for n, v in info.config.params.vectors.items()} == {
        "cut_16": 16, "vector": 48,
    }  # fmt: skip
    (run,) = source.rows(10_000)
    (point,) = client.retrieve("some_papers", [int(run.seqs[5])], with_vectors=True)
    wanted = {"id": run.ids[5], "title": run.titles[5], "text": run.texts[5]}
    assert point.payload == wanted | {name: run.columns[name][5] for name in run.columns}
    unit = run.vectors[5] / np.linalg.norm(run.vectors[5])
    np.testing.assert_allclose(point.vector["vector"], unit, atol=1e-6)
    client.close()


def test_a_server_gets_an_alias_once_all_is_there(source_of, queries, server):
    source = source_of()
    place = Place(dsn="http://localhost:6333", name="papers")
    plan = Plan.parse("16d:200,raw:10")
    exported = TARGET.write(source, place, plan)
    assert_same_hits(exported, source, queries)
    assert "url='http://localhost:6333'" in exported.query
    (first,) = server.get_aliases().aliases
    assert first.alias_name == "papers"
    TARGET.write(source, place, plan)
    (second,) = server.get_aliases().aliases
    assert second.collection_name != first.collection_name
    names = [each.name for each in server.get_collections().collections]
    assert names == [second.collection_name]


def test_a_server_keeps_what_is_not_ours(source_of, server, monkeypatch):
    source = source_of()
    plan = Plan.parse("raw:10")
    size = models.VectorParams(size=4, distance=models.Distance.DOT)
    server.create_collection("papers", vectors_config=size)
    with pytest.raises(UserError, match="the collection papers is something else"):
        TARGET.write(source, Place(dsn="http://localhost:6333", name="papers"), plan)

    def stop(*args):
        raise OSError("connection reset")

    monkeypatch.setattr(qdrant, "_points", stop)
    with pytest.raises(UserError, match="refused or did not answer"):
        TARGET.write(source, Place(dsn="http://localhost:6333", name="others"), plan)
    assert [each.name for each in server.get_collections().collections] == ["papers"]


def test_no_server(source_of):
    place = Place(dsn="http://127.0.0.1:9", name="papers")
    with pytest.raises(UserError, match="refused or did not answer"):
        TARGET.write(source_of(), place, Plan.parse("raw:10"))


@pytest.mark.parametrize(
    ("out", "dsn", "plan", "words"),
    [
        (None, None, "raw:10", "one of them; got neither"),
        ("out", "http://localhost:6333", "raw:10", "one of them; got both"),
        ("out", None, "sign:20,raw:10", "qdrant holds stages such as"),
        ("out", None, "6B:20,raw:10", "qdrant holds stages such as"),
    ],
)
def test_what_qdrant_does_not_hold(source_of, tmp_path, out, dsn, plan, words):
    place = Place(None if out is None else tmp_path / out, dsn)
    with pytest.raises(UserError, match=words):
        TARGET.check(source_of(), place, Plan.parse(plan))


def test_nothing_is_half_written(source_of, tmp_path, monkeypatch):
    def stop(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(qdrant, "_points", stop)
    with pytest.raises(UserError, match="No space left"):
        TARGET.write(source_of(), Place(tmp_path / "out"), Plan.parse("raw:10"))
    assert not list(tmp_path.iterdir())
