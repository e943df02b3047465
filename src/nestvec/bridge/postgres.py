"""PostgreSQL: the one file that imports psycopg. Connections, their faults, and binary COPY."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import MissingExtra, UserError

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER = struct.pack(">h", -1)
_NULL = struct.pack(">i", -1)
_TEXT_OID = 25
_NUL = "�"
"""What stands for the character 0, which PostgreSQL's text cannot hold."""


def connect(dsn: str) -> Any:
    """A psycopg connection that commits by itself outside of `with connection.transaction()`.

    Raises MissingExtra without psycopg, UserError where no server answers.
    """
    psycopg = _psycopg()
    with told("connecting", dsn):
        return psycopg.connect(dsn, autocommit=True, connect_timeout=10)


@contextmanager
def told(doing: str, dsn: str) -> Iterator[None]:
    """Tell what a server refuses, or that it is away, in a sentence; passwords stay unsaid."""
    psycopg = _psycopg()
    try:
        yield
    except psycopg.Error as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(" .")
        for secret in _secrets(dsn):
            said = said.replace(secret, "***")
        away = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
        remedy = (
            "check the address, and that the server runs"
            if away
            else "nothing was changed there; mend that and run it again"
        )
        raise UserError(
            f"an export needs a PostgreSQL that takes it, and {shown(dsn)} did not while "
            f"{doing} ({said}): {remedy}."
        ) from error


def shown(dsn: str) -> str:
    """A server's address without what is secret."""
    psycopg = _psycopg()
    try:
        parts = psycopg.conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return "that address"
    names = ("host", "hostaddr", "port", "dbname")
    return " ".join(f"{name}={parts[name]}" for name in names if parts.get(name)) or "the default"


def _secrets(dsn: str) -> list[str]:
    psycopg = _psycopg()
    try:
        found = psycopg.conninfo.conninfo_to_dict(dsn).get("password")
    except psycopg.ProgrammingError:
        return [dsn]
    return [str(found)] if found else []


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError:
        raise MissingExtra("an export to pgvector", "pgvector") from None
    return psycopg


Encoder = Callable[[Sequence[Any] | NDArray[Any]], list[bytes]]
"""A column's values -> their fields in the binary form of COPY, length first."""


def copy_into(
    connection: Any, table: str, runs: Iterable[list[list[bytes]]], advance: Callable[[int], None]
) -> None:
    """COPY runs of columns, each a list of fields, into a table; advance is told the rows.

    The format is that of https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
    """
    with connection.cursor().copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(_HEADER)
        for columns in runs:
            count = struct.pack(">h", len(columns))
            rows = zip(*columns, strict=True)
            copy.write(b"".join(part for row in rows for part in (count, *row)))
            advance(len(columns[0]))
        copy.write(_TRAILER)


def encoder_of(kind: str) -> Encoder:
    """How values of a kind of the user's columns are sent; None is NULL."""
    encode: dict[str, Callable[[Any], bytes]] = {
        "bool": lambda value: struct.pack(">?", value),
        "int": lambda value: struct.pack(">q", value),
        "float": lambda value: struct.pack(">d", value),
        "text": _text,
        "texts": _texts,
        "json": lambda value: b"\x01" + _text(_strict(value)),
    }
    one = encode[kind]

    def column(values: Sequence[Any] | NDArray[Any]) -> list[bytes]:
        return [_NULL if value is None else _field(one(value)) for value in values]

    return column


def vector_fields(rows: NDArray[Any], half: bool) -> list[bytes]:
    """Rows (m, w) as pgvector's `vector`, or in float16 as `halfvec`: width, 0, coordinates."""
    head = struct.pack(">HH", rows.shape[1], 0)
    sent = np.ascontiguousarray(rows, ">f2" if half else ">f4")
    return [_field(head + row.tobytes()) for row in sent]


def bit_fields(packed: NDArray[np.uint8], bits: int) -> list[bytes]:
    """Packed rows (m, bytes), the first bit in the high one, as `bit(bits)`."""
    head = struct.pack(">i", bits)
    return [_field(head + row.tobytes()) for row in packed]


def vector_text(query: NDArray[Any]) -> str:
    """A vector (d,) as pgvector reads it, each coordinate to the last bit."""
    return f"[{','.join(map(repr, query.tolist()))}]"


def _field(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def _text(value: str) -> bytes:
    return value.replace("\0", _NUL).encode()


def _texts(values: Sequence[str]) -> bytes:
    if not values:
        return struct.pack(">iii", 0, 0, _TEXT_OID)
    missing = any(value is None for value in values)
    head = struct.pack(">iiiii", 1, int(missing), _TEXT_OID, len(values), 1)
    return head + b"".join(_NULL if v is None else _field(_text(v)) for v in values)


def _strict(value: str) -> str:
    """JSON that PostgreSQL takes: numbers that are none, and the character 0, are replaced."""
    plain = json.dumps(json.loads(value, parse_constant=lambda _: None), ensure_ascii=False)
    return plain.replace("\\u0000", _NUL)
