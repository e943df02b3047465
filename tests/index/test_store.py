from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest

from nestvec.errors import UserError
from nestvec.index.columns import survey
from nestvec.index.store import MANIFEST_KEY, RowStore
from nestvec.index.store_changes import Arrays, commit_manifest, delete_rows, put_rows, write_rows


def arrays(n: int, vectors: bool = True) -> Arrays:
    rng = np.random.default_rng(0)
    return Arrays(
        codes=rng.integers(0, 256, (n, 12)).astype(np.uint8),
        facts={"norm_4": np.arange(n).astype(np.uint8), "length": np.arange(n, dtype=np.float32)},
        vectors=rng.standard_normal((n, 3)).astype(np.float16) if vectors else None,
        level_ends=tuple(range(1, 13)),
    )


def written(folder: Path, rows: list[Any], data: Arrays, **more: Any) -> RowStore:
    write_rows(folder, rows, survey(rows), data, "m.json", **more)
    return RowStore.open(folder)


def test_columns_and_one_commit(tmp_path: Path, row: Any) -> None:
    rows = [row(f"r{i}", "t" * i, "", {"year": i, "tags": ["a"]}) for i in range(5)]
    store = written(tmp_path / "rows.lance", rows, arrays(5))
    assert store.columns == (
        "seq", "id", "text", "title", "year", "tags", "norm_4", "length", "code_0_8",
        "code_8_12", "vector",
    )  # fmt: skip
    assert (store.count, store.version, store.manifest_name) == (5, 1, "m.json")
    dataset = lance.dataset(str(tmp_path / "rows.lance"))
    key = dataset.schema.field("id").metadata
    assert key == {b"lance-schema:unenforced-primary-key": b"true"}
    assert dataset.schema.metadata == {MANIFEST_KEY.encode(): b"m.json"}
    assert store.take([3, 0, 3], ("id", "year", "tags")) == {
        "id": ["r3", "r0", "r3"],
        "year": [3, 0, 3],
        "tags": [["a"]] * 3,
    }
    assert store.take([], ("id",)) == {"id": []}


@pytest.mark.parametrize("fragment_rows", [1000, 1024, 5000])
def test_arrays_come_back_by_fragment(tmp_path: Path, row: Any, fragment_rows: int) -> None:
    data = arrays(5000)
    rows = [row(str(i)) for i in range(5000)]
    store = written(tmp_path / "r", rows, data, fragment_rows=fragment_rows)
    assert [f.rows for f in store.fragments] == [
        min(fragment_rows, 5000 - start) for start in range(0, 5000, fragment_rows)
    ]
    assert len({f.key for f in store.fragments}) == len(store.fragments)
    codes, vectors, seqs = [], [], []
    for fragment in store.fragments:
        assert fragment.start == sum(map(len, seqs))
        for head, tail, vector, seq in store.read(
            fragment, ("code_0_8", "code_8_12", "vector", "seq"), 300
        ):
            assert len(head) <= 300
            codes.append(np.concatenate((head, tail), axis=1))
            vectors.append(vector)
            seqs.append(seq)
    assert data.vectors is not None
    np.testing.assert_array_equal(np.concatenate(codes), data.codes)
    np.testing.assert_array_equal(np.concatenate(vectors), data.vectors)
    np.testing.assert_array_equal(np.concatenate(seqs), np.arange(5000))
    assert store.shape("vector") == ((3,), np.dtype(np.float16))
    assert store.shape("length") == ((), np.dtype(np.float32))
    assert [i for batch in store.batches(("id",)) for i in batch["id"]] == [r.id for r in rows]


def test_another_manifest_is_another_version(tmp_path: Path, row: Any) -> None:
    store = written(tmp_path / "r", [row("a")], arrays(1))
    later = commit_manifest(tmp_path / "r", "n.json", "m.json")
    assert (later.manifest_name, later.count) == ("n.json", 1)
    assert later.version > store.version
    assert store.manifest_name == "m.json"
    assert [f.key for f in later.fragments] == [f.key for f in store.fragments]


def test_a_shortened_data_file_is_named(tmp_path: Path, row: Any) -> None:
    written(tmp_path / "r", [row("a")], arrays(1))
    (path,) = (tmp_path / "r" / "data").iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match=rf"{path.name} is .* bytes long"):
        RowStore.open(tmp_path / "r")
    path.unlink()
    with pytest.raises(UserError, match=rf"{path.name} is missing"):
        RowStore.open(tmp_path / "r")


@pytest.mark.parametrize("size", [0, 100])
def test_a_shortened_version_is_told(tmp_path: Path, row: Any, size: int) -> None:
    written(tmp_path / "r", [row("a")], arrays(1))
    (path,) = (tmp_path / "r" / "_versions").glob("*.manifest")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match="is damaged"):
        RowStore.open(tmp_path / "r")


@pytest.mark.parametrize("damage", ["empty", "short", "zeros"])
def test_a_torn_newest_version_is_set_aside(tmp_path: Path, row: Any, damage: str) -> None:
    folder = tmp_path / "r"
    written(folder, [row("a"), row("b")], arrays(2))
    delete_rows(folder, ["a"])
    newest = min((folder / "_versions").glob("*.manifest"))
    size = newest.stat().st_size
    newest.write_bytes(
        {"empty": b"", "short": newest.read_bytes()[:-9], "zeros": bytes(size)}[damage]
    )
    store = RowStore.open(folder)
    assert (store.version, store.live) == (1, 2)
    assert store.notes == (
        f"version 2 was not wholly written when the machine stopped, and is set aside as {newest}"
        ".torn; version 1 is read.",
    )
    assert RowStore.open(folder).notes == ()
    again = delete_rows(folder, ["b"])
    assert (again.version, again.live) == (2, 1)


def test_deleted_rows_keep_their_positions(tmp_path: Path, row: Any) -> None:
    names = ["a", "it's", "c", "d", "e"]
    store = written(tmp_path / "r", [row(name) for name in names], arrays(5), fragment_rows=2)
    assert [store.alive(fragment) for fragment in store.fragments] == [None, None, None]
    less = delete_rows(tmp_path / "r", ["it's", "c", "d"])
    assert (less.count, less.live, less.version) == (3, 2, store.version + 1)
    assert [(f.rows, f.deleted) for f in less.fragments] == [(2, 1), (1, 0)]
    first = less.alive(less.fragments[0])
    assert first is not None
    assert first.tolist() == [True, False]
    assert [f.key for f in less.fragments] == [store.fragments[i].key for i in (0, 2)]
    assert less.take([2, 0], ["id"]) == {"id": ["e", "a"]}
    (seqs,) = next(iter(less.read(less.fragments[0], ["seq"], 10)))
    assert seqs.tolist() == [0, 1]
    assert [name for batch in less.batches(["id"]) for name in batch["id"]] == ["a", "e"]
    assert store.take([1], ["id"]) == {"id": ["it's"]}


def test_what_cannot_be_deleted(tmp_path: Path, row: Any) -> None:
    written(tmp_path / "r", [row("a"), row("b")], arrays(2))
    with pytest.raises(UserError, match=r"'x' is not \(and 1 more\)"):
        delete_rows(tmp_path / "r", ["a", "y", "x"])
    with pytest.raises(UserError, match="at least one row; got all 2"):
        delete_rows(tmp_path / "r", ["a", "b"])
    assert RowStore.open(tmp_path / "r").live == 2


def test_rows_that_match_a_predicate(tmp_path: Path, row: Any) -> None:
    rows = [row(str(i), columns={"year": 2000 + i}) for i in range(5)]
    written(tmp_path / "r", rows, arrays(5), fragment_rows=3)
    found = delete_rows(tmp_path / "r", ["4"]).matching("year >= 2002 AND id != '2'")
    assert {number: mask.tolist() for number, mask in found.items()} == {
        0: [False, False, False],
        1: [True, False],
    }
    for wrong in ("jahr > 3", "year >", ""):
        with pytest.raises(UserError, match=r"a filter is a SQL predicate .*id, text, title, year"):
            RowStore.open(tmp_path / "r").matching(wrong)


def test_an_error_of_the_rows_reaches_the_caller_as_it_is(tmp_path: Path, row: Any) -> None:
    class Broken:
        passes = 0

        def __iter__(self) -> Iterator[Any]:
            self.passes += 1
            yield row("a")
            if self.passes == 2:
                raise KeyboardInterrupt

    rows = Broken()
    found = survey(rows)
    with pytest.raises(KeyboardInterrupt):
        write_rows(tmp_path / "r", rows, found, arrays(1), "m.json")


def test_half_a_character_is_told(tmp_path: Path, row: Any) -> None:
    rows = [row("a"), row("b", "x\ud800y")]
    with pytest.raises(UserError, match=r"column 'text' holds .* within rows 0 to 1"):
        written(tmp_path / "r", rows, arrays(2))


def test_codes_without_vectors(tmp_path: Path, row: Any) -> None:
    store = written(tmp_path / "r", [row("a")], arrays(1, vectors=False))
    assert "vector" not in store.columns


def part(some: Arrays, rows: slice) -> Arrays:
    facts = {name: fact[rows] for name, fact in some.facts.items()}
    vectors = None if some.vectors is None else some.vectors[rows]
    return Arrays(some.codes[rows], facts, vectors, some.level_ends)


def put(folder: Path, rows: list[Any], some: Arrays, replacing: bool = False) -> RowStore:
    return put_rows(folder, rows, survey(rows), some, made_from="m.json", replacing=replacing)


def test_rows_are_put_after_the_others_and_replaced(tmp_path: Path, row: Any) -> None:
    folder, some = tmp_path / "r", arrays(8)
    first = written(
        folder, [row(name, columns={"year": 1}) for name in "abc"], part(some, slice(3))
    )
    more = put(folder, [row("d"), row("e", columns={"year": 2})], part(some, slice(3, 5)))
    assert (more.live, more.version) == (5, first.version + 1)
    seqs = [s for f in more.fragments for (s,) in more.read(f, ["seq"], 10)]
    assert np.concatenate(seqs).tolist() == [0, 1, 2, 2 << 32, (2 << 32) + 1]
    assert more.take([4, 3, 0], ["id", "year"]) == {"id": ["e", "d", "a"], "year": [2, None, 1]}
    last = put(folder, [row("b", text="new"), row("f")], part(some, slice(5, 7)), replacing=True)
    assert (last.live, last.count) == (6, 7)
    there = [name for batch in last.batches(["id"]) for name in batch["id"]]
    assert there == ["a", "c", "d", "e", "b", "f"]
    assert last.take([5], ["text", "year"]) == {"text": ["new"], "year": [None]}
    # an older version is as it was
    assert [name for batch in more.batches(["id"]) for name in batch["id"]] == list("abcde")
    whole = put(folder, [row(name) for name in "acdebf"], part(some, slice(6)), replacing=True)
    assert (whole.live, len(whole.fragments)) == (6, 1)


def test_a_seq_is_never_used_again(tmp_path: Path, row: Any) -> None:
    folder, some = tmp_path / "r", arrays(4)
    written(folder, [row("a"), row("b")], part(some, slice(2)))
    seen = {0, 1}
    for name in ("c", "d"):
        store = put(folder, [row(name)], part(some, slice(2, 3)))
        (seqs,) = next(iter(store.read(store.fragments[-1], ["seq"], 10)))
        assert seqs[0] not in seen
        assert seqs[0] > max(seen)
        seen.add(int(seqs[0]))
        delete_rows(folder, [name])


def test_what_cannot_be_put(tmp_path: Path, row: Any) -> None:
    folder, some = tmp_path / "r", arrays(4)
    written(folder, [row("a", columns={"year": 1}), row("b")], part(some, slice(2)))
    for rows, says in [
        ([row("b"), row("c")], "'b' is in it: leave it out, or replace it"),
        (
            [row("c", columns={"month": 1}), row("d")],
            r"those that are there \(year\); got 'month'",
        ),
        ([row("c", columns={"year": "old"}), row("d")], "'year' holds int; got text"),
        ([row("c", text="\ud800"), row("d")], "valid Unicode"),
    ]:
        with pytest.raises(UserError, match=says):
            put(folder, rows, part(some, slice(2, 4)))
        assert RowStore.open(folder).live == 2
