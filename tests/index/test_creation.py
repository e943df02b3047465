from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from nestvec.errors import UserError
from nestvec.index import creation
from nestvec.index.collection import Collection
from nestvec.index.manifest import Manifest


@dataclass
class FailingRows:
    """Rows whose second pass, the one that writes, fails half way."""

    rows: list[Any]
    error: BaseException
    passes: int = 0

    def __iter__(self) -> Iterator[Any]:
        self.passes += 1
        yield from self.rows[:-1]
        if self.passes == 2:
            raise self.error
        yield self.rows[-1]


def test_what_is_written_says_what_the_codec_is(make: Callable[..., Any], tmp_path: Path) -> None:
    material = make(30)
    made = material.collection(tmp_path / "a.nv")
    manifest = made.manifest
    assert (manifest.metric, manifest.dim, manifest.rows) == ("cosine", 16, 30)
    assert (manifest.spec, manifest.model) == ("12xcb16", "plain")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nv"]
    names = {p.name for p in (tmp_path / "a.nv" / "files").iterdir()}
    assert {manifest.codec_file, manifest.evidence_file} < names
    assert len(names) == 3
    assert made.evidence() == {"cells": [1]}


def test_an_existing_place_is_refused(make: Callable[..., Any], tmp_path: Path) -> None:
    material = make(3)
    material.create(tmp_path / "a.nv")
    with pytest.raises(UserError, match="exists"):
        material.create(tmp_path / "a.nv")
    with pytest.raises(UserError, match="does not: create it"):
        material.create(tmp_path / "b" / "a.nv")


def test_a_stale_partial_is_cleared_and_a_strange_one_kept(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    material = make(3)
    partial = tmp_path / "a.nv.partial"
    (partial / "rows.lance" / "data").mkdir(parents=True)
    (partial / "rows.lance" / "data" / "x.lance").write_bytes(b"half")
    assert material.collection(tmp_path / "a.nv").count == 3
    assert not partial.exists()
    partial.mkdir()
    (partial / "mine.txt").write_text("keep")
    (tmp_path / "a.nv").rename(tmp_path / "older.nv")
    with pytest.raises(UserError, match=r"'mine\.txt'"):
        material.create(tmp_path / "a.nv")
    assert (partial / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ZeroDivisionError(), ZeroDivisionError),
        (OSError(errno.ENOSPC, "No space left on device"), UserError),
    ],
)
def test_a_failure_leaves_nothing(
    make: Callable[..., Any], tmp_path: Path, error: BaseException, told: type[BaseException]
) -> None:
    material = make(5)
    with pytest.raises(told):
        replace(material, rows=FailingRows(material.rows, error)).create(tmp_path / "a.nv")
    assert list(tmp_path.iterdir()) == []
    assert material.collection(tmp_path / "a.nv").count == 5


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: {"rows": m.rows[:-1]}, "4 rows and 5 codes"),
        (lambda m: {"rows": []}, "at least one row"),
        (lambda m: {"rows": [m.rows[0], *m.rows[:-1]]}, "'r0' stands 2 times"),
        (lambda m: {"facts": {k: v[:2] for k, v in m.facts.items()}}, "5 rows and 2 norm_4"),
        (lambda m: {"vectors": m.vectors[:3]}, "5 rows and 3 vectors"),
    ],
)
def test_rows_and_arrays_must_match(
    make: Callable[..., Any], tmp_path: Path, change: Any, says: str
) -> None:
    material = make(5)
    with pytest.raises(UserError, match=says):
        replace(material, **change(material)).create(tmp_path / "a.nv")
    assert list(tmp_path.iterdir()) == []


def test_the_default_plan_must_fit(make: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="more bytes than the code has"):
        make(5).create(tmp_path / "a.nv", plan="13B:10")
    with pytest.raises(UserError, match="keeps only codes"):
        make(5).create(tmp_path / "a.nv", plan="raw:10", vectors=None)


def replaced(material: Any, path: Path) -> None:
    creation.replace(
        path,
        material.rows,
        codes=material.codes,
        facts=material.facts,
        vectors=material.vectors,
        codec=material.codec,
        manifest=Manifest(metric="", dim=0, rows=0, spec="", plan="12B:10"),
    )


def test_replace_exchanges_a_collection_and_nothing_else(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.nv"
    make(5).create(path)
    replaced(make(9, seed=3), path)
    assert Collection.open(path).count == 9
    replaced(make(2), tmp_path / "new.nv")
    assert Collection.open(tmp_path / "new.nv").count == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nv", "new.nv"]
    (tmp_path / "notes").mkdir()
    with pytest.raises(UserError, match="only a collection may be replaced"):
        replaced(make(5), tmp_path / "notes")


def test_a_failed_replacement_keeps_the_older_one(make: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "a.nv"
    make(5).create(path)
    broken = make(9)
    with pytest.raises(ZeroDivisionError):
        replaced(replace(broken, rows=FailingRows(broken.rows, ZeroDivisionError())), path)
    assert Collection.open(path).count == 5
    assert [p.name for p in tmp_path.iterdir()] == ["a.nv"]
