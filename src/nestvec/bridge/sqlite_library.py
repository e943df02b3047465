"""SQLite with sqlite-vec inside: the one file that imports it."""

from __future__ import annotations

import ctypes
import sqlite3
from pathlib import Path

from nestvec.errors import MissingExtra, UserError

_LOADED: list[ctypes.CDLL] = []


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to the database at path that knows sqlite-vec's functions.

    Raises MissingExtra without sqlite-vec, UserError where this Python's SQLite takes no
    extensions, or the file is no database.
    """
    try:
        import sqlite_vec
    except ImportError:
        raise MissingExtra("an export to sqlite-vec", "sqlite") from None
    loads = hasattr(sqlite3.Connection, "enable_load_extension")
    if not loads:
        _load_for_all(sqlite_vec.loadable_path())
    if read_only:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    else:
        connection = sqlite3.connect(path)
    if loads:
        connection.enable_load_extension(True)
        sqlite_vec.load(connection)
        connection.enable_load_extension(False)
    return connection


def _load_for_all(path: str) -> None:
    """Have SQLite itself start the extension with every connection of this process.

    Some builds of Python leave enable_load_extension out, while the SQLite library beneath offers
    sqlite3_auto_extension (https://sqlite.org/c3ref/auto_extension.html).
    """
    if _LOADED:
        return
    try:
        import _sqlite3

        library = ctypes.CDLL(_sqlite3.__file__)
        found = next(
            each for each in (f"{path}.so", f"{path}.dylib", f"{path}.dll") if Path(each).exists()
        )
        extension = ctypes.CDLL(found)
        status = library.sqlite3_auto_extension(extension.sqlite3_vec_init)
    except (AttributeError, ImportError, OSError, StopIteration):
        status = 1
    if status:
        raise UserError(
            "sqlite-vec is an extension of SQLite, and this Python's sqlite3 takes none: use a "
            "Python built with --enable-loadable-sqlite-extensions."
        )
    _LOADED.append(extension)
