"""Hashes of what Lance writes, kept beside it: what tells a flipped bit from a good one.

`checks/` holds content-named JSON files, each of {path: [[end, hash, column], ...]}: a file's parts
in order, a MiB at most, and the column that a part of a data file belongs to. A commit's data files
and files of deleted rows are recorded before it, its version and transaction after it; what an
interrupted writer left unrecorded is recorded by the next one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nestvec.errors import UserError
from nestvec.index.files import NAME_DIGITS, content_name, put_bytes, sync_folder
from nestvec.progress import Progress

CHECKS_FOLDER = "checks"
PART_BYTES = 1 << 20
_DIGITS = 32
# Derived: Lance writes it anew whenever it likes.
_HINT = "latest_version_hint.json"

Part = tuple[int, str, str]
"""Where a part of a file ends, its hash, and the column it belongs to ("" for none)."""
Layout = Callable[[Path], list[tuple[int, str]]]
"""Of a data file, where its parts end and the columns they belong to, in order."""


@dataclass(frozen=True)
class Fault:
    """Something wrong with a file: its path within the collection, and what, in a few words.

    column: that the damaged part belongs to, "" where it is none's.
    """

    path: str
    what: str
    column: str = ""


def record(folder: Path, layout: Layout) -> None:
    """Record the files of a dataset's folder that are not recorded yet, beside it, synced."""
    known = recorded(folder.parent, [])
    fresh = {}
    for name, path in _files(folder):
        if name not in known:
            ends = layout(path) if path.parent.name == "data" else []
            fresh[name] = list(_parts(path, ends))
    if fresh:
        _put(fresh, folder.parent)


def merge(folder: Path, changing: Path | None = None) -> None:
    """Keep one record of the files that are still there, but for one that is about to change."""
    place = folder.parent
    older = sorted((place / CHECKS_FOLDER).glob("*.json"))
    here = {name for name, path in _files(folder) if path != changing}
    name = _put({n: p for n, p in recorded(place, []).items() if n in here}, place)
    for path in older:
        if path.name != name:
            path.unlink()
    sync_folder(place / CHECKS_FOLDER)


def recorded(place: Path, faults: list[Fault]) -> dict[str, list[Part]]:
    """{path: its parts} of a collection; what is wrong with the records goes to faults."""
    found: dict[str, list[Part]] = {}
    for path in _content_named(place / CHECKS_FOLDER):
        if content_name(path, ".json") != path.name:
            faults.append(Fault(f"{CHECKS_FOLDER}/{path.name}", "changed since it was written"))
            continue
        for name, parts in json.loads(path.read_bytes()).items():
            found[name] = [(int(end), digest, column) for end, digest, column in parts]
    return found


def check_files(
    place: Path, rows_folder: str, files_folder: str, progress: Progress
) -> tuple[list[Fault], list[str]]:
    """Read every file of the collection: those that differ from what was written, and unknown ones.

    Files that are gone are not told here: which are needed, the newest version says. Unknown are
    files whose writer was stopped before it recorded them.
    """
    faults: list[Fault] = []
    unknown: list[str] = []
    known = recorded(place, faults)
    here = dict(_files(place / rows_folder))
    progress.start("verifying", sum(path.stat().st_size for path in here.values()))
    for name, path in here.items():
        if name in known:
            faults += _compared(name, path, known[name], progress)
        else:
            unknown.append(name)
    progress.finish()
    for path in _content_named(place / files_folder):
        if content_name(path, path.suffix) != path.name:
            faults.append(Fault(f"{files_folder}/{path.name}", "changed since it was written"))
    return faults, unknown


def _compared(name: str, path: Path, parts: list[Part], progress: Progress) -> Iterator[Fault]:
    size, wanted = path.stat().st_size, parts[-1][0] if parts else 0
    if size != wanted:
        yield Fault(name, f"{size:,} bytes long, and {wanted:,} were written")
    start = 0
    with _opened(path) as file:
        for end, digest, column in parts:
            if _digest(file.read(end - start)) != digest:
                what = f"changed since it was written, within bytes {start:,} to {end:,}"
                yield Fault(name, what, column)
            progress.advance(end - start)
            start = end


def _parts(path: Path, ends: list[tuple[int, str]]) -> Iterator[Part]:
    size = path.stat().st_size
    start = 0
    with _opened(path) as file:
        for end, column in [*ends, (size, "")]:
            while start < end:
                stop = min(end, start + PART_BYTES)
                yield stop, _digest(file.read(stop - start)), column
                start = stop


def _content_named(folder: Path) -> list[Path]:
    """The content-named files of a folder; an interrupted writer may have left others."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if len(path.stem) == NAME_DIGITS)


def _put(records: dict[str, list[Part]], place: Path) -> str:
    checks = place / CHECKS_FOLDER
    checks.mkdir(exist_ok=True)
    name = put_bytes(json.dumps(records, sort_keys=True).encode(), checks, ".json")
    sync_folder(place)
    return name


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """(path within the collection, path) of every file of a dataset."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _HINT and path.suffix != ".torn":
            yield path.relative_to(folder.parent).as_posix(), path


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(
            f"a file of a collection must be readable, and {path} is not ({error.strerror}): "
            "restore it from a copy."
        ) from None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]
