from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nestvec.data.records import Tally, queries_of, rows_of, unique_rows
from nestvec.data.rows import Query, Row
from nestvec.errors import UserError

PATH = Path("a.jsonl")
Record = tuple[str, dict[str, object]]


def records(*found: dict[str, object]) -> Iterator[Record]:
    return iter([(f"line {n}", record) for n, record in enumerate(found, 1)])


def test_columns_find_their_places_and_the_rest_is_kept() -> None:
    found = records({"_id": 7, "id": "other", "title": " T ", "text": " x ", "label": 3})
    (row,) = rows_of(found, PATH)
    assert row == Row("7", "x", "T", {"id": "other", "label": 3})
    assert row.titled_text == "T x"


def test_rows_without_ids_are_numbered_from_nought() -> None:
    assert [row.id for row in rows_of(records({"text": "a"}, {"text": "b"}), PATH)] == ["0", "1"]


def test_another_text_column_may_be_named_even_the_title() -> None:
    assert next(rows_of(records({"body": "b", "text": "t"}), PATH, text_column="body")).text == "b"
    row = next(rows_of(records({"title": "b", "text": "t"}), PATH, text_column="title"))
    assert (row.text, row.title, row.columns) == ("b", "", {"text": "t"})


def test_empty_texts_take_the_title_or_are_left_out_and_counted() -> None:
    tally = Tally()
    found = records(
        {"text": "abc", "title": "de"}, {"text": " ", "title": "T"}, {"text": None}, {"text": ""}
    )
    rows = list(rows_of(found, PATH, tally=tally))
    assert [(row.text, row.title) for row in rows] == [("abc", "de"), ("T", "")]
    assert tally == Tally(rows=2, titled=1, characters=6, empty=2, first_empty="a.jsonl line 3")


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"body": "x"}, r"a\.jsonl line 1 has no text column 'text' \(columns: 'body'\)"),
        ({"text": 3}, "line 1: the column 'text' must hold a string, got int '3'"),
        ({"text": "x", "title": ["y"]}, "the column 'title' must hold a string"),
        ({"text": "x", "id": None}, "line 1 has no id"),
        ({"text": "x", "id": ""}, "line 1 has no id"),
    ],
)
def test_faults_name_file_and_line(record: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        list(rows_of(records(record), PATH))


def test_an_id_missing_later_is_told() -> None:
    with pytest.raises(UserError, match="line 2 has no id in the column 'id'"):
        list(rows_of(records({"id": "a", "text": "x"}, {"text": "y"}), PATH))


def test_a_repeated_id_names_both_rows() -> None:
    rows = iter([Row("a", "x"), Row("b", "x"), Row("a", "y")])
    with pytest.raises(UserError, match=r"the id 'a' twice \(rows 1 and 3\)"):
        list(unique_rows(rows, PATH, []))


def test_queries_keep_their_order_and_are_checked() -> None:
    found = queries_of(records({"id": "b", "text": "x"}, {"id": "a", "text": "y"}), PATH)
    assert found == [Query("b", "x"), Query("a", "y")]
    with pytest.raises(UserError, match="line 1 has an empty query"):
        queries_of(records({"text": " "}), PATH)
    with pytest.raises(UserError, match=r"query id 'a' twice \(line 1 and line 2\)"):
        queries_of(records({"id": "a", "text": "x"}, {"id": "a", "text": "y"}), PATH)
    with pytest.raises(UserError, match="holds no queries"):
        queries_of(records(), PATH)
