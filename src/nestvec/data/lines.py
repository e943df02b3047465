"""Lines of a UTF-8 text file, plain or gzipped, one at a time."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from nestvec.errors import UserError

_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


def plain_suffix(path: Path) -> str:
    """The suffix that tells the kind of file, in lower case, a final .gz set aside.

    >>> plain_suffix(Path("notes.JSONL.gz"))
    '.jsonl'
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def is_gzipped(path: Path) -> bool:
    """Whether the name says that the file is gzipped."""
    return path.suffix.lower() == ".gz"


def open_bytes(path: Path) -> IO[bytes]:
    """The file's bytes, unzipped where the name ends in .gz.

    Raises UserError where the file cannot be opened.
    """
    try:
        return cast(IO[bytes], gzip.open(path)) if is_gzipped(path) else path.open("rb")
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): give a file that exists and may be read."
        ) from None


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields (line number from 1, line with its line end), decoding strictly.

    Lines end at a line feed only, so that a separator such as U+2028 inside a JSON string does not
    split a record. A byte order mark at the start is dropped. Memory: one line.
    Raises UserError with file and line for text that is not UTF-8 and for damaged gzip data.
    """
    number = 0
    with open_bytes(path) as handle:
        try:
            for number, raw in enumerate(handle, 1):
                if number == 1:
                    if raw.startswith(_UTF16_BOMS):
                        raise UserError(f"{path} is UTF-16, not UTF-8: save it as UTF-8.")
                    raw = raw.removeprefix(_BOM)
                yield number, _decode(raw, path, number)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(
                f"{path} ends or breaks after line {number} ({error}): "
                "it is not a whole gzip file, so copy or compress it again."
            ) from None


def read_text(path: Path) -> str:
    """A whole file as one string; raises UserError as read_lines does."""
    return "".join(line for _, line in read_lines(path))


def _decode(raw: bytes, path: Path, number: int) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        raise UserError(
            f"{path} line {number}: byte 0x{byte:02x} at position {error.start + 1} is not UTF-8: "
            "save the file as UTF-8."
        ) from None
