"""Parquet and Arrow files as plain Python rows and numpy arrays: the one seam to pyarrow here.

A file may be Parquet, Arrow IPC (file or stream; Feather is the same format), plain or gzipped.
What it is, its first bytes say, not its name. Everything streams by batches.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import MissingExtra, UserError

SUFFIXES = (".parquet", ".arrow", ".feather")
"""Names that mean a table; each may be followed by .gz."""

BATCH_ROWS = 4096


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether the name of a file says that it is a table."""
    return Path(path).name.removesuffix(".gz").endswith(SUFFIXES)


def column_kinds(path: str | os.PathLike[str]) -> dict[str, str]:
    """The columns of a table in their order, each "text", "vector", "number" or "other".

    A vector column holds lists of float numbers (any width), fixed or variable in the schema.
    Raises UserError where the file is missing or is no table, MissingExtra without pyarrow.
    """
    with _Table.open(path) as table:
        return {field.name: _kind(field.type) for field in table.schema}


def read_batches(
    path: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    batch_rows: int = BATCH_ROWS,
) -> Iterator[dict[str, list[Any]]]:
    """The rows by batches, each {column: values as Python objects}, in the order of the file.

    columns: those to read, all where None. A batch holds at most batch_rows rows; the memory
    needed is that of a batch (of an Arrow file: of one of its record batches).
    Raises UserError where a column is not there or the file breaks off.
    """
    with _Table.open(path) as table:
        names = table.require(columns)
        for batch in table.batches(names, batch_rows):
            yield {name: batch.column(i).to_pylist() for i, name in enumerate(names)}


def read_ids(path: str | os.PathLike[str], column: str) -> list[str]:
    """A column as strings, whole numbers written plainly; a missing value is an error."""
    ids: list[str] = []
    for batch in read_batches(path, [column]):
        for value in batch[column]:
            if value is None:
                raise UserError(
                    f"every row needs an id; {path}: row {len(ids)} has none in column "
                    f"{column!r}. Fill it, or leave the column out to number the rows."
                )
            ids.append(value if isinstance(value, str) else str(value))
    return ids


def read_vectors(path: str | os.PathLike[str], column: str) -> NDArray[Any]:
    """A vector column as (n, d) float16, float32 or float64, C order.

    An uncompressed Arrow file of one record batch is memory-mapped; everything else is read by
    batches into one array. Raises UserError where the column is not one of vectors, a vector is
    missing, or their widths differ.
    """
    with _Table.open(path) as table:
        table.require([column])
        kind = table.schema.field(column).type
        if _kind(kind) != "vector":
            raise UserError(
                f"a vector column holds lists of float numbers; {path}: column {column!r} holds "
                f"{kind}. Name another column."
            )
        mapped = table.mapped(column)
        if mapped is not None:
            return _rows_of(mapped, path, column, 0, None)
        n, filled = table.count(), 0
        out: NDArray[Any] | None = None
        for batch in table.batches([column], BATCH_ROWS):
            if batch.num_rows == 0:
                continue
            rows = _rows_of(batch.column(0), path, column, filled, out)
            if out is None:
                out = np.empty((n, rows.shape[1]), dtype=rows.dtype)
            out[filled : filled + len(rows)] = rows
            filled += len(rows)
    if out is None:
        raise UserError(f"vectors are needed; {path}: column {column!r} has no rows.")
    return out


def write_vectors(
    path: str | os.PathLike[str], vectors: NDArray[Any], ids: Sequence[str] | None
) -> None:
    """Write columns id (text, where ids are given) and vector (fixed_size_list) by blocks.

    vectors: (n, d) float16 or float32; the name's ending says Parquet or Arrow (Feather).
    """
    pa = _pyarrow()
    dim = vectors.shape[1]
    fields = [pa.field("vector", pa.list_(pa.from_numpy_dtype(vectors.dtype), dim))]
    if ids is not None:
        fields.insert(0, pa.field("id", pa.string()))
    schema = pa.schema(fields)
    with _writer(pa, Path(path), schema) as write:
        # an Arrow file is one batch, because only such a one can be mapped as one array
        step = BATCH_ROWS * 16 if Path(path).suffix == ".parquet" else max(1, len(vectors))
        for start in range(0, len(vectors), step):
            block = np.ascontiguousarray(vectors[start : start + step])
            columns = [pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), dim)]
            if ids is not None:
                columns.insert(0, pa.array(list(ids[start : start + step]), pa.string()))
            write(pa.record_batch(columns, schema=schema))


@contextmanager
def _writer(pa: Any, path: Path, schema: Any) -> Iterator[Any]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        # dictionaries and statistics of vectors cost time and hold nothing
        with pq.ParquetWriter(path, schema, use_dictionary=False, write_statistics=False) as out:
            yield out.write_batch
        return
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as out:
        yield out.write_batch


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
        import pyarrow.compute
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("reading and writing Parquet and Arrow files", "store") from None
    return pa


def _kind(kind: Any) -> str:
    pa = _pyarrow()
    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    if types.is_integer(kind) or types.is_floating(kind):
        return "number"
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return "vector" if types.is_floating(kind.value_type) else "other"
    return "other"


def _rows_of(
    column: Any, path: str | os.PathLike[str], name: str, start: int, like: NDArray[Any] | None
) -> NDArray[Any]:
    """A vector column's array as (n, d); start: its first row; like: what came before, if any."""
    if column.null_count:
        row = start + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise UserError(
            f"every row needs a vector; {path}: row {row} has none in column {name!r}. "
            "Drop such rows."
        )
    widths = np.asarray(_pyarrow().compute.list_value_length(column))
    dim = int(widths[0]) if like is None else like.shape[1]
    if (widths != dim).any():
        at = int(np.flatnonzero(widths != dim)[0])
        raise UserError(
            f"all vectors must have one width; {path}: row {start + at} has {int(widths[at])} "
            f"numbers in column {name!r} and row 0 has {dim}. Encode all rows by one model."
        )
    values = column.flatten()
    if values.null_count:
        row = start + int(np.flatnonzero(~np.asarray(values.is_valid()))[0]) // max(dim, 1)
        raise UserError(
            f"vectors must be finite; {path}: row {row} of column {name!r} has a missing number. "
            "Drop such rows."
        )
    flat: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return flat.reshape(len(widths), dim)


class _Table:
    """An open Parquet or Arrow file."""

    def __init__(self, path: Path, file: Any, format: str) -> None:
        self.path = path
        self.pa = _pyarrow()
        self.file = file
        self.format = format
        if format == "parquet":
            self.reader = self.pa.parquet.ParquetFile(file)
            self.schema = self.reader.schema_arrow
        elif format == "arrow":
            self.reader = self.pa.ipc.open_file(file)
            self.schema = self.reader.schema
        else:
            self.reader = None
            self.schema = self.pa.ipc.open_stream(file).schema

    @classmethod
    @contextmanager
    def open(cls, path: str | os.PathLike[str]) -> Iterator[_Table]:
        """The table at path, with every fault of reading it told as one sentence."""
        where = Path(path)
        pa = _pyarrow()
        try:
            with _plain_bytes(where) as (handle, mappable):
                format = _sniff(where, handle)
                source = pa.memory_map(str(where)) if mappable else pa.PythonFile(handle, "r")
                with source:
                    yield cls(where, source, format)
        except FileNotFoundError:
            raise UserError(f"{where} does not exist. Check the name.") from None
        except IsADirectoryError:
            raise UserError(f"{where} is a folder and not a table. Name a file in it.") from None
        except (pa.ArrowException, OSError, EOFError) as error:
            if isinstance(error, MemoryError):
                raise
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise UserError(
                f"a table must be a whole Parquet or Arrow file; {where} cannot be read "
                f"({reason}). Copy or write it again."
            ) from None

    def require(self, columns: Sequence[str] | None) -> list[str]:
        """The columns to read; UserError where one is not there."""
        present = list(self.schema.names)
        for name in columns or ():
            if name not in present:
                raise UserError(
                    f"{self.path} has no column {name!r}. Its columns are: {', '.join(present)}."
                )
        return list(columns) if columns is not None else present

    def count(self) -> int:
        """The number of rows."""
        if self.format == "parquet":
            return int(self.reader.metadata.num_rows)
        return sum(batch.num_rows for batch in self._record_batches())

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[Any]:
        """Record batches of these columns, at most rows long."""
        if self.format == "parquet":
            yield from self.reader.iter_batches(batch_size=rows, columns=list(columns))
            return
        for batch in self._record_batches():
            some = batch.select(list(columns))
            for start in range(0, some.num_rows, rows):
                yield some.slice(start, rows)

    def mapped(self, column: str) -> Any:
        """The column of an Arrow file of one batch, whose memory is the file's own; else None."""
        if self.format != "arrow" or self.reader.num_record_batches != 1:
            return None
        return self.reader.get_batch(0).column(column)

    def _record_batches(self) -> Iterator[Any]:
        if self.format == "arrow":
            for i in range(self.reader.num_record_batches):
                yield self.reader.get_batch(i)
            return
        self.file.seek(0)
        yield from self.pa.ipc.open_stream(self.file)


@contextmanager
def _plain_bytes(path: Path) -> Iterator[tuple[Any, bool]]:
    """The file opened for reading, unzipped to a temporary one if need be; and if it can be mapped.

    Both formats are read from their ends, which a gzip stream cannot be.
    """
    with path.open("rb") as handle:
        if handle.read(2) != b"\x1f\x8b":
            handle.seek(0)
            yield handle, path.stat().st_size > 0
            return
        handle.seek(0)
        with tempfile.TemporaryFile() as plain:
            shutil.copyfileobj(gzip.GzipFile(fileobj=handle), plain, 1 << 20)
            plain.seek(0)
            yield plain, False


def _sniff(path: Path, handle: Any) -> str:
    head = handle.read(8)
    handle.seek(0)
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:6] == b"ARROW1":
        return "arrow"
    if head[:4] == b"\xff\xff\xff\xff":
        return "stream"
    if head[:4] == b"FEA1":
        raise UserError(
            f"Feather files must be of version 2; {path} is of version 1. "
            "Write it again with a current pandas or pyarrow."
        )
    raise UserError(
        f"a table must be a Parquet or Arrow file; {path} starts with {head!r}. "
        "Check the file, or rename it for what it is."
    )
