"""The rows on disk, written: new ones, and those that are put, replaced or deleted.

A new version is written in this order: data files, fsync, then the one commit that also carries the
manifest's name in the schema's metadata, fsync. Lance itself never calls fsync. One process writes
at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import UserError
from nestvec.index.checksums import merge
from nestvec.index.columns import (
    Kind,
    RowLike,
    Survey,
    as_kind,
    code_column,
    code_groups,
    joined_kind,
)
from nestvec.index.files import one_writer, sync_tree
from nestvec.index.store import (
    BATCH_ROWS,
    KIND_KEY,
    MANIFEST_KEY,
    RowStore,
    lance_library,
    manifest_name_of,
    reading,
)
from nestvec.index.store_records import recording
from nestvec.progress import Progress, quiet

# Without it, concurrent upserts of the same new keys leave duplicates; it must be set at creation.
_PRIMARY_KEY = {"lance-schema:unenforced-primary-key": "true"}
_IDS_A_FILTER = 10_000
_BATCH_CHARACTERS = 1 << 24
FRAGMENT_ROWS = 1 << 20


@dataclass(frozen=True)
class Arrays:
    """What is stored of all rows beside their texts, row i of each belonging together.

    codes: (n, b) uint8. facts: name -> (n,) uint8 or float32. vectors: (n, d) float16 or
    float32, or None. level_ends: byte counts at which the code may be cut.
    """

    codes: NDArray[np.uint8]
    facts: Mapping[str, NDArray[Any]]
    vectors: NDArray[Any] | None
    level_ends: Sequence[int]


def write_rows(
    folder: Path,
    rows: Iterable[RowLike],
    found: Survey,
    arrays: Arrays,
    manifest_name: str,
    *,
    fragment_rows: int = FRAGMENT_ROWS,
    progress: Progress | None = None,
) -> None:
    """Write a new dataset in one commit, in the memory of a few batches.

    folder must not exist. found: the survey of the same rows. Raises UserError where the disk is
    full or a text is not valid Unicode.
    """
    lance = lance_library()
    import pyarrow as pa

    schema = schema_of(pa, found.kinds, arrays, manifest_name)
    with writing(folder):
        fragments = _fragments_of(
            folder, schema, rows, found, arrays, 0, fragment_rows, progress or quiet()
        )
        operation = lance.LanceOperation.Overwrite(schema, fragments)
        with recording(folder):
            lance.LanceDataset.commit(str(folder), operation)


def _fragments_of(
    folder: Path,
    schema: Any,
    rows: Iterable[RowLike],
    found: Survey,
    arrays: Arrays,
    first_seq: int,
    fragment_rows: int,
    progress: Progress,
) -> Any:
    """Rows as fragments, written and not committed."""
    lance = lance_library()
    import pyarrow as pa

    failed: list[BaseException] = []

    def batches() -> Iterator[Any]:
        # Lance hides what the reader raises inside an error of its own; ours is kept for the user.
        try:
            start = 0
            for chunk in _chunks(rows):
                yield batch_of(pa, schema, chunk, found.kinds, arrays, start, first_seq)
                start += len(chunk)
                progress.advance(len(chunk))
        except BaseException as error:
            failed.append(error)
            raise

    progress.start("writing rows", found.rows)
    try:
        return lance.fragment.write_fragments(
            pa.RecordBatchReader.from_batches(schema, batches()),
            str(folder),
            schema=schema,
            mode="append" if folder.exists() else "create",
            max_rows_per_file=fragment_rows,
        )
    except Exception:
        if failed:
            raise failed[0] from None
        raise
    finally:
        progress.finish()


class ManifestChanged(Exception):
    """Another manifest was committed since the one that a change was made for: a codec perhaps."""


def commit_manifest(folder: Path, name: str, made_from: str) -> RowStore:
    """A new version with the same rows and another manifest; returned open.

    made_from: the name of the manifest that it was made from. Raises ManifestChanged, and commits
    nothing, where that is no longer the newest one; UserError while another process is writing.
    """
    with one_writer(folder.parent), reading(folder):
        dataset = lance_library().dataset(str(folder))
        _check_manifest(dataset, made_from)
        with recording(folder):
            dataset.update_schema_metadata({MANIFEST_KEY: name})
        return RowStore.open(folder)


def put_rows(
    folder: Path,
    rows: Iterable[RowLike],
    found: Survey,
    arrays: Arrays,
    *,
    made_from: str,
    replacing: bool,
    fragment_rows: int = FRAGMENT_ROWS,
    progress: Progress | None = None,
) -> RowStore:
    """A new version with these rows after the others, in one commit; returned open.

    rows, found, arrays: as for write_rows. made_from: the name of the manifest whose codec made the
    codes. replacing: rows of the same ids are deleted in that commit; otherwise they are refused. A
    new row's seq is larger than any there was, and never one that a row had before: the version's
    number leads it.
    Raises ManifestChanged, and writes nothing, where another manifest is the newest one; UserError
    for an id that is there already, a column of the user's that is new or of another kind, a full
    disk, or while another process is writing.
    """
    lance = lance_library()
    with one_writer(folder.parent), reading(folder):
        dataset = lance.dataset(str(folder))
        _check_manifest(dataset, made_from)
        kinds, touched, there = _checked(dataset, rows, found, replacing)
        first = (dataset.version + 1) << 32
        with writing(folder):
            fresh = _fragments_of(
                folder, dataset.schema, rows, Survey(found.rows, kinds), arrays, first,
                fragment_rows, progress or quiet(),
            )  # fmt: skip
            operation = lance.LanceOperation.Append(fresh)
            if there:
                updated, emptied = _without(dataset, touched, there)
                operation = lance.LanceOperation.Update(
                    removed_fragment_ids=emptied, updated_fragments=updated, new_fragments=fresh
                )
            _commit(folder, operation, dataset.version)
        return RowStore.open(folder)


def check_rows(folder: Path, rows: Iterable[RowLike], found: Survey, *, replacing: bool) -> None:
    """Raise UserError where put_rows would refuse these rows for their ids or columns."""
    with reading(folder):
        _checked(lance_library().dataset(str(folder)), rows, found, replacing)


def _checked(
    dataset: Any, rows: Iterable[RowLike], found: Survey, replacing: bool
) -> tuple[dict[str, Kind], set[int], list[str]]:
    """The kinds of columns, and fragments and ids of the rows that are there already."""
    kinds = _kinds_there(dataset.schema, found.kinds)
    touched, there = _touched(dataset, [row.id for row in rows])
    if there and not replacing:
        raise UserError(
            f"an id may stand in a collection once, and {there[0]!r} is in it"
            f"{_others(len(there) - 1)}: leave it out, or replace it (--replace)."
        )
    return kinds, touched, there


def delete_rows(folder: Path, ids: Sequence[str]) -> RowStore:
    """A new version without the rows of these distinct ids, in one commit; returned open.

    Data files stay as they are: a file of deleted rows is written beside them. Raises UserError
    where an id is not there, no row would be left, or another process is writing.
    """
    lance = lance_library()
    with one_writer(folder.parent), reading(folder):
        dataset = lance.dataset(str(folder))
        touched, there = _touched(dataset, ids)
        missing = sorted(set(ids) - set(there))
        if missing:
            raise UserError(
                f"an id to delete must be in the collection; {missing[0]!r} is not"
                f"{_others(len(missing) - 1)}: leave it out."
            )
        if len(there) == dataset.count_rows():
            raise UserError(
                f"a collection keeps at least one row; got all {len(there):,} ids to delete: "
                "remove its folder instead."
            )
        with writing(folder):
            updated, emptied = _without(dataset, touched, there)
            _commit(folder, lance.LanceOperation.Delete(updated, emptied, "ids"), dataset.version)
        return RowStore.open(folder)


def compact_rows(folder: Path, keep: timedelta) -> tuple[RowStore, int]:
    """A new version without deleted rows and in few files, and the bytes of old files removed.

    Rows keep their order and seq, and get other positions. Versions older than `keep` go, but for
    tagged ones; so do files that a killed writer left, once they are a week old. Raises UserError
    where the disk is full or another process is writing.
    """
    lance = lance_library()
    from lance.optimize import Compaction

    options = {
        "target_rows_per_fragment": FRAGMENT_ROWS,
        "materialize_deletions": True,
        "materialize_deletions_threshold": 0.0,
    }
    with one_writer(folder.parent), reading(folder):
        dataset = lance.dataset(str(folder))
        with writing(folder):
            tasks = Compaction.plan(dataset, options).tasks
            rewritten = [task.execute(dataset) for task in tasks]
            if rewritten:
                with recording(folder):
                    Compaction.commit(dataset, rewritten)
            cleaned = lance.dataset(str(folder)).cleanup_old_versions(
                older_than=keep, error_if_tagged_old_versions=False
            )
            sync_tree(folder)
            merge(folder)
        return RowStore.open(folder), int(cleaned.bytes_removed)


def _check_manifest(dataset: Any, name: str) -> None:
    if manifest_name_of(dataset) != name:
        raise ManifestChanged


def _others(count: int) -> str:
    return f" (and {count:,} more)" if count else ""


def _commit(folder: Path, operation: Any, version: int) -> None:
    with recording(folder):
        lance_library().LanceDataset.commit(str(folder), operation, read_version=version)


def _touched(dataset: Any, ids: Sequence[str]) -> tuple[set[int], list[str]]:
    """The numbers of the fragments that hold rows of these ids, and those of the ids found."""
    numbers: set[int] = set()
    there: list[str] = []
    for at in range(0, len(ids), _IDS_A_FILTER):
        found = dataset.to_table(
            columns=["id"], filter=_named(ids[at : at + _IDS_A_FILTER]), with_row_address=True
        )
        numbers |= set((found.column("_rowaddr").to_numpy() >> 32).tolist())
        there += found.column("id").to_pylist()
    return numbers, there


def _without(dataset: Any, touched: set[int], ids: Sequence[str]) -> tuple[list[Any], list[int]]:
    """Fragments with these rows deleted, uncommitted, and the numbers of those left empty."""
    updated, emptied = [], []
    for fragment in dataset.get_fragments():
        if fragment.fragment_id in touched:
            metadata = fragment.delete(_named(ids))
            if metadata is None:
                emptied.append(fragment.fragment_id)
            else:
                updated.append(metadata)
    return updated, emptied


def _kinds_there(schema: Any, kinds: Mapping[str, Kind]) -> dict[str, Kind]:
    """The kinds of the user's columns as they are stored; new rows must fit them."""
    stored: dict[str, Kind] = {}
    for column in schema:
        kind = (column.metadata or {}).get(KIND_KEY)
        if kind is not None:
            stored[column.name] = kind.decode()
    for name, kind in kinds.items():
        if name not in stored:
            raise UserError(
                f"new rows have the columns of those that are there ({', '.join(stored) or 'none'}"
                f"); got {name!r}: drop it, or build the collection again."
            )
        if joined_kind(stored[name], kind) != stored[name]:
            raise UserError(
                f"the column {name!r} holds {stored[name]}; got {kind}: change it, or build the "
                "collection again."
            )
    return stored


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Tell a full disk as a UserError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if "No space left" not in str(error):
            raise
        raise UserError(
            f"a collection must fit on its disk, and {folder.parent} has no space left: free "
            "some, or choose another folder, and run again."
        ) from None


def _named(ids: Sequence[str]) -> str:
    """The SQL predicate of the rows of these ids."""
    quoted = ("'" + text.replace("'", "''") + "'" for text in ids)
    return f"id IN ({', '.join(quoted)})"


def schema_of(pa: ModuleType, kinds: Mapping[str, Kind], arrays: Arrays, manifest_name: str) -> Any:
    """The schema of rows with these columns of the user's and arrays of these types."""
    own: dict[Kind, Any] = {
        "bool": pa.bool_(),
        "int": pa.int64(),
        "float": pa.float64(),
        "text": pa.string(),
        "texts": pa.list_(pa.string()),
        "json": pa.string(),
    }
    columns = [
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False, metadata=_PRIMARY_KEY),
        pa.field("text", pa.string()),
        pa.field("title", pa.string()),
    ]
    columns += [
        pa.field(name, own[kind], metadata={KIND_KEY: kind.encode()})
        for name, kind in kinds.items()
    ]
    columns += [pa.field(name, pa.from_numpy_dtype(f.dtype)) for name, f in arrays.facts.items()]
    for start, stop in code_groups(arrays.level_ends):
        columns.append(pa.field(code_column(start, stop), pa.list_(pa.uint8(), stop - start)))
    if arrays.vectors is not None:
        number = pa.from_numpy_dtype(arrays.vectors.dtype)
        columns.append(pa.field("vector", pa.list_(number, arrays.vectors.shape[1])))
    return pa.schema(columns, metadata={MANIFEST_KEY: manifest_name})


def _chunks(rows: Iterable[RowLike]) -> Iterator[list[RowLike]]:
    chunk: list[RowLike] = []
    characters = 0
    for row in rows:
        chunk.append(row)
        characters += len(row.text)
        if len(chunk) == BATCH_ROWS or characters >= _BATCH_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def batch_of(
    pa: ModuleType,
    schema: Any,
    chunk: Sequence[RowLike],
    kinds: Mapping[str, Kind],
    arrays: Arrays,
    start: int,
    first_seq: int,
) -> Any:
    """Rows from `start` on of the arrays, as one Arrow batch."""
    part = slice(start, start + len(chunk))
    values: list[Any] = [np.arange(part.start, part.stop, dtype=np.int64) + first_seq]
    for name in ("id", "text", "title"):
        own = [getattr(row, name) for row in chunk]
        values.append(_typed(pa, own, pa.string(), name, start))
    for name, kind in kinds.items():
        column = as_kind(kind, (row.columns.get(name) for row in chunk))
        values.append(_typed(pa, column, schema.field(name).type, name, start))
    values += [np.asarray(fact[part]) for fact in arrays.facts.values()]
    for first, last in code_groups(arrays.level_ends):
        values.append(lists_of(pa, np.asarray(arrays.codes[part, first:last])))
    if arrays.vectors is not None:
        number = schema.field("vector").type.value_type.to_pandas_dtype()
        values.append(lists_of(pa, np.asarray(arrays.vectors[part], number)))
    return pa.record_batch([v if isinstance(v, pa.Array) else pa.array(v) for v in values], schema)


def _typed(pa: ModuleType, values: list[Any], kind: Any, column: str, start: int) -> Any:
    try:
        return pa.array(values, type=kind)
    except UnicodeEncodeError as error:
        raise UserError(
            f"texts must be valid Unicode; column {column!r} holds "
            f"{error.object[error.start : error.end]!r} within rows {start} to "
            f"{start + len(values) - 1}. Remove or replace it."
        ) from None


def lists_of(pa: ModuleType, rows: NDArray[Any]) -> Any:
    """Rows (n, w) as an Arrow column of lists of w numbers."""
    flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])
