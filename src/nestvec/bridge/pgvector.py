"""Export to PostgreSQL with pgvector: signs, cuts and vectors in a table, the plan as a function.

Limits are pgvector's own: https://github.com/pgvector/pgvector#reference (0.8: vector and halfvec
hold 16,000 coordinates, HNSW indexes 2,000 of vector, 4,000 of halfvec and 64,000 bits; ef_search
is 1,000 at most, and from 0.8 on a scan goes on past it).
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec import __version__
from nestvec.bridge.exported import Exported, Place, Source, Target, check_kinds, staged_plan
from nestvec.bridge.pgvector_query import (
    MARK,
    MOST_WALKED,
    axes_table,
    cut_column,
    function_sql,
    functions_of,
    index_of,
    search_name,
    told_query,
)
from nestvec.bridge.postgres import (
    bit_fields,
    connect,
    copy_into,
    encoder_of,
    shown,
    told,
    vector_fields,
    vector_text,
)
from nestvec.bridge.sql import put_text, quoted, table_name
from nestvec.bridge.staged import cut_of, reads_signs, widths_of
from nestvec.errors import UserError
from nestvec.index.plan import Plan
from nestvec.progress import Progress, quiet

MOST_STORED = 16_000
MOST_INDEXED = {"sign": 64_000, "dims": 4_000, "raw": 2_000}
"""Coordinates or bits that HNSW takes, by the kind of the first stage."""
OLDEST, WALKS_ON = (0, 7), (0, 8)
"""pgvector's versions with halfvec and indexes of bits, and with scans beyond ef_search."""
MOST_NAME_BYTES = 63

_TYPES = {
    "bool": "boolean", "int": "bigint", "float": "double precision", "text": "text",
    "texts": "text[]", "json": "jsonb",
}  # fmt: skip


def check(source: Source, place: Place, plan: Plan | None) -> None:
    """Raise UserError where pgvector cannot hold it, the server is away, or a name is taken."""
    assert place.dsn is not None
    plan = plan or staged_plan(source)
    check_kinds(plan, ("sign", "dims", "raw"), "pgvector", source.dim)
    name = table_name(source, place)
    _check_names(source, plan)
    _check_sizes(source, plan)
    with connect(place.dsn) as connection, told("checking", place.dsn):
        _check_version(connection, plan)
        _check_ours(connection, plan, name)


def write(
    source: Source, place: Place, plan: Plan | None, progress: Progress | None = None
) -> Exported:
    """Load a table anew and put it in the place of ours that was there, in one transaction."""
    assert place.dsn is not None
    listener = progress or quiet()
    plan = plan or staged_plan(source)
    check(source, place, plan)
    name = table_name(source, place)
    query = told_query(source, plan, name) + function_sql(source, plan, name)
    connection = connect(place.dsn)
    try:
        connection.add_notice_handler(lambda notice: listener.note(notice.message_primary or ""))
        with told("loading", place.dsn), connection.transaction():
            connection.execute(_WARNINGS)
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            _load(connection, source, plan, name, listener)
            connection.execute(function_sql(source, plan, name).encode())
            _mark(connection, source, plan, name)
        with told("measuring", place.dsn):
            facts = _facts(connection, source, plan, name)
    except BaseException:
        connection.close()
        raise
    files: tuple[str, ...] = ()
    if place.out is not None:
        put_text(query, place.out)
        files = (str(place.out),)

    def search(queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        found = np.full((len(queries), k), -1, np.int64)
        call = f"SELECT seq FROM {search_name(name)}(%s::vector, %s)"
        assert place.dsn is not None
        with told("searching", place.dsn):
            for i, asked in enumerate(queries):
                seqs = [row[0] for row in connection.execute(call, (vector_text(asked), k))]
                found[i, : len(seqs)] = seqs
        return found

    where = f"table {name} at {shown(place.dsn)}"
    return Exported(where, source.count, plan, query, facts, files, search, connection.close)


def _columns(source: Source, plan: Plan) -> list[tuple[str, str]]:
    """Names and types of the table's columns, in the order that they are sent."""
    own = [("seq", "bigint PRIMARY KEY"), ("id", "text NOT NULL UNIQUE")]
    own += [("title", "text NOT NULL"), ("text", "text NOT NULL")]
    own += [(name, _TYPES[kind]) for name, kind in source.kinds.items()]
    if reads_signs(plan):
        own.append(("signs", f"bit({source.signs.bits}) NOT NULL"))
    own += [(cut_column(width), f"halfvec({width}) NOT NULL") for width in widths_of(plan)]
    return [*own, ("vector", f"vector({source.dim}) NOT NULL")]


def _load(connection: Any, source: Source, plan: Plan, name: str, progress: Progress) -> None:
    """Fill a table of another name, index it, and give it the name."""
    fresh = f"{name}_{os.getpid()}_{secrets.token_hex(3)}"
    listed = ", ".join(f"{quoted(column)} {kind}" for column, kind in _columns(source, plan))
    connection.execute(f"CREATE TABLE {fresh} ({listed})")
    progress.start("loading", source.count)
    copy_into(connection, fresh, _runs(source, plan), progress.advance)
    progress.finish()
    progress.start("indexing", None)
    connection.execute("SET LOCAL client_min_messages = notice")  # of a graph beyond its memory
    column, operators = index_of(plan.stages[0], source.metric)
    connection.execute(f"CREATE INDEX {fresh}_idx ON {fresh} USING hnsw ({column} {operators})")
    connection.execute(f"ANALYZE {fresh}")
    progress.finish()
    connection.execute(_WARNINGS)
    connection.execute(f"DROP TABLE IF EXISTS {name}")
    connection.execute(f"ALTER TABLE {fresh} RENAME TO {name}")
    for ending in ("_idx", "_pkey", "_id_key"):
        connection.execute(f"ALTER INDEX {fresh}{ending} RENAME TO {name}{ending}")
    connection.execute(f"DROP TABLE IF EXISTS {axes_table(name)}")
    for call in functions_of(name):
        connection.execute(f"DROP FUNCTION IF EXISTS {call}")
    axes = source.signs.axes if reads_signs(plan) else None
    if axes is not None:
        connection.execute(
            f"CREATE TABLE {axes_table(name)} (bit integer PRIMARY KEY, axis vector({source.dim}))"
        )
        with connection.cursor().copy(f"COPY {axes_table(name)} FROM STDIN") as copy:
            for bit, axis in enumerate(axes):
                copy.write_row((bit, vector_text(axis)))


def _runs(source: Source, plan: Plan) -> Iterator[list[list[bytes]]]:
    """Runs of columns as COPY takes them."""
    number, words = encoder_of("int"), encoder_of("text")
    for rows in source.rows():
        columns = [number(rows.seqs.tolist()), words(rows.ids), words(rows.titles)]
        columns.append(words(rows.texts))
        columns += [encoder_of(source.kinds[each])(rows.columns[each]) for each in source.kinds]
        if reads_signs(plan):
            columns.append(bit_fields(rows.signs, source.signs.bits))
        for width in widths_of(plan):
            columns.append(vector_fields(_halved(rows.vectors, width, source.metric), half=True))
        columns.append(vector_fields(rows.vectors, half=False))
        yield columns


def _halved(vectors: NDArray[np.float32], width: int, metric: str) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        cut = cut_of(vectors, width, metric).astype(np.float16)
    if not np.isfinite(cut).all():
        raise UserError(
            f"halfvec holds numbers up to {np.finfo(np.float16).max:,.0f}, and a cut of {width} "
            "coordinates has a larger one: leave that stage out (--plan)."
        )
    return cut


def _mark(connection: Any, source: Source, plan: Plan, name: str) -> None:
    """Comments by which a rerun knows tables as ours; the functions' are in their own text."""
    facts = {
        "nestvec": __version__,
        "rows": source.count,
        "version": source.opened.version,
        "metric": source.metric,
        "plan": str(plan),
    }
    said = f"{MARK} {json.dumps(facts)}".replace("'", "''")
    tables = [name]
    if reads_signs(plan) and source.signs.axes is not None:
        tables.append(axes_table(name))
    for table in tables:
        connection.execute(f"COMMENT ON TABLE {table} IS '{said}'".encode())


def _check_names(source: Source, plan: Plan) -> None:
    """Raise UserError for names of the user's columns that a table cannot have."""
    names = [column for column, _ in _columns(source, plan)]
    for name in source.kinds:
        if names.count(name) > 1 or len(name.encode()) > MOST_NAME_BYTES:
            raise UserError(
                f"columns of the table have names of their own, of {MOST_NAME_BYTES} bytes at "
                f"most; got {name!r}: rename or drop it."
            )


def _check_sizes(source: Source, plan: Plan) -> None:
    first = plan.stages[0]
    most = MOST_INDEXED[first.kind]
    amount = {"sign": source.signs.bits if first.kind == "sign" else 0, "dims": first.amount}
    count = amount.get(first.kind, source.dim)
    if count > most:
        remedy = "sign:1000,raw:10" if first.kind != "sign" else "128d:1000,raw:10"
        raise UserError(
            f"pgvector indexes at most {most:,} "
            f"{'bits' if first.kind == 'sign' else 'coordinates'} for a stage such as {first}; got "
            f"{count:,}: begin with another, such as {remedy}."
        )
    if source.dim > MOST_STORED:
        raise UserError(
            f"pgvector holds vectors of at most {MOST_STORED:,} coordinates; got {source.dim:,}: "
            "build a collection of fewer."
        )


def _check_version(connection: Any, plan: Plan) -> None:
    found = connection.execute(
        "SELECT coalesce((SELECT extversion FROM pg_extension WHERE extname = 'vector'), "
        "(SELECT default_version FROM pg_available_extensions WHERE name = 'vector'))"
    ).fetchone()[0]
    if found is None:
        raise UserError(
            "an export to pgvector needs its extension, and the server has none: install pgvector "
            "there."
        )
    version = tuple(int(part) for part in found.split(".")[:2])
    if version < OLDEST:
        raise UserError(
            f"halfvec and indexes of bits came with pgvector 0.7; the server has {found}: bring it "
            "up to date (ALTER EXTENSION vector UPDATE)."
        )
    if version < WALKS_ON and plan.stages[0].keep > MOST_WALKED:
        raise UserError(
            f"an index of pgvector {found} gives at most {MOST_WALKED:,} rows; got "
            f"{plan.stages[0]}: keep fewer, or bring pgvector to 0.8."
        )


def _check_ours(connection: Any, plan: Plan, name: str) -> None:
    """Raise UserError where a table or function of one of our names is not ours."""
    tables = [name, axes_table(name)]
    found = [
        (f"table {each}", comment)
        for each in tables
        for (comment,) in connection.execute(
            "SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE oid = to_regclass(%s)",
            (each,),
        )
    ]
    for call in functions_of(name) if connection.execute(_HAS_VECTOR).fetchone() else ():
        found += [
            (f"function {call}", comment)
            for (comment,) in connection.execute(
                "SELECT obj_description(oid, 'pg_proc') FROM pg_proc "
                "WHERE oid = to_regprocedure(%s)",
                (call,),
            )
        ]
    for thing, comment in found:
        if not (comment or "").startswith(MARK):
            raise UserError(
                f"an export replaces only what nestvec exported, and the {thing} is something "
                "else: give another name by --name."
            )


_WARNINGS = "SET LOCAL client_min_messages = warning"
_HAS_VECTOR = "SELECT 1 FROM pg_extension WHERE extname = 'vector'"


def _facts(connection: Any, source: Source, plan: Plan, name: str) -> tuple[tuple[str, str], ...]:
    table, index, version = connection.execute(
        "SELECT pg_table_size(%s::regclass), pg_relation_size(%s::regclass), "
        "(SELECT extversion FROM pg_extension WHERE extname = 'vector')",
        (name, f"{name}_idx"),
    ).fetchone()
    return (
        ("table", f"{table:,} bytes"),
        ("index", f"{index:,} bytes, HNSW for {plan.stages[0]}, pgvector {version}"),
    )


TARGET = Target("pgvector", "pgvector", "dsn", staged_plan, check, write)
