from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nestvec.data.tabular import read_id_list, read_records
from nestvec.errors import UserError


def test_tables_give_rows_from_nought_without_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": [1, 2], "text": ["x", None], "jpeg": [b"1", b"2"]}), path)
    assert list(read_records(path)) == [
        ("row 0", {"id": 1, "text": "x"}),
        ("row 1", {"id": 2, "text": None}),
    ]
    assert read_id_list(path) == ["1", "2"]


def test_ids_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "docs.ids"
    path.write_text("a\n\n b c \n", encoding="utf-8")
    assert read_id_list(path) == ["a", "b c"]


def test_a_table_without_ids_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x"}\n', encoding="utf-8")
    with pytest.raises(UserError, match="line 1 has no column `_id` or `id`"):
        read_id_list(path)
