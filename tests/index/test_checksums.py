from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nestvec.index import checksums
from nestvec.index.checksums import check_files, merge, recorded
from nestvec.index.collection import Collection
from nestvec.progress import quiet


def faults_of(place: Path) -> list[checksums.Fault]:
    return check_files(place, "rows.lance", "files", quiet())[0]


@pytest.fixture
def changed(make: Callable[..., Any], tmp_path: Path) -> Path:
    material = make(300)
    collection = material.cut(slice(250)).collection(tmp_path / "a.nv")
    collection = collection.add(material.rows[250:], material.vectors[250:])
    collection = collection.delete(["r3", "r260"])
    collection.store_plan(collection.plan.with_k(5))
    return tmp_path / "a.nv"


def test_every_file_of_every_version_is_recorded(changed: Path) -> None:
    assert check_files(changed, "rows.lance", "files", quiet()) == ([], [])
    names = set(recorded(changed, []))
    kinds = {name.split("/")[1] for name in names}
    assert kinds == {"data", "_deletions", "_transactions", "_versions"}
    columns = {part[2] for parts in recorded(changed, []).values() for part in parts}
    assert {"seq", "id", "text", "year", "norm_4", "code_0_8", "vector"} <= columns
    Collection.open(changed).compact()
    merge(changed / "rows.lance")
    assert len(list((changed / "checks").iterdir())) == 1
    assert faults_of(changed) == []


def test_a_flipped_bit_is_found_in_every_file(changed: Path) -> None:
    draw = random.Random(0)
    files = [
        path
        for folder in ("rows.lance", "files", "checks")
        for path in sorted((changed / folder).rglob("*"))
        if path.is_file() and path.suffix != ".html" and "hint" not in path.name
    ]
    assert len(files) > 12
    for path in files:
        whole = path.read_bytes()
        for at in {0, len(whole) - 1, draw.randrange(len(whole))}:
            flipped = bytearray(whole)
            flipped[at] ^= 1 << draw.randrange(8)
            path.write_bytes(flipped)
            found = {fault.path for fault in faults_of(changed)}
            assert path.relative_to(changed).as_posix() in found, (path, at)
        path.write_bytes(whole[:-1])
        assert faults_of(changed), path
        path.write_bytes(whole)
    assert faults_of(changed) == []


def test_the_column_of_a_flipped_bit_is_named(changed: Path) -> None:
    known = recorded(changed, [])
    (name, *_) = (name for name in known if "/data/" in name)
    path = changed / name
    whole = path.read_bytes()
    start = 0
    seen = set()
    for end, _, column in known[name]:
        if column and column not in seen:
            seen.add(column)
            path.write_bytes(whole[:start] + bytes([whole[start] ^ 4]) + whole[start + 1 :])
            (fault,) = faults_of(changed)
            assert (fault.path, fault.column) == (name, column)
            assert f"within bytes {start:,} to {end:,}" in fault.what
        start = end
    assert {"id", "vector", "code_0_8"} <= seen


def test_what_a_killed_writer_left_stands_in_nobodys_way(
    make: Callable[..., Any], changed: Path
) -> None:
    data = changed / "rows.lance" / "data"
    whole = next(data.iterdir()).read_bytes()
    for name, content in (("empty", b""), ("short", whole[:-7]), ("tiny", b"x")):
        (data / f"{name}.lance").write_bytes(content)
    (changed / "checks" / "new-1.json").write_bytes(b"{")
    grown = Collection.open(changed).add(make(300).rows[3:4], make(300).vectors[3:4])
    assert grown.count == 299
    assert faults_of(changed) == []
