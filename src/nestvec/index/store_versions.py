"""Versions of the rows on disk, and the names that people give them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nestvec.errors import UserError
from nestvec.index.checksums import merge, record
from nestvec.index.files import one_writer, sync_tree
from nestvec.index.store import lance_library, reading
from nestvec.index.store_records import layout

# Lance lists no tags once one is beyond ASCII; a name of digits would read as a version's number.
_NAME = re.compile(r"(?!\d+$)[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Version:
    """One version. rows: without the deleted ones. tags: its names, sorted."""

    number: int
    written: datetime
    rows: int
    tags: tuple[str, ...]


def list_versions(folder: Path) -> list[Version]:
    """The versions that are there, the newest last."""
    with reading(folder):
        dataset = lance_library().dataset(str(folder))
        names: dict[int, list[str]] = {}
        for name, found in dataset.tags.list().items():
            names.setdefault(int(found["version"]), []).append(name)
        versions = []
        for each in dataset.versions():
            number, facts = int(each["version"]), each["metadata"]
            tags = tuple(sorted(names.get(number, ())))
            written = each["timestamp"].astimezone(UTC)
            versions.append(Version(number, written, int(facts["total_rows"]), tags))
        return versions


def tag_version(folder: Path, name: str, number: int) -> None:
    """Give a version a name, by which it is opened, and with which compaction lets it stand.

    A name that another version has moves to this one. Raises UserError where the name is none,
    there is no such version, or another process is writing.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            "a tag is letters, digits, '.', '-' and '_', does not begin with a '.' and is no "
            f"number; got {name!r}: write v1, for instance."
        )
    with one_writer(folder.parent), reading(folder):
        check_version(folder, number)
        tags = lance_library().dataset(str(folder)).tags
        there = name in tags.list()
        with _renaming(folder, name):
            if there:
                tags.update(name, number)
            else:
                tags.create(name, number)


def untag(folder: Path, name: str) -> None:
    """Take a name from its version; raises UserError where there is no such name."""
    with one_writer(folder.parent), reading(folder):
        tags = lance_library().dataset(str(folder)).tags
        known = sorted(tags.list())
        if name not in known:
            raise UserError(
                f"a tag to remove must be there; got {name!r}, and there "
                f"{'is ' + ', '.join(known) if known else 'are none'}."
            )
        with _renaming(folder, name):
            tags.delete(name)


@contextmanager
def _renaming(folder: Path, name: str) -> Iterator[None]:
    """Around a change of a tag's file, the only one that Lance writes in place."""
    merge(folder, folder / "_refs" / "tags" / f"{name}.json")
    yield
    sync_tree(folder)
    record(folder, layout)


def number_of(folder: Path, version: int | str) -> int:
    """The number of a version, of which a number, its digits or a tag is given.

    Raises UserError where there is none.
    """
    text = str(version)
    if text.isascii() and text.isdigit():
        check_version(folder, int(text))
        return int(text)
    with reading(folder):
        tags = lance_library().dataset(str(folder)).tags.list()
    if text not in tags:
        raise UserError(
            f"a version is a number or a tag; got {text!r}, and the tags are "
            f"{', '.join(sorted(tags)) or 'none'}: nestvec versions lists them."
        )
    return int(tags[text]["version"])


def check_version(folder: Path, number: int) -> None:
    """Raise UserError where there is no version of that number."""
    known = [version.number for version in list_versions(folder)]
    if number not in known:
        raise UserError(
            f"a version must be one that is kept; got {number}, and there are {_spans(known)}: "
            "compaction removes older ones, but for tagged ones."
        )


def _spans(numbers: list[int]) -> str:
    """Rising numbers, neighbours as a span: 1, 3 to 5."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][-1] == number - 1:
            spans[-1][1:] = [number]
        else:
            spans.append([number])
    return ", ".join(" to ".join(map(str, span)) for span in spans)
