"""A build by blocks and parts against a build by one machine, in this process: without Ray."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest

import nestvec as nv
from nestvec.choose.specs import candidate_power
from nestvec.data.source import Source
from nestvec.index.places import Place
from nestvec.jobs import blocks, build_on_ray, unmeasured
from nestvec.jobs.verify import verify
from nestvec.progress import quiet

from .conftest import HashEncoder, clustered, write_lines

ROWS = 9_000
SETTINGS = {"spec": "4xcb16", "sample_queries": 8}


class Here:
    """A cluster of this process alone, which gives up after so many tasks of a stage."""

    machines = 2

    def __init__(self, most: int = 1_000) -> None:
        self.most = most
        self.done: list[str] = []

    def on_devices(self, make, tasks):
        worker = make()
        for number, task in enumerate(tasks):
            if number == self.most:
                raise KeyboardInterrupt
            self.done.append(task)
            yield worker(task)

    on_machines = on_devices


@pytest.fixture
def here(monkeypatch):
    """Puts another cluster in Ray's place."""

    def put(cluster: Here) -> Here:
        monkeypatch.setattr(build_on_ray, "connected", lambda on: contextlib.nullcontext(cluster))
        return cluster

    return put


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Vectors in a file, and the collection that one machine makes of them."""
    folder = tmp_path_factory.mktemp("given")
    np.save(folder / "v.npy", clustered(ROWS, 8))
    nv.build(folder / "v.npy", out=folder / "one.nv", **SETTINGS)
    return folder


def assert_equal(one: Path, other: Path) -> None:
    a, b = nv.open(one).collection, nv.open(other).collection
    assert a.manifest.codec_file == b.manifest.codec_file  # named by its content
    assert str(a.plan) == str(b.plan)
    columns = ("id", "text", "title", "seq")
    for name in columns:
        assert [v for batch in a.batches((name,)) for v in batch[name]] == [
            v for batch in b.batches((name,)) for v in batch[name]
        ]
    np.testing.assert_array_equal(a.codes(), b.codes())
    np.testing.assert_array_equal(a.vectors(), b.vectors())
    for name, fact in a.facts().items():
        np.testing.assert_array_equal(fact, b.facts()[name])
    queries = clustered(20, a.dim, seed=3)
    assert [r.hits for r in a.search(queries, "4B:50,raw:10")] == [
        r.hits for r in b.search(queries, "4B:50,raw:10")
    ]


def test_given_vectors_give_the_same_collection_in_fragments(given, here, tmp_path):
    here(Here())
    out = tmp_path / "two.nv"
    result = build_on_ray.build_on_ray(given / "v.npy", out, **SETTINGS)
    assert_equal(given / "one.nv", out)
    assert [f.rows for f in nv.open(out).collection._store.fragments] == [8_192, ROWS - 8_192]
    assert sorted(path.name for path in out.iterdir() if path.name != "cache") == [
        "checks", "files", "report.html", "rows.lance"
    ]  # fmt: skip
    assert result.items == ROWS
    assert "--on ray" in (out / "report.html").read_text()
    assert list(tmp_path.iterdir()) == [out]
    found = verify(out)
    assert found.whole
    assert found.unknown == ()
    more = nv.Collection.open(out).add(
        [blocks.Row(f"m{i}", "") for i in range(5)], clustered(5, 8, seed=9)
    )
    assert more.count == ROWS + 5
    assert verify(out).whole


def test_a_rerun_goes_on_where_a_build_was_stopped(given, here, tmp_path):
    out = tmp_path / "two.nv"
    stopped = here(Here(most=1))
    with pytest.raises(KeyboardInterrupt):
        build_on_ray.build_on_ray(given / "v.npy", out, **SETTINGS)
    assert not out.exists()
    again = here(Here())
    build_on_ray.build_on_ray(given / "v.npy", out, **SETTINGS)
    assert len(stopped.done) == len(again.done) == 1  # of two parts
    assert stopped.done != again.done
    assert_equal(given / "one.nv", out)
    assert verify(out).whole


def test_a_part_that_was_written_twice_stands_in_the_collection_once(given, here, tmp_path):
    class Twice(Here):
        def on_machines(self, make, tasks):
            worker = make()
            for task in tasks:
                worker(task)
                yield worker(task)

    here(Twice())
    out = tmp_path / "two.nv"
    build_on_ray.build_on_ray(given / "v.npy", out, **SETTINGS)
    assert_equal(given / "one.nv", out)
    assert len(list((out / "rows.lance" / "data").iterdir())) == 2
    assert verify(out).unknown == ()


def test_addresses_are_read_and_written(given, here, tmp_path):
    here(Here())
    address = f"file://{tmp_path}/three.nv"
    build_on_ray.build_on_ray(f"file://{given}/v.npy", address, **SETTINGS)
    assert_equal(given / "one.nv", tmp_path / "three.nv")
    assert [path.name for path in tmp_path.iterdir()] == ["three.nv"]
    with pytest.raises(nv.UserError, match="holds a collection already"):
        build_on_ray.build_on_ray(given / "v.npy", address, **SETTINGS)
    with pytest.raises(nv.UserError, match="does not exist"):
        build_on_ray.build_on_ray(f"file://{tmp_path}/nothing.npy", address, **SETTINGS)
    with pytest.raises(nv.UserError, match="an address is one that pyarrow reads"):
        build_on_ray.build_on_ray("strange://v.npy", address, **SETTINGS)


@pytest.fixture
def texts(tmp_path, hashed, monkeypatch):
    """Texts with titles, a column and judgements, encoded by a hash."""
    for module in (blocks, unmeasured):
        monkeypatch.setattr(module, "make_encoder", lambda settings: HashEncoder())
    folder = tmp_path / "corpus"
    (folder / "qrels").mkdir(parents=True)
    rows = [
        {"_id": f"d{i}", "title": f"title {i}", "text": f"text of {i}", "year": 1990 + i % 30}
        for i in range(1_100)
    ]
    write_lines(folder / "corpus.jsonl", map(json.dumps, rows))
    write_lines(
        folder / "queries.jsonl",
        [json.dumps({"_id": f"q{i}", "text": f"title {i} text of {i}"}) for i in range(8)],
    )
    write_lines(
        folder / "qrels" / "test.tsv",
        ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in range(8))],
    )
    return folder


def test_texts_are_encoded_in_the_blocks_of_one_machine(texts, here, tmp_path):
    nv.build(texts, out=tmp_path / "one.nv", **SETTINGS)
    cluster = here(Here())
    result = build_on_ray.build_on_ray(texts, tmp_path / "two.nv", **SETTINGS)
    assert_equal(tmp_path / "one.nv", tmp_path / "two.nv")
    assert len(cluster.done) == 3  # two blocks and a part
    assert (result.items, result.truncated) == (1_100, 0)
    hits = nv.open(tmp_path / "two.nv").search("q1", k=5, plan="raw:5", where="year = 1995").hits
    assert [int(hit.id[1:]) % 30 for hit in hits] == [5] * 5


def test_more_rows_than_are_measured_are_coded_as_asked(texts, given, here, tmp_path, monkeypatch):
    here(Here())
    monkeypatch.setattr(build_on_ray, "MEASURED_ROWS", 1_000)
    with pytest.raises(nv.UserError, match="a code is given, not chosen"):
        build_on_ray.build_on_ray(texts, tmp_path / "a.nv")
    result = build_on_ray.build_on_ray(texts, tmp_path / "a.nv", spec="4xcb16")
    assert (result.full, result.kept, result.plan) == (None, None, "4B:10")
    assert "coded and not measured" in result.sentence
    opened = nv.open(tmp_path / "a.nv").collection
    codec = nv.Codec("4xcb16", power=candidate_power(1_100)).fit(opened.vectors())
    np.testing.assert_array_equal(opened.codes(), codec.encode(opened.vectors()))
    assert opened.rows([1_099], ("id",)) == {"id": ["d1099"]}
    build_on_ray.build_on_ray(given / "v.npy", tmp_path / "b.nv", spec="4xcb16")
    opened = nv.open(tmp_path / "b.nv").collection
    codec = nv.Codec("4xcb16", power=candidate_power(ROWS)).fit(np.load(given / "v.npy"))
    np.testing.assert_array_equal(opened.codes(), codec.encode(np.load(given / "v.npy")))


def test_vectors_in_blocks_are_read_as_an_array(tmp_path):
    work = Place(tmp_path)
    vectors = clustered(2_500, 4)
    names = blocks.deal_vectors(vectors, work, quiet())
    some = [
        blocks.Block(name, i * 1024, min(1024, 2_500 - i * 1024)) for i, name in enumerate(names)
    ]
    found = blocks.BlockVectors(work, some, names)
    assert (found.shape, len(found), found.size, found.dtype) == ((2_500, 4), 2_500, 10_000, "f4")
    picks = np.array([0, 5, 1_023, 1_024, 2_499])
    np.testing.assert_array_equal(found[picks], vectors[picks])
    np.testing.assert_array_equal(found[1_000:2_100], vectors[1_000:2_100])
    np.testing.assert_array_equal(blocks.joined(found, tmp_path / "all.npy"), vectors)


def test_machines_that_encode_otherwise_are_refused(texts, here, tmp_path, monkeypatch):
    class Other(HashEncoder):
        name = "other"

    here(Here())
    monkeypatch.setattr(blocks, "make_encoder", lambda settings: Other())
    with pytest.raises(nv.UserError, match="must load the same model"):
        build_on_ray.build_on_ray(texts, tmp_path / "two.nv", **SETTINGS)


def test_what_cannot_be_built_so_is_said_at_once(tmp_path):
    with pytest.raises(nv.UserError, match="images are encoded on one"):
        build_on_ray._check_kind(Source(tmp_path, "images", tmp_path))
    with pytest.raises(nv.UserError, match="named as ray"):
        build_on_ray.build_on_ray(tmp_path, tmp_path / "x.nv", on="spark")


def test_places_keep_files_whole_by_path_and_by_address(tmp_path):
    for place in (Place(tmp_path / "a"), Place(f"file://{tmp_path}/b")):
        assert place.names("x") == set()
        assert place.read("x/y.json") is None
        place.write("x/y.json", b"1")
        place.write("x/y.json", b"22")
        assert place.read("x/y.json") == b"22"
        assert place.names("x") == {"y.json"}
        place.within("x").copy_to(tmp_path / "copy" / place.where[-1])
        assert (tmp_path / "copy" / place.where[-1] / "y.json").read_bytes() == b"22"
        place.remove()
        place.remove()
        assert place.names("x") == set()


def test_parts_hold_whole_runs_of_the_codec():
    some = [blocks.Block(f"{i}", i * 1024, 1024) for i in range(39)]
    some.append(blocks.Block("39", 39 * 1024, 7))
    vectors = [block.name for block in some]
    parts = blocks.parts_of(some, vectors, 2)
    assert [part.rows for part in parts] == [16_384, 16_384, 39 * 1024 + 7 - 32_768]
    assert [part.first for part in parts] == [0, 16_384, 32_768]
    assert [name for part in parts for name in part.blocks] == vectors
    assert len(blocks.parts_of(some, vectors, 100)) == 5
