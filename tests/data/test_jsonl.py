from __future__ import annotations

from pathlib import Path

import pytest

from nestvec.data.jsonl import read_jsonl
from nestvec.errors import UserError


def test_records_come_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}', encoding="utf-8")
    assert list(read_jsonl(path)) == [("line 1", {"a": 1}), ("line 3", {"a": 2})]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"a": ', "is not valid JSON"),
        ("[1]", "holds a JSON array"),
        ("null", "holds a JSON null"),
        ("true", "holds a JSON true"),
        ('"x"', "holds a JSON string"),
        ("3", "holds a JSON number"),
        ("[" * 100_000, "line 2 is"),
    ],
)
def test_what_is_no_object_names_file_and_line(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"a": 1}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=told) as caught:
        list(read_jsonl(path))
    assert "bad.jsonl line 2" in str(caught.value)
