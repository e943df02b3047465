"""Handles that were opened before another one changed the collection: what they write and read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nestvec.errors import UserError
from nestvec.index import collection as module
from nestvec.index.collection import Collection
from nestvec.index.manifest import write_manifest
from nestvec.index.plan import Plan
from nestvec.index.snapshot import open_version
from nestvec.index.store_changes import commit_manifest

PLANS = ("4B:50,12B:20", "12B:10", "raw:10", "exact:10")


@pytest.fixture
def place(make: Callable[..., Any], tmp_path: Path) -> Path:
    make(300).cut(slice(280)).create(tmp_path / "a.nv")
    return tmp_path / "a.nv"


def answers(collection: Any, queries: Any) -> list[Any]:
    return [
        [(hit.id, hit.score, hit.text) for hit in result.hits]
        for plan in PLANS
        for result in collection.search(queries, plan)
    ]


def check_codes(found: Collection) -> None:
    """Every row is coded by the codec that the version names."""
    np.testing.assert_array_equal(found.codes(), found.codec.encode(found.vectors()))
    expected = found.codec.facts(found.codes(), found.vectors())
    for name, fact in expected.items():
        np.testing.assert_array_equal(found.facts()[name], fact)


@pytest.mark.parametrize("replacing", [False, True])
def test_rows_are_coded_by_the_codec_that_is_there(
    make: Callable[..., Any], place: Path, queries: Any, replacing: bool
) -> None:
    material = make(300)
    stale = Collection.open(place)
    refitted = Collection.open(place).refit(seed=5)
    assert not np.array_equal(
        refitted.codec.encode(material.vectors), stale.codec.encode(material.vectors)
    )
    start = 270 if replacing else 280
    grown = stale.add(material.rows[start:], material.vectors[start:], replacing=replacing)
    newest = Collection.open(place)
    assert (grown.version, grown.count) == (newest.version, 300)
    for each in (grown, newest):
        check_codes(each)
        assert each.manifest.codec_file == refitted.manifest.codec_file
    assert answers(grown, queries) == answers(newest, queries)


def test_a_codec_that_changes_while_rows_are_coded(
    make: Callable[..., Any], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    material = make(300)
    collection = Collection.open(place)
    coded, seeds = module._coded, iter((5, 6))

    def slow(*arguments: Any) -> Any:
        found = coded(*arguments)
        monkeypatch.setattr(module, "_coded", coded)
        for seed in seeds:  # another process, by the time that these codes are there
            Collection.open(place).refit(seed=seed)
            monkeypatch.setattr(module, "_coded", slow)
            break
        return found

    monkeypatch.setattr(module, "_coded", slow)
    grown = collection.add(material.rows[280:], material.vectors[280:])
    assert grown.codec.seed == 6
    check_codes(Collection.open(place))


def test_rows_of_another_model_are_not_added(make: Callable[..., Any], place: Path) -> None:
    material = make(300)
    stale = Collection.open(place)
    other = replace(stale.manifest, model="another")
    name = write_manifest(other, place / "files")
    commit_manifest(place / "rows.lance", name, stale._store.manifest_name)
    with pytest.raises(UserError, match=r"'another'.*open it again"):
        stale.add(material.rows[280:], material.vectors[280:])
    assert Collection.open(place).count == 280


@pytest.mark.parametrize("change", ["delete", "compact"])
def test_what_a_change_returns_is_the_version_that_it_made(
    place: Path, queries: Any, change: str
) -> None:
    stale = Collection.open(place)
    refitted = Collection.open(place).refit(seed=5)
    after = stale.delete(["r2"]) if change == "delete" else stale.compact()[0]
    assert after.manifest == refitted.manifest
    check_codes(after)
    assert answers(after, queries) == answers(Collection.open(place), queries)


@pytest.mark.parametrize("change", ["plan", "lists", "graph"])
def test_what_was_made_of_other_codes_is_refused(place: Path, change: str) -> None:
    stale = Collection.open(place)
    refitted = Collection.open(place).refit(seed=5)
    changes: dict[str, Callable[[], Any]] = {
        "plan": lambda: stale.store_plan(Plan.parse("12B:7")),
        "lists": lambda: stale.make_lists("8B", 4),
        "graph": lambda: stale.make_graph("8B"),
    }
    if change == "graph":
        pytest.importorskip("usearch")
    with pytest.raises(UserError, match="open it again"):
        changes[change]()
    newest = Collection.open(place)
    assert (newest.version, newest.manifest) == (refitted.version, refitted.manifest)
    check_codes(newest)


def test_what_others_stored_stays(make: Callable[..., Any], place: Path) -> None:
    """Plan, lists and rows of three handles of one version."""
    material = make(300)
    one, two, three = (Collection.open(place) for _ in range(3))
    one.store_plan(Plan.parse("12B:7"))
    two.make_lists("8d", 4)
    grown = three.add(material.rows[280:], material.vectors[280:])
    for found in (grown, Collection.open(place)):
        assert (str(found.plan), found.count) == ("12B:7", 300)
        assert found.lists is not None
        assert found.evidence() == {"cells": [1]}
    with pytest.raises(UserError, match="lists"):
        Collection.open(place).store_plan(Plan.parse("probe=9;12B:7"))
    assert str(one.store_plan(Plan.parse("probe=2;12B:7")).plan) == "probe=2;12B:7"


def test_a_tag_names_the_version_of_the_handle(place: Path) -> None:
    stale = Collection.open(place)
    Collection.open(place).refit(seed=5)
    stale.tag("before")
    old = open_version(place, "before")
    assert (old.version, old.manifest) == (stale.version, stale.manifest)
    np.testing.assert_array_equal(old.codes(), old.codec.encode(old.vectors()))


@pytest.mark.parametrize("warm", [False, True])
def test_a_reader_goes_on_with_its_own_version(
    make: Callable[..., Any], place: Path, queries: Any, warm: bool
) -> None:
    """warm: whether it has searched before the others changed the collection."""
    material = make(300)
    expected = answers(Collection.open(place), queries)
    stale = Collection.open(place)
    if warm:
        answers(stale, queries)
    changed = Collection.open(place).refit(seed=5).delete(["r2", "r7"])
    changed = changed.add(material.rows[280:], material.vectors[280:])
    changed, _ = changed.compact()
    assert answers(changed, queries) != expected
    assert answers(stale, queries) == expected
    assert (stale.count, changed.count) == (280, 298)
