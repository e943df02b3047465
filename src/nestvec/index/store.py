"""The rows on disk: the one seam to Lance (and, with tables.py, to pyarrow).

Arrays and plain Python values go in and out. A new version is written in this order: data files,
fsync, then the one commit that also carries the manifest's name in the schema's metadata, fsync.
Lance itself never calls fsync.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import MissingExtra, UserError
from nestvec.index.columns import Kind, RowLike, Survey, as_kind, code_column, code_groups
from nestvec.index.files import one_writer, sync_tree
from nestvec.progress import Progress, quiet

ROWS_FOLDER = "rows.lance"
MANIFEST_KEY = "nestvec:manifest"
# Without it, concurrent upserts of the same new keys leave duplicates; it must be set at creation.
_PRIMARY_KEY = {"lance-schema:unenforced-primary-key": "true"}
_BATCH_ROWS = 4096
_BATCH_CHARACTERS = 1 << 24
_FRAGMENT_ROWS = 1 << 20


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


@dataclass(frozen=True)
class Fragment:
    """A run of rows written together and never changed in place.

    key: names its content, for caches. start: position of its first row. rows: their number, with
    the deleted ones, of which there are `deleted`: a row keeps its position until rows are
    compacted.
    """

    number: int
    start: int
    rows: int
    deleted: int
    key: str


class RowStore:
    """One version of the stored rows, open for reading."""

    def __init__(self, dataset: Any, folder: Path) -> None:
        self._dataset = dataset
        self._folder = folder
        self.fragments = _fragments(dataset)
        self.count = sum(fragment.rows for fragment in self.fragments)
        self.live = self.count - sum(fragment.deleted for fragment in self.fragments)
        self._alive: dict[int, NDArray[np.bool_]] = {}
        self.version: int = dataset.version
        self.columns: tuple[str, ...] = tuple(dataset.schema.names)

    @classmethod
    def open(cls, folder: Path) -> RowStore:
        """The newest version in the folder.

        Raises UserError where Lance cannot read it or a data file has not its recorded size;
        MissingExtra without pylance.
        """
        lance = _lance()
        with _reading(folder):
            dataset = lance.dataset(str(folder))
            _check_files(dataset, folder)
        return cls(dataset, folder)

    @property
    def manifest_name(self) -> str:
        """The name of the manifest that this version was committed with."""
        metadata = self._dataset.schema.metadata or {}
        return str(metadata.get(MANIFEST_KEY.encode(), b"").decode())

    def read(
        self, fragment: Fragment, columns: Sequence[str], batch_rows: int
    ) -> Iterator[tuple[NDArray[Any], ...]]:
        """Numeric columns of a fragment in order, by arrays of at most batch_rows rows.

        A fixed_size_list column gives (m, width) arrays, any other (m,). Deleted rows are among
        them.
        """
        with _reading(self._folder):
            scanner = self._dataset.get_fragment(fragment.number).scanner(
                columns=list(columns),
                batch_size=batch_rows,
                batch_readahead=2,
                with_row_id=True,
                include_deleted_rows=True,
            )
            for batch in scanner.to_batches():
                yield tuple(_as_array(batch.column(name)) for name in columns)

    def shape(self, column: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """The shape of one row of a numeric column, and its number type."""
        kind = self._dataset.schema.field(column).type
        width = getattr(kind, "list_size", None)
        if width is None:
            return (), np.dtype(kind.to_pandas_dtype())
        return (width,), np.dtype(kind.value_type.to_pandas_dtype())

    def alive(self, fragment: Fragment) -> NDArray[np.bool_] | None:
        """Which rows of a fragment (rows,) are not deleted; None where none is."""
        if not fragment.deleted:
            return None
        if fragment.number not in self._alive:
            with _reading(self._folder):
                scanner = self._dataset.get_fragment(fragment.number).scanner(
                    columns=[], with_row_address=True
                )
                found = _marked(fragment, scanner)
            self._alive[fragment.number] = found
        return self._alive[fragment.number]

    def matching(self, predicate: str) -> dict[int, NDArray[np.bool_]]:
        """Which rows of each fragment, by number, are not deleted and match a SQL predicate.

        Raises UserError where the predicate does not parse or names no column.
        """
        found = {}
        for fragment in self.fragments:
            try:
                scanner = self._dataset.get_fragment(fragment.number).scanner(
                    columns=[], with_row_address=True, filter=predicate
                )
                found[fragment.number] = _marked(fragment, scanner)
            except (ValueError, OSError, RuntimeError) as error:
                raise UserError(
                    "a filter is a SQL predicate on the collection's columns "
                    f"({', '.join(self._own_columns())}); got {predicate!r} "
                    f"({_first_line(error)}). Write year >= 2020, for instance."
                ) from None
        return found

    def take(self, rows: Sequence[int], columns: Sequence[str]) -> dict[str, list[Any]]:
        """The values of some columns at some positions, in the order of the positions."""
        if not len(rows):
            return {name: [] for name in columns}
        positions = np.asarray(rows, np.int64)
        starts = np.array([fragment.start for fragment in self.fragments])
        numbers = np.array([fragment.number for fragment in self.fragments])
        place = np.searchsorted(starts, positions, side="right") - 1
        addresses = (numbers[place] << 32) + positions - starts[place]
        with _reading(self._folder):
            table = self._dataset._take_rows(addresses.tolist(), columns=list(columns))
            return {name: table.column(name).to_pylist() for name in columns}

    def batches(self, columns: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
        """All rows that are not deleted, in order, by batches, as Python values."""
        with _reading(self._folder):
            for batch in self._dataset.to_batches(
                columns=list(columns), batch_size=_BATCH_ROWS, batch_readahead=2
            ):
                yield batch.to_pydict()

    def _own_columns(self) -> list[str]:
        """The columns that a filter may name."""
        hidden = ("seq", "vector", "norm_", "code_", "length")
        return [name for name in self.columns if not name.startswith(hidden)]

    def delete(self, ids: Sequence[str]) -> RowStore:
        """A new version without the rows of these distinct ids, in one commit; returned open.

        Data files stay as they are: a file of deleted rows is written beside them. Raises UserError
        where an id is not there, no row would be left, or another process is writing.
        """
        lance = _lance()
        predicate = f"id IN ({', '.join(map(_quoted, ids))})"
        with one_writer(self._folder.parent), _reading(self._folder):
            dataset = lance.dataset(str(self._folder))
            found = dataset.to_table(columns=["id"], filter=predicate, with_row_address=True)
            missing = sorted(set(ids) - set(found.column("id").to_pylist()))
            if missing:
                others = f" (nor are {len(missing) - 1:,} others)" if len(missing) > 1 else ""
                raise UserError(
                    f"an id to delete must be in the collection; {missing[0]!r} is not{others}: "
                    "leave it out."
                )
            if len(found) == dataset.count_rows():
                raise UserError(
                    f"a collection keeps at least one row; got all {len(found):,} ids to delete: "
                    "remove its folder instead."
                )
            touched = set((found.column("_rowaddr").to_numpy() >> 32).tolist())
            updated, emptied = [], []
            with _writing(self._folder):
                for fragment in dataset.get_fragments():
                    if fragment.fragment_id not in touched:
                        continue
                    metadata = fragment.delete(predicate)
                    if metadata is None:
                        emptied.append(fragment.fragment_id)
                    else:
                        updated.append(metadata)
                sync_tree(self._folder)
                lance.LanceDataset.commit(
                    str(self._folder),
                    lance.LanceOperation.Delete(updated, emptied, "ids"),
                    read_version=dataset.version,
                )
                sync_tree(self._folder)
        return RowStore.open(self._folder)

    def commit_manifest(self, name: str) -> RowStore:
        """A new version with the same rows and another manifest; returned open."""
        with one_writer(self._folder.parent), _reading(self._folder):
            # A handle of its own: Lance moves the one that commits to the new version.
            _lance().dataset(str(self._folder)).update_schema_metadata({MANIFEST_KEY: name})
            sync_tree(self._folder)
        return RowStore.open(self._folder)


def write_rows(
    folder: Path,
    rows: Iterable[RowLike],
    found: Survey,
    arrays: Arrays,
    manifest_name: str,
    *,
    fragment_rows: int = _FRAGMENT_ROWS,
    progress: Progress | None = None,
) -> None:
    """Write a new dataset in one commit, in the memory of a few batches.

    folder must not exist. found: the survey of the same rows. Raises UserError where the disk is
    full or a text is not valid Unicode.
    """
    lance = _lance()
    import pyarrow as pa

    listener = progress or quiet()
    schema = _schema(pa, found.kinds, arrays, manifest_name)
    failed: list[BaseException] = []

    def batches() -> Iterator[Any]:
        # Lance hides what the reader raises inside an error of its own; ours is kept for the user.
        try:
            start = 0
            for chunk in _chunks(rows):
                yield _batch(pa, schema, chunk, found.kinds, arrays, start)
                start += len(chunk)
                listener.advance(len(chunk))
        except BaseException as error:
            failed.append(error)
            raise

    listener.start("writing rows", found.rows)
    try:
        with _writing(folder):
            fragments = lance.fragment.write_fragments(
                pa.RecordBatchReader.from_batches(schema, batches()),
                str(folder),
                schema=schema,
                mode="create",
                max_rows_per_file=fragment_rows,
            )
            sync_tree(folder)
            lance.LanceDataset.commit(
                str(folder), lance.LanceOperation.Overwrite(schema, fragments)
            )
            sync_tree(folder)
    except Exception:
        if failed:
            raise failed[0] from None
        raise
    finally:
        listener.finish()


def _lance() -> ModuleType:
    # Lance reads it once, at import; its warnings are about choices made here on purpose.
    os.environ.setdefault("LANCE_LOG", "error")
    try:
        import lance
        import lance.fragment
    except ImportError:
        raise MissingExtra("a collection", "store") from None
    return lance  # type: ignore[no-any-return]


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"the rows of a collection must be readable, and {folder} is damaged "
            f"({_first_line(error)}): restore it from a copy, or build the collection again."
        ) from error


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:
        if "No space left" not in str(error):
            raise
        raise UserError(
            f"a collection must fit on its disk, and {folder.parent} has no space left: free "
            "some, or choose another folder, and run again."
        ) from None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _check_files(dataset: Any, folder: Path) -> None:
    for fragment in dataset.get_fragments():
        for file in fragment.data_files():
            path = folder / "data" / file.path
            size = path.stat().st_size if path.is_file() else None
            if size is None or (file.file_size_bytes and size != file.file_size_bytes):
                state = "missing" if size is None else f"{size:,} bytes long"
                raise UserError(
                    f"a data file keeps the size it was written with, {file.file_size_bytes:,} "
                    f"bytes, and {path} is {state}: restore it from a copy, or build again."
                )


def _fragments(dataset: Any) -> tuple[Fragment, ...]:
    fragments = []
    start = 0
    for fragment in dataset.get_fragments():
        names = ",".join(sorted(file.path for file in fragment.data_files()))
        digest = hashlib.sha256(names.encode()).hexdigest()[:12]
        key = f"{fragment.fragment_id:06d}-{digest}"
        rows = int(fragment.physical_rows)
        deleted = int(fragment.num_deletions)
        fragments.append(Fragment(fragment.fragment_id, start, rows, deleted, key))
        start += rows
    return tuple(fragments)


def _quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def _marked(fragment: Fragment, scanner: Any) -> NDArray[np.bool_]:
    """The rows (rows,) of a fragment that a scanner of row addresses gives."""
    found = np.zeros(fragment.rows, bool)
    for batch in scanner.to_batches():
        found[batch.column("_rowaddr").to_numpy() & 0xFFFFFFFF] = True
    return found


def _as_array(column: Any) -> NDArray[Any]:
    width = getattr(column.type, "list_size", None)
    if width is None:
        return np.asarray(column.to_numpy(zero_copy_only=False))
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)


def _schema(pa: ModuleType, kinds: Mapping[str, Kind], arrays: Arrays, manifest_name: str) -> Any:
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
    columns += [pa.field(name, own[kind]) for name, kind in kinds.items()]
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
        if len(chunk) == _BATCH_ROWS or characters >= _BATCH_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _batch(
    pa: ModuleType,
    schema: Any,
    chunk: Sequence[RowLike],
    kinds: Mapping[str, Kind],
    arrays: Arrays,
    start: int,
) -> Any:
    part = slice(start, start + len(chunk))
    values: list[Any] = [np.arange(part.start, part.stop, dtype=np.int64)]
    for name in ("id", "text", "title"):
        own = [getattr(row, name) for row in chunk]
        values.append(_typed(pa, own, pa.string(), name, start))
    for name, kind in kinds.items():
        column = as_kind(kind, (row.columns.get(name) for row in chunk))
        values.append(_typed(pa, column, schema.field(name).type, name, start))
    values += [np.asarray(fact[part]) for fact in arrays.facts.values()]
    for first, last in code_groups(arrays.level_ends):
        values.append(_lists(pa, np.asarray(arrays.codes[part, first:last])))
    if arrays.vectors is not None:
        values.append(_lists(pa, np.asarray(arrays.vectors[part])))
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


def _lists(pa: ModuleType, rows: NDArray[Any]) -> Any:
    flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])
