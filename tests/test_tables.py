from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nestvec import tables
from nestvec.errors import MissingExtra, UserError

ROWS: dict[str, Any] = {
    "id": ["a", "b", "c"],
    "text": ["one", None, "three"],
    "year": [1990, 2000, 2010],
    "tags": [["x"], [], ["y", "z"]],
}


def _write(path: Path, table: pa.Table, batch_rows: int | None = None) -> Path:
    name = path.name.removesuffix(".gz")
    plain = path.with_name(name)
    if name.endswith(".parquet"):
        pq.write_table(table, plain)
    elif name.startswith("stream"):
        with pa.ipc.new_stream(plain, table.schema) as out:
            out.write_table(table, max_chunksize=batch_rows)
    else:
        with pa.ipc.new_file(plain, table.schema) as out:
            out.write_table(table, max_chunksize=batch_rows)
    if path != plain:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path


NAMES = ("t.parquet", "t.arrow", "t.feather", "stream.arrow", "t.parquet.gz", "stream.arrow.gz")


@pytest.mark.parametrize("name", NAMES)
def test_rows_come_as_plain_python_objects(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / name, pa.table(ROWS))
    assert tables.is_table(path)
    assert tables.column_kinds(path) == {
        "id": "text", "text": "text", "year": "number", "tags": "other",
    }  # fmt: skip
    assert list(tables.read_batches(path)) == [ROWS]
    two = list(tables.read_batches(path, ["year", "id"], batch_rows=2))
    assert two == [{"year": [1990, 2000], "id": ["a", "b"]}, {"year": [2010], "id": ["c"]}]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.list_(pa.float32(), 4),
        pa.large_list(pa.float64()),
        pa.list_(pa.float16(), 4),
    ],
    ids=str,
)
def test_vector_columns_of_every_kind(tmp_path: Path, name: str, kind: Any) -> None:
    rows = np.arange(40).reshape(10, 4).astype(kind.value_type.to_pandas_dtype())
    table = pa.table({"v": pa.array([list(row) for row in rows], type=kind)})
    path = _write(tmp_path / name, table, batch_rows=3)
    assert tables.column_kinds(path) == {"v": "vector"}
    found = tables.read_vectors(path, "v")
    assert found.dtype == rows.dtype
    assert np.array_equal(found, rows)


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_a_sliced_list_column_reads_its_own_rows(tmp_path: Path, name: str) -> None:
    table = pa.table({"v": pa.array([[float(i), 0.0] for i in range(6)])}).slice(2, 3)
    path = _write(tmp_path / name, table)
    assert tables.read_vectors(path, "v")[:, 0].tolist() == [2.0, 3.0, 4.0]


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "stream.arrow"])
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[1.0, 2.0], [1.0], [3.0, 4.0]], "row 1 has 1 numbers in column 'v' and row 0 has 2"),
        ([[1.0, 2.0], None, [3.0, 4.0]], "row 1 has none in column 'v'"),
        ([[1.0, 2.0], [3.0, 4.0], [1.0, None]], "row 2 of column 'v' has a missing number"),
    ],
)
def test_a_bad_vector_is_named_by_its_row(
    tmp_path: Path, name: str, values: list[Any], words: str
) -> None:
    for batch_rows in (1, None):
        path = _write(tmp_path / name, pa.table({"v": pa.array(values)}), batch_rows)
        with pytest.raises(UserError, match=words):
            tables.read_vectors(path, "v")


def test_a_column_of_other_things_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "t.parquet", pa.table(ROWS))
    with pytest.raises(UserError, match="column 'year' holds int64"):
        tables.read_vectors(path, "year")
    with pytest.raises(UserError, match=r"no column 'v'\. Its columns are: id, text, year, tags\."):
        tables.read_vectors(path, "v")
    with pytest.raises(UserError, match="no column 'title'"):
        list(tables.read_batches(path, ["title"]))


def test_ids_are_strings(tmp_path: Path) -> None:
    path = _write(tmp_path / "t.parquet", pa.table(ROWS))
    assert tables.read_ids(path, "year") == ["1990", "2000", "2010"]
    with pytest.raises(UserError, match="row 1 has none in column 'text'"):
        tables.read_ids(path, "text")


def test_an_empty_vector_column_is_told(tmp_path: Path) -> None:
    empty = pa.table({"v": pa.array([], type=pa.list_(pa.float32()))})
    for name in ("t.parquet", "t.arrow", "stream.arrow"):
        with pytest.raises(UserError, match="has no rows"):
            tables.read_vectors(_write(tmp_path / name, empty), "v")


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_vectors_written_by_blocks_are_read_back(tmp_path: Path, name: str) -> None:
    vectors = np.random.default_rng(0).random((70_000, 2)).astype(np.float32)
    tables.write_vectors(tmp_path / name, vectors, [f"r{i}" for i in range(70_000)])
    assert np.array_equal(tables.read_vectors(tmp_path / name, "vector"), vectors)
    assert tables.read_ids(tmp_path / name, "id")[69_999] == "r69999"


def test_places_and_kinds(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        tables.column_kinds(tmp_path / "no.parquet")
    with pytest.raises(UserError, match="is a folder"):
        tables.column_kinds(tmp_path)
    old = tmp_path / "old.feather"
    old.write_bytes(b"FEA1" + bytes(40))
    with pytest.raises(UserError, match="is of version 1"):
        tables.column_kinds(old)


def test_a_cut_gzip_is_one_sentence(tmp_path: Path) -> None:
    path = _write(tmp_path / "t.parquet.gz", pa.table(ROWS))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="cannot be read"):
        tables.column_kinds(path)


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'nestvec\[store\]'"):
        tables.column_kinds(tmp_path / "t.parquet")
