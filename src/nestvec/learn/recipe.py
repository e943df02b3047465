"""A recipe of training, read whole from TOML, with all of its faults told at once.

Nothing here imports torch, so that a fault is told at once.
"""

from __future__ import annotations

import copy
import difflib
import math
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from nestvec.errors import UserError
from nestvec.learn.recipe_faults import contradictions
from nestvec.learn.recipe_tables import (
    DataTable,
    ImagesTable,
    LayersTable,
    LossTable,
    ModelTable,
    NestingTable,
    Recipe,
    TrainTable,
)

_TABLES: dict[str, type] = {
    "model": ModelTable,
    "data": DataTable,
    "nesting": NestingTable,
    "loss": LossTable,
    "layers": LayersTable,
    "images": ImagesTable,
    "train": TrainTable,
}


def load_recipe(path: str | os.PathLike[str], settings: tuple[str, ...] = ()) -> Recipe:
    """The recipe of a TOML file; settings such as "train.batch=64" change it.

    Paths of data and models in the file are taken from where the command runs.
    Raises UserError that names every fault of the file and the settings.
    """
    place = Path(path)
    if not place.is_file():
        raise UserError(f"a recipe is a TOML file; got {str(path)!r}, which is none; see recipes/.")
    try:
        tables = tomllib.loads(place.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{place} is not TOML: {error}. Mend that line.") from None
    return parse_recipe(tables, settings, where=str(place))


def parse_recipe(
    given: Mapping[str, Any], settings: tuple[str, ...] = (), *, where: str = "the recipe"
) -> Recipe:
    """The recipe that nested mappings describe; settings such as "train.batch=64" change it.

    Raises UserError that names every fault of both.
    """
    tables = copy.deepcopy(dict(given))
    found = [fault for setting in settings for fault in _set(tables, setting)]
    made: dict[str, Any] = {}
    unknown = (name for name in tables if name not in _TABLES)
    found.extend(f"there is no table [{name}]{_nearest(name, _TABLES)}" for name in unknown)
    for name, kind in _TABLES.items():
        made[name] = _table(name, kind, tables.get(name, {}), found)
    recipe = Recipe(**made)
    found.extend(contradictions(recipe))
    if found:
        listed = "; ".join(found)
        count = "1 fault" if len(found) == 1 else f"{len(found)} faults"
        raise UserError(f"{where} has {count}: {listed}.")
    return recipe


def _set(tables: dict[str, Any], setting: str) -> list[str]:
    """Apply "table.key=value"; the value is TOML, or a bare string."""
    path, equals, text = setting.partition("=")
    table, dot, key = path.strip().partition(".")
    if not equals or not dot or not key:
        return [f"a setting is written table.key=value, got {setting!r}"]
    try:
        value = tomllib.loads(f"x = {text.strip()}")["x"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    here = tables.setdefault(table, {})
    if isinstance(here, dict):
        here[key] = value
    return []


def _table(name: str, kind: type, given: Any, faults: list[str]) -> Any:
    if not isinstance(given, Mapping):
        faults.append(f"[{name}] must be a table, got {given!r}")
        return kind()
    hints = get_type_hints(kind)
    values = {}
    for key, value in given.items():
        if key not in hints:
            faults.append(f"{name}.{key} is no key of [{name}]{_nearest(key, hints)}")
            continue
        fits, taken = _fit(value, hints[key])
        if not fits:
            faults.append(f"{name}.{key} must be {_described(hints[key])}, got {value!r}")
            continue
        values[key] = taken
    return kind(**values)


def _fit(value: Any, hint: Any) -> tuple[bool, Any]:
    """Whether a TOML value fits a type, and the value as that type."""
    arms = get_args(hint)
    if type(None) in arms:
        if value is None:  # of mappings; TOML has none
            return True, None
        return _fit(value, next(arm for arm in arms if arm is not type(None)))
    if arms:  # a tuple, of any length or of two
        if not isinstance(value, (list, tuple)) or (arms[-1] is not ... and len(value) != 2):
            return False, None
        taken = [_fit(item, arms[0]) for item in value]
        return all(fits for fits, _ in taken), tuple(item for _, item in taken)
    if hint is float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits = good and abs(value) < math.inf and abs(value) <= sys.float_info.max
        return fits, float(value) if fits else None
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    return isinstance(value, hint), value


def _described(hint: Any) -> str:
    arms = [arm for arm in get_args(hint) if arm not in (type(None), ...)]
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}
    if hint in names:
        return names[hint]
    if type(None) in get_args(hint):
        return names[arms[0]]
    if get_args(arms[0]):
        return "a list of pairs [layer, width]"
    return f"a list of {names[arms[0]].removeprefix('a ')}s"


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]}?)" if near else f" (it has {', '.join(known)})"
