"""Records of .csv and .tsv files with a header line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from nestvec.data.lines import read_lines
from nestvec.errors import UserError

_LONGEST_FIELD = 2**31 - 1


def read_csv(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Yields (place, record) of a comma-separated file; quoted fields may hold line breaks.

    place is "line 7", the line on which the record starts. Blank lines are passed over.
    Raises UserError with file and line for broken quotes and for a row whose number of fields is
    not the header's.
    """
    # The limit of 131,072 characters a field is a module-wide setting; a document may be longer.
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader((line for _, line in read_lines(path)), strict=True)
    before = 0
    header: list[str] | None = None
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise UserError(
                f"{path} line {before + 1} is not valid CSV ({error}): "
                "quote fields that hold commas, quotes or line breaks, double the quotes inside."
            ) from None
        if fields is None:
            break
        place, before = before + 1, reader.line_num
        if not fields:
            continue
        if header is None:
            header = _header(fields, path)
        else:
            yield f"line {place}", _record(header, fields, path, place)


def read_tsv(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Yields (place, record) of a tab-separated file.

    Quotes are ordinary characters, as the TSV media type has it: a text may begin with one.
    Raises UserError with file and line for a row whose number of fields is not the header's.
    """
    header: list[str] | None = None
    for number, line in read_lines(path):
        if not line.strip():
            continue
        fields = line.rstrip("\r\n").split("\t")
        if header is None:
            header = _header(fields, path)
        else:
            yield f"line {number}", _record(header, fields, path, number)


def _header(fields: list[str], path: Path) -> list[str]:
    header = [name.strip() for name in fields]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise UserError(
            f"{path} names the column {repeated[0]!r} twice in its first line: rename one of them."
        )
    return header


def _record(header: list[str], fields: list[str], path: Path, line: int) -> dict[str, object]:
    if len(fields) != len(header):
        raise UserError(
            f"{path} line {line} has {len(fields)} fields where the header has {len(header)}: "
            "give every row one field for each column."
        )
    return dict(zip(header, fields, strict=True))
