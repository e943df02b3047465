import numpy as np
import pytest
from PIL import Image

import nestvec as nv


def test_a_question_finds_its_topic(corpus_nv):
    opened = nv.open(corpus_nv[0])
    for question, topic in [
        ("how to bake bread", "bread"),
        ("looking at galaxies", "stars"),
        ("a railway journey", "trains"),
    ]:
        answer = opened.search(question, k=3)
        assert len(answer.hits) == 3
        assert answer.hits[0].id.startswith(topic)
        assert answer.hits[0].score >= answer.hits[-1].score


def test_pictures_are_for_models_that_read_them(corpus_nv, tmp_path):
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    with pytest.raises(nv.UserError, match=r"minilm reads texts alone, so .* asked by a picture"):
        nv.open(corpus_nv[0]).search_image(tmp_path / "a.png")


def test_stages_tell_what_was_read(corpus_nv):
    answer = nv.open(corpus_nv[0]).search("bread", plan="4B:20,raw:5")
    found = answer.to_json()
    assert [(s["scanned"], s["kept"]) for s in found["stages"]] == [(48, 20), (20, 5)]
    assert all({"bytes", "ms"} <= set(stage) for stage in found["stages"])
    assert set(found["hits"][0]) == {"id", "score", "text", "title"}


def test_plans_that_do_not_fit_are_refused(corpus_nv):
    opened = nv.open(corpus_nv[0])
    for plan in ("99B:10", "8B", "auto", "8B:10,4B:5"):
        with pytest.raises(nv.UserError):
            opened.check(plan)
    with pytest.raises(nv.UserError, match="empty"):
        opened.search("  ")


def test_vectors_are_found_by_vectors_and_files(vectors_nv, vectors_file, tmp_path):
    vectors = np.load(vectors_file)
    opened = nv.open(vectors_nv[0])
    assert opened.search_vectors(vectors[7], plan="raw:1")[0].hits[0].id == "7"
    np.save(tmp_path / "one.npy", vectors[9])
    np.save(tmp_path / "two.npy", vectors[3:5])
    assert [a.hits[0].id for a in opened.search_file(tmp_path / "one.npy", plan="raw:1")] == ["9"]
    assert len(opened.search_file(tmp_path / "two.npy")) == 2
    with pytest.raises(nv.UserError, match="shape"):
        opened.search_vectors(vectors[:, :5])


def test_a_collection_of_vectors_takes_no_text(vectors_nv):
    with pytest.raises(nv.UserError, match="built from vectors"):
        nv.open(vectors_nv[0]).search("a text")


def test_a_collection_may_not_decide_to_run_code():
    from nestvec.jobs.encoders import encoder_of

    kept = {"model": "someone/theirs", "trust_remote_code": True}
    with pytest.raises(nv.UserError, match="--trust-remote-code"):
        encoder_of(kept, trust_remote_code=False, api=None, device="cpu")


def test_a_collection_may_not_decide_where_questions_and_keys_go():
    from nestvec.jobs.encoders import encoder_of

    kept = {"model": "theirs", "api": "http://localhost:9"}
    with pytest.raises(nv.UserError, match="--api http://localhost:9"):
        encoder_of(kept, trust_remote_code=False, api=None, device="cpu")
    made = encoder_of(kept, trust_remote_code=False, api="http://localhost:9", device="cpu")
    assert made.name == "theirs"
