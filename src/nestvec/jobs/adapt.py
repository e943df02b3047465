"""An adapter over a file of vectors, trained, judged, and written where it helps."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from nestvec.adapters.adapter import Adapter
from nestvec.choose.adapted import AdaptedFloat
from nestvec.choose.axes import leading, pca, random, svd, variance
from nestvec.choose.baselines import FloatAxes
from nestvec.choose.evidence import Evidence
from nestvec.choose.grid import evaluate_grid
from nestvec.choose.judge import Verdict, judge
from nestvec.choose.methods import Method
from nestvec.choose.relevance import QueryTask, agreement
from nestvec.errors import UserError
from nestvec.jobs.adapt_inputs import Inputs, check_adapt
from nestvec.jobs.machine import peak_rss_mb
from nestvec.jobs.settings import AdaptOptions, AdaptSettings
from nestvec.measure.metrics import Relevance
from nestvec.progress import Progress, quiet

ADAPTER_FILE = "adapter.safetensors"
VERDICT_FILE = "verdict.json"
MODEL_FOLDER = "model"
BASELINES = ("prefix-float", "random-float", "variance-float", "pca-float", "svd-float")
_JUDGED_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class AdaptResult:
    """adapter: trained, used or not. written: where it was, None where it was refused."""

    adapter: Adapter
    verdict: Verdict
    evidence: Evidence
    written: str | None
    forced: bool
    pairs: int
    seconds: float
    peak_rss_mb: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "method": self.adapter.method,
            "dim": self.adapter.dim,
            "widths": list(self.adapter.widths),
            "adapter_bytes": self.adapter.size_bytes(),
            "pairs": self.pairs,
            "used": self.verdict.used,
            "forced": self.forced,
            "verdict": self.verdict.to_config(),
            "written": self.written,
            "seconds": round(self.seconds, 3),
            "peak_rss_mb": self.peak_rss_mb,
        }


def adapt(
    vectors: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    **options: Unpack[AdaptOptions],
) -> AdaptResult:
    """Train an adapter on the vectors of a file, judge it, and write it to the folder out.

    options: the fields of AdaptSettings, such as method="smec" and pairs="train.tsv".
    A fifth of the pairs, by document, is held out for the judge; where the adapter is not better
    than the best baseline it is not written (unless force), the verdict is.
    """
    return adapt_with(vectors, out, AdaptSettings(**options), progress)


def adapt_with(
    vectors: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: AdaptSettings,
    progress: Progress | None = None,
) -> AdaptResult:
    """As adapt, the options in one record. Raises UserError for what cannot be used."""
    begun = time.monotonic()
    listener = progress or quiet()
    place, inputs = check_adapt(vectors, out, settings)

    from nestvec.learn.adapters.examples import Examples
    from nestvec.learn.adapters.methods import AdapterSettings, fit_adapter
    from nestvec.learn.adapters.settings import default_widths
    from nestvec.learn.adapters.training import Training

    training = Training(
        batch=settings.batch,
        rate=settings.learning_rate,
        epochs=settings.epochs,
        seed=settings.seed,
        device=settings.device,
    )
    how = AdapterSettings(
        widths=settings.widths or default_widths(inputs.documents.shape[1]),
        training=training,
        temperature=settings.temperature,
        blend=settings.blend,
    )
    examples = Examples(inputs.documents, inputs.queries, inputs.pairs, inputs.grades)
    examples.check()
    judged: Examples | None = None
    if examples.labelled:
        by = examples.split if examples.tied <= 1 - _JUDGED_SHARE else examples.split_queries
        examples, judged = by(_JUDGED_SHARE, settings.seed)
    task = _task(inputs, None if judged is None else judged.pairs, settings, listener)
    if task.own_rows is not None:
        # rows that ask the judge's questions are not learned from
        others = np.setdiff1d(np.arange(len(inputs.documents)), task.own_rows)
        examples = replace(examples, rows=others)
    work = place.with_name(place.name + ".work")
    adapter = fit_adapter(settings.method, examples, how, folder=work, progress=listener)
    evidence = evaluate_grid(
        inputs.documents, task, _methods(adapter), seed=settings.seed, progress=listener
    )
    verdict = judge(evidence, settings.method, BASELINES, seed=settings.seed)
    result = AdaptResult(
        adapter,
        verdict,
        evidence,
        str(place / ADAPTER_FILE) if verdict.used or settings.force else None,
        settings.force and not verdict.used,
        0 if examples.pairs is None else len(examples.pairs),
        time.monotonic() - begun,
        peak_rss_mb(),
    )
    _write(place, result, settings.model)
    return result


def _methods(adapter: Adapter) -> list[Method]:
    kinds = (leading, random, variance, pca, svd)
    widths = tuple(sorted(adapter.widths))
    baselines = zip(BASELINES, kinds, strict=True)
    found: list[Method] = [FloatAxes(name, kind, widths) for name, kind in baselines]
    return [AdaptedFloat(adapter.method, adapter, widths), *found]


def _task(
    inputs: Inputs, pairs: NDArray[np.int64] | None, settings: AdaptSettings, progress: Progress
) -> QueryTask:
    """What the judge asks: the pairs held out, else agreement with exact search."""
    if pairs is None or inputs.queries is None:
        return agreement(inputs.documents, seed=settings.seed, progress=progress)
    asked = np.unique(pairs[:, 0])
    grade_of = inputs.grade_of()
    gains: list[dict[int, float]] = [{} for _ in asked]
    for query, row in pairs.tolist():
        gains[int(np.searchsorted(asked, query))][row] = grade_of[query, row]
    return QueryTask(
        np.asarray(inputs.queries[asked], np.float32),
        Relevance.from_gains(gains),
        "nDCG@10",
        "labels",
        tuple(inputs.query_ids[query] for query in asked),
    )


def _write(place: Path, result: AdaptResult, model: str | None) -> None:
    """The folder, whole or not at all; the checkpoints beside it go."""
    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        if result.written is not None:
            result.adapter.save(partial / ADAPTER_FILE)
            if model is not None:
                from nestvec.learn.adapters.export import export_model

                export_model(result.adapter, model, None, partial / MODEL_FOLDER)
        record = result.to_json()
        record["grid"] = result.evidence.to_config()
        (partial / VERDICT_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        partial.rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(place.with_name(place.name + ".work"), ignore_errors=True)


def load_adapter(path: str | os.PathLike[str]) -> Adapter:
    """The adapter in a folder that adapt wrote, or in a file.

    Raises UserError where there is none, such as where the judge refused it.
    """
    where = Path(path)
    if where.is_dir():
        if (where / VERDICT_FILE).exists() and not (where / ADAPTER_FILE).exists():
            raise UserError(
                f"{where} holds a verdict and no adapter: the judge refused it. Train another, or "
                "adapt with --force."
            )
        where = where / ADAPTER_FILE
    return Adapter.load(where)
