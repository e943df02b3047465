"""Every method at every byte count, on a source or on a collection's own rows."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from nestvec.adapters.adapter import Adapter
from nestvec.bridge import faiss
from nestvec.choose.baselines import plain_baselines
from nestvec.choose.evidence import SEEN, Evidence
from nestvec.choose.grid import evaluate_grid
from nestvec.choose.methods import Method, NestedCodes
from nestvec.choose.relevance import QueryTask, mark_seen
from nestvec.errors import UserError
from nestvec.jobs.checks import check_settings, check_source, check_task, is_collection
from nestvec.jobs.evaluation import Evaluation, codes_of, kept_codes
from nestvec.jobs.machine import peak_rss_mb
from nestvec.jobs.material import Material, gather, gather_array, gather_collection
from nestvec.jobs.questions import CLASSES, FEWEST_ROWS, Questions
from nestvec.jobs.settings import EvaluateOptions, EvaluateSettings
from nestvec.progress import Progress, quiet

FAISS_METHODS = ("pq", "opq", "rq", "rabitq")


def evaluate(
    src: str | os.PathLike[str] | NDArray[Any] | None = None,
    *,
    task: str | None = None,
    progress: Progress | None = None,
    **options: Unpack[EvaluateOptions],
) -> Evaluation:
    """Measure the nested code and its rivals on a source, a collection or an array (n, d).

    task: retrieval, sts, clustering or classification; None takes what the source's columns say.
    options: the fields of EvaluateSettings. Raises UserError for what cannot be used.
    """
    return evaluate_with(src, EvaluateSettings(**options), progress, task)


def evaluate_with(
    src: str | os.PathLike[str] | NDArray[Any] | None,
    settings: EvaluateSettings,
    progress: Progress | None = None,
    task: str | None = None,
) -> Evaluation:
    """As evaluate, the options in one record."""
    begun = time.monotonic()
    listener = progress or quiet()
    kind = check_task(src, settings, task)
    if kind != "retrieval":
        from nestvec.jobs.tasks import evaluate_rows

        check_settings(settings, "texts")
        return evaluate_rows(str(src), kind, settings, listener)
    with gathered(src, settings, listener) as material:
        questions = needed(material)
        kept = kept_codes(material, questions.task, settings.spec, settings.seed)
        evidence = evaluate_grid(
            material.vectors,
            _marked(questions.task, material.adapter),
            [*codes_of(material, settings.spec, kept), *rivals()],
            metric=material.similarity,
            seed=settings.seed,
            left_out=left_out(),
            geometry=True,
            progress=listener,
        )
    return Evaluation(
        evidence,
        questions.about,
        (*material.warnings, *_about(kept), *remarks(evidence)),
        time.monotonic() - begun,
        peak_rss_mb(),
    )


def _about(kept: NestedCodes | None) -> tuple[str, ...]:
    """A sentence where the nested code was not fitted for the evaluation."""
    if kept is None:
        return ()
    return (
        f"nested is the collection's own code, {kept.codec.spec}, as its build fitted it; --spec "
        "fits another.",
    )


def _marked(task: QueryTask, adapter: Adapter | None) -> QueryTask:
    """The task, queries told apart whose documents the adapter was trained on."""
    if adapter is None or adapter.trained_rows is None:
        return task
    return mark_seen(task, adapter.trained_rows)


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
        why = f"{evidence.documents:,} rows are too few to spare them"
        if evidence.kind == CLASSES:
            why = "every row is of some class"
        found.append(
            f"codes were fitted on rows that queries ask for, since {why}; new rows may do a "
            "little worse."
        )
    seen = evidence.part(SEEN)
    if seen is not None and seen.queries == evidence.queries:
        found.append(
            "every query asks for documents that the adapter was trained on, so none says how "
            "adapted codes do on others."
        )
    elif seen is not None:
        found.append(
            f"{seen.queries:,} of {evidence.queries:,} queries ask for documents that the adapter "
            "was trained on; they are reported apart, and adapted codes are to be judged by the "
            "unseen ones."
        )
    if evidence.queries < 100:
        found.append(f"{evidence.queries} queries prove little: read the intervals.")
    return tuple(found)
