"""What a report shows, as plain values: made by a job, saved as JSON, drawn by this room.

Nothing here is computed; every number arrives finished, with its interval.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from nestvec.choose.evidence import unadapted

Family = Literal["nested", "adapted", "float", "int8", "quantizer"]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Cell:
    """One method at one byte count.

    dims: coordinates kept, None for all or for codes. bytes: read of one vector, of which
    fact_bytes are norms and lengths. value, low, high: quality and its 95 % interval;
    delta_*: the paired difference from the full vectors.
    """

    method: str
    dims: int | None
    bytes: float
    value: float
    low: float
    high: float
    delta: float
    delta_low: float
    delta_high: float
    fact_bytes: int = 0


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Chosen:
    """The choice: what was wished, the plan, and what it keeps on queries it never saw.

    code_bytes + fact_bytes are read a vector; kept is the share of the full quality.
    met: whether the wish is met; where not, this is the nearest. method: its line's name.
    """

    wish: str
    met: bool
    spec: str
    plan: str
    code_bytes: int
    fact_bytes: int
    kept: Figure
    sentence: str
    method: str = "nested"


@dataclass(frozen=True)
class Cost:
    """A line of costs: what, now (full vectors), then (the choice)."""

    what: str
    full: str
    chosen: str


@dataclass(frozen=True)
class Hit:
    """One hit of one reading. agrees: also among the full vectors' hits; relevant: judged so.

    picture: of an image, a small JPEG as a data URI; "" where there is none.
    """

    id: str
    text: str
    agrees: bool
    relevant: bool
    picture: str = ""


@dataclass(frozen=True)
class Reading:
    """The hits of one question at one byte count; name: "full vectors", "chosen", ..."""

    name: str
    bytes: float
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class Question:
    """A real query and its hits at several byte counts, the full vectors first.

    picture: of a query that is an image, as Hit has it.
    """

    text: str
    readings: tuple[Reading, ...]
    picture: str = ""


@dataclass(frozen=True)
class Note:
    """One thing to know about how it was measured."""

    term: str
    text: str


@dataclass(frozen=True)
class Sheet:
    """All that one report shows."""

    name: str
    summary: str
    measure: str
    full: Figure
    full_bytes: float
    cells: tuple[Cell, ...]
    chosen: Chosen | None
    costs: tuple[Cost, ...]
    questions: tuple[Question, ...]
    notes: tuple[Note, ...]
    warnings: tuple[str, ...]
    command: str
    made: str
    version: str
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Sheet:
        """The sheet that to_json gave; raises ValueError for another schema_version."""
        return revive(cls, value, SCHEMA_VERSION)


#: the families that stand out; the last is drawn on top
NESTED: tuple[Family, ...] = ("nested", "adapted")

#: methods -> family; a method that is not here is drawn as a quantizer
FAMILIES: dict[str, Family] = {
    "nested": "nested",
    "prefix-float": "float",
    "random-float": "float",
    "variance-float": "float",
    "pca-float": "float",
    "svd-float": "float",
    "prefix-int8": "int8",
    "svd-int8": "int8",
    "int8": "int8",
}

NAMES = {
    "nested": "nested code",
    "prefix-float": "prefix, float",
    "random-float": "random dims, float",
    "variance-float": "variance order, float",
    "pca-float": "PCA, float",
    "svd-float": "SVD, float",
    "prefix-int8": "prefix, int8",
    "svd-int8": "SVD, int8",
    "int8": "int8",
    "sign": "sign bits",
    "pq": "PQ",
    "opq": "OPQ",
    "rq": "RQ, cut",
    "rabitq": "RaBitQ",
}


def family(method: str) -> Family:
    """The family a method is drawn in."""
    code = unadapted(method)
    if code is not None:
        return "adapted" if family(code) == "nested" else family(code)
    return FAMILIES.get(method, "int8" if method.endswith("xint8") else "quantizer")


def title(method: str) -> str:
    """A method's name for people."""
    code = unadapted(method)
    if code is not None:
        return f"adapted {title(code)}"
    if method.endswith("xint8"):
        return f"prefix, {method.removesuffix('xint8')} dims, int8"
    return NAMES.get(method, f"nested {method}" if "xcb" in method else method)


def methods(sheet: Sheet) -> list[str]:
    """The methods of a sheet in the order they came, the nested codes last (drawn on top)."""
    names = list(dict.fromkeys(cell.method for cell in sheet.cells))
    return sorted(names, key=lambda name: NESTED.index(family(name)) if is_nested(name) else -1)


def is_nested(method: str) -> bool:
    """Whether a method is the nested code, over vectors as they are or adapted."""
    return family(method) in NESTED


T = TypeVar("T")


def revive(kind: type[T], value: dict[str, Any], version: int) -> T:
    """What all a report shows, a `kind`, from the plain values that dataclasses.asdict made of it.

    Raises ValueError for values of another schema_version.
    """
    found = value.get("schema_version")
    if found != version:
        raise ValueError(f"a report's data must have schema_version {version}; got {found}.")
    return _record(kind, value)


def _record(kind: type[T], value: Any) -> T:
    """A record of `kind` from plain values, by its annotations."""
    hints = typing.get_type_hints(kind)
    fields = {}
    for name, hint in hints.items():
        if name in value:
            fields[name] = _field(hint, value[name])
    return kind(**fields)


def _field(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return _record(typing.cast(type[Any], hint), value)
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        return tuple(_field(item, each) for each in value)
    if isinstance(hint, types.UnionType) and value is not None:
        return _field(typing.get_args(hint)[0], value)
    return value
