"""The rows on disk, read: with store_changes (and, for pyarrow, tables) the one seam to Lance.

Plain Python values and arrays come out.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import MissingExtra, UserError
from nestvec.index.columns import Kind
from nestvec.index.files import sync_folder

ROWS_FOLDER = "rows.lance"
MANIFEST_KEY = "nestvec:manifest"
KIND_KEY = b"nestvec:kind"
"""Metadata of the user's columns: the kind of their values."""
BATCH_ROWS = 4096
_VERSIONS = "_versions"
# where in its own source Lance noticed
_SOURCE_LINE = re.compile(r",? ?/\S+\.rs:\d+:\d+")
# what Lance raises for files that it cannot read
_FAULTS = (OSError, ValueError, RuntimeError)


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
    """One version of the stored rows, open for reading; notes: what a reader should be told."""

    def __init__(self, dataset: Any, folder: Path, notes: tuple[str, ...] = ()) -> None:
        self.notes = notes
        self._dataset = dataset
        self._folder = folder
        self.fragments = _fragments(dataset)
        self.count = sum(fragment.rows for fragment in self.fragments)
        self.live = self.count - sum(fragment.deleted for fragment in self.fragments)
        self._alive: dict[int, NDArray[np.bool_]] = {}
        self._shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self.version: int = dataset.version
        self.columns: tuple[str, ...] = tuple(dataset.schema.names)

    @classmethod
    def open(cls, folder: Path, version: int | None = None) -> RowStore:
        """A version in the folder, the newest that can be read where none is named.

        Where the newest file of a version is torn, as a power cut may leave it, that file is
        renamed to `<name>.torn`, the version before is opened, and notes say so.
        Raises UserError where Lance cannot read it or a data file has not its recorded size;
        MissingExtra without pylance.
        """
        lance = lance_library()
        notes: tuple[str, ...] = ()
        with reading(folder):
            try:
                dataset = _dataset(lance, folder, version)
            except _FAULTS:
                notes = () if version else _set_aside(lance, folder)
                if not notes:
                    raise
                dataset = _dataset(lance, folder)
            _check_files(dataset, folder)
        return cls(dataset, folder, notes)

    @property
    def manifest_name(self) -> str:
        """The name of the manifest that this version was committed with."""
        return manifest_name_of(self._dataset)

    def read(
        self, fragment: Fragment, columns: Sequence[str], batch_rows: int
    ) -> Iterator[tuple[NDArray[Any], ...]]:
        """Numeric columns of a fragment in order, by arrays of at most batch_rows rows.

        A fixed_size_list column gives (m, width) arrays, any other (m,). Deleted rows are among
        them.
        """
        with reading(self._folder):
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
        if column not in self._shapes:
            kind = self._dataset.schema.field(column).type
            width = getattr(kind, "list_size", None)
            own, shape = (kind, ()) if width is None else (kind.value_type, (width,))
            self._shapes[column] = shape, np.dtype(own.to_pandas_dtype())
        return self._shapes[column]

    def alive(self, fragment: Fragment) -> NDArray[np.bool_] | None:
        """Which rows of a fragment (rows,) are not deleted; None where none is."""
        if not fragment.deleted:
            return None
        if fragment.number not in self._alive:
            with reading(self._folder):
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
                    f"({', '.join(self.own_columns())}); got {predicate!r} "
                    f"({first_line(error)}). Write year >= 2020, for instance."
                ) from None
        return found

    def any_matching(self, predicate: str) -> bool:
        """Whether a row that is not deleted matches a SQL predicate; reads as far as the first."""
        with reading(self._folder):
            scanner = self._dataset.scanner(
                columns=[], filter=predicate, limit=1, with_row_address=True
            )
            return any(batch.num_rows for batch in scanner.to_batches())

    def take(self, rows: Sequence[int], columns: Sequence[str]) -> dict[str, list[Any]]:
        """The values of some columns at some positions, in the order of the positions."""
        if not len(rows):
            return {name: [] for name in columns}
        positions = np.asarray(rows, np.int64)
        starts = np.array([fragment.start for fragment in self.fragments])
        numbers = np.array([fragment.number for fragment in self.fragments])
        place = np.searchsorted(starts, positions, side="right") - 1
        addresses = (numbers[place] << 32) + positions - starts[place]
        with reading(self._folder):
            table = self._dataset._take_rows(addresses.tolist(), columns=list(columns))
            return {name: table.column(name).to_pylist() for name in columns}

    def batches(self, columns: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
        """All rows that are not deleted, in order, by batches, as Python values."""
        with reading(self._folder):
            for batch in self._dataset.to_batches(
                columns=list(columns), batch_size=BATCH_ROWS, batch_readahead=2
            ):
                yield batch.to_pydict()

    def fragment_of(self, data_file: str) -> int | None:
        """The number of the fragment that a data file of this name belongs to."""
        for fragment in self._dataset.get_fragments():
            if any(file.path == data_file for file in fragment.data_files()):
                return int(fragment.fragment_id)
        return None

    def own_columns(self) -> list[str]:
        """The columns that a filter may name: id, text, title and the user's."""
        ours = {"seq", "vector", "length"}
        shown = (name for name in self.columns if not name.startswith(("norm_", "code_")))
        return [name for name in shown if name not in ours]

    def kinds(self) -> dict[str, Kind]:
        """The kinds of the user's columns, by name."""
        fields = [
            (field.name, (field.metadata or {}).get(KIND_KEY)) for field in self._dataset.schema
        ]
        return {name: kind.decode() for name, kind in fields if kind is not None}


def manifest_name_of(dataset: Any) -> str:
    """The name of the manifest that an open version was committed with; "" where it names none."""
    metadata = dataset.schema.metadata or {}
    return str(metadata.get(MANIFEST_KEY.encode(), b"").decode())


def lance_library() -> ModuleType:
    """Lance, imported when it is first needed; raises MissingExtra where it is not installed."""
    # Lance reads it once, at import; its warnings are about choices made here on purpose.
    os.environ.setdefault("LANCE_LOG", "error")
    try:
        import lance
        import lance.fragment
    except ImportError:
        raise MissingExtra("a collection", "store") from None
    return lance  # type: ignore[no-any-return]


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Tell a fault of the files in folder as a UserError."""
    try:
        yield
    except UserError:
        raise
    except _FAULTS as error:
        raise UserError(
            f"the rows of a collection must be readable, and {folder} is damaged "
            f"({first_line(error)}): restore it from a copy, or build the collection again."
        ) from error


def first_line(error: BaseException) -> str:
    """What an error of a library says, in short."""
    said = (str(error).splitlines() or [type(error).__name__])[0]
    said = _SOURCE_LINE.sub("", said).removeprefix("Invalid user input: ")
    return said.removeprefix("Schema error: ").rstrip(" .")[:200]


def _dataset(lance: ModuleType, folder: Path, version: int | None = None) -> Any:
    """The newest version, or that one; raises one of _FAULTS where it cannot be read."""
    dataset = lance.dataset(str(folder), version=version)
    if dataset.version < 1:  # so Lance reads a file of zeros
        raise ValueError("a version has a number from 1 up, and this one has none")
    return dataset


def _set_aside(lance: ModuleType, folder: Path) -> tuple[str, ...]:
    """Rename the newest version's torn file where the version before can be read; says so."""
    # named by 2^64 - 1 less the version's number, so the newest comes first
    manifests = sorted((folder / _VERSIONS).glob("*.manifest"))
    if len(manifests) < 2:
        return ()
    version = 2**64 - 1 - int(manifests[0].stem)
    try:
        _dataset(lance, folder, version - 1)
    except _FAULTS:
        return ()
    torn = manifests[0].with_name(manifests[0].name + ".torn")
    os.replace(manifests[0], torn)
    (folder / _VERSIONS / "latest_version_hint.json").unlink(missing_ok=True)
    sync_folder(folder / _VERSIONS)
    return (
        f"version {version} was not wholly written when the machine stopped, and is set aside as "
        f"{torn}; version {version - 1} is read.",
    )


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
