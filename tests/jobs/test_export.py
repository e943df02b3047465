import json
from dataclasses import replace

import numpy as np
import pytest

import nestvec as nv
from nestvec.bridge.exported import Exported, Target
from nestvec.index.plan import Plan
from nestvec.index.snapshot import Snapshot
from nestvec.jobs import export as job


def answering(search, plan="raw:10"):
    """A target that answers by search: (opened, queries, k) -> positions of rows, a list each."""

    def write(source, place, plan, progress=None):
        seqs = np.concatenate([run.seqs for run in source.rows()])

        def asked(queries, k):
            found = np.full((len(queries), k), -1, np.int64)
            for row, hits in zip(found, search(source.opened, queries, k), strict=True):
                row[: len(hits)] = seqs[hits]
            return found

        return Exported(str(place.out), source.count, plan, "the query", search=asked)

    chosen = None if plan is None else lambda source: Plan.parse(plan)
    return Target("told", "told", "out", chosen, lambda *_: None, write)


@pytest.fixture
def told(monkeypatch):
    def use(search, plan="raw:10"):
        target = answering(search, plan)
        monkeypatch.setattr(job, "target_named", lambda _: target)

    return use


def ranked(plan):
    def search(opened, queries, k):
        positions = opened.positions()
        return [np.searchsorted(positions, r.rows) for r in opened.rank(queries, plan, k)]

    return search


def test_the_same_plan_loses_nothing(vectors_nv, told):
    told(ranked(None))
    loss = nv.export(vectors_nv[0], "told", out="x").loss
    assert loss.agreement.value == 1
    assert (loss.difference.value, loss.difference.low, loss.difference.high) == (0, 0, 0)
    assert loss.own == loss.exported
    assert loss.own_plan == nv.info(vectors_nv[0]).plan
    assert "held-out rows" in loss.about


def test_exact_search_scores_one_since_rows_are_left_out_of_their_answers(vectors_nv, told):
    told(ranked("raw:10"))
    found = nv.export(vectors_nv[0], "told", out="x")
    assert (found.loss.measure, found.loss.exported.value) == ("R@10", 1)
    assert found.loss.exported.value > found.loss.own.value
    assert found.loss.difference.value == pytest.approx(1 - found.loss.own.value)
    json.dumps(found.to_json())


def test_no_hits_agree_with_nothing(vectors_nv, told):
    told(lambda opened, queries, k: [[] for _ in queries])
    loss = nv.export(vectors_nv[0], "told", out="x", sample_queries=9).loss
    assert (loss.agreement.value, loss.exported.value, loss.agreement.n) == (0, 0, 9)


def test_a_collection_is_asked_what_it_was_measured_by(corpus_nv, told):
    told(ranked("raw:10"))
    loss = nv.export(corpus_nv[0], "told", out="x").loss
    assert (loss.measure, loss.agreement.n) == ("nDCG@10", 12)
    assert "given queries" in loss.about


def test_a_target_without_rows_runs_no_plan(vectors_nv, monkeypatch):
    target = replace(
        answering(None, None),
        write=lambda source, place, plan, progress: Exported("a file", 0, None, ""),
    )
    monkeypatch.setattr(job, "target_named", lambda _: target)
    found = nv.export(vectors_nv[0], "told", out="x")
    assert (found.plan, found.loss, found.rows) == (None, None, 0)
    with pytest.raises(nv.UserError, match="runs no plan"):
        nv.export(vectors_nv[0], "told", out="x", plan="raw:10")


def test_what_is_missing_is_told(vectors_nv, tmp_path):
    with pytest.raises(nv.UserError, match="one of pgvector"):
        nv.export(vectors_nv[0], "oracle")
    with pytest.raises(nv.UserError, match=r"needs --out; got none"):
        nv.export(vectors_nv[0], "sqlite-vec")
    with pytest.raises(nv.UserError, match=r"needs --dsn"):
        nv.export(vectors_nv[0], "pgvector", out="x.sql")
    with pytest.raises(nv.UserError, match="no"):
        nv.export(tmp_path / "none.nv", "sqlite-vec", out=tmp_path / "x.sqlite")


def test_a_collection_of_vectors_goes_into_a_file(vectors_nv, tmp_path):
    pytest.importorskip("sqlite_vec")
    out = tmp_path / "v.sqlite"
    found = nv.export(vectors_nv[0], "sqlite-vec", out=out, plan="sign:80,raw:10")
    assert found.files == (str(out),)
    assert found.rows == Snapshot.open(vectors_nv[0]).count == 150
    assert found.loss.agreement.n == 30  # a fifth of the rows
    assert found.loss.exported.value > 0.9
