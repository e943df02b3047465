"""Export to a SQLite file for sqlite-vec: signs, cuts and whole vectors, and the staged query.

Signs and cuts stand in narrow tables of their own, which sqlite-vec's functions scan: its KNN over
a vec0 table takes at most 4,096 rows, leaves ties to chance, and takes several times as long where
a thousand rows are wanted (benchmarks/export.py). Whole vectors are a vec0 table, so that plain
`MATCH` works, too. https://alexgarcia.xyz/sqlite-vec/
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec import __version__
from nestvec.bridge.exported import (
    Exported,
    Place,
    Rows,
    Source,
    Target,
    check_kinds,
    staged_plan,
)
from nestvec.bridge.sql import check_columns, commented, quoted, stage_name, table_name
from nestvec.bridge.sqlite_library import connect
from nestvec.bridge.staged import ADAPTED, cut_of, reads_signs, widths_of
from nestvec.errors import UserError
from nestvec.index.files import sync_folder
from nestvec.index.plan import Plan, Stage
from nestvec.progress import Progress, quiet

MOST_DIMS = 8_192
"""Coordinates of a vec0 column: SQLITE_VEC_VEC0_MAX_DIMENSIONS."""
MARK = "nestvec_export"
# A row of a vec0 table is found by walking through its chunk: 200 of 8,000 rows of 384 coordinates
# take 1.5 ms from chunks of 8 and 11 ms from those of 1,024, a scan of all 18 and 16 ms.
_CHUNK_ROWS = 8
_OWN = ("seq", "id", "title", "text", "length")
_TYPES = {"bool": "INTEGER", "int": "INTEGER", "float": "REAL"}


def check(source: Source, place: Place, plan: Plan | None) -> None:
    """Raise UserError where the plan or the vectors do not fit, or the file is not ours."""
    assert place.out is not None
    check_kinds(plan or staged_plan(source), ("sign", "dims", "raw"), "sqlite-vec", source.dim)
    if source.dim > MOST_DIMS:
        raise UserError(
            f"sqlite-vec holds vectors of at most {MOST_DIMS:,} coordinates; got {source.dim:,}: "
            "build a collection of fewer."
        )
    table_name(source, place)
    check_columns(source, _OWN)
    _check_ours(place.out)
    connect(Path(":memory:")).close()


def write(
    source: Source, place: Place, plan: Plan | None, progress: Progress | None = None
) -> Exported:
    """Write the file place.out, whole or not at all; one that nestvec wrote is replaced."""
    assert place.out is not None
    plan = plan or staged_plan(source)
    check(source, place, plan)
    name = table_name(source, place)
    query = staged_query(source, plan, name)
    partial = place.out.with_name(place.out.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        with closing(connect(partial)) as base:
            _fill(base, source, plan, name, query, progress or quiet())
        os.replace(partial, place.out)
    finally:
        partial.unlink(missing_ok=True)
    for leftover in ("-journal", "-wal", "-shm"):  # of the file that was there before
        place.out.with_name(place.out.name + leftover).unlink(missing_ok=True)
    sync_folder(place.out.resolve().parent)
    base = connect(place.out, read_only=True)

    def search(queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        found = np.full((len(queries), k), -1, np.int64)
        for i, values in enumerate(parameters(source, plan, queries, k)):
            seqs = [row[0] for row in base.execute(query, values)]
            found[i, : len(seqs)] = seqs
        return found

    size = place.out.stat().st_size
    facts = (("file", f"{size:,} bytes"), ("tables", ", ".join(_tables(plan, name))))
    return Exported(
        f"{place.out}, table {name}",
        source.count,
        plan,
        query,
        facts,
        (str(place.out),),
        search,
        base.close,
    )


def parameters(
    source: Source, plan: Plan, queries: NDArray[np.float32], k: int
) -> Iterator[dict[str, Any]]:
    """What the staged query is given for each query (d,), as map_queries gives them."""
    signs = source.signs.of_queries(queries) if reads_signs(plan) else None
    cuts = {width: cut_of(queries, width, source.metric) for width in widths_of(plan)}
    for i, query in enumerate(queries):
        values: dict[str, Any] = {"k": k}
        if plan.stages[-1].kind == "raw":
            values["vector"] = query.astype("<f4").tobytes()
        if signs is not None:
            values["signs"] = signs[i].tobytes()
        for width, cut in cuts.items():
            values[f"cut_{width}"] = cut[i].astype("<f4").tobytes()
        yield values


def staged_query(source: Source, plan: Plan, name: str) -> str:
    """The plan in SQL, with its parameters explained."""
    parts = []
    before: Stage | None = None
    for stage in plan.stages[:-1]:
        parts.append(
            f"{stage_name(stage)} AS MATERIALIZED (\n"
            f"  SELECT seq FROM {_joined(_table(stage, name), before)}\n"
            f"  ORDER BY {_distance(stage, source.metric, name)}, seq LIMIT {stage.keep}\n)"
        )
        before = stage
    last = plan.stages[-1]
    distance = _distance(last, source.metric, name)
    score = {
        "cosine": f"1 - {distance}",
        "dot": f"-({distance})",
        "l2": f"-{distance} * {distance}",
    }
    shown = f"-{distance}" if last.kind == "sign" else score[source.metric]
    text = f"WITH {', '.join(parts)}\n" if parts else ""
    text += (
        f"SELECT seq, id, title, text, {shown} AS score\n"
        f"FROM {_joined(_table(last, name), before)} JOIN {name} USING (seq)\n"
        f"ORDER BY {distance}, seq LIMIT :k;\n"
    )
    return commented(_told(source, plan, name)) + text


def _told(source: Source, plan: Plan, name: str) -> str:
    lines = [f"nestvec's plan {plan} over the table {name}, for SQLite with sqlite-vec."]
    lines.append(":k  how many hits")
    if source.metric == "dot":
        lines.append("A score is the product with a query of length 1.")
    if plan.stages[-1].kind == "raw":
        lines.append(f":vector  the query's {source.dim} coordinates, little-endian float32")
    if widths_of(plan):
        stretch = (
            "" if source.metric == "cosine" else ", stretched to the length of the whole vector"
        )
        lines.append(f":cut_N  its first N coordinates{stretch}")
    if reads_signs(plan):
        lines.append(
            f":signs  {source.signs.bits} bits, first in the high bit, "
            + (
                f"of axes @ query >= 0; axes (float32, a row a bit) stand in {MARK}"
                if source.signs.axes is not None
                else "of query > 0"
            )
        )
    if source.opened.adapter is not None:
        lines.append(ADAPTED)
    return "\n".join(lines)


def _distance(stage: Stage, metric: str, name: str) -> str:
    if stage.kind == "sign":
        return "vec_distance_hamming(vec_bit(signs), vec_bit(:signs))"
    pair = f"(cut, :cut_{stage.amount})" if stage.kind == "dims" else "(vector, :vector)"
    if metric == "dot":  # sqlite-vec has no inner product; the query's length changes no order
        table = _table(stage, name) if stage.kind == "dims" else name
        return f"(coalesce(vec_distance_cosine{pair}, 1) - 1) * {table}.length"
    if metric == "cosine":  # none with a vector of zeros
        return f"coalesce(vec_distance_cosine{pair}, 1)"
    return f"vec_distance_L2{pair}"


def _table(stage: Stage, name: str) -> str:
    kinds = {"sign": f"{name}_signs", "dims": f"{name}_cut_{stage.amount}"}
    return kinds.get(stage.kind, f"{name}_vectors")


def _joined(table: str, before: Stage | None) -> str:
    # CROSS keeps SQLite from scanning the table and looking its rows up in the shortlist
    return table if before is None else f"{stage_name(before)} CROSS JOIN {table} USING (seq)"


def _tables(plan: Plan, name: str) -> list[str]:
    stages = [_table(stage, name) for stage in plan.stages]
    return list(dict.fromkeys([name, *stages, f"{name}_vectors"]))


def _fill(
    base: sqlite3.Connection,
    source: Source,
    plan: Plan,
    name: str,
    query: str,
    progress: Progress,
) -> None:
    base.execute("PRAGMA journal_mode = OFF")
    base.execute("PRAGMA synchronous = FULL")
    own = [*_OWN[:4], *source.kinds] + (["length"] if source.metric == "dot" else [])
    kinds = {"seq": "INTEGER PRIMARY KEY", "id": "TEXT NOT NULL UNIQUE", "length": "REAL"}
    kinds |= {each: _TYPES.get(kind, "TEXT") for each, kind in source.kinds.items()}
    listed = ", ".join(f"{quoted(each)} {kinds.get(each, 'TEXT NOT NULL')}" for each in own)
    base.execute("BEGIN")
    base.execute(f"CREATE TABLE {name} ({listed})")
    metric = "l2" if source.metric == "dot" else source.metric
    base.execute(
        f"CREATE VIRTUAL TABLE {name}_vectors USING vec0(seq INTEGER PRIMARY KEY, "
        f"vector float[{source.dim}] distance_metric={metric}, chunk_size={_CHUNK_ROWS})"
    )
    length = ", length REAL" if source.metric == "dot" else ""
    if reads_signs(plan):
        base.execute(f"CREATE TABLE {name}_signs (seq INTEGER PRIMARY KEY, signs BLOB NOT NULL)")
    for width in widths_of(plan):
        base.execute(
            f"CREATE TABLE {name}_cut_{width} (seq INTEGER PRIMARY KEY, cut BLOB NOT NULL{length})"
        )
    marks = ", ".join("?" * len(own))
    progress.start("loading", source.count)
    for rows in source.rows():
        base.executemany(f"INSERT INTO {name} VALUES ({marks})", _records(rows, source))
        _fill_stages(base, rows, source, plan, name)
        progress.advance(len(rows.ids))
    _mark(base, source, plan, name, query)
    base.execute("COMMIT")
    progress.finish()


def _records(rows: Rows, source: Source) -> Iterator[list[Any]]:
    seqs = rows.seqs.tolist()
    lengths = np.linalg.norm(rows.vectors, axis=1).tolist() if source.metric == "dot" else None
    for i, seq in enumerate(seqs):
        record = [seq, rows.ids[i], rows.titles[i], rows.texts[i]]
        record += [_plain(rows.columns[each][i]) for each in source.kinds]
        yield record if lengths is None else [*record, lengths[i]]


def _fill_stages(
    base: sqlite3.Connection, rows: Rows, source: Source, plan: Plan, name: str
) -> None:
    seqs = rows.seqs.tolist()
    whole = rows.vectors.astype("<f4")
    lengths = np.linalg.norm(rows.vectors, axis=1).tolist()
    base.executemany(
        f"INSERT INTO {name}_vectors (seq, vector) VALUES (?, ?)",
        ((seq, row.tobytes()) for seq, row in zip(seqs, whole, strict=True)),
    )
    if reads_signs(plan):
        base.executemany(
            f"INSERT INTO {name}_signs VALUES (?, ?)",
            ((seq, row.tobytes()) for seq, row in zip(seqs, rows.signs, strict=True)),
        )
    dot = source.metric == "dot"
    for width in widths_of(plan):
        cuts = cut_of(rows.vectors, width, source.metric).astype("<f4")
        base.executemany(
            f"INSERT INTO {name}_cut_{width} VALUES (?, ?{', ?' if dot else ''})",
            (
                (seq, row.tobytes(), length) if dot else (seq, row.tobytes())
                for seq, row, length in zip(seqs, cuts, lengths, strict=True)
            ),
        )


def _mark(base: sqlite3.Connection, source: Source, plan: Plan, name: str, query: str) -> None:
    """What the file says of itself; by this table a rerun knows it as ours."""
    base.execute(f"CREATE TABLE {MARK} (name TEXT PRIMARY KEY, value)")
    values: dict[str, Any] = {
        "nestvec": __version__,
        "table": name,
        "rows": source.count,
        "version": source.opened.version,
        "metric": source.metric,
        "dim": source.dim,
        "plan": str(plan),
        "query": query,
    }
    if reads_signs(plan):
        values["bits"] = source.signs.bits
        for key in ("axes", "mean"):
            array = getattr(source.signs, key)
            if array is not None:
                values[key] = array.astype("<f4").tobytes()
    base.executemany(f"INSERT INTO {MARK} VALUES (?, ?)", values.items())


def _plain(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _check_ours(path: Path) -> None:
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(
            f"an export to sqlite-vec is a file in a folder that is there; got {path}: name a "
            "file, such as papers.sqlite."
        )
    if not path.exists() or not path.stat().st_size:
        return
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as base:
            ours = base.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (MARK,)).fetchone()
    except sqlite3.DatabaseError:
        ours = None
    if ours is None:
        raise UserError(
            f"an export replaces only what nestvec exported, and {path} is something else: name "
            "another file."
        )


TARGET = Target("sqlite-vec", "sqlite", "out", staged_plan, check, write)
