"""From records of any table to rows and queries: which column is what, and the checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nestvec.data.rows import Query, Row
from nestvec.errors import UserError

ID_COLUMNS = ("_id", "id")
TEXT_COLUMN = "text"
TITLE_COLUMN = "title"

Records = Iterator[tuple[str, dict[str, object]]]


@dataclass
class Tally:
    """What a pass over the rows counted; it is complete when the pass is.

    rows: given out; titled: of these with a title; characters: in texts and titles;
    empty: records left out because neither text nor title holds anything;
    first_empty: file and place of the first of these, "" where there is none.
    """

    rows: int = 0
    titled: int = 0
    characters: int = 0
    empty: int = 0
    first_empty: str = ""

    def count(self, row: Row) -> None:
        """Takes one more row in."""
        self.rows += 1
        self.titled += bool(row.title)
        self.characters += len(row.text) + len(row.title)

    def count_empty(self, place: str) -> None:
        """Takes one more left-out record in."""
        self.empty += 1
        self.first_empty = self.first_empty or place


def rows_of(
    records: Records, path: Path, *, text_column: str | None = None, tally: Tally | None = None
) -> Iterator[Row]:
    """Yields a row a record, in order.

    The text is the column text_column ("text" where None); the id `_id` or `id`, as a string, or
    the row's number from 0 where the first record has neither; the title `title`; everything else
    is kept in columns. A record whose text is empty but whose title is not has the title as its
    text and no title; one with neither is left out and counted in tally.
    Raises UserError with file and place for a missing text column, a text that is not a string,
    a missing id where the first record has one, and an empty id. Repeated ids: see unique_rows.
    """
    column = TEXT_COLUMN if text_column is None else text_column
    id_column: str | None = None
    for number, (place, record) in enumerate(records):
        if number == 0:
            id_column = next((name for name in ID_COLUMNS if name in record), None)
        text = _text(record, column, path, place)
        title = _title(record, path, place) if column != TITLE_COLUMN else ""
        identity = str(number) if id_column is None else _id(record, id_column, path, place)
        if not text:
            text, title = title, ""
        if not text:
            if tally is not None:
                tally.count_empty(f"{path} {place}")
            continue
        used = (column, TITLE_COLUMN, id_column)
        columns = {name: value for name, value in record.items() if name not in used}
        row = Row(identity, text, title, columns)
        if tally is not None:
            tally.count(row)
        yield row


def unique_rows(rows: Iterator[Row], path: Path, ids: list[str]) -> Iterator[Row]:
    """Passes rows on and appends their ids to ids; raises UserError at a repeated id.

    Memory: the ids, once in the list and once in a set of the same strings.
    """
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise UserError(
                f"{path} has the id {row.id!r} twice (rows {ids.index(row.id) + 1} and "
                f"{len(ids) + 1}): ids must be unique, so remove or rename one of them."
            )
        seen.add(row.id)
        ids.append(row.id)
        yield row


def queries_of(records: Records, path: Path) -> list[Query]:
    """The queries of a file, in order: `_id` or `id` (else the number from 0), and `text`.

    Raises UserError with file and place for a missing or empty text and a repeated id, and with the
    file where there are none.
    """
    queries: list[Query] = []
    places: dict[str, str] = {}
    id_column: str | None = None
    for number, (place, record) in enumerate(records):
        if number == 0:
            id_column = next((name for name in ID_COLUMNS if name in record), None)
        text = _text(record, TEXT_COLUMN, path, place)
        if not text:
            raise UserError(f"{path} {place} has an empty query: give it a text or remove it.")
        identity = str(number) if id_column is None else _id(record, id_column, path, place)
        if identity in places:
            raise UserError(
                f"{path} has the query id {identity!r} twice ({places[identity]} and {place}): "
                "ids must be unique, so remove or rename one of them."
            )
        places[identity] = place
        queries.append(Query(identity, text))
    if not queries:
        raise UserError(f"{path} holds no queries: give a file with at least one.")
    return queries


def _text(record: Mapping[str, object], column: str, path: Path, place: str) -> str:
    if column not in record:
        found = ", ".join(repr(name) for name in record) or "none"
        raise UserError(
            f"{path} {place} has no text column {column!r} (columns: {found}): "
            "name the column that holds the text with --text-column."
        )
    return _string(record[column], column, path, place)


def _title(record: Mapping[str, object], path: Path, place: str) -> str:
    return _string(record.get(TITLE_COLUMN), TITLE_COLUMN, path, place)


def _string(value: object, column: str, path: Path, place: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(
            f"{path} {place}: the column {column!r} must hold a string, got "
            f"{type(value).__name__} {str(value)[:40]!r}: name another column or mend the row."
        )
    if not is_whole(value):
        raise UserError(
            f"{path} {place}: the column {column!r} holds half of a character (a lone surrogate): "
            "write the row again in UTF-8."
        )
    return value.strip()


def is_whole(text: str) -> bool:
    """Whether a text can be written in UTF-8: no lone surrogates, as broken input leaves them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _id(record: Mapping[str, object], column: str, path: Path, place: str) -> str:
    value = record.get(column)
    if value is None or isinstance(value, (list, dict)) or str(value) == "":
        raise UserError(
            f"{path} {place} has no id in the column {column!r}: "
            "give every row an id, or remove the column to number the rows."
        )
    return str(value)
