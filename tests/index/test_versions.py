from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nestvec.errors import UserError
from nestvec.index.checksums import check_files
from nestvec.index.collection import Collection
from nestvec.index.plan import Plan
from nestvec.index.snapshot import Snapshot, open_version
from nestvec.index.store_versions import _spans
from nestvec.progress import quiet


@pytest.fixture
def grown(make: Callable[..., Any], tmp_path: Path) -> Collection:
    """200 rows; then another plan; then 300 rows; then 299."""
    material = make(300)
    first = material.cut(slice(200)).collection(tmp_path / "a.nv")
    other = first.store_plan(Plan.parse("12B:7"))
    more = other.add(material.rows[200:], material.vectors[200:])
    return more.delete(["r7"])


def test_an_older_version_opens_with_its_own_rows_and_plan(grown: Collection, queries: Any) -> None:
    numbers = [version.number for version in grown.versions()]
    assert [version.rows for version in grown.versions()] == [200, 200, 300, 299]
    assert numbers[-1] == grown.version
    age = datetime.now(UTC) - grown.versions()[-1].written
    assert timedelta(0) <= age < timedelta(hours=1)
    first, planned = (open_version(grown.path, number) for number in numbers[:2])
    assert (first.count, planned.count) == (200, 200)
    assert str(planned.plan) == "12B:7" != str(first.plan)
    assert not isinstance(first, Collection)
    hits = first.search(queries, "raw:200")[0].hits
    assert {hit.id for hit in hits} == {f"r{row}" for row in range(200)}
    assert grown.search(queries, "raw:299")[0].hits != hits


def test_a_name_opens_its_version_and_keeps_it(grown: Collection, queries: Any) -> None:
    first = grown.versions()[0].number
    wanted = open_version(grown.path, first).search(queries, "raw:5")
    grown.tag("before", first)
    grown.tag("now")
    assert [version.tags for version in grown.versions()] == [("before",), (), (), ("now",)]
    assert open_version(grown.path, "now").count == 299
    newest, _ = grown.compact(timedelta(0))
    assert [version.tags for version in newest.versions()] == [("before",), ("now",), ()]
    for one, other in zip(
        open_version(grown.path, "before").search(queries, "raw:5"), wanted, strict=True
    ):
        assert [(hit.id, hit.score) for hit in one.hits] == [
            (hit.id, hit.score) for hit in other.hits
        ]
    newest.tag("before")
    assert open_version(grown.path, "before").version == newest.version
    newest.untag("now")
    assert [version.tags for version in newest.versions()][-1] == ("before",)
    assert check_files(grown.path, "rows.lance", "files", quiet()) == ([], [])


def test_versions_and_names_that_are_none(grown: Collection) -> None:
    last = grown.version
    for wanted, says in [
        (last + 1, f"got {last + 1}, and there are 1 to {last}"),
        (str(last + 1), "must be one that is kept"),
        (0, "got 0"),
        ("release", "the tags are none"),
        ("-1", "a number or a tag"),
        ("٣", "a number or a tag"),
    ]:
        with pytest.raises(UserError, match=says):
            open_version(grown.path, wanted)
    for name in ("3", "", ".x", "a b", "a/b", "ü", "a\n"):
        with pytest.raises(UserError, match="a tag is letters"):
            grown.tag(name)
    with pytest.raises(UserError, match="one that is kept"):
        grown.tag("far", 99)
    with pytest.raises(UserError, match="there are none"):
        grown.untag("far")
    grown.tag("v1.0-rc_2")
    with pytest.raises(UserError, match=r"there is v1\.0-rc_2"):
        grown.untag("far")
    with pytest.raises(UserError, match="is not a collection"):
        open_version(grown.path / "none", 1)
    assert Snapshot.open(grown.path).version == last


def test_neighbours_are_told_as_a_span() -> None:
    assert _spans([1]) == "1"
    assert _spans([1, 3, 4, 5, 9]) == "1, 3 to 5, 9"
