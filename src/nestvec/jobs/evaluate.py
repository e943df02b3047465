"""Every method at every byte count, on a source or on a collection's own rows."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from nestvec.bridge import faiss
from nestvec.choose.baselines import plain_baselines
from nestvec.choose.evidence import Cell, Evidence
from nestvec.choose.grid import evaluate_grid
from nestvec.choose.methods import Method, NestedMethod
from nestvec.choose.specs import codebook_specs
from nestvec.errors import UserError
from nestvec.jobs.checks import check_settings, check_source, is_collection
from nestvec.jobs.machine import peak_rss_mb
from nestvec.jobs.material import Material, gather, gather_array, gather_collection
from nestvec.jobs.questions import FEWEST_ROWS, Questions
from nestvec.jobs.settings import EvaluateOptions, EvaluateSettings
from nestvec.progress import Progress, quiet

SCHEMA_VERSION = 1
FAISS_METHODS = ("pq", "opq", "rq", "rabitq")


@dataclass(frozen=True)
class Evaluation:
    """The grid of a source: evidence, and the circumstances it was measured in.

    kind_of_queries: labels, title->text or agreement. warnings: sentences for people.
    """

    evidence: Evidence
    about_queries: str
    warnings: tuple[str, ...]
    seconds: float
    peak_rss_mb: float

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


def evaluate(
    src: str | os.PathLike[str] | NDArray[Any] | None = None,
    *,
    progress: Progress | None = None,
    **options: Unpack[EvaluateOptions],
) -> Evaluation:
    """Measure the nested code and its rivals on a source, a collection or an array (n, d).

    options: the fields of EvaluateSettings. Raises UserError for what cannot be used.
    """
    return evaluate_with(src, EvaluateSettings(**options), progress)


def evaluate_with(
    src: str | os.PathLike[str] | NDArray[Any] | None,
    settings: EvaluateSettings,
    progress: Progress | None = None,
) -> Evaluation:
    """As evaluate, the options in one record."""
    begun = time.monotonic()
    listener = progress or quiet()
    with gathered(src, settings, listener) as material:
        questions = needed(material)
        codes = nested_codes(settings.spec, len(material.vectors))
        evidence = evaluate_grid(
            material.vectors,
            questions.task,
            [*codes, *rivals()],
            metric=material.similarity,
            seed=settings.seed,
            left_out=left_out(),
            progress=listener,
        )
    return Evaluation(
        evidence,
        questions.about,
        (*material.warnings, *remarks(evidence)),
        time.monotonic() - begun,
        peak_rss_mb(),
    )


@contextmanager
def gathered(
    src: str | os.PathLike[str] | NDArray[Any] | None,
    settings: EvaluateSettings,
    progress: Progress,
) -> Iterator[Material]:
    """The material of a source or a collection; vectors of texts live in a temporary folder."""
    if isinstance(src, np.ndarray):
        check_settings(settings, "vectors")
        yield gather_array(src, settings, progress)
        return
    if src is not None and not settings.demo and is_collection(src):
        check_settings(settings, "collection")
        yield gather_collection(Path(src), settings, progress)
        return
    source = check_source(src, settings)
    check_settings(settings, source.kind)
    with tempfile.TemporaryDirectory(prefix="nestvec-") as folder:
        yield gather(source, settings, Path(folder), progress)


def needed(material: Material) -> Questions:
    """The questions; raises UserError where there are too few rows to ask any."""
    if material.questions is None:
        raise UserError(
            f"a measurement without judgements needs at least {FEWEST_ROWS} rows; {material.name} "
            f"has {len(material.vectors)}: add rows, or give --queries and --qrels."
        )
    return material.questions


def nested_codes(spec: str, rows: int) -> list[Method]:
    """The nested code to measure; for "auto" the best per byte, and smaller ones by their spec."""
    if spec != "auto":
        return [NestedMethod(spec)]
    *smaller, best = codebook_specs(rows)
    return [NestedMethod(best), *(NestedMethod(each, name=each) for each in smaller)]


def rivals() -> list[Method]:
    """Every method that can run here, the nested code apart."""
    return [*plain_baselines(), *(faiss.faiss_methods() if faiss.available() else [])]


def left_out() -> Sequence[str]:
    """What cannot run here and why."""
    if faiss.available():
        return ()
    reason = "faiss is not installed (pip install 'nestvec[bench]')"
    return tuple(f"{method}: {reason}" for method in FAISS_METHODS)


def remarks(evidence: Evidence) -> tuple[str, ...]:
    """Sentences on what limits the evidence."""
    found = []
    if evidence.left_out:
        names = ", ".join(text.split(":")[0] for text in evidence.left_out)
        found.append(f"left out, since faiss is not installed: {names}.")
    if evidence.fitted_on_relevant:
        found.append(
            f"codes were fitted on rows that queries ask for, since {evidence.documents:,} rows "
            "are too few to spare them; new rows may do a little worse."
        )
    if evidence.queries < 100:
        found.append(f"{evidence.queries} queries prove little: read the intervals.")
    return tuple(found)
