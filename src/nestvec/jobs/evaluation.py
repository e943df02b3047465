"""What an evaluation gives, and the nested codes that it measures."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from nestvec.choose.adapted import AdaptedMethod
from nestvec.choose.evidence import Cell, Evidence, adapted_name
from nestvec.choose.methods import Method, NestedCodes, NestedMethod
from nestvec.choose.relevance import QueryTask, fitting_rows
from nestvec.choose.specs import candidate_power, codebook_specs, is_ladder, nested_methods

if TYPE_CHECKING:
    from nestvec.jobs.material import Material

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Evaluation:
    """The grid of a source: evidence, and the circumstances it was measured in.

    kind_of_queries: labels, title->text or agreement; for other tasks than retrieval sts,
    clustering or classification. others: the same grid by further measures of the task.
    warnings: sentences for people.
    """

    evidence: Evidence
    about_queries: str
    warnings: tuple[str, ...]
    seconds: float
    peak_rss_mb: float
    others: tuple[Evidence, ...] = ()

    @property
    def metric(self) -> str:
        """The measure, such as nDCG@10."""
        return self.evidence.measure

    @property
    def queries(self) -> int:
        """How many queries were asked."""
        return self.evidence.queries

    @property
    def kind_of_queries(self) -> str:
        """Where relevance comes from."""
        return self.evidence.kind

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The grid."""
        return self.evidence.cells

    @property
    def full(self) -> tuple[float, float, float]:
        """Value, low and high of the full vectors."""
        found = self.evidence.full
        return found.value, found.low, found.high

    @property
    def full_bytes(self) -> int:
        """Bytes of a full float32 vector."""
        return 4 * self.evidence.dim

    def to_json(self) -> dict[str, Any]:
        """metric, queries, full, cells and the rest, as a JSON object."""
        evidence = self.evidence
        return {
            "metric": evidence.measure,
            "queries": evidence.queries,
            "kind_of_queries": evidence.kind,
            "about_queries": self.about_queries,
            "items": evidence.documents,
            "dim": evidence.dim,
            "similarity": evidence.metric,
            "full": interval_json(self.full),
            "full_bytes": self.full_bytes,
            "cells": [asdict(cell) for cell in evidence.cells],
            "others": [_table(other) for other in self.others],
            "parts": [asdict(part) for part in evidence.parts],
            "left_out": list(evidence.left_out),
            "fitted_rows": evidence.fitted_rows,
            "fitted_on_relevant": evidence.fitted_on_relevant,
            "seed": evidence.seed,
            "warnings": list(self.warnings),
            "seconds": round(self.seconds, 3),
            "peak_rss_mb": self.peak_rss_mb,
            "schema_version": SCHEMA_VERSION,
        }


def interval_json(found: tuple[float, float, float] | None) -> dict[str, float] | None:
    """{value, low, high}, or None."""
    return None if found is None else dict(zip(("value", "low", "high"), found, strict=True))


def _table(evidence: Evidence) -> dict[str, Any]:
    full = evidence.full
    return {
        "metric": evidence.measure,
        "queries": evidence.queries,
        "full": interval_json((full.value, full.low, full.high)),
        "cells": [asdict(cell) for cell in evidence.cells],
    }


def codes_of(material: Material, spec: str, kept: NestedCodes | None) -> list[Method]:
    """The nested codes to measure, and the same over adapted vectors where there is an adapter.

    kept: the collection's own codes where they stand for the nested code; otherwise as
    nested_codes says.
    """
    adapter, fresh = material.adapter, nested_codes(spec, len(material.vectors))
    own: list[Method] = fresh if kept is None else [kept]
    if adapter is None:
        return own
    over = [AdaptedMethod(adapted_name(adapter.method, code.name), adapter, code) for code in own]
    return [*fresh, *over]


def kept_codes(material: Material, task: QueryTask, spec: str, seed: int) -> NestedCodes | None:
    """A collection's own codes as the nested code, if fitting again would fit the same codec.

    That is where the build fitted it by this seed on the very rows that an evaluation of this task
    fits on, so that rows which queries ask for were kept out of both, or of neither. None
    otherwise, and where a spec is asked for or the code has no cuts to show.
    """
    opened = material.collection
    if opened is None or spec != "auto" or not is_ladder(opened.codec.spec):
        return None
    fitted_on = (opened.evidence() or {}).get("fitted_on")
    sample = fitting_rows(task, opened.count, seed)
    if opened.codec.seed != seed or fitted_on != sample.digest:
        return None
    return NestedCodes("nested", opened.codec, opened.codes(), opened.facts())


def nested_codes(spec: str, rows: int) -> list[Method]:
    """The nested code to measure; for "auto" the best per byte, and smaller ones by their spec."""
    if spec != "auto":
        return [NestedMethod(spec, power=candidate_power(rows))]
    *smaller, best = nested_methods(codebook_specs(rows), rows)
    return [replace(best, name="nested"), *smaller]
