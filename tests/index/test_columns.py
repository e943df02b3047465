from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nestvec.errors import UserError
from nestvec.index.columns import as_kind, check_column_names, code_groups, survey


@pytest.mark.parametrize(
    ("ends", "groups"),
    [
        (range(1, 33), ((0, 8), (8, 16), (16, 24), (24, 32))),
        (range(1, 13), ((0, 8), (8, 12))),
        ((32, 33, 34), ((0, 32), (32, 34))),
        ((1, 2, 386), ((0, 386),)),
        ((384,), ((0, 384),)),
        ((1,), ((0, 1),)),
    ],
)
def test_groups_close_at_level_ends(ends: Any, groups: Any) -> None:
    assert code_groups(tuple(ends)) == groups


def test_kinds_join_over_rows(row: Any) -> None:
    rows = [
        row("a", columns={"i": 1, "f": 1, "b": True, "s": "x", "l": ["p"], "j": {"k": 1}}),
        row("b", columns={"i": np.int32(2), "f": 0.5, "b": None, "s": 3, "l": [], "n": None}),
        row("c", columns={"i": None, "big": 2**70, "l": ["q", "r"], "m": [1, 2], "x": "1"}),
        row("d", columns={"x": [1]}),
    ]
    found = survey(rows)
    assert found.rows == 4
    assert found.kinds == {
        "i": "int",
        "f": "float",
        "b": "bool",
        "s": "text",
        "l": "texts",
        "j": "json",
        "n": "text",
        "big": "text",
        "m": "json",
        "x": "json",
    }


def test_values_take_the_form_of_their_kind() -> None:
    assert as_kind("float", [1, None, 0.5]) == [1.0, None, 0.5]
    assert as_kind("text", ["a", 3, None]) == ["a", "3", None]
    assert as_kind("json", [{"a": [1]}, "é", None]) == ['{"a": [1]}', '"é"', None]
    assert as_kind("texts", [("a", "b")]) == [["a", "b"]]


def test_repeated_ids_are_named(row: Any) -> None:
    rows = [row("a"), row("b"), row("a"), row("c"), row("c"), row("a")]
    with pytest.raises(UserError, match=r"'a' stands 3 times, and 1 other ids repeat"):
        survey(rows)


def test_ids_whose_hashes_meet_are_not_taken_for_repeated(row: Any) -> None:
    class Same(str):
        __slots__ = ()

        def __hash__(self) -> int:
            return 7

    def rows() -> Iterator[Any]:
        return iter([row(Same("a")), row(Same("b"))])

    class Again:
        def __iter__(self) -> Iterator[Any]:
            return rows()

    assert survey(Again()).rows == 2


@pytest.mark.parametrize("name", ["seq", "length", "norm_4", "code_0_8", "_rowid", "vector"])
def test_names_of_the_collections_own_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="rename or drop"):
        check_column_names(["year", name])


@pytest.mark.parametrize("name", ["a.b", "", " "])
def test_names_that_cannot_be_held_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="empty or hold a dot"):
        check_column_names([name])
