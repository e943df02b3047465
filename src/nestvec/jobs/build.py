"""From texts, images or vectors to a compressed, measured, searchable collection."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from nestvec.adapters.adapter import Adapter
from nestvec.choose.judge import Verdict
from nestvec.choose.relevance import fitting_rows
from nestvec.index.columns import check_column_names
from nestvec.index.creation import create
from nestvec.index.manifest import Manifest
from nestvec.jobs.adapting import train_adapter
from nestvec.jobs.build_sheet import build_sheet, short_command
from nestvec.jobs.checks import check_build
from nestvec.jobs.choose import Picked, pick, pick_unmeasured
from nestvec.jobs.embed import work_folder
from nestvec.jobs.encoders import IMAGES, kept_settings
from nestvec.jobs.evaluate import remarks
from nestvec.jobs.evaluation import SCHEMA_VERSION, Evaluation, interval_json
from nestvec.jobs.machine import describe_machine, peak_rss_mb
from nestvec.jobs.material import Material, gather
from nestvec.jobs.report import REPORT_NAME, report
from nestvec.jobs.settings import BuildOptions, BuildSettings
from nestvec.jobs.sheets import codec_parts
from nestvec.progress import Progress, quiet
from nestvec.vectors import row_blocks

#: the largest number that float16 holds is 65,504; beyond this, vectors stay float32
HALF_RANGE = 60_000.0


@dataclass(frozen=True)
class BuildResult:
    """What was built, what it costs and what it keeps.

    kind: texts, images or vectors.
    full: value, low, high of the full vectors' quality; kept: the share of it that the plan
    keeps on queries it was not chosen by; both None where the rows are too few to measure.
    bytes_per_vector: what the plan reads of a row, code and facts. total_bytes: of all rows'
    codes and facts and of the codec. method: the chosen code's name in the grid. adapter: what
    vectors go through first, None for nothing; codec_bytes holds it. verdict: the judge's, where
    one was trained.
    break_even_rows: rows from which codes and codec are smaller than full float32 vectors.
    """

    out: str
    report: str
    kind: str
    items: int
    dim: int
    model: str | None
    metric: str | None
    similarity: str
    full: tuple[float, float, float] | None
    kept: tuple[float, float, float] | None
    met: bool
    plan: str
    spec: str
    method: str
    adapter: str | None
    verdict: Verdict | None
    code_bytes: int
    fact_bytes: int
    codec_bytes: int
    total_bytes: int
    break_even_rows: int
    vectors_on_disk_bytes: int
    queries: int
    kind_of_queries: str | None
    truncated: int | None
    evaluation: Evaluation | None
    sentence: str
    seconds: float
    encode_seconds: float
    peak_rss_mb: float
    warnings: tuple[str, ...]

    @property
    def bytes_per_vector(self) -> int:
        """Bytes that the plan reads of a row: code and facts."""
        return self.code_bytes + self.fact_bytes

    @property
    def codec_parts(self) -> str:
        """What codec_bytes are of, in words."""
        return codec_parts(self.adapter)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the grid itself is in the report and in evaluate."""
        return {
            "kind": self.kind,
            "items": self.items,
            "dim": self.dim,
            "model": self.model,
            "metric": self.metric,
            "similarity": self.similarity,
            "full": interval_json(self.full),
            "plan": self.plan,
            "spec": self.spec,
            "adapter": self.adapter,
            "verdict": None if self.verdict is None else self.verdict.to_config(),
            "bytes_per_vector": self.bytes_per_vector,
            "code_bytes": self.code_bytes,
            "fact_bytes": self.fact_bytes,
            "codec_bytes": self.codec_bytes,
            "total_bytes": self.total_bytes,
            "break_even_rows": self.break_even_rows,
            "kept": interval_json(self.kept),
            "met": self.met,
            "queries": self.queries,
            "kind_of_queries": self.kind_of_queries,
            "vectors_on_disk_bytes": self.vectors_on_disk_bytes,
            "truncated": self.truncated,
            "out": self.out,
            "report": self.report,
            "warnings": list(self.warnings),
            "seconds": round(self.seconds, 3),
            "encode_seconds": round(self.encode_seconds, 3),
            "peak_rss_mb": self.peak_rss_mb,
            "schema_version": SCHEMA_VERSION,
        }


def build(
    src: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    progress: Progress | None = None,
    **options: Unpack[BuildOptions],
) -> BuildResult:
    """Build a collection from texts, images or vectors, at the fewest bytes that keep the wish.

    src: a file or folder, None with demo=True. out: the collection to make, a new folder.
    options: the fields of BuildSettings, such as keep=0.99 or max_bytes=48.
    An interrupted run leaves `<out>.work`, and goes on there when it is run again.
    Raises UserError for what cannot be used; nothing half-written stands at out.
    """
    return build_with(src, out, BuildSettings(**options), progress)


def build_with(
    src: str | os.PathLike[str] | None,
    out: str | os.PathLike[str] | None,
    settings: BuildSettings,
    progress: Progress | None = None,
) -> BuildResult:
    """As build, the options in one record."""
    begun = time.monotonic()
    listener = progress or quiet()
    place, source = check_build(src, out, settings)
    first = next(iter(source.rows()), None)
    check_column_names(() if first is None else first.columns)
    work = work_folder(place)
    material = gather(source, settings, work, listener)
    adapter, trained_on = None, ""
    if settings.adapt is not None and material.questions is not None:
        adapter, trained_on = train_adapter(material, source, settings, work, listener)
    picked = choose_code(material, settings, listener, adapter)
    vectors = storable(material.vectors, work) if settings.store_vectors else None
    on_disk = 0 if vectors is None else int(vectors.nbytes)
    command = short_command("build", src, place, settings)
    result, evidence = told(
        str(place), material, picked, on_disk, settings, begun, trained_on, command
    )
    create(
        place,
        material.rows,
        codes=picked.coded.codes,
        facts=picked.coded.facts,
        vectors=vectors,
        codec=picked.coded.codec,
        adapter=picked.coded.adapter,
        manifest=manifest_of(material, picked, settings),
        evidence=evidence,
        progress=listener,
    )
    report(place)
    shutil.rmtree(work, ignore_errors=True)
    return dataclasses.replace(result, seconds=time.monotonic() - begun, peak_rss_mb=peak_rss_mb())


def told(
    place: str,
    material: Material,
    picked: Picked,
    on_disk: int,
    settings: BuildSettings,
    begun: float,
    trained_on: str,
    command: str,
) -> tuple[BuildResult, dict[str, Any]]:
    """The result of a build, and the evidence that its collection keeps.

    on_disk: bytes of stored vectors. begun: by time.monotonic. trained_on: a sentence on the
    adapter, "" for none. command: that does the same.
    """
    result = _result(place, material, picked, on_disk, settings, begun, trained_on)
    sheet = build_sheet(result, material, picked, command, settings)
    evidence = {
        "sheet": sheet.to_json(),
        "result": result.to_json(),
        "grid": None if picked.evidence is None else picked.evidence.to_config(),
        "questions": None if material.questions is None else material.questions.to_json(),
        "fitted_on": _fitted_on(material, picked, settings),
    }
    return result, evidence


def choose_code(
    material: Material,
    settings: BuildSettings,
    progress: Progress,
    adapter: Adapter | None = None,
) -> Picked:
    """The code, fitted and encoded: measured where there are rows enough to ask questions."""
    if material.questions is None:
        return pick_unmeasured(material, settings, progress)
    return pick(material, material.questions, settings, progress, adapter, settings.force)


def storable(vectors: NDArray[Any], work: Path) -> NDArray[Any]:
    """The vectors as float16, by blocks, in a file of the work folder; float32 where too large."""
    if stored_type(vectors) == vectors.dtype:
        return vectors
    work.mkdir(parents=True, exist_ok=True)
    half = np.lib.format.open_memmap(
        work / "vectors16.npy", mode="w+", dtype=np.float16, shape=vectors.shape
    )
    for rows in row_blocks(vectors):
        half[rows] = vectors[rows]
    half.flush()
    return half


def stored_type(vectors: NDArray[Any]) -> np.dtype[Any]:
    """The number type that vectors are stored in: float16, their own where that is too narrow."""
    half = np.dtype(np.float16)
    if vectors.dtype == half:
        return half
    largest = max(float(np.abs(vectors[rows]).max()) for rows in row_blocks(vectors))
    return vectors.dtype if largest > HALF_RANGE else half


def break_even(dim: int, bytes_per_vector: int, codec_bytes: int) -> int:
    """Rows from which codes and codec together are smaller than full float32 vectors."""
    saved = 4 * dim - bytes_per_vector
    return codec_bytes // saved + 1 if saved > 0 else 0


def _result(
    place: str,
    material: Material,
    picked: Picked,
    on_disk: int,
    settings: BuildSettings,
    begun: float,
    trained_on: str,
) -> BuildResult:
    codec = picked.coded.codec
    items, dim = material.vectors.shape
    per_vector = picked.code_bytes + picked.fact_bytes
    codec_bytes = picked.coded.own_bytes
    adapter = None if picked.coded.adapter is None else picked.coded.adapter.method
    evidence = picked.evidence
    evaluation = None
    seconds = time.monotonic() - begun
    if evidence is not None and material.questions is not None:
        evaluation = Evaluation(
            evidence, material.questions.about, remarks(evidence), evidence.seconds, peak_rss_mb()
        )
    pays_from = break_even(dim, per_vector, codec_bytes)
    return BuildResult(
        out=place,
        report=f"{place}/{REPORT_NAME}",
        kind=material.kind,
        items=items,
        dim=dim,
        model=material.model,
        metric=None if evidence is None else evidence.measure,
        similarity=material.similarity,
        full=None if evaluation is None else evaluation.full,
        kept=picked.kept,
        met=picked.met,
        plan=picked.plan,
        spec=codec.spec,
        method=picked.method,
        adapter=adapter,
        verdict=picked.verdict,
        code_bytes=picked.code_bytes,
        fact_bytes=picked.fact_bytes,
        codec_bytes=codec_bytes,
        total_bytes=items * per_vector + codec_bytes,
        break_even_rows=pays_from,
        vectors_on_disk_bytes=on_disk,
        queries=0 if evidence is None else evidence.queries,
        kind_of_queries=None if evidence is None else evidence.kind,
        truncated=material.truncated,
        evaluation=evaluation,
        sentence=picked.sentence,
        seconds=seconds,
        encode_seconds=material.encode_seconds,
        peak_rss_mb=peak_rss_mb(),
        warnings=(
            *material.warnings,
            *((trained_on,) if trained_on else ()),
            *picked.warnings,
            *(() if evaluation is None else evaluation.warnings),
            *_too_few(items, pays_from, codec_bytes, codec_parts(adapter)),
        ),
    )


def _fitted_on(material: Material, picked: Picked, settings: BuildSettings) -> str | None:
    """Which rows the codec was fitted on, so that an evaluation knows whether to fit it again."""
    if picked.evidence is None or material.questions is None:
        return None
    rows = len(material.vectors)
    return fitting_rows(material.questions.task, rows, settings.seed).digest


def _within(material: Material) -> tuple[int, ...]:
    """The trained widths that the vectors have."""
    return tuple(width for width in material.widths if width <= material.vectors.shape[1])


def _too_few(items: int, pays_from: int, codec_bytes: int, parts: str) -> Sequence[str]:
    if items >= pays_from:
        return ()
    return (
        f"the {parts} ({codec_bytes / 1e6:.2g} MB) weighs more than it saves here: it pays from "
        f"{pays_from:,} rows, and there are {items:,}.",
    )


def _documents(material: Material) -> str:
    """What of a row was encoded, as the manifest says it."""
    if material.kind == "images":
        return IMAGES
    return "title and text" if material.titled else "text"


def manifest_of(material: Material, picked: Picked, settings: BuildSettings) -> Manifest:
    """What the collection says of itself; rows, codec and files are filled in as it is written."""
    encoder = material.encoder
    described: dict[str, object] = {}
    prompts: dict[str, str] = {}
    if encoder is not None:
        described = {
            "settings": kept_settings(settings),
            "description": encoder.describe(),
            "documents": _documents(material),
        }
        said = encoder.describe()
        prompts = {kind: str(said.get(f"{kind}_prompt") or "") for kind in ("query", "document")}
    return Manifest(
        metric=material.similarity,
        dim=material.vectors.shape[1],
        rows=len(material.vectors),
        spec=picked.coded.codec.spec,
        plan=picked.plan,
        model=material.model,
        nesting=",".join(map(str, _within(material))) or None,
        revision=None if encoder is None else encoder.revision,
        prompts=prompts,
        encoder=described,
        machine=describe_machine(),
    )
