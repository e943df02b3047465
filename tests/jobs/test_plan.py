import json
import shutil

import numpy as np
import pytest

import nestvec as nv


def test_a_collection_of_texts_asks_what_it_was_measured_by(corpus_nv, tmp_path):
    place = shutil.copytree(corpus_nv[0], tmp_path / "c.nv")
    found = nv.plan(place, recall=0.9, k=3)
    assert (found.choice.queries, found.stored) == (12, True)
    assert "given queries" in found.about
    assert nv.info(place).plan == found.plan
    kept = nv.open(place).collection.evidence()
    assert kept["plan"]["taken"]["plan"] == found.plan
    assert kept["questions"]["about"] in found.about
    json.dumps(found.to_json())
    assert [each.ms for each in found.rows()] == sorted(each.ms for each in found.rows())
    # the report and the measurement still know what was measured at build
    assert nv.evaluate(place).metric == corpus_nv[1].metric


def test_words_are_encoded_by_the_collections_own_model(corpus_nv, tmp_path):
    place = shutil.copytree(corpus_nv[0], tmp_path / "c.nv")
    words = [{"_id": str(i), "text": f"the river and the sea, {i} times"} for i in range(6)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(each) + "\n" for each in words))
    found = nv.plan(place, recall=0.8, k=2, queries=tmp_path / "q.jsonl", store=False)
    assert (found.choice.queries, found.about) == (6, "queries of q.jsonl")
    assert not found.stored
    assert nv.info(place).plan == nv.info(corpus_nv[0]).plan


def test_more_queries_than_wanted_are_drawn(vectors_nv, tmp_path):
    place = shutil.copytree(vectors_nv[0], tmp_path / "v.nv")
    found = nv.plan(place, recall=0.8, k=2, sample_queries=20, store=False)
    assert found.choice.queries == 20
    assert "held-out rows" in found.about


def test_codes_alone_need_queries(vectors_file, tmp_path):
    place = tmp_path / "v.nv"
    nv.build(vectors_file, out=place, spec="8xcb16", max_bytes=9, store_vectors=False)
    with pytest.raises(nv.UserError, match="give some"):
        nv.plan(place)
    np.save(tmp_path / "q.npy", np.load(vectors_file)[:12])
    found = nv.plan(place, recall=0.9, k=3, queries=tmp_path / "q.npy")
    assert found.choice.wanted == "the best by the whole code"
    with pytest.raises(nv.UserError, match="keeps only codes"):
        nv.plan(place, "raw:10")


def test_rows_that_are_queries_keep_their_place_when_others_are_deleted(vectors_nv, tmp_path):
    place = shutil.copytree(vectors_nv[0], tmp_path / "v.nv")
    nv.delete(place, ["0", "1", "2"])
    found = nv.plan(place, recall=0.9, k=3, store=False)
    # exact search finds all that is wanted, so no query counts its own row
    (exact,) = [each for each in found.rows() if each.plan == "exact:3"]
    assert exact.recall.value == 1
