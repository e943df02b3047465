import json

import numpy as np
import pytest

import nestvec as nv
from nestvec.bridge import faiss
from nestvec.choose.methods import NestedMethod
from nestvec.index.collection import Collection
from nestvec.jobs import asking

KEYS = ["method", "dims", "bytes", "value", "low", "high", "delta", "delta_low", "delta_high"]
METHODS = {
    "nested", "prefix-float", "prefix-int8", "random-float", "variance-float", "pca-float",
    "svd-float", "svd-int8", "int8", "sign",
}  # fmt: skip


FIT = NestedMethod.fit


@pytest.fixture
def without_faiss(monkeypatch):
    """Most tests need not wait for it."""
    monkeypatch.setattr(faiss, "available", lambda: False)


def test_every_method_is_measured_and_what_is_missing_is_said(vectors_file, without_faiss):
    result = nv.evaluate(vectors_file, spec="8xcb16")
    found = json.loads(json.dumps(result.to_json()))
    assert {"metric", "queries", "full", "cells"} <= set(found)
    assert set(KEYS) <= set(found["cells"][0])
    assert {cell["method"] for cell in found["cells"]} >= METHODS
    assert [text.split(":")[0] for text in found["left_out"]] == ["pq", "opq", "rq", "rabitq"]
    assert any("faiss is not installed" in text for text in found["warnings"])
    whole = [c for c in found["cells"] if c["method"] == "prefix-float" and c["dims"] == 24]
    assert whole[0]["value"] == 1.0


@pytest.mark.slow
def test_faiss_joins_where_it_is_installed(vectors_file):
    pytest.importorskip("faiss")
    methods = {cell.method for cell in nv.evaluate(vectors_file, spec="8xcb16").cells}
    assert {"pq", "opq", "rq", "rabitq"} <= methods


def test_an_array_and_its_file_give_the_same(vectors_file, without_faiss):
    array = nv.evaluate(np.load(vectors_file), spec="4xcb16")
    file = nv.evaluate(vectors_file, spec="4xcb16")
    assert array.cells == file.cells


def test_a_collection_is_measured_by_what_it_was_built_with(corpus_nv, without_faiss):
    out, built = corpus_nv
    again = nv.evaluate(out, spec="8xcb4")
    assert (again.metric, again.queries) == (built.metric, built.queries)
    assert again.full == pytest.approx(built.full, abs=1e-3)


class FittedAgain(Exception):
    """A nested code was about to be fitted."""


@pytest.fixture
def fit_no_more(monkeypatch):
    def fit(*_):
        raise FittedAgain

    monkeypatch.setattr(NestedMethod, "fit", fit)


def test_a_collections_own_code_is_not_fitted_again(vectors_nv, without_faiss, fit_no_more):
    out, built = vectors_nv
    found = nv.evaluate(out)
    codec = Collection.open(out).codec
    own = found.evidence.of("nested")
    assert [cell.bytes for cell in own] == list(codec.cuts)
    was = {cell.bytes: cell for cell in built.evaluation.cells if cell.method == "nested"}
    for cell in own:
        # vectors are kept in float16, so that a neighbour or two may change places
        assert cell.value == pytest.approx(was[cell.bytes].value, abs=0.02)
    assert any(codec.spec in text and "--spec" in text for text in found.warnings)


@pytest.mark.parametrize("options", [{"seed": 1}, {"sample_queries": 12}, {"spec": "8xcb16"}])
def test_a_code_that_saw_other_rows_is_not_taken(options, vectors_nv, without_faiss, fit_no_more):
    with pytest.raises(FittedAgain):
        nv.evaluate(vectors_nv[0], **options)


def test_a_collection_from_before_fits_again(tmp_path, vectors_file, without_faiss, fit_no_more):
    # its evidence does not say what the codec was fitted on
    out = tmp_path / "v.nv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nestvec.jobs.build._fitted_on", lambda *_: None)
        patch.setattr(NestedMethod, "fit", FIT)
        nv.build(vectors_file, out=out, spec="4xcb16")
    with pytest.raises(FittedAgain):
        nv.evaluate(out)


def test_its_queries_need_no_model_again(corpus_nv, without_faiss, monkeypatch):
    def none(*_, **__):
        raise AssertionError("a model was loaded")

    out, built = corpus_nv
    monkeypatch.setattr(asking, "encoder_of", none)
    again = nv.evaluate(out)
    assert again.about_queries == built.evaluation.about_queries
    assert again.evidence.full.value == pytest.approx(built.full[0], abs=1e-3)
    assert nv.evaluate(out, metric="RR@5").metric == "RR@5"


def test_queries_kept_without_vectors_are_encoded(corpus_nv, without_faiss, monkeypatch):
    out, built = corpus_nv
    kept = Collection.evidence

    def older(opened):
        found = dict(kept(opened))
        found["questions"] = {k: v for k, v in found["questions"].items() if k != "vectors"}
        return found

    monkeypatch.setattr(Collection, "evidence", older)
    again = nv.evaluate(out)
    assert again.queries == built.queries
    assert again.full == pytest.approx(built.full, abs=2e-2)


def test_another_measure_may_be_asked_for(vectors_file, without_faiss):
    assert nv.evaluate(vectors_file, spec="int8", metric="RR@5").metric == "RR@5"
    with pytest.raises(nv.UserError):
        nv.evaluate(vectors_file, metric="nDCG@ten")


def test_too_few_rows_are_refused(tmp_path):
    np.save(tmp_path / "v.npy", np.eye(5, 8, dtype=np.float32))
    with pytest.raises(nv.UserError, match="at least 12 rows"):
        nv.evaluate(tmp_path / "v.npy")
