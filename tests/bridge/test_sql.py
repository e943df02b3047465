from __future__ import annotations

from types import SimpleNamespace

import pytest

from nestvec.bridge.exported import Place
from nestvec.bridge.sql import commented, put_text, quoted, table_name
from nestvec.errors import UserError


@pytest.mark.parametrize(
    ("collection", "table"),
    [
        ("papers", "papers"),
        ("Some Papers, 2020", "some_papers_2020"),
        ("2020", "rows_2020"),
        ("order", "order_rows"),
        ("论文", "rows"),
        ("x" * 60, "x" * 40),
        ("1" * 60, "rows_" + "1" * 35),
    ],
)
def test_a_table_is_named_after_the_collection(collection, table):
    assert table_name(SimpleNamespace(name=collection), Place()) == table


@pytest.mark.parametrize("name", ["a-b", "", "1a", "x" * 41, "ärger", "select", "User"])
def test_names_that_sql_would_not_take(name):
    with pytest.raises(UserError, match="a table's name"):
        table_name(SimpleNamespace(name="papers"), Place(name=name))
    assert table_name(SimpleNamespace(name="papers"), Place(name="Mine_2")) == "Mine_2"


def test_columns_are_quoted():
    assert quoted('a "b" c') == '"a ""b"" c"'


def test_comments_are_wrapped():
    assert commented("one\ntwo") == "-- one\n-- two\n"
    assert max(map(len, commented("word " * 60).splitlines())) <= 100


def test_a_text_appears_whole(tmp_path):
    put_text("new", tmp_path / "q.sql")
    put_text("newer", tmp_path / "q.sql")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["newer"]
