"""Which class stands for which: names of another set's classes, or groups of classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from nestvec.data.lines import plain_suffix
from nestvec.data.tabular import is_records, read_records
from nestvec.errors import UserError


def read_class_map(path: Path) -> dict[str, str]:
    """{class: what stands for it}, of a .json object, or of a table's first two columns.

    Raises UserError for a file that is not there or holds something else.
    """
    if not path.is_file():
        raise UserError(f"a class map is a file that is there; {path} is not. Name one.")
    if plain_suffix(path) == ".json":
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path} cannot be read as JSON ({error}).") from None
        if not isinstance(found, dict) or not all(
            isinstance(x, (str, int)) for x in found.values()
        ):
            raise UserError(
                f'a class map in JSON is an object of names, such as {{"n01443537": "goldfish"}}; '
                f"{path} is something else."
            )
        return {str(name): str(other) for name, other in found.items()}
    if not is_records(path):
        raise UserError(f"a class map is a .json, .csv or .tsv file; got {path.name}.")
    found = {}
    for line, record in read_records(path):
        values = [str(value).strip() for value in record.values()]
        if len(values) < 2 or not all(values[:2]):
            raise UserError(
                f"a class map has two columns, class and what stands for it; {path} line {line} "
                f"has {values}."
            )
        found[values[0]] = values[1]
    return found


def mapped(labels: Sequence[str], by: dict[str, str], place: str) -> list[str]:
    """The labels by a map. Raises UserError that names classes which it has not."""
    missing = sorted(set(labels) - set(by))
    if missing:
        listed = ", ".join(map(repr, missing[:3])) + (", ..." if len(missing) > 3 else "")
        raise UserError(
            f"a class map has every class; {place} has none for {listed} ({len(missing)} classes). "
            "Add them."
        )
    return [by[label] for label in labels]
