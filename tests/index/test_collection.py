from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nestvec.errors import MissingExtra, UserError
from nestvec.index import exact
from nestvec.index.collection import Collection
from nestvec.index.files import one_writer, tree_bytes
from nestvec.index.manifest import write_manifest
from nestvec.index.plan import Plan
from nestvec.index.store_changes import commit_manifest


@pytest.fixture
def path(make: Callable[..., Any], tmp_path: Path) -> Path:
    make(300).create(tmp_path / "a.nv")
    return tmp_path / "a.nv"


def test_hits_carry_ids_texts_and_scores(
    make: Callable[..., Any], path: Path, queries: Any
) -> None:
    collection = Collection.open(path)
    results = collection.search(queries, k=3)
    rankings = collection.rank(queries, "4B:50,raw:3")
    assert len(results) == len(queries)
    for result, ranking in zip(results, rankings, strict=True):
        assert [hit.row for hit in result.hits] == ranking.rows.tolist()
        assert [hit.score for hit in result.hits] == ranking.scores.tolist()
        for hit in result.hits:
            assert (hit.id, hit.text) == (f"r{hit.row}", f"text {hit.row}")
            assert hit.title == (f"title {hit.row}" if hit.row % 2 else "")
        assert [stage.stage for stage in result.stages] == ["4B:50", "raw:3"]


def test_what_was_stored_comes_back(make: Callable[..., Any], tmp_path: Path) -> None:
    material = make(300, "dot", "4xcb16+int8")
    collection = material.collection(tmp_path / "a.nv", plan="4B:10")
    assert (collection.count, collection.dim, str(collection.plan)) == (300, 16, "4B:10")
    np.testing.assert_array_equal(collection.vectors(), material.vectors)
    np.testing.assert_array_equal(collection.codes(), material.codes)
    facts = collection.facts()
    assert facts.keys() == material.facts.keys()
    for name, fact in material.facts.items():
        np.testing.assert_array_equal(facts[name], fact)
    assert collection.texts([7, 2]) == ["text 7", "text 2"]
    assert collection.rows([4], ("year",)) == {"year": [2004]}
    batches = list(collection.batches(("id",)))
    assert [name for batch in batches for name in batch["id"]] == [r.id for r in material.rows]


def test_sizes_add_up(make: Callable[..., Any], tmp_path: Path, queries: Any) -> None:
    collection = make(300, "l2").collection(tmp_path / "a.nv")
    before = collection.sizes()
    assert (before.code_bytes, before.fact_bytes, before.vector_bytes) == (12, 3 + 4, 64)
    assert before.codec_bytes == collection.codec.size_bytes()
    assert before.cache_on_disk == 0
    collection.rank(queries)
    after = collection.sizes()
    total = after.rows_on_disk + after.files_on_disk + after.cache_on_disk
    assert total == tree_bytes(tmp_path / "a.nv")


def test_codes_only(make: Callable[..., Any], tmp_path: Path, queries: Any) -> None:
    collection = make(300).collection(tmp_path / "a.nv", plan="4B:50,12B:10", vectors=None)
    assert len(collection.search(queries)[0].hits) == 10
    assert collection.sizes().vector_bytes == 0
    with pytest.raises(UserError, match="keeps only codes"):
        collection.vectors()
    with pytest.raises(UserError, match="keeps only codes"):
        collection.rank(queries, "raw:10")


def test_half_precision_vectors(make: Callable[..., Any], tmp_path: Path, queries: Any) -> None:
    material = make(300)
    half = material.vectors.astype(np.float16)
    collection = material.collection(tmp_path / "a.nv", vectors=half)
    assert collection.vectors().dtype == np.float16
    rows = half.astype(np.float64)
    scores = queries @ rows.T / np.linalg.norm(rows, axis=1)
    expected = np.argsort(-scores, axis=1)[:, :10]
    found = [ranking.rows for ranking in collection.rank(queries, "raw:10")]
    np.testing.assert_array_equal(found, expected)


def test_the_cache_may_be_deleted_or_kept(path: Path, queries: Any) -> None:
    plan = "4B:50,6B:40,12B:30,raw:10"
    first = Collection.open(path).rank(queries, plan)
    names = {entry.name.split("-", 2)[2] for entry in (path / "cache").iterdir()}
    assert names == {
        "planes-0-8.npy",
        "rows-0-12.npy",
        "norm_4.npy",
        "norm_12.npy",
        "exact-norm-6.npy",
        "seq.npy",
        "vector.npy",
    }
    kept = Collection.open(path).rank(queries, plan)
    shutil.rmtree(path / "cache")
    again = Collection.open(path).rank(queries, plan)
    for one, two, three in zip(first, kept, again, strict=True):
        assert one.rows.tolist() == two.rows.tolist() == three.rows.tolist()
        assert one.scores.tolist() == two.scores.tolist() == three.scores.tolist()


def test_another_plan_is_another_version(path: Path) -> None:
    older = Collection.open(path)
    newer = older.store_plan(Plan.parse("12B:7"), {"cells": []})
    for collection in (newer, Collection.open(path)):
        assert str(collection.plan) == "12B:7"
        assert collection.evidence() == {"cells": []}
    assert str(older.plan) == "4B:50,raw:10"
    # of the newest version, whichever handle stores it
    assert older.store_plan(Plan.parse("4B:1")).evidence() == {"cells": []}
    with pytest.raises(UserError, match="more bytes than the code has"):
        older.store_plan(Plan.parse("13B:7"))


@pytest.mark.parametrize(
    ("queries", "says"),
    [
        (np.zeros(16), r"got \(16,\)"),
        (np.ones((2, 15)), r"got \(2, 15\)\. Use the model it was built with \(plain\)"),
        (np.array([[1.0] * 16, [np.nan] * 16]), r"query 1 \(from 0\) is not"),
        (np.zeros((1, 16)), "all zeros"),
    ],
)
def test_wrong_queries_are_one_sentence(path: Path, queries: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        Collection.open(path).search(queries)


def test_no_queries_give_no_results(path: Path) -> None:
    assert Collection.open(path).search(np.zeros((0, 16))) == []


def test_k_may_not_exceed_the_stage_before(path: Path, queries: Any) -> None:
    with pytest.raises(UserError, match="at most 50"):
        Collection.open(path).search(queries, k=51)


def test_what_is_no_collection_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is nothing"):
        Collection.open(tmp_path / "none.nv")
    with pytest.raises(UserError, match=r"it has no rows\.lance"):
        Collection.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"it has no rows\.lance"):
        Collection.open(tmp_path / "file")


def test_an_interrupted_replacement_says_where_the_older_one_is(path: Path) -> None:
    path.rename(path.with_name("a.nv.replaced"))
    with pytest.raises(UserError, match=r"a\.nv\.replaced: rename that to a\.nv"):
        Collection.open(path)


@pytest.mark.parametrize("part", ["manifest", "codec", "data", "version"])
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_each_damaged_file_is_one_sentence(path: Path, part: str, damage: str) -> None:
    collection = Collection.open(path)
    files = path / "files"
    target = {
        "manifest": lambda: next(
            p for p in files.glob("*.json") if p.name != collection.manifest.evidence_file
        ),
        "codec": lambda: files / collection.manifest.codec_file,
        "data": lambda: next((path / "rows.lance" / "data").iterdir()),
        "version": lambda: next((path / "rows.lance" / "_versions").glob("*.manifest")),
    }[part]()
    if damage == "truncated":
        target.write_bytes(target.read_bytes()[:-3])
    else:
        target.unlink()
    with pytest.raises(UserError) as caught:
        Collection.open(path)
    assert "\n" not in str(caught.value)


def test_damaged_evidence_is_told_when_it_is_read(path: Path) -> None:
    collection = Collection.open(path)
    (path / "files" / str(collection.manifest.evidence_file)).write_bytes(b"{")
    with pytest.raises(UserError, match="truncated or changed"):
        Collection.open(path).evidence()


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("format_version", 99, r"says 99\. Install the nestvec"),
        ("adapter_file", "x.safetensors", "x.safetensors"),
    ],
)
def test_what_this_version_cannot_read_is_told(
    path: Path, field: str, value: Any, says: str
) -> None:
    collection = Collection.open(path)
    changed = dict(vars(collection.manifest)) | {field: value}
    name = write_manifest(type(collection.manifest)(**changed), path / "files")
    commit_manifest(path / "rows.lance", name, collection._store.manifest_name)
    with pytest.raises(UserError, match=says):
        Collection.open(path)


def test_without_lance_the_extra_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lance", None)
    with pytest.raises(MissingExtra, match=r"nestvec\[store\]"):
        Collection.open(path)


def test_importing_the_room_loads_neither_lance_nor_pyarrow() -> None:
    code = (
        "import sys, nestvec.index.collection; "
        "assert not {'lance', 'pyarrow', 'torch', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


PLANS = ("4B:50,12B:20,raw:10", "4B:300,12B:10", "16d:10", "raw:10", "exact:10")


@pytest.mark.parametrize("spec", ["12xcb16", "sign16+11xcb16"])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_deleted_rows_are_not_found_and_the_others_as_before(
    make: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    queries: Any,
    metric: str,
    spec: str,
) -> None:
    monkeypatch.setattr(exact, "FEWEST_ROWS", 0)
    collection = make(300, metric, spec).collection(tmp_path / "a.nv", "3B:300,raw:10")
    plans = [plan.replace("4B", "3B").replace("12B", "14B") if "sign" in spec else plan
             for plan in PLANS]  # fmt: skip
    gone = {int(hit.row) for plan in plans for hit in collection.search(queries, plan)[0].hits}
    less = collection.delete(f"r{row}" for row in gone)
    assert less.count == 300 - len(gone)
    kept = np.array([row for row in range(300) if row not in gone])
    np.testing.assert_array_equal(less.vectors(), collection.vectors()[kept])
    np.testing.assert_array_equal(less.codes(), collection.codes()[kept])
    for name, fact in less.facts().items():
        np.testing.assert_array_equal(fact, collection.facts()[name][kept])
    names = ", ".join(f"'r{row}'" for row in gone)
    for plan in plans:
        found = less.search(queries, plan)
        # a filter leaves the same rows out of the older version
        filtered = collection.search(queries, plan, where=f"id NOT IN ({names})")
        for one, other in zip(found, filtered, strict=True):
            assert [hit.id for hit in one.hits] == [hit.id for hit in other.hits]
            assert [hit.score for hit in one.hits] == [hit.score for hit in other.hits]
            assert not {hit.row for hit in one.hits} & gone
    best = less.rank(queries, "raw:10")
    whole = collection.rank(queries, "raw:300")
    for ranking, every in zip(best, whole, strict=True):
        assert ranking.rows.tolist() == [r for r in every.rows.tolist() if r not in gone][:10]
    assert Collection.open(tmp_path / "a.nv").count == less.count


def test_a_filter_may_leave_few_rows_or_none(path: Path, queries: Any) -> None:
    collection = Collection.open(path)
    for plan in PLANS:
        two = collection.rank(queries, plan, where="year IN (2003, 2007, 1999)")
        assert [sorted(ranking.rows.tolist()) for ranking in two] == [[3, 7]] * len(queries)
        none = collection.rank(queries, plan, where="year < 2000")
        assert [len(ranking.rows) for ranking in none] == [0] * len(queries)


def test_one_process_writes_at_a_time(path: Path) -> None:
    with one_writer(path):
        code = (
            "import sys\nfrom pathlib import Path\n"
            "from nestvec.index.collection import Collection\n"
            "Collection.open(Path(sys.argv[1])).delete(['r1'])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
        )
    assert "one process at a time writes to a collection" in done.stderr
    assert Collection.open(path).delete(["r1", "r1"]).count == 299
    with pytest.raises(UserError, match="'r1' is not"):
        Collection.open(path).delete(["r1"])
    with pytest.raises(UserError, match="got none"):
        Collection.open(path).delete([])


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_rows_that_are_added_are_found_as_if_they_had_been_there(
    make: Callable[..., Any], tmp_path: Path, queries: Any, metric: str
) -> None:
    material = make(300, metric)
    whole = material.collection(tmp_path / "whole.nv")
    first = material.cut(slice(200)).collection(tmp_path / "part.nv")
    grown = first.add(material.rows[200:], material.vectors[200:])
    assert (grown.count, first.count) == (300, 200)
    np.testing.assert_array_equal(grown.codes(), whole.codes())
    np.testing.assert_array_equal(grown.vectors(), whole.vectors())
    for plan in PLANS:
        for one, other in zip(
            grown.search(queries, plan), whole.search(queries, plan), strict=True
        ):
            assert [hit.id for hit in one.hits] == [hit.id for hit in other.hits]
            assert [hit.score for hit in one.hits] == [hit.score for hit in other.hits]
    replaced = grown.add(material.rows[:50], material.vectors[250:], replacing=True)
    assert replaced.count == 300
    best = replaced.search(material.vectors[260:261], "raw:2")[0].hits
    assert {hit.id for hit in best} == {"r10", "r260"}
    assert best[0].id == "r260"  # equal rows: the earlier one first


def test_what_cannot_be_added(make: Callable[..., Any], tmp_path: Path) -> None:
    material = make(300)
    collection = material.cut(slice(200)).collection(tmp_path / "a.nv")
    rows, vectors = material.rows[200:], material.vectors[200:]
    broken = vectors.copy()
    broken[3, 2] = np.nan
    for some, of, says in [
        (rows, vectors[1:], "100 rows and 99 vectors"),
        ([], vectors[:0], "got none"),
        (rows, vectors[:, :5], "16 coordinates; got 5"),
        (rows, broken, "row 3 has NaN"),
        ([*rows[:-1], rows[0]], vectors, "'r200' stands 2 times"),
        (material.rows[199:299], vectors, "'r199' is in it"),
    ]:
        with pytest.raises(UserError, match=says):
            collection.add(some, of)
    assert Collection.open(tmp_path / "a.nv").count == 200


def test_compaction_leaves_the_same_answers_and_fewer_files(
    make: Callable[..., Any], tmp_path: Path, queries: Any
) -> None:
    material = make(300)
    place = tmp_path / "a.nv"
    collection = material.cut(slice(250)).collection(place)
    collection.rank(queries, "4B:50,raw:10")
    for start in range(250, 300, 10):
        part = slice(start, start + 10)
        collection = collection.add(material.rows[part], material.vectors[part])
    collection = collection.delete(f"r{row}" for row in range(0, 300, 3))
    before = [collection.search(queries, plan) for plan in PLANS]
    younger, _ = collection.compact()
    assert younger.count == 200
    after = [younger.search(queries, plan) for plan in PLANS]
    for one, other in zip(before, after, strict=True):
        for old, new in zip(one, other, strict=True):
            assert [(hit.id, hit.score) for hit in old.hits] == [
                (hit.id, hit.score) for hit in new.hits
            ]
    # nothing is a week old, and who reads the version before goes on
    assert [hit.id for hit in collection.search(queries, "raw:5")[0].hits] == [
        hit.id for hit in before[3][0].hits[:5]
    ]
    rows = place / "rows.lance"
    assert len(list((rows / "data").iterdir())) == 7
    alone, freed = younger.compact(timedelta(0))
    assert freed > 0
    assert len(list((rows / "data").iterdir())) == 1
    assert not list((rows / "_deletions").glob("*"))
    assert alone.search(queries, "raw:5") is not None
    assert Collection.open(place).codes().shape == (200, 12)
