"""What the report of a classifier shows, as plain values; see sheet.py."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from nestvec.report.sheet import Figure, Note, revive

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class WidthRow:
    """A width: accuracy, its paired difference from the widest, the share of rows that the cascade
    stops there, calibration error, and the accuracy of the surest shares of rows."""

    width: int
    accuracy: Figure
    from_full: Figure
    stopped: float
    calibration_error: float
    surest: tuple[float, ...]


@dataclass(frozen=True)
class CostRow:
    """A way at one setting: expected dimensions by either count, and accuracy."""

    way: str
    detail: str
    last: float
    sum: float
    accuracy: Figure


@dataclass(frozen=True)
class ClassRow:
    """A class: its told rows, accuracy narrow, full and by the cascade; gain: full less narrow."""

    name: str
    rows: int
    narrow: float
    full: float
    cascade: float
    gain: Figure
    mean_width: float


@dataclass(frozen=True)
class Example:
    """A told row where it stopped. text or picture (a data URI) shows it; either may be empty."""

    id: str
    text: str
    picture: str
    label: str
    found: str
    width: int
    confidence: float


@dataclass(frozen=True)
class ClassifierSheet:
    """All that one report shows. early, late: rows that stopped first, and last.

    surest: the shares that WidthRow.surest are of. microseconds: a row by the cascade and by the
    widest alone.
    """

    name: str
    summary: str
    policy: str
    counted: str
    widths: tuple[WidthRow, ...]
    visited: tuple[int, ...]
    accuracy: Figure
    from_full: Figure
    last: float
    sum: float
    microseconds: float
    full_microseconds: float
    surest: tuple[float, ...]
    points: tuple[CostRow, ...]
    classes: tuple[ClassRow, ...]
    early: tuple[Example, ...]
    late: tuple[Example, ...]
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
    def from_json(cls, value: dict[str, Any]) -> ClassifierSheet:
        """The sheet that to_json gave; raises ValueError for another schema_version."""
        return revive(cls, value, SCHEMA_VERSION)
