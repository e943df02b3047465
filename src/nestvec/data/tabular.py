"""Records of any table of rows: JSON lines, CSV, TSV, Parquet, Arrow, each plain or gzipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nestvec import tables
from nestvec.data.delimited import read_csv, read_tsv
from nestvec.data.jsonl import read_jsonl
from nestvec.data.lines import plain_suffix, read_lines
from nestvec.data.records import ID_COLUMNS, Records
from nestvec.errors import UserError

TEXT_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv")
RECORD_SUFFIXES = (*TEXT_SUFFIXES, *tables.SUFFIXES)

_READERS = {".jsonl": read_jsonl, ".ndjson": read_jsonl, ".csv": read_csv, ".tsv": read_tsv}


def is_records(path: Path) -> bool:
    """Whether the name says that the file is a table of rows."""
    return plain_suffix(path) in RECORD_SUFFIXES


def read_records(path: Path) -> Records:
    """Yields (place, record); place is "line 7" (from 1) or, in a table, "row 7" (from 0).

    Memory: one line, or one batch of a table. Values that are raw bytes are left out.
    Raises UserError with file and place for what cannot be read.
    """
    reader = _READERS.get(plain_suffix(path))
    return _read_table(path) if reader is None else reader(path)


def read_id_list(path: Path) -> list[str]:
    """The ids in a file: one a line of .txt or .ids, else the column `_id` or `id` of a table."""
    if not is_records(path):
        return [line.strip() for _, line in read_lines(path) if line.strip()]
    ids: list[str] = []
    for place, record in read_records(path):
        name = next((name for name in ID_COLUMNS if name in record), None)
        if name is None:
            raise UserError(
                f"{path} {place} has no column `_id` or `id`: give a file that holds the ids."
            )
        ids.append(str(record[name]))
    return ids


def _read_table(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    row = 0
    for batch in tables.read_batches(path):
        names = list(batch)
        for values in zip(*batch.values(), strict=True):
            record = {
                name: value
                for name, value in zip(names, values, strict=True)
                if not isinstance(value, bytes)
            }
            yield f"row {row}", record
            row += 1
