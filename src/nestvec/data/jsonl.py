"""Records of a .jsonl file: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from nestvec.data.lines import read_lines
from nestvec.errors import UserError


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Yields (place, record), place being "line 7"; blank lines are passed over.

    Raises UserError with file and line where a line is not one JSON object.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path} line {number} is not valid JSON ({error.msg} at column {error.colno}): "
                "every line must be one JSON object."
            ) from None
        except RecursionError:
            raise UserError(
                f"{path} line {number} is JSON nested too deep: every line must be one JSON object."
            ) from None
        if not isinstance(record, dict):
            raise UserError(
                f"{path} line {number} holds a JSON {_json_kind(record)}: "
                'every line must be one JSON object, such as {"id": "1", "text": "..."}.'
            )
        yield f"line {number}", record


def _json_kind(value: object) -> str:
    if isinstance(value, list):
        return "array"
    if isinstance(value, str):
        return "string"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return "number"
