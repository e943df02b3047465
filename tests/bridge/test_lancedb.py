"""Exports to LanceDB, asked by the query that was written."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("lancedb")

from nestvec.bridge.exported import Place, target_named
from nestvec.errors import UserError
from nestvec.index.plan import Plan

from .staged_in_numpy import assert_same_hits

TARGET = target_named("lancedb")


def _written(source, folder, plan=None, name=None):
    parsed = TARGET.plan(source) if plan is None else Plan.parse(plan)
    return TARGET.write(source, Place(folder / "base", name=name), parsed)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("plan", ["sign:300,16d:60,raw:10", "24d:60,raw:10"])
def test_the_same_plan_here(source_of, queries, tmp_path, metric, plan):
    source = source_of(metric)
    exported = _written(source, tmp_path, plan)
    assert str(exported.plan) == plan
    assert_same_hits(exported, source, queries)


def test_rows_and_columns(source_of, tmp_path):
    import lancedb

    source = source_of()
    exported = _written(source, tmp_path)
    assert str(exported.plan) == "sign:597,16d:200,raw:10"
    table = lancedb.connect(str(tmp_path / "base")).open_table("some_papers")
    found = table.to_arrow()
    assert found.num_rows == source.count == 597
    (run,) = source.rows(10_000)
    assert found["seq"].to_pylist() == run.seqs.tolist()
    for name, values in (("id", run.ids), ("title", run.titles), ("text", run.texts)):
        assert found[name].to_pylist() == values
    for name, values in run.columns.items():
        assert found[name].to_pylist() == values
    np.testing.assert_array_equal(np.array(found["vector"].to_pylist(), np.float32), run.vectors)
    np.testing.assert_array_equal(np.array(found["signs"].to_pylist(), np.uint8), run.signs)
    hits = table.search(run.vectors[4], vector_column_name="vector").where("year > 1950").limit(3)
    assert all(row["year"] > 1950 for row in hits.to_list())


def test_coordinate_signs_need_no_matrix(source_of, queries, tmp_path):
    source = source_of(spec="6xcb16")
    exported = _written(source, tmp_path, "sign:300,raw:10")
    assert "axes" not in exported.query
    assert [path.name for path in (tmp_path / "base").iterdir()] == ["some_papers.lance"]
    assert_same_hits(exported, source, queries)


def test_the_query_runs_alone(source_of, queries, tmp_path):
    source = source_of()
    exported = _written(source, tmp_path)
    names: dict = {}
    exec(exported.query, names)
    seqs, distances = names["search"](queries[0], 5)
    assert seqs == exported.search(source.opened.map_queries(queries[:1]), 5)[0].tolist()
    assert (np.diff(distances) >= 0).all()


def test_a_database_keeps_its_other_tables(source_of, tmp_path):
    import lancedb

    base = lancedb.connect(str(tmp_path / "base"))
    base.create_table("mine", data=[{"a": 1}])
    base.create_table("some_papers", data=[{"a": 1}])
    source = source_of()
    with pytest.raises(UserError, match=r"the table some_papers in .* is something else"):
        _written(source, tmp_path)
    base.drop_table("some_papers")
    _written(source, tmp_path)
    again = _written(source, tmp_path, "16d:30,raw:10")
    assert base.open_table("mine").count_rows() == 1
    schema = base.open_table("some_papers").schema
    assert "signs" not in schema.names
    said = json.loads(schema.metadata[b"nestvec_export.json"])
    assert said["plan"] == "16d:30,raw:10" == str(again.plan)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_nothing_is_half_written(source_of, tmp_path, monkeypatch):
    source = source_of()
    real = type(source).rows

    def stopping(self, *args):
        for i, rows in enumerate(real(self, 100)):
            if i == 3:
                raise OSError(28, "No space left on device")
            yield rows

    monkeypatch.setattr(type(source), "rows", stopping)
    with pytest.raises(UserError, match="cannot be written"):
        _written(source, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_lancedb_does_not_hold(source_of, tmp_path):
    with pytest.raises(UserError, match="lancedb holds stages such as"):
        TARGET.check(source_of(), Place(tmp_path / "base"), Plan.parse("6B:20,raw:10"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="database is a folder"):
        TARGET.check(source_of(), Place(tmp_path / "file"), Plan.parse("raw:10"))
