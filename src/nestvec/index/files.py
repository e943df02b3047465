"""Files named by what they hold, and the order of writes that a power cut respects."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nestvec.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME_DIGITS = 32
LOCK_FILE = "lock"
_BLOCK = 1 << 20


def content_name(path: Path, suffix: str) -> str:
    """The name that a file's content gives it: 32 hex digits of its SHA-256, then the suffix."""
    return _digest(path)[:NAME_DIGITS] + suffix


def adopt(path: Path, folder: Path) -> str:
    """Move a finished file into the folder under its content's name, and return that name."""
    _sync(path)
    name = content_name(path, path.suffix)
    os.replace(path, folder / name)
    _sync(folder)
    return name


def put_bytes(data: bytes, folder: Path, suffix: str) -> str:
    """Store bytes in the folder under their content's name, and return that name."""
    temporary = folder / f"new-{os.getpid()}{suffix}"
    temporary.write_bytes(data)
    return adopt(temporary, folder)


def verified(folder: Path, name: str) -> Path:
    """The path of a content-named file.

    Raises UserError where it is missing or its bytes no longer give its name.
    """
    path = folder / name
    if not path.is_file():
        raise UserError(
            f"a collection holds every file that it names, and {path} is missing: "
            "restore it from a copy, or build the collection again."
        )
    if content_name(path, path.suffix) != name:
        raise UserError(
            f"a file's content must give its name, and {path} ({path.stat().st_size:,} bytes) is "
            "truncated or changed: restore it from a copy, or build the collection again."
        )
    return path


def sync_tree(folder: Path) -> None:
    """Force a folder, its files and its subfolders to disk, deepest first."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync(Path(parent, name))
        _sync(Path(parent))


def sync_folder(folder: Path) -> None:
    """Force a folder's own entries (new names, renames) to disk."""
    _sync(folder)


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Hold a collection for writing; readers go on.

    The lock is the system's own and ends with the process that holds it. Raises UserError where
    another process holds it. Where the system has no such locks (Windows), there is none.
    """
    if fcntl is None:
        yield
        return
    with (folder / LOCK_FILE).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"one process at a time writes to a collection, and another is writing to {folder}:"
                " wait for it to end."
            ) from None
        yield


def tree_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; 0 where there is none."""
    return sum(
        Path(parent, name).stat().st_size for parent, _, names in os.walk(folder) for name in names
    )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
