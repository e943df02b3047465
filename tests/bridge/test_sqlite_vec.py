from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from nestvec.bridge import sqlite_vec
from nestvec.bridge.exported import Place
from nestvec.bridge.sqlite_library import connect
from nestvec.errors import UserError
from nestvec.index.plan import Plan

from .staged_in_numpy import agrees, assert_same_hits, held_of, staged_search

pytest.importorskip("sqlite_vec")

PLANS = (
    "sign:100,16d:40,raw:10",
    "16d:50,raw:10",
    "8d:99,24d:50,raw:10",
    "sign:60,16d:10",
    "raw:10",
)


def written(source, out, plan=None):
    parsed = None if plan is None else Plan.parse(plan)
    return sqlite_vec.write(source, Place(out=out), parsed)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_hits_are_the_same_plans_here(source_of, queries, tmp_path, metric, plan):
    source = source_of(metric)
    exported = written(source, tmp_path / "papers.sqlite", plan)
    held = held_of(source, exported.plan)
    found = exported.search(queries, 10)
    exported.close()
    bits = source.signs.of_queries(queries)
    for hits, query, signs in zip(found, queries, bits, strict=True):
        wanted, scores = staged_search(held, exported.plan, query, signs)
        assert agrees(hits, wanted, scores)
        if plan.startswith("sign") and plan.endswith("16d:10"):
            assert len(set(hits.tolist())) == 10


def test_signs_of_coordinates_where_the_code_has_none(source_of, queries, tmp_path):
    source = source_of(spec="int8")
    assert not source.signs.of_code
    exported = written(source, tmp_path / "papers.sqlite")
    assert str(exported.plan) == "sign:597,16d:200,raw:10"
    assert_same_hits(exported, source, queries)
    exported.close()


def test_vectors_are_adapted_ones(adapted, queries, tmp_path):
    source = adapted
    exported = written(source, tmp_path / "a.sqlite", "sign:100,16d:40,raw:10")
    assert "map_queries" in exported.query
    held = held_of(source, exported.plan)
    assert held.vectors.shape == (597, 32)
    asked = source.opened.map_queries(queries)
    ours = source.opened.rank(queries, exported.plan)
    positions = source.opened.positions()
    bits = source.signs.of_queries(asked)
    found = exported.search(asked, 10)
    exported.close()
    for hits, query, signs, here in zip(found, asked, bits, ours, strict=True):
        wanted, scores = staged_search(held, exported.plan, query, signs)
        assert agrees(hits, wanted, scores)
        assert agrees(held.seqs[np.searchsorted(positions, here.rows)], wanted, scores)


def test_ties_go_to_the_smaller_seq(source_of, tmp_path):
    source = source_of()
    exported = written(source, tmp_path / "p.sqlite", "sign:100,16d:40,raw:10")
    stored = np.asarray(source.opened.vectors(), np.float32)
    seqs = np.concatenate([run.seqs for run in source.rows()])
    twins = [i for i in range(len(stored) - 1) if (stored[i] == stored[i + 1]).all()][:5]
    assert len(twins) == 5
    for hits, twin in zip(exported.search(stored[twins], 10), twins, strict=True):
        assert hits[:2].tolist() == seqs[[twin, twin + 1]].tolist()
    exported.close()


def test_rows_are_all_there(source_of, tmp_path):
    source = source_of("dot")
    out = tmp_path / "Papers of 2020.sqlite"
    written(source, out).close()
    base = connect(out, read_only=True)
    base.row_factory = sqlite3.Row
    rows = {row["id"]: row for row in base.execute("SELECT * FROM some_papers")}
    assert len(rows) == 597
    row = rows["id-8"]
    assert row["text"].startswith("the text of row 8, naïve “quotes”")
    assert (row["year"], row["share"], row["good"], row["Lang"]) == (1908, 8 / 7, 1, None)
    assert (row["tags"], row["more"]) == ('["a", "b8"]', '{"n": 8, "of": [1, null]}')
    vectors = dict(base.execute("SELECT seq, vector FROM some_papers_vectors"))
    run = next(iter(source.rows()))
    assert vectors[int(run.seqs[4])] == run.vectors[4].astype("<f4").tobytes()
    assert row["length"] == pytest.approx(float(np.linalg.norm(run.vectors[run.ids.index("id-8")])))
    kept = dict(base.execute("SELECT name, value FROM nestvec_export"))
    assert (kept["rows"], kept["metric"], kept["bits"]) == (597, "dot", 48)
    axes = np.frombuffer(kept["axes"], "<f4").reshape(48, 48)
    np.testing.assert_array_equal(axes, source.signs.axes)
    base.close()


def test_a_rerun_replaces_ours_and_nothing_else(source_of, tmp_path):
    source = source_of()
    out = tmp_path / "papers.sqlite"
    written(source, out).close()
    written(source, out, "raw:5").close()
    base = connect(out, read_only=True)
    names = {name for (name,) in base.execute("SELECT name FROM sqlite_master")}
    assert "some_papers_signs" not in names
    base.close()
    assert [path.name for path in tmp_path.iterdir()] == ["papers.sqlite"]
    other = tmp_path / "mine.sqlite"
    with sqlite3.connect(other) as mine:
        mine.execute("CREATE TABLE t (x)")
    mine.close()
    text = tmp_path / "notes.txt"
    text.write_text("a few words, long enough to be no database at all")
    for place in (other, text, tmp_path, tmp_path / "no" / "p.sqlite"):
        with pytest.raises(UserError, match=r"replaces only what nestvec exported|is a file in"):
            written(source, place)
    assert text.read_text().startswith("a few")


def test_a_load_that_fails_leaves_what_was_there(source_of, broken_source, tmp_path):
    source = source_of()
    out = tmp_path / "papers.sqlite"
    written(source, out).close()
    before = out.read_bytes()
    with pytest.raises(OSError, match="went away"):
        written(broken_source, out)
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["papers.sqlite"]


@pytest.mark.parametrize(
    ("name", "words"), [("a b", "letters, digits"), ("1a", "no digit first"), ("x" * 41, "40")]
)
def test_names_of_tables(source_of, tmp_path, name, words):
    with pytest.raises(UserError, match=words):
        sqlite_vec.check(source_of(), Place(out=tmp_path / "p.sqlite", name=name), None)


def test_columns_that_differ_in_case_alone(source_of, tmp_path, monkeypatch):
    source = source_of()
    monkeypatch.setattr(source, "kinds", {"Title": "text"})
    with pytest.raises(UserError, match=r"more than case; got 'Title'"):
        written(source, tmp_path / "p.sqlite")


def test_rows_of_zeros_come_by_their_cosine(tmp_path):
    base = connect(tmp_path / "z.sqlite")
    zero, one = np.zeros(4, "<f4").tobytes(), np.ones(4, "<f4").tobytes()
    assert base.execute("SELECT vec_distance_cosine(?, ?)", (zero, one)).fetchone() == (None,)
    base.close()
