from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nestvec.data.delimited import read_csv, read_tsv
from nestvec.errors import UserError


def test_quoted_fields_may_hold_line_breaks_and_count_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,"two\nlines, ""quoted"""\n\n2,plain\n', encoding="utf-8")
    assert list(read_csv(path)) == [
        ("line 2", {"id": "1", "text": 'two\nlines, "quoted"'}),
        ("line 5", {"id": "2", "text": "plain"}),
    ]


def test_a_field_may_be_longer_than_the_csv_modules_limit(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("text\n" + "x" * 200_000 + "\n", encoding="utf-8")
    assert [len(str(record["text"])) for _, record in read_csv(path)] == [200_000]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_quotes_in_tsv_are_ordinary_characters(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(f'id\ttext{ending}1\t"open{ending}2\tb{ending}'.encode())
    assert list(read_tsv(path)) == [
        ("line 2", {"id": "1", "text": '"open'}),
        ("line 3", {"id": "2", "text": "b"}),
    ]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "id,text\n1,a,b\n", "line 2 has 3 fields where the header has 2"),
        ("a.csv", 'id,text\n1,"never closed\nand on\n', "line 2 is not valid CSV"),
        ("a.csv", "id,id\n1,2\n", "names the column 'id' twice"),
        ("a.tsv", "id\ttext\n1\n", "line 2 has 1 fields where the header has 2"),
    ],
)
def test_broken_rows_name_file_and_line(tmp_path: Path, name: str, text: str, told: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    reader = read_csv if name.endswith("csv") else read_tsv
    with pytest.raises(UserError, match=told):
        list(reader(path))


@given(st.lists(st.text(st.characters(exclude_characters="\x00", codec="utf-8")), min_size=1))
def test_whatever_the_csv_module_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, quoting=csv.QUOTE_ALL)
        writer.writerows([["text"], *([text] for text in texts)])
    assert [record["text"] for _, record in read_csv(path)] == texts
