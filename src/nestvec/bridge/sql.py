"""What the SQL targets share: names of tables, and the words that go into a query's file."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path

from nestvec.bridge.exported import Place, Source
from nestvec.errors import UserError
from nestvec.index.plan import Stage

MOST_NAME = 40
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def table_name(source: Source, place: Place) -> str:
    """The name asked for, else the collection's in letters, digits and underscores.

    Raises UserError for another one: it stands unquoted in the queries that people copy.
    """
    if place.name is None:
        plain = re.sub(r"[^a-z0-9_]+", "_", source.name.lower()).strip("_")[:MOST_NAME]
        return plain if _NAME.fullmatch(plain) else f"rows_{plain}".rstrip("_")
    if not _NAME.fullmatch(place.name) or len(place.name) > MOST_NAME:
        raise UserError(
            f"a table's name is letters, digits and underscores, {MOST_NAME} at most, and no digit "
            f"first; got {place.name!r}. Give another by --name."
        )
    return place.name


def quoted(name: str) -> str:
    """A column's name as SQL takes any."""
    return '"' + name.replace('"', '""') + '"'


def check_columns(source: Source, own: tuple[str, ...]) -> None:
    """Raise UserError where user's columns differ in case alone, or so from the target's own."""
    seen = set(own)
    for name in source.kinds:
        if name.lower() in seen:
            raise UserError(
                f"columns of a table differ in more than case; got {name!r} beside another: "
                "rename or drop it."
            )
        seen.add(name.lower())


def put_text(text: str, path: Path) -> None:
    """Write a text file, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def stage_name(stage: Stage) -> str:
    """What a stage's part of a query is called, such as by_sign or by_128d."""
    return f"by_{stage.name}"


def commented(text: str) -> str:
    """Sentences as lines of a comment."""
    lines = [
        line for part in text.strip().splitlines() for line in (textwrap.wrap(part, 96) or [""])
    ]
    return "".join(f"-- {line}".rstrip() + "\n" for line in lines)
