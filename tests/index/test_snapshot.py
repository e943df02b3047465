"""What a version says of its columns, and which rows match a predicate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nestvec.errors import UserError
from nestvec.index.collection import Collection


@pytest.fixture
def collection(make: Callable[..., Any], tmp_path: Path) -> Collection:
    make(300).create(tmp_path / "a.nv")
    return Collection.open(tmp_path / "a.nv")


def test_columns_are_those_that_a_filter_may_name(collection: Collection) -> None:
    assert collection.columns == ("id", "text", "title", "year")


def test_matching_gives_positions_across_fragments_without_deleted_rows(
    make: Callable[..., Any], collection: Collection
) -> None:
    more = make(310).cut(slice(300, 310))
    changed = collection.add(more.rows, more.vectors).delete(["r7", "r305"])
    assert changed.matching("id IN ('r305', 'r303', 'r7', 'r4')").tolist() == [4, 303]
    assert changed.matching("id = 'nobody'").tolist() == []
    assert len(changed.matching("year >= 0")) == 308
    with pytest.raises(UserError, match="a filter is a SQL predicate"):
        changed.matching("colour = 'red'")
