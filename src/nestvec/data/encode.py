"""Texts or images to a file of vectors, by blocks: an interrupted run goes on where it stopped."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nestvec.data.encoder import Encoder, ImageEncoder, TextKind
from nestvec.errors import UserError
from nestvec.progress import Progress, quiet

if TYPE_CHECKING:
    from nestvec.data.images import Images

BLOCK_ROWS = 4096
# A model on a CPU takes some ten seconds for them.
BLOCK_IMAGES = 256
# Decoded pictures that are held for one call of the model: so many, or so many pixels.
_BATCH_IMAGES = 64
_BATCH_PIXELS = 1 << 25

# numpy pads its header to a multiple of 64 bytes; this much holds any shape of ours.
_HEADER_BYTES = 128
_SAMPLE_SHARE = 100
_SMALLEST_SAMPLE = 32
_LARGEST_SAMPLE = 200


@dataclass(frozen=True)
class Encoded:
    """What encode_texts and encode_images leave.

    vectors: (n, d) read-only memory map of path; truncated: texts that were cut, None if unknown;
    resumed: rows that an earlier run had encoded already; encoder: its description.
    """

    path: Path
    vectors: NDArray[Any]
    truncated: int | None
    resumed: int
    encoder: dict[str, object]


def encode_texts(
    texts: Iterable[str],
    encoder: Encoder,
    out: str | os.PathLike[str],
    *,
    kind: TextKind = "document",
    total: int | None = None,
    progress: Progress | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    block_rows: int = BLOCK_ROWS,
) -> Encoded:
    """Encodes texts into the .npy file out, (n, d) of dtype, in order.

    total: their number, where known, for the progress and the size of the sample that the encoder
    settles its number format on. Every block is on disk, fsync included, before it is noted in the
    journal beside it (out + ".journal"). A rerun with the same encoder, dtype and block_rows takes
    over the leading blocks whose texts are unchanged and goes on after them; another encoder starts
    anew. Until it is whole the file is called out + ".partial".
    Memory: the texts and vectors of one block, and what the encoder needs; with all-MiniLM and
    blocks of 4,096 abstracts 0.7 GB at its peak, 0.5 GB of it the libraries and the model.
    Raises UserError where there are no texts or the disk is full.
    """
    path = Path(out)
    bar = progress or quiet()
    blocks = _blocks(texts, block_rows)
    first = next(blocks, None)
    if first is None:
        raise UserError("there are no texts to encode: give at least one.")
    encoder.prepare(settling_sample(first, total))
    head: dict[str, object] = {"kind": kind, "dtype": dtype, "block_rows": block_rows}

    def fill(store: _Store, listener: Progress) -> None:
        _fill(store, first, blocks, encoder, kind, listener)

    return _encoded(path, encoder, head, fill, total, bar)


def encode_images(
    images: Images,
    encoder: ImageEncoder,
    out: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    block_images: int = BLOCK_IMAGES,
) -> Encoded:
    """Encodes images into the .npy file out, (n, d) of dtype, in order; see encode_texts.

    A rerun takes over the leading blocks whose images have unchanged bytes, without decoding them.
    Memory: decoded pictures of _BATCH_PIXELS (100 MB) and of those a few that are decoded ahead,
    and what the encoder needs. Raises UserError where there are none, one cannot be read, or the
    disk is full.
    """
    if not len(images):
        raise UserError("there are no images to encode: give at least one.")

    def fill(store: _Store, bar: Progress) -> None:
        for start in range(0, len(images), block_images):
            rows = range(start, min(len(images), start + block_images))
            digest = _digest(images.content(i) for i in rows)
            if store.has(digest, len(rows)):
                bar.advance(len(rows))
                continue
            found = []
            for batch in _batches(images, rows):
                found.append(encoder.encode_images(batch))
                bar.advance(len(batch))
            store.add(np.concatenate(found), digest, 0)

    head: dict[str, object] = {"kind": "image", "dtype": dtype, "block_rows": block_images}
    return _encoded(Path(out), encoder, head, fill, len(images), progress or quiet())


def _batches(images: Images, rows: range) -> Iterator[list[Any]]:
    """Pictures of some rows, in order, so many at a time as memory is given for."""
    batch: list[Any] = []
    pixels = 0
    for picture in images.pictures(rows):
        batch.append(picture)
        pixels += picture.size[0] * picture.size[1]
        if len(batch) == _BATCH_IMAGES or pixels >= _BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _encoded(
    path: Path,
    encoder: Encoder,
    head: dict[str, object],
    fill: Callable[[_Store, Progress], None],
    total: int | None,
    bar: Progress,
) -> Encoded:
    """What fill puts into the store at path. head: what a rerun must share, beside the encoder."""
    description = encoder.describe()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _Store(path, {"encoder": description, **head}) as store:
            bar.start(f"encoding with {encoder.name}", total)
            try:
                fill(store, bar)
            finally:
                bar.finish()
            store.complete()
    except OSError as error:
        raise _told(error, path) from error
    return Encoded(path, np.load(path, mmap_mode="r"), store.truncated, store.resumed, description)


def _fill(
    store: _Store,
    first: list[str],
    blocks: Iterator[list[str]],
    encoder: Encoder,
    kind: TextKind,
    bar: Progress,
) -> None:
    block: list[str] | None = first
    while block is not None:
        digest = _digest(text.encode("utf-8", "surrogatepass") for text in block)
        if not store.has(digest, len(block)):
            found = encoder.encode_block(block, kind)
            store.add(found.vectors, digest, found.truncated)
        bar.advance(len(block))
        block = next(blocks, None)


def _blocks(texts: Iterable[str], rows: int) -> Iterator[list[str]]:
    iterator = iter(texts)
    while block := list(islice(iterator, rows)):
        yield block


def settling_sample(first: list[str], total: int | None) -> list[str]:
    """What an encoder settles on: texts spread over the first block, a hundredth of all."""
    wanted = (total or len(first)) // _SAMPLE_SHARE
    wanted = min(max(wanted, _SMALLEST_SAMPLE), _LARGEST_SAMPLE, len(first))
    return [first[row * len(first) // wanted] for row in range(wanted)]


def _digest(block: Iterable[bytes]) -> str:
    found = hashlib.blake2b(digest_size=16)
    for encoded in block:
        found.update(len(encoded).to_bytes(8, "little"))
        found.update(encoded)
    return found.hexdigest()


class _Store:
    """The growing .npy file and its journal: a line of JSON for the head, one for each block."""

    def __init__(self, path: Path, head: dict[str, object]) -> None:
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self._journal_path = path.with_name(path.name + ".journal")
        self._head = json.loads(json.dumps(head))
        self._dtype = np.dtype(str(head["dtype"]))
        self._noted: list[dict[str, Any]] = []
        self._dim = 0
        self._at = 0
        self._dirty = False
        self.rows = 0
        self.resumed = 0
        self.truncated: int | None = 0

    def __enter__(self) -> _Store:
        self._recover()
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def has(self, digest: str, rows: int) -> bool:
        """Whether the next block is there from an earlier run; steps over it if so."""
        if self._dirty or self._at >= len(self._noted):
            return False
        noted = self._noted[self._at]
        if noted["digest"] != digest or noted["rows"] != rows:
            return False
        self._at += 1
        self._count(rows, noted["truncated"])
        self.resumed += rows
        return True

    def add(self, vectors: NDArray[np.float32], digest: str, truncated: int | None) -> None:
        """Appends a block durably: the rows first, then the note that they are there."""
        if not self._dirty:
            self._start_writing(vectors.shape[1])
        if vectors.shape[1] != self._dim:
            raise UserError(
                f"all vectors must have one width, got {vectors.shape[1]} after {self._dim}: "
                "encode all texts with one model."
            )
        with np.errstate(over="ignore"):  # told below
            rows = np.ascontiguousarray(vectors, dtype=self._dtype)
        if self._dtype == np.float16 and not np.isfinite(rows).all():
            raise UserError(
                "a coordinate is too large for float16 (over 65,504): store float32 instead."
            )
        self._data.write(rows.tobytes())
        _sync(self._data)
        self._note({"rows": len(rows), "digest": digest, "truncated": truncated})
        self._count(len(rows), truncated)

    def complete(self) -> None:
        """Writes the header for the rows there are and gives the file its name."""
        if not self._dirty:
            whole = self._path.exists() and not self._partial.exists()
            if whole and self._at == len(self._noted):
                return
            self._start_writing(self._dim)
        self._data.seek(0)
        self._data.write(_header(self.rows, self._dim, self._dtype))
        _sync(self._data)
        self._close()
        self._partial.replace(self._path)
        _sync_folder(self._path.parent)

    def _count(self, rows: int, truncated: int | None) -> None:
        self.rows += rows
        known = self.truncated is not None and truncated is not None
        self.truncated = (self.truncated or 0) + (truncated or 0) if known else None

    def _recover(self) -> None:
        """Reads the journal of an earlier run; what does not fit is not taken over."""
        lines = _read_journal(self._journal_path)
        if not lines or {**lines[0], "dim": 0} != {**self._head, "dim": 0}:
            return
        self._dim = int(lines[0]["dim"])
        there = self._partial if self._partial.exists() else self._path
        if not there.exists():
            return
        room = (there.stat().st_size - _HEADER_BYTES) // (self._dim * self._dtype.itemsize)
        for noted in lines[1:]:
            room -= noted["rows"]
            if room < 0:
                break
            self._noted.append(noted)

    def _start_writing(self, dim: int) -> None:
        """Opens the file behind the rows that were taken over, dropping what comes after."""
        self._dim = dim
        taken = self._noted[: self._at]
        if taken and not self._partial.exists():
            self._path.replace(self._partial)
        self._data = self._partial.open("r+b" if taken else "w+b")
        end = _HEADER_BYTES + self.rows * dim * self._dtype.itemsize
        if not taken:
            self._data.write(b"\0" * _HEADER_BYTES)
        self._data.truncate(end)
        self._data.seek(end)
        _sync(self._data)
        # a new journal under a temporary name: a crash leaves either the old one or this one
        fresh = self._journal_path.with_name(self._journal_path.name + ".new")
        with fresh.open("w", encoding="utf-8") as journal:
            for line in ({**self._head, "dim": dim}, *taken):
                journal.write(json.dumps(line) + "\n")
            _sync(journal)
        fresh.replace(self._journal_path)
        _sync_folder(self._path.parent)
        self._journal = self._journal_path.open("a", encoding="utf-8")
        self._dirty = True

    def _note(self, line: dict[str, object]) -> None:
        self._journal.write(json.dumps(line) + "\n")
        _sync(self._journal)

    def _close(self) -> None:
        if self._dirty:
            self._data.close()
            self._journal.close()


def _read_journal(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal; a torn last one is left out."""
    if not path.exists():
        return []
    lines: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def _header(rows: int, dim: int, dtype: np.dtype[Any]) -> bytes:
    """The 128 bytes before the rows of a .npy file, format version 1.0."""
    fields = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': ({rows}, {dim}), }}"
    start = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
    return start + fields.ljust(_HEADER_BYTES - 11).encode("ascii") + b"\n"


def _sync(handle: Any) -> None:
    handle.flush()
    os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _told(error: OSError, path: Path) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"the disk of {path} is full: free some space and run the same again, it goes on "
            "where it stopped."
        )
    return UserError(f"{path} cannot be written ({error.strerror}): name another place.")
