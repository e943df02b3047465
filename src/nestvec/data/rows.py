"""What the readers give: one record a document, one a query; and what a source may hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Kind = Literal["texts", "images", "vectors"]
KINDS: tuple[Kind, ...] = ("texts", "images", "vectors")
"""What a source may hold."""

_NO_COLUMNS: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Row:
    """One document.

    id: unique within its source; text: never empty; title: "" where there is none;
    columns: what else stood in the record ("label" among them), by column name.
    """

    id: str
    text: str
    title: str = ""
    columns: Mapping[str, object] = field(default_factory=lambda: _NO_COLUMNS)

    @property
    def titled_text(self) -> str:
        """Title and text with a space between, as retrieval benchmarks encode documents."""
        return f"{self.title} {self.text}" if self.title else self.text


@dataclass(frozen=True, slots=True)
class Query:
    """One question; id is what the judgements name."""

    id: str
    text: str
