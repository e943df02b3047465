import json

import numpy as np
import pytest

import nestvec as nv
from nestvec.data import encode
from nestvec.data.rows import Row
from nestvec.jobs import build as jobs
from nestvec.jobs.build import break_even, storable
from nestvec.jobs.questions import honest_title

KEYS = {
    "items", "dim", "model", "metric", "full", "plan", "bytes_per_vector", "codec_bytes",
    "total_bytes", "break_even_rows", "kept", "queries", "seconds", "peak_rss_mb",
    "schema_version",
}  # fmt: skip


def test_the_result_says_sizes_and_quality(vectors_nv):
    out, result = vectors_nv
    found = json.loads(json.dumps(result.to_json()))
    assert set(found) >= KEYS
    assert (found["items"], found["dim"], found["model"]) == (150, 24, None)
    assert found["metric"] == "R@10"
    assert found["full"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert set(found["kept"]) == {"value", "low", "high"}
    assert found["bytes_per_vector"] == found["code_bytes"] + found["fact_bytes"] <= 9
    assert found["total_bytes"] == 150 * found["bytes_per_vector"] + found["codec_bytes"]
    assert found["vectors_on_disk_bytes"] == 150 * 24 * 2
    assert out.is_dir()
    assert not out.with_name("vectors.nv.work").exists()


def test_the_collection_opens_with_the_chosen_plan(vectors_nv):
    out, result = vectors_nv
    opened = nv.open(out)
    assert (opened.count, opened.dim) == (150, 24)
    assert str(opened.plan) == result.plan
    assert opened.collection.codec.bytes == result.code_bytes


def test_a_report_stands_in_the_collection(vectors_nv):
    out, result = vectors_nv
    html = (out / "report.html").read_text()
    assert "vectors.nv" in html
    assert f"--spec 8xcb16 --max-bytes 9 --out {out}" in html
    assert f"<strong>{result.bytes_per_vector} bytes</strong>" in html


def test_texts_are_measured_by_their_judgements(corpus_nv):
    out, result = corpus_nv
    assert (result.metric, result.kind_of_queries, result.queries) == ("nDCG@10", "labels", 12)
    assert result.model == "minilm"
    assert result.truncated == 0
    assert result.full[0] > 0.8
    html = (out / "report.html").read_text()
    assert "all-MiniLM-L6-v2 was trained by others" in html
    assert '<span class="badge relevant">' in html


def test_a_few_rows_are_built_though_nothing_can_be_measured(tmp_path):
    vectors = np.eye(3, 8, dtype=np.float32)
    np.save(tmp_path / "v.npy", vectors)
    result = nv.build(tmp_path / "v.npy", out=tmp_path / "v.nv")
    assert (result.full, result.kept, result.spec) == (None, None, "int8")
    assert any("too few to measure" in text for text in result.warnings)
    answers = nv.open(tmp_path / "v.nv").search_vectors(vectors, k=1)
    assert [answer.hits[0].id for answer in answers] == ["0", "1", "2"]
    assert "too few rows" in (tmp_path / "v.nv" / "report.html").read_text()


def test_vectors_may_be_left_out(tmp_path, vectors_file):
    result = nv.build(vectors_file, out=tmp_path / "v.nv", spec="int8", store_vectors=False)
    opened = nv.open(tmp_path / "v.nv")
    assert result.vectors_on_disk_bytes == 0
    assert not opened.collection.has_vectors
    with pytest.raises(nv.UserError, match="keeps only codes"):
        nv.evaluate(tmp_path / "v.nv")


def test_nothing_is_overwritten(vectors_nv, vectors_file):
    with pytest.raises(nv.UserError, match="exists already"):
        nv.build(vectors_file, out=vectors_nv[0])


def test_an_interrupted_run_goes_on(tmp_path, corpus, monkeypatch, hashed):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "choose_code", interrupt)
        with pytest.raises(KeyboardInterrupt):
            nv.build(corpus, out=tmp_path / "c.nv", spec="int8")
    assert not (tmp_path / "c.nv").exists()
    assert (tmp_path / "c.nv.work").is_dir()

    resumed = []
    whole = encode.encode_texts

    def noting(*arguments, **options):
        found = whole(*arguments, **options)
        resumed.append(found.resumed)
        return found

    monkeypatch.setattr(encode, "encode_texts", noting)
    assert nv.build(corpus, out=tmp_path / "c.nv", spec="int8").items == 48
    assert resumed == [48]
    assert not (tmp_path / "c.nv.work").exists()


def titled_rows(folder, rows):
    lines = [
        json.dumps({"id": str(i), "title": f"how to do thing {i}", "text": f"steps {i} {i * 7}"})
        for i in range(rows)
    ]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "rows.jsonl"


def test_titles_ask_for_their_texts_and_stay_out_of_them(tmp_path, hashed):
    result = nv.build(titled_rows(tmp_path, 60), out=tmp_path / "t.nv", spec="int8")
    assert (result.kind_of_queries, result.metric) == ("title->text", "nDCG@10")
    assert nv.open(tmp_path / "t.nv").collection.manifest.encoder["documents"] == "text"


def test_few_titles_leave_agreement_with_exact_search(tmp_path, hashed):
    result = nv.build(titled_rows(tmp_path, 15), out=tmp_path / "t.nv", spec="int8")
    assert (result.kind_of_queries, result.metric) == ("agreement", "R@10")


def test_given_titles_stay_out_of_the_documents(tmp_path, hashed):
    folder = tmp_path / "set"
    folder.mkdir()
    titled_rows(folder, 30).rename(folder / "corpus.jsonl")
    queries = [json.dumps({"_id": f"q{i}", "text": f"How to do thing {i}"}) for i in range(9)]
    (folder / "queries.jsonl").write_text("\n".join(queries))
    pairs = [f"q{i}\t{i}\t1" for i in range(9)]
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *pairs]))
    with pytest.raises(nv.UserError, match="find something"):
        # hashed vectors find no text by its title: the measurement says so
        nv.build(folder, out=tmp_path / "t.nv", spec="int8", metric="P@1")
    result = nv.build(folder, out=tmp_path / "t.nv", spec="int8", metric="R@30")
    assert (result.kind_of_queries, result.queries) == ("labels", 9)
    assert nv.open(tmp_path / "t.nv").collection.manifest.encoder["documents"] == "text"


def test_a_text_that_starts_with_its_title_is_no_honest_question():
    assert honest_title(Row("1", "# Baking bread\n\nknead", "Baking bread")) == ""
    assert honest_title(Row("1", "knead the dough", "Baking bread")) == "Baking bread"


def test_break_even_by_hand():
    # 1,536 - 36 = 1,500 bytes are saved a row, so a codec of 3,000 is paid for by the third
    assert break_even(384, 36, 3000) == 3
    assert break_even(384, 36, 0) == 1
    assert break_even(8, 40, 100) == 0


def test_vectors_too_large_for_float16_stay_as_they_are(tmp_path):
    small = np.ones((3, 2), np.float32)
    assert storable(small, tmp_path).dtype == np.float16
    assert storable(small * 1e6, tmp_path).dtype == np.float32
