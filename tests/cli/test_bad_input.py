"""Each kind of bad input: exit code 2, one sentence, nothing half-written."""

import gzip
import json

import numpy as np
import pytest
from click.testing import CliRunner

from nestvec.cli.main import main


def refused(*arguments):
    """Run a command that must fail; give its one sentence."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("nestvec: ")
    assert len(done.stderr.strip().splitlines()) == 1
    return done.stderr


@pytest.fixture
def build(tmp_path):
    """Refuses a build, and checks that nothing stands at its place afterwards."""

    def check(*arguments):
        out = tmp_path / "made.nv"
        before = {path.name for path in tmp_path.iterdir()}
        sentence = refused("build", *arguments, "--out", out)
        assert {path.name for path in tmp_path.iterdir()} == before
        return sentence

    return check


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def beir(folder, qrels):
    folder.mkdir()
    write(
        folder / "corpus.jsonl", *(json.dumps({"_id": f"d{i}", "text": f"text {i}"}) for i in "01")
    )
    write(folder / "queries.jsonl", json.dumps({"_id": "q0", "text": "text"}))
    (folder / "qrels").mkdir()
    write(folder / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore", *qrels)
    return folder


def test_missing_or_empty_source(build, tmp_path):
    assert "does not exist" in build(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "empty" in build(tmp_path / "empty")
    (tmp_path / "empty.jsonl").touch()
    assert "empty" in build(tmp_path / "empty.jsonl")
    assert "SRC" in build()
    assert "not both" in build(tmp_path / "empty", "--demo")


def test_malformed_json_names_file_and_line(build, tmp_path):
    path = write(tmp_path / "rows.jsonl", '{"text": "one"}', '{"text": ')
    sentence = build(path)
    assert "rows.jsonl" in sentence
    assert "line 2" in sentence
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert "line 2" in build(packed)


def test_duplicate_ids(build, tmp_path):
    rows = [json.dumps({"_id": "a", "text": text}) for text in ("one", "two")]
    assert "'a'" in build(write(tmp_path / "rows.jsonl", *rows))


def test_qrels_that_name_unknown_documents(build, tmp_path):
    folder = beir(tmp_path / "set", ["q0\td0\t1", "q0\td9\t1"])
    assert "d9" in build(folder)
    assert "d9" in refused("evaluate", folder)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_vectors_that_point_nowhere(build, tmp_path, bad):
    vectors = np.ones((5, 4), np.float32)
    vectors[3] = bad
    np.save(tmp_path / "v.npy", vectors)
    assert "row 3" in build(tmp_path / "v.npy")


def test_mixed_widths(build, tmp_path):
    np.save(tmp_path / "v.npy", np.ones((5, 4), np.float32))
    np.save(tmp_path / "q.npy", np.ones((2, 3), np.float32))
    assert "wide" in build(tmp_path / "v.npy", "--queries", tmp_path / "q.npy")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--spec", "32xyz"),
        ("--metric", "nDCG@zero"),
        ("--keep", "0"),
        ("--max-bytes", "-3"),
        ("--similarity", "angle"),
        ("--split", "words"),
        ("--model", "./no/such/model"),
        ("--device", "abacus"),
        ("--api", "ftp://somewhere"),
    ],
)
def test_arguments_that_cannot_be(build, tmp_path, option, value):
    write(tmp_path / "rows.jsonl", '{"text": "one"}')
    build(tmp_path / "rows.jsonl", option, value)


def test_a_model_that_cannot_be_had(build, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = write(tmp_path / "rows.jsonl", '{"text": "one"}')
    assert "someone/no-such-model" in build(path, "--model", "someone/no-such-model")


def test_a_place_that_is_taken(tmp_path):
    path = write(tmp_path / "rows.jsonl", '{"text": "one"}')
    (tmp_path / "made.nv").mkdir()
    assert "exists already" in refused("build", path, "--out", tmp_path / "made.nv")
    assert "does not exist" in refused("build", path, "--out", tmp_path / "no" / "made.nv")
    assert "is a file" in refused("build", path, "--out", path / "made.nv")
    assert "empty name" in refused("build", path, "--out", "")


def test_columns_that_a_collection_keeps_for_itself(build, tmp_path):
    path = write(tmp_path / "rows.jsonl", '{"text": "one", "length": 3}')
    assert "may not be called 'length'" in build(path)


def test_judgements_without_a_relevant_row(build, tmp_path):
    folder = beir(tmp_path / "set", ["q0\td0\t0"])
    assert "must find a relevant row" in build(folder)


def test_half_of_a_character(build, tmp_path):
    path = write(tmp_path / "rows.jsonl", '{"text": "one"}', '{"text": "caf\\udce9"}')
    assert "line 2: the column 'text' holds half of a character" in build(path)


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collection")
    np.save(folder / "v.npy", np.eye(6, 8, dtype=np.float32))
    done = CliRunner().invoke(main, ["build", str(folder / "v.npy"), "--out", str(folder / "c.nv")])
    assert done.exit_code == 0, done.output
    return folder / "c.nv"


def test_plans_that_do_not_fit(collection):
    assert "foo" in refused("search", collection, "x", "--plan", "foo")
    assert "more bytes than the code has" in refused("search", collection, "x", "--plan", "99B:5")
    assert "auto" in refused("search", collection, "x", "--plan", "auto")
    assert "may not exceed" in refused("search", collection, "x", "--plan", "8B:5,raw:3", "-k", "9")


def test_a_text_for_a_collection_of_vectors(collection):
    assert "--vector" in refused("search", collection, "a text")
    assert "only one of them" in refused("search", collection, "a text", "--vector", "v.npy")


def test_no_collection_at_all(tmp_path):
    for command in ("search", "info", "report"):
        assert "not a collection" in refused(command, tmp_path / "nowhere")


def test_an_unknown_format_version(collection, tmp_path):
    import shutil

    from nestvec.index.collection import Collection
    from nestvec.index.files import put_bytes
    from nestvec.index.store_changes import commit_manifest

    copy = tmp_path / "copy.nv"
    shutil.copytree(collection, copy)
    opened = Collection.open(copy)
    later = opened.manifest.to_json().replace('"format_version": 1', '"format_version": 99')
    name = put_bytes(later.encode(), copy / "files", ".json")
    commit_manifest(copy / "rows.lance", name, opened._store.manifest_name)
    sentence = refused("info", copy)
    assert "format version" in sentence
    assert "99" in sentence


def test_a_truncated_file(collection, tmp_path):
    import shutil

    copy = tmp_path / "copy.nv"
    shutil.copytree(collection, copy)
    codec = next((copy / "files").glob("*.safetensors"))
    codec.write_bytes(codec.read_bytes()[:-7])
    assert codec.name in refused("search", copy, "x")
