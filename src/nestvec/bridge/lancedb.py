"""Export to LanceDB: a table with a column of vectors a width, and the staged query in Python.

Columns of packed bits are compared by hamming distance, others by the collection's own metric; all
scans are exact (no vector index is made), and a later stage reads the rows that the one before
kept, found by an index on seq. https://lancedb.github.io/lancedb/
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.bridge.export_folder import MARK, said_of, search_of, told_disk
from nestvec.bridge.exported import (
    Exported,
    Place,
    Rows,
    Source,
    Target,
    check_kinds,
    staged_plan,
)
from nestvec.bridge.sql import table_name
from nestvec.bridge.staged import ADAPTED, CUT_OF_QUERY, asked_cut, cut_of, reads_signs, widths_of
from nestvec.errors import MissingExtra, UserError
from nestvec.index.files import sync_folder, sync_tree, tree_bytes
from nestvec.index.plan import Plan, Stage
from nestvec.progress import Progress, quiet

try:
    import lancedb
    import pyarrow as pa
    from lancedb.index import BTree
except ImportError as error:
    raise MissingExtra("an export to LanceDB", "lancedb") from error

F32 = NDArray[np.float32]

_OWN = ("seq", "id", "title", "text", "signs", "vector")
_KINDS = {
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "texts": pa.list_(pa.string()),
}


def check(source: Source, place: Place, plan: Plan | None) -> None:
    """Raise UserError where the plan or a column's name does not fit, or a table is not ours."""
    assert place.out is not None
    plan = plan or staged_plan(source)
    check_kinds(plan, ("sign", "dims", "raw"), "lancedb", source.dim)
    taken = {*_OWN, *(_cut(width) for width in widths_of(plan))}
    for column in source.kinds:
        if column in taken:
            raise UserError(
                f"a column of the table may not be called {column!r}, which the export keeps for "
                "itself: rename or drop it."
            )
    for table in _tables(source, plan, table_name(source, place)):
        _check_ours(place.out, table)


def write(
    source: Source, place: Place, plan: Plan | None, progress: Progress | None = None
) -> Exported:
    """Write a table into the database folder place.out, whole or not at all.

    A table of ours of that name is replaced; the database's other tables stay. Memory: a run of
    rows. Raises UserError as check does, and where the disk is full.
    """
    assert place.out is not None
    listener = progress or quiet()
    plan = plan or staged_plan(source)
    check(source, place, plan)
    name = table_name(source, place)
    tables = _tables(source, plan, name)
    query = query_text(source, plan, place.out, name)
    schema = _schema(source, plan, query)
    partial = place.out.with_name(f"{place.out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with told_disk(place.out):
            base = lancedb.connect(str(partial))
            listener.start("loading", source.count)
            runs = _batches(source, plan, schema, listener)
            table = base.create_table(name, data=runs, schema=schema)
            listener.finish()
            listener.start("indexing", None)
            table.create_index("seq", config=BTree())
            listener.finish()
            for other in tables[1:]:
                base.create_table(other, data=_axes(source, schema.metadata))
            sync_tree(partial)
            _put(partial, place.out, tables)
    except RuntimeError as error:
        if "IO" not in str(error):  # LanceDB's word for faults of a disk
            raise
        said = str(error).splitlines()[0].split(" Detail:")[0].rstrip(".")
        raise UserError(
            f"{place.out} cannot be written ({said}): free some space, or choose another place."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    size = sum(tree_bytes(_folder(place.out, each)) for each in tables)
    facts = (("tables", f"{', '.join(tables)}, {size:,} bytes"), ("columns", _listed(schema)))
    files = tuple(str(_folder(place.out, each)) for each in tables)
    where = f"table {name} in {place.out}"
    search = search_of(query, Path(f"{name}.py"))
    return Exported(where, source.count, plan, query, facts, files, search)


def query_text(source: Source, plan: Plan, out: Path, name: str) -> str:
    """The plan in Python: search(query, k) over the table."""
    metric = source.metric
    told = [f'"""nestvec\'s plan {plan} over the table {name}; takes lancedb and numpy alone.']
    if source.opened.adapter is not None:
        told.append(f"\n{ADAPTED}")
    axes = reads_signs(plan) and source.signs.axes is not None
    lines = [*told, '"""', "", "import lancedb", "import numpy as np", ""]
    lines += [f"base = lancedb.connect({str(out)!r})", f'table = base.open_table("{name}")']
    if axes:
        lines += [
            f'kept = base.open_table("{name}_axes").to_arrow().sort_by("bit")["axis"]',
            "axes = np.array(kept.to_pylist(), np.float32)",
        ]
    lines += [
        "",
        "",
        "def nearest(query, column, distance, rows, among=None):",
        '    """The seqs of the nearest rows, of some or of all, and their distances."""',
        "    asked = table.search(query, vector_column_name=column).distance_type(distance)",
        "    if among is not None:",
        "        asked = asked.where(f\"seq IN ({', '.join(map(str, among))})\", prefilter=True)",
        '    asked = asked.bypass_vector_index().limit(rows).select(["seq", "_distance"])',
        "    found = asked.to_arrow()",
        '    return found["seq"].to_pylist(), found["_distance"].to_numpy()',
    ]
    if metric != "cosine" and widths_of(plan):
        lines += ["", "", *CUT_OF_QUERY.splitlines()]
    lines += [
        "",
        "",
        f"def search(query, k={plan.k}):",
        '    """The seqs of the best rows of a query (d,) float32, best first, and distances."""',
    ]
    if reads_signs(plan):
        lines.append(f"    bits = np.packbits({'axes @ query >= 0' if axes else 'query > 0'})")
    among = ""
    for stage in plan.stages:
        keep = "k" if stage is plan.stages[-1] else str(stage.keep)
        lines.append(f"    near, distances = nearest({_asked(stage, metric)}, {keep}{among})")
        among = ", near"
    return "\n".join([*lines, "    return near, distances", ""])


def _asked(stage: Stage, metric: str) -> str:
    if stage.kind == "sign":
        return 'bits, "signs", "hamming"'
    if stage.kind == "raw":
        return f'query, "vector", "{metric}"'
    return f'{asked_cut(stage.amount, metric)}, "{_cut(stage.amount)}", "{metric}"'


def _cut(width: int) -> str:
    return f"cut_{width}"


def _tables(source: Source, plan: Plan, name: str) -> list[str]:
    """The table's name, and that of the axes where signs have some."""
    return [name, f"{name}_axes"] if reads_signs(plan) and source.signs.axes is not None else [name]


def _schema(source: Source, plan: Plan, query: str) -> Any:
    fields = [pa.field("seq", pa.int64()), pa.field("id", pa.string())]
    fields += [pa.field(name, pa.string()) for name in ("title", "text")]
    fields += [pa.field(name, _KINDS.get(kind, pa.string())) for name, kind in source.kinds.items()]
    if reads_signs(plan):
        fields.append(pa.field("signs", pa.list_(pa.uint8(), source.signs.bytes)))
    fields += [pa.field(_cut(width), pa.list_(pa.float32(), width)) for width in widths_of(plan)]
    fields.append(pa.field("vector", pa.list_(pa.float32(), source.dim)))
    said = said_of(source, plan, "lancedb", query=query)
    return pa.schema(fields, metadata={MARK: json.dumps(said)})


def _batches(source: Source, plan: Plan, schema: Any, progress: Progress) -> Iterator[Any]:
    for rows in source.rows():
        columns = _columns(rows, source, plan)
        yield pa.record_batch([columns[field.name] for field in schema], schema=schema)
        progress.advance(len(rows.ids))


def _columns(rows: Rows, source: Source, plan: Plan) -> dict[str, Any]:
    found = {
        "seq": pa.array(rows.seqs),
        "id": pa.array(rows.ids, pa.string()),
        "title": pa.array(rows.titles, pa.string()),
        "text": pa.array(rows.texts, pa.string()),
        "vector": _lists(rows.vectors),
    }
    for name, kind in source.kinds.items():
        found[name] = pa.array(rows.columns[name], _KINDS.get(kind, pa.string()))
    if reads_signs(plan):
        found["signs"] = _lists(rows.signs)
    for width in widths_of(plan):
        found[_cut(width)] = _lists(cut_of(rows.vectors, width, source.metric))
    return found


def _lists(values: NDArray[Any]) -> Any:
    flat = pa.array(np.ascontiguousarray(values).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _axes(source: Source, metadata: Any) -> Any:
    """A table of the matrix that gives a query's bits."""
    axes = source.signs.axes
    assert axes is not None
    found = pa.table({"bit": np.arange(len(axes)), "axis": _lists(axes)})
    return found.replace_schema_metadata(metadata)


def _listed(schema: Any) -> str:
    return ", ".join(schema.names)


def _folder(base: Path, table: str) -> Path:
    return base / f"{table}.lance"


def _put(partial: Path, out: Path, tables: list[str]) -> None:
    """Give tables their places: the whole database where there is none yet."""
    if not out.exists():
        partial.rename(out)
        sync_folder(out.absolute().parent)
        return
    # the table that is asked comes last, so that what it needs is there
    for table in reversed(tables):
        older = partial / f"{table}.replaced"
        if _folder(out, table).exists():
            _folder(out, table).rename(older)
        _folder(partial, table).rename(_folder(out, table))
    sync_folder(out)


def _check_ours(out: Path, table: str) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"a LanceDB database is a folder; got the file {out}: name another place.")
    if not out.absolute().parent.is_dir():
        raise UserError(f"the folder {out.parent} is not there: make it first, or choose another.")
    if not _folder(out, table).exists():
        return
    try:
        metadata = lancedb.connect(str(out)).open_table(table).schema.metadata or {}
    except (ValueError, OSError, RuntimeError):
        metadata = {}
    if MARK.encode() not in metadata:
        raise UserError(
            f"an export replaces only what nestvec exported, and the table {table} in {out} is "
            "something else: give another name by --name."
        )


TARGET = Target("lancedb", "lancedb", "out", staged_plan, check, write)
