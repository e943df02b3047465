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
# that may not name a table unquoted:
# https://www.postgresql.org/docs/current/sql-keywords-appendix.html
# https://sqlite.org/lang_keywords.html
_RESERVED = (
    " add all alter analyse analyze and any array as asc asymmetric authorization autoincrement"
    " begin between binary both case cast check collate collation column commit concurrently"
    " constraint create cross current_catalog current_date current_role current_schema"
    " current_time current_timestamp current_user default deferrable delete desc distinct do"
    " drop else end escape except exists false fetch for foreign freeze from full grant group"
    " having if ilike in index initially inner insert intersect into is isnull join lateral"
    " leading left like limit localtime localtimestamp natural not nothing notnull null offset"
    " on only or order outer overlaps placing primary references returning right rollback select"
    " session_user set similar some symmetric system_user table tablesample then to trailing"
    " transaction trigger true union unique update user using values variadic verbose view when"
    " where window with"
    " "
)


def table_name(source: Source, place: Place) -> str:
    """The name asked for, else the collection's in letters, digits and underscores.

    Raises UserError for another one: it stands unquoted in the queries that people copy.
    """
    if place.name is None:
        plain = re.sub(r"[^a-z0-9_]+", "_", source.name.lower()).strip("_")[:MOST_NAME]
        if f" {plain} " in _RESERVED:
            return f"{plain}_rows"
        return plain if _NAME.fullmatch(plain) else f"rows_{plain}"[:MOST_NAME].rstrip("_")
    if f" {place.name.lower()} " in _RESERVED:
        raise UserError(
            f"a table's name is no word of SQL's own; got {place.name!r}. Try {place.name}_rows."
        )
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
