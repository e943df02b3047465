"""The columns of a collection: their names, the groups of code bytes, the kinds of the user's."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, Protocol

import numpy as np

from nestvec.errors import UserError

Kind = Literal["bool", "int", "float", "text", "texts", "json"]

GROUP_BYTES = 8
"""A code column closes at the first level end that gives it this many bytes."""
_OWN = ("seq", "id", "text", "title", "vector", "length")
_OWN_PREFIXES = ("norm_", "code_", "_")


class RowLike(Protocol):
    """What is stored of a row beside its code."""

    @property
    def id(self) -> str:
        """Unique in the collection."""

    @property
    def text(self) -> str:
        """What a hit shows; may be empty."""

    @property
    def title(self) -> str:
        """May be empty."""

    @property
    def columns(self) -> Mapping[str, object]:
        """The user's other columns, by name."""


@dataclass(frozen=True)
class Survey:
    """What a first pass over the rows found: their number and the kinds of the user's columns."""

    rows: int
    kinds: Mapping[str, Kind]


def code_groups(level_ends: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Byte ranges [start, stop) of the code columns; together they cover the code.

    A group ends where a level ends, and at least GROUP_BYTES after its start: 32 levels of a
    byte give four columns, a level of 384 bytes one.
    """
    groups = []
    start = 0
    for end in level_ends:
        if end - start >= GROUP_BYTES or end == level_ends[-1]:
            groups.append((start, end))
            start = end
    return tuple(groups)


def code_column(start: int, stop: int) -> str:
    """The name of the column that holds the code's bytes [start, stop)."""
    return f"code_{start}_{stop}"


def check_column_names(names: Iterable[str]) -> None:
    """Raise UserError for a column of the user's whose name the collection uses or cannot hold."""
    for name in names:
        if name in _OWN or name.startswith(_OWN_PREFIXES):
            raise UserError(
                f"a column may not be called {name!r}, a name that the collection keeps for "
                "itself: rename or drop it."
            )
        if "." in name or not name.strip():
            raise UserError(
                f"a column's name may not be empty or hold a dot; got {name!r}: rename or drop it."
            )


def survey(rows: Iterable[RowLike]) -> Survey:
    """Count the rows, find the kind of each of the user's columns, and check that ids differ.

    Memory: 8 bytes a row. Raises UserError for a repeated id or a name that cannot be used.
    """
    hashes = array("q")
    kinds: dict[str, Kind | None] = {}
    for row in rows:
        hashes.append(hash(row.id))
        for name, value in row.columns.items():
            kinds[name] = joined_kind(kinds.get(name), _kind(value))
    check_column_names(kinds)
    _check_distinct(rows, np.frombuffer(hashes, dtype=np.int64))
    return Survey(len(hashes), {name: kind or "text" for name, kind in kinds.items()})


def as_kind(kind: Kind, values: Iterable[object]) -> list[Any]:
    """The values of a column in the form of its kind, None where there is none."""
    return [None if value is None else _converted(kind, value) for value in values]


def _check_distinct(rows: Iterable[RowLike], hashes: np.ndarray) -> None:
    ordered = np.sort(hashes)
    twice = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if not twice:
        return
    # Only ids whose hashes meet are compared as strings, so memory stays bounded.
    counts = Counter(row.id for row in rows if hash(row.id) in twice)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        raise UserError(
            f"ids must be unique; {repeated[0]!r} stands {counts[repeated[0]]} times"
            f"{_more(len(repeated) - 1)}. Rename or drop the repeated rows."
        )


def _more(count: int) -> str:
    return f", and {count:,} other ids repeat" if count else ""


def _kind(value: object) -> Kind | None:
    match value:
        case None:
            return None
        case bool() | np.bool_():
            return "bool"
        case int() | np.integer():
            return "int" if -(2**63) <= int(value) < 2**63 else "text"
        case float() | np.floating():
            return "float"
        case str() | datetime() | date():
            return "text"
        case list() | tuple() if all(isinstance(item, str) for item in value):
            return "texts"
        case _:
            return "json"


def joined_kind(one: Kind | None, other: Kind | None) -> Kind | None:
    """The kind that holds values of both."""
    if one is None or other is None or one == other:
        return one or other
    kinds = {one, other}
    if kinds == {"int", "float"}:
        return "float"
    return "json" if kinds & {"json", "texts"} else "text"


def _converted(kind: Kind, value: Any) -> Any:
    if kind == "float":
        return float(value)
    if kind == "text":
        return value if isinstance(value, str) else str(value)
    if kind == "json":
        return json.dumps(value, ensure_ascii=False, default=str)
    if kind == "texts":
        return list(value)
    return bool(value) if kind == "bool" else int(value)
