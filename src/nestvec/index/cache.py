"""Derived arrays beside the rows, memory-mapped by every reader; the folder may be deleted.

Per fragment: `planes-0-b` (blocks, b, 1024) uint8, the first b bytes of the code, byte-plane
major within blocks of 1,024 rows, for scans; `slices-0-b` the same of signs, by planes of bits (see
bit_slices); `rows-a-b` (n, b - a) uint8, row major, for survivors; columns as they are: norms,
lengths, seq, vector (n, d); and what is computed of them, such as the bounds of an exact search
(see bounds).
Files are .npy, written under a temporary name and renamed, named by the fragment's content.
A file that is missing or of the wrong size is written again; where the folder cannot be written
to, the array is kept in memory.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from nestvec.index import bit_slices
from nestvec.index.columns import code_column
from nestvec.index.store import Fragment, RowStore

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]

BLOCK_ROWS = 1024
_READ_BYTES = 1 << 23


class Cache:
    """The derived arrays of one version of the rows, made when first asked for."""

    def __init__(self, store: RowStore, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._open: dict[str, NDArray[Any]] = {}
        # the array that was asked for stays with its twin, so that its id stays its own
        self._scattered: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}

    def planes(self, fragment: Fragment, groups: tuple[tuple[int, int], ...]) -> U8:
        """Neighbouring code columns plane-major: (ceil(rows / 1024), bytes of all, 1024) uint8.

        Rows beyond the fragment's last are zeros.
        """
        start, stop = groups[0][0], groups[-1][1]
        width = stop - start
        shape = (-(-fragment.rows // BLOCK_ROWS), width, BLOCK_ROWS)

        def blocks() -> Iterator[U8]:
            columns = tuple(code_column(*group) for group in groups)
            for rows in _regular(self._read(fragment, columns, width), BLOCK_ROWS):
                block = np.zeros((1, width, BLOCK_ROWS), np.uint8)
                block[0, :, : len(rows)] = rows.T
                yield block

        return self._array(fragment.key, f"planes-{start}-{stop}", shape, np.uint8, blocks)

    def slices(self, fragment: Fragment, group: tuple[int, int], n_bytes: int) -> U64:
        """The first n_bytes of a code column, signs, as bit_slices lays them out."""
        start, stop = group

        def blocks() -> Iterator[U64]:
            parts = self._read(fragment, (code_column(start, stop),), stop - start)
            for rows in _regular(parts, bit_slices.BLOCK_ROWS):
                yield bit_slices.bit_slices(rows[:, :n_bytes])

        shape = bit_slices.slice_shape(fragment.rows, n_bytes)
        return self._array(fragment.key, f"slices-{start}-{n_bytes}", shape, np.uint64, blocks)

    def rows(self, fragment: Fragment, groups: tuple[tuple[int, int], ...]) -> U8:
        """Neighbouring code columns row-major: (rows, bytes of all groups) uint8."""
        start, stop = groups[0][0], groups[-1][1]
        columns = tuple(code_column(*group) for group in groups)
        return self._array(
            fragment.key,
            f"rows-{start}-{stop}",
            (fragment.rows, stop - start),
            np.uint8,
            lambda: self._read(fragment, columns, stop - start),
        )

    def column(self, fragment: Fragment, name: str) -> NDArray[Any]:
        """A numeric column as it is stored: (rows,) or (rows, width)."""
        found = self._open.get(_file_name(fragment.key, name))
        if found is not None:
            return found
        inner, dtype = self._store.shape(name)
        row_bytes = int(np.prod(inner)) * dtype.itemsize
        return self._array(
            fragment.key,
            name,
            (fragment.rows, *inner),
            dtype,
            lambda: self._read(fragment, (name,), row_bytes),
        )

    def scattered(self, array: NDArray[Any]) -> NDArray[Any]:
        """The same array of this cache, for reading single rows: nothing around them is read.

        What is mapped is otherwise read ahead by megabytes, which pushes out of a small memory what
        the next scan needs.
        """
        if id(array) not in self._scattered:
            self._scattered[id(array)] = array, _read_singly(array)
        return self._scattered[id(array)][1]

    def derived(
        self,
        fragment: Fragment,
        name: str,
        shape: tuple[int, ...],
        dtype: Any,
        parts: Callable[[], Iterable[NDArray[Any]]],
    ) -> NDArray[Any]:
        """An array that parts() computes, in order, where it is not there yet."""
        return self._array(fragment.key, name, shape, dtype, parts)

    def file(self, fragment: Fragment, name: str, write: Callable[[Path], None]) -> Path | None:
        """A file of a fragment that is no array, made by write(path) where it is not there yet.

        None where it cannot be written. Who maps it may not see that it ends early, so it is on
        the disk before it has its name.
        """
        path = self._folder / f"{fragment.key}-{name}"
        if path.exists():
            return path
        temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
        try:
            path.parent.mkdir(exist_ok=True)
            write(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError:
            return None
        finally:
            _remove(temporary)
        return path

    def whole(self, name: str) -> NDArray[Any]:
        """A numeric column of all fragments as one array.

        With one fragment that is the fragment's; otherwise another file, of the column's size.
        """
        fragments = self._store.fragments
        if len(fragments) == 1:
            return self.column(fragments[0], name)
        inner, dtype = self._store.shape(name)
        row_bytes = int(np.prod(inner)) * dtype.itemsize

        def parts() -> Iterator[NDArray[Any]]:
            for fragment in fragments:
                yield from self._read(fragment, (name,), row_bytes)

        key = f"all-{len(fragments)}-{fragments[0].key}-{fragments[-1].key}"
        return self._array(key, name, (self._store.count, *inner), dtype, parts)

    def clean(self) -> int:
        """Remove the arrays of fragments that this version has not; returns their bytes.

        Whoever has one of them open goes on reading it.
        """
        keys = [fragment.key for fragment in self._store.fragments]
        removed = 0
        for path in self._folder.glob("*"):
            if not any(key in path.name for key in keys):
                removed += path.stat().st_size
                _remove(path)
        return removed

    def _read(
        self, fragment: Fragment, columns: tuple[str, ...], row_bytes: int
    ) -> Iterator[NDArray[Any]]:
        batch_rows = max(1, _READ_BYTES // max(1, row_bytes) // BLOCK_ROWS) * BLOCK_ROWS
        for arrays in self._store.read(fragment, columns, batch_rows):
            yield arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)

    def _array(
        self,
        key: str,
        name: str,
        shape: tuple[int, ...],
        dtype: Any,
        parts: Callable[[], Iterable[NDArray[Any]]],
    ) -> NDArray[Any]:
        file_name = _file_name(key, name)
        if file_name not in self._open:
            path = self._folder / file_name
            found = _mapped(path, shape, np.dtype(dtype))
            if found is None:
                found = _write(path, shape, np.dtype(dtype), parts)
            if found is None:
                found = _in_memory(shape, np.dtype(dtype), parts())
            self._open[file_name] = found
        return self._open[file_name]


def _file_name(key: str, name: str) -> str:
    return f"{key}-{name}.npy"


def _mapped(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any] | None:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if array.shape != shape or array.dtype != dtype:
        return None
    # A plain array over the same pages: memmap's own slicing costs microseconds a call.
    return np.asarray(array)


def _read_singly(array: NDArray[Any]) -> NDArray[Any]:
    """A second map of a mapped file, without reading ahead; the array itself if there is none."""
    base = array.base
    advice = getattr(mmap, "MADV_RANDOM", None)
    if not isinstance(base, np.memmap) or base.filename is None or advice is None:
        return array
    try:
        again = np.memmap(base.filename, array.dtype, "r", base.offset, array.shape)
    except OSError:  # removed since
        return array
    again._mmap.madvise(advice)  # type: ignore[attr-defined]
    return np.asarray(again)


def _write(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    parts: Callable[[], Iterable[NDArray[Any]]],
) -> NDArray[Any] | None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(exist_ok=True)
        # Written as a stream, not through a map: a full disk is then an error, not a signal.
        with temporary.open("xb") as file:
            header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            npy.write_array_header_1_0(file, header)
            for part in parts():
                file.write(np.ascontiguousarray(part, dtype).data)
        os.replace(temporary, path)
    except OSError:
        return None
    finally:
        _remove(temporary)
    return _mapped(path, shape, dtype)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def _in_memory(
    shape: tuple[int, ...], dtype: np.dtype[Any], parts: Iterable[NDArray[Any]]
) -> NDArray[Any]:
    array = np.empty(shape, dtype)
    filled = 0
    for part in parts:
        array[filled : filled + len(part)] = part
        filled += len(part)
    return array


def _regular(arrays: Iterable[U8], rows: int) -> Iterator[U8]:
    """The same rows in arrays of exactly so many, the last one shorter."""
    rest: U8 | None = None
    for array in arrays:
        joined = array if rest is None else np.concatenate((rest, array))
        whole = len(joined) // rows * rows
        for start in range(0, whole, rows):
            yield joined[start : start + rows]
        rest = joined[whole:]
    if rest is not None and len(rest):
        yield rest
