import json

import numpy as np
import pytest

import nestvec as nv
from nestvec.bridge import faiss

KEYS = ["method", "dims", "bytes", "value", "low", "high", "delta", "delta_low", "delta_high"]
METHODS = {
    "nested", "prefix-float", "prefix-int8", "random-float", "variance-float", "pca-float",
    "svd-float", "svd-int8", "int8", "sign",
}  # fmt: skip


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


def test_another_measure_may_be_asked_for(vectors_file, without_faiss):
    assert nv.evaluate(vectors_file, spec="int8", metric="RR@5").metric == "RR@5"
    with pytest.raises(nv.UserError):
        nv.evaluate(vectors_file, metric="nDCG@ten")


def test_too_few_rows_are_refused(tmp_path):
    np.save(tmp_path / "v.npy", np.eye(5, 8, dtype=np.float32))
    with pytest.raises(nv.UserError, match="at least 12 rows"):
        nv.evaluate(tmp_path / "v.npy")
