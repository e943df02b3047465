"""The report of one build: its result, evidence and circumstances as the values of a page."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nestvec.jobs.amounts import in_bytes
from nestvec.jobs.material import Material
from nestvec.jobs.settings import BuildSettings
from nestvec.jobs.sheets import made_today, report_cells, shown_questions, version
from nestvec.report.sheet import Chosen, Cost, Figure, Note, Question, Sheet

if TYPE_CHECKING:
    from nestvec.jobs.build import BuildResult
    from nestvec.jobs.choose import Picked

#: base models whose own training is known to overlap with common test sets
TRAINED_ON = {
    "minilm": (
        "all-MiniLM-L6-v2 was trained by others on about a billion public pairs, among them S2ORC "
        "title-abstract pairs, Quora duplicates, Stack Exchange and CodeSearchNet: such data are "
        "not unseen by it"
    )
}
KINDS = {
    "labels": "judgements that came with the queries",
    "title->text": "titles that must find their own text",
    "caption->image": "captions that must find their own image; others may fit as well",
    "same class": "every other image of the query's class",
    "agreement": "agreement with exact search by the full vectors",
}
#: options of the command that have another name than their field
FLAGS = {"store_vectors": "--no-vectors"}


def build_sheet(
    result: BuildResult, material: Material, picked: Picked, command: str, settings: BuildSettings
) -> Sheet:
    """What the report of a build shows."""
    evidence = picked.evidence
    full = Figure(*(result.full or (1.0, 1.0, 1.0)))
    chosen = None
    if result.kept is not None:
        chosen = Chosen(
            wish_of(settings),
            result.met,
            result.spec,
            result.plan,
            result.code_bytes,
            result.fact_bytes,
            Figure(*result.kept),
            result.sentence,
            picked.method,
        )
    model = f", {material.model}" if material.model else ""
    kind = "texts" if material.kind == "collection" else material.kind
    return Sheet(
        name=Path(result.out).name,
        summary=(
            f"{result.items:,} {kind} of {material.name}, {result.dim} dimensions{model}, "
            f"compared by {result.similarity}"
        ),
        measure=result.metric or "",
        full=full,
        full_bytes=4 * result.dim,
        cells=() if evidence is None else report_cells(evidence),
        chosen=chosen,
        costs=tuple(_costs(result)),
        questions=_questions(material, picked, settings.seed),
        notes=tuple(_notes(result, material, picked, settings)),
        warnings=result.warnings,
        command=command,
        made=made_today(),
        version=version(),
    )


def wish_of(settings: BuildSettings) -> str:
    """What was wished, in words."""
    parts = []
    if settings.keep is not None:
        parts.append(f"keep {100 * settings.keep:g} %")
    if settings.max_bytes is not None:
        parts.append(f"at most {settings.max_bytes} bytes a vector")
    return " with ".join(parts) or "keep 99 %"


def short_command(
    name: str,
    src: str | os.PathLike[str] | None,
    out: Path | None,
    settings: Any,
) -> str:
    """The command line that does the same: every option that is not at its default."""
    words = ["nestvec", *name.split()]
    if src is not None:
        words.append(os.fspath(src))
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value == field.default:
            continue
        flag = FLAGS.get(field.name, "--" + field.name.replace("_", "-"))
        listed = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        words += [flag] if isinstance(value, bool) else [flag, listed]
    if out is not None:
        words += ["--out", os.fspath(out)]
    return shlex.join(words)


def _costs(result: BuildResult) -> Iterator[Cost]:
    full = 4 * result.dim
    yield Cost(
        "memory per million vectors",
        in_bytes(full * 1e6),
        in_bytes(result.bytes_per_vector * 1e6),
    )
    yield Cost(
        f"these {result.items:,} rows, {result.codec_parts} included",
        in_bytes(full * result.items),
        in_bytes(result.total_bytes),
    )
    yield Cost(f"of it the {result.codec_parts}, once", "none", in_bytes(result.codec_bytes))
    if result.codec_bytes:
        yield Cost(
            f"codes and {result.codec_parts} are smaller from",
            "",
            f"{result.break_even_rows:,} rows",
        )
    on_disk = result.vectors_on_disk_bytes
    yield Cost(
        "vectors kept on disk beside the codes",
        "",
        in_bytes(on_disk) if on_disk else "none",
    )


def _questions(material: Material, picked: Picked, seed: int) -> tuple[Question, ...]:
    if material.questions is None or material.kind == "collection":
        return ()
    return shown_questions(
        material.questions,
        material.vectors,
        material.ids,
        material.rows,
        picked.coded,
        picked.code_bytes,
        seed,
        material.thumbnail,
    )


def _notes(
    result: BuildResult, material: Material, picked: Picked, settings: BuildSettings
) -> Iterator[Note]:
    evidence = picked.evidence
    if evidence is None or material.questions is None:
        yield Note("queries", "none: too few rows to measure anything")
    else:
        yield Note("queries", f"{evidence.queries:,}: {material.questions.about}")
        yield Note("relevance", KINDS[evidence.kind])
        yield Note("choice", picked.about)
        yield Note(
            "fitting",
            f"every method on the same {evidence.fitted_rows:,} rows"
            + (
                ", relevant ones among them"
                if evidence.fitted_on_relevant
                else ", none of them relevant to a query"
            ),
        )
        yield Note(
            "intervals",
            "95 %, percentile bootstrap over queries; differences are paired, query by query",
        )
        yield Note(
            "left out",
            "faiss's PQ, OPQ, RQ and RaBitQ, which take minutes to fit: nestvec evaluate "
            f"{result.out} --report measures them, too, and puts them here",
        )
    yield Note("seed", str(settings.seed))
    if material.model is not None:
        trained = TRAINED_ON.get(material.model, "what it was trained on is for its card to say")
        yield Note("base model", f"{material.model}: {trained}")
    if not material.titled:
        yield Note("texts", "encoded without their titles, since these are the queries")
    if material.truncated:
        yield Note("cut texts", f"{material.truncated:,} longer than the model reads")
    yield Note(
        "time",
        f"{result.seconds:,.0f} s in all, {result.encode_seconds:,.0f} s of it encoding; "
        f"{result.peak_rss_mb:,.0f} MB of memory at most",
    )
