"""A collection, written into another engine with its staged query, and what that loses."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.bridge.exported import ENCODER_TARGET, Exported, Place, Source, Target, target_named
from nestvec.choose.relevance import QueryTask
from nestvec.errors import UserError
from nestvec.index.plan import Plan
from nestvec.index.snapshot import Snapshot
from nestvec.jobs.checks import check_collection
from nestvec.jobs.export_encoder import export_encoder
from nestvec.jobs.questions import Questions, hold_out
from nestvec.jobs.settings import EvaluateSettings
from nestvec.measure.intervals import Interval, bootstrap_mean, paired_difference
from nestvec.measure.metrics import Measure, ranks_in_hits
from nestvec.progress import Progress, quiet

HITS = 10
"""Hits by which the target's plan is compared with the collection's own."""

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Loss:
    """What an export's plan loses against the collection's own, on sample queries.

    own_plan: the collection's. agreement: the share of its first hits that the export finds, too.
    measure: of quality; own, exported: of both plans; difference: exported less own, paired.
    about: where the queries come from; where they are rows, a row is left out of its own answer.
    """

    own_plan: str
    agreement: Interval
    measure: str
    own: Interval
    exported: Interval
    difference: Interval
    about: str


@dataclass(frozen=True)
class ExportResult:
    """What was written where.

    plan: what the staged query runs, None where the target holds no rows. loss: None there, and
    where rows are too few to ask.
    """

    target: str
    place: str
    rows: int
    plan: str | None
    query: str
    facts: tuple[tuple[str, str], ...]
    files: tuple[str, ...]
    loss: Loss | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self) | {"seconds": round(self.seconds, 3), "facts": dict(self.facts)}


def export(
    path: str | os.PathLike[str],
    to: str,
    *,
    out: str | os.PathLike[str] | None = None,
    dsn: str | None = None,
    name: str | None = None,
    plan: str | None = None,
    sample_queries: int = 200,
    seed: int = 0,
    dims: int | None = None,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> ExportResult:
    """Write the collection at path into the engine `to`, one of bridge.exported.TARGETS.

    Or, to "onnx", its encoder, or the model of that name or folder; see export_encoder.

    out: a folder or file; dsn: a server's address; name: of the table there, the collection's
    where None. plan: the stages of the exported query, the target's own choice where None.
    sample_queries: most queries by which the loss is measured, drawn by seed.
    Raises UserError where there is no collection, the target or what it needs is not known, the
    plan does not fit, or the place holds something that nestvec did not export.
    """
    begun = time.monotonic()
    if to == ENCODER_TARGET:
        own = {"--dsn": dsn, "--name": name, "--plan": plan}
        _check_unused(to, "an encoder", own)
        written = export_encoder(
            path, out, dims=dims, trust_remote_code=trust_remote_code, progress=progress
        )
        return _result(to, written, None, begun)
    _check_unused(to, "rows", {"--dims": dims})
    target = target_named(to)
    where = Place(None if out is None else Path(out), dsn, name)
    _check_place(target, where)
    check_collection(path)
    opened = Snapshot.open(Path(path))
    source = Source(opened)
    asked = None if plan is None else Plan.parse(plan)
    if asked is not None and target.plan is None:
        raise UserError(f"{to} holds no rows and runs no plan; got {plan!r}: leave it out.")
    if asked is None and target.plan is not None:
        asked = target.plan(source)
    target.check(source, where, asked)
    listener = progress or quiet()
    exported = target.write(source, where, asked, listener)
    try:
        loss = None
        if exported.search is not None:
            settings = EvaluateSettings(sample_queries=sample_queries, seed=seed)
            loss = _loss(source, exported, settings, listener)
    finally:
        exported.close()
    return _result(to, exported, loss, begun)


def _result(to: str, exported: Exported, loss: Loss | None, begun: float) -> ExportResult:
    return ExportResult(
        to,
        exported.place,
        exported.rows,
        None if exported.plan is None else str(exported.plan),
        exported.query,
        exported.facts,
        exported.files,
        loss,
        time.monotonic() - begun,
    )


def _check_unused(to: str, what: str, options: Mapping[str, object]) -> None:
    for option, value in options.items():
        if value is not None:
            raise UserError(f"an export to {to} writes {what}; got {option} {value}: leave it out.")


def _check_place(target: Target, place: Place) -> None:
    examples = {"out": "--out PATH", "dsn": "--dsn URL"}
    needed = target.needs.split(" or ")
    if all(getattr(place, each) is None for each in needed):
        raise UserError(
            f"an export to {target.name} needs {' or '.join(f'--{each}' for each in needed)}; got "
            f"none: give {' or '.join(examples[each] for each in needed)}."
        )


def _loss(
    source: Source, exported: Exported, settings: EvaluateSettings, progress: Progress
) -> Loss | None:
    opened = source.opened
    asked = _questions(opened, settings, progress)
    if asked is None:
        return None
    task, about = asked
    own_plan = opened.plan
    measure = Measure.parse(task.measure)
    # one more than counts, since a row is left out of its own answer
    depth = max(HITS, measure.k) + (task.own_rows is not None)
    places = np.full(int(opened.positions()[-1]) + 1, -1, np.int64)
    places[opened.positions()] = np.arange(source.count)
    rankings = opened.rank(task.vectors, own_plan, _most(own_plan, depth), progress)
    own = _filled([places[ranking.rows] for ranking in rankings], depth)
    found = _searched(exported, opened.map_queries(task.vectors), depth, progress)
    theirs = _places_of(found, opened)
    hits = [_without(each, task.own_rows) for each in (own, theirs)]
    same = [
        len(np.intersect1d(a[:HITS][a[:HITS] >= 0], b[:HITS])) / max(1, (a[:HITS] >= 0).sum())
        for a, b in zip(*hits, strict=True)
    ]
    values = [measure.values(ranks_in_hits(each, task.relevance), task.relevance) for each in hits]
    return Loss(
        str(own_plan),
        bootstrap_mean(np.array(same)),
        task.measure,
        bootstrap_mean(values[0]),
        bootstrap_mean(values[1]),
        paired_difference(values[1], values[0]),
        about,
    )


def _questions(
    opened: Snapshot, settings: EvaluateSettings, progress: Progress
) -> tuple[QueryTask, str] | None:
    """What the collection was measured by, where it kept the vectors of it; else its own rows."""
    stored = (opened.evidence() or {}).get("questions")
    found = None
    if stored is not None:
        ids = [str(name) for batch in opened.batches(("id",)) for name in batch["id"]]
        try:
            found = Questions.from_json(stored, ids, None)
        except UserError:
            found = None  # judged rows that are no longer there
    if found is None:
        found = hold_out(opened.vectors(), settings, opened.manifest.metric, progress)
    if found is None:
        return None
    task = found.task
    if len(task.vectors) > settings.sample_queries:
        draw = np.random.default_rng(settings.seed).permutation(len(task.vectors))
        task = task.take(np.sort(draw[: settings.sample_queries]))
    return task, found.about


def _most(plan: Plan, depth: int) -> int:
    """The hits that a plan can give, depth at most."""
    return depth if len(plan.stages) < 2 else min(depth, plan.stages[-2].keep)


def _searched(
    exported: Exported, queries: NDArray[np.float32], depth: int, progress: Progress
) -> I64:
    assert exported.search is not None
    progress.start("asking the export", len(queries))
    parts = []
    for start in range(0, len(queries), HITS):
        run = queries[start : start + HITS]
        parts.append(exported.search(run, depth))
        progress.advance(len(run))
    progress.finish()
    return np.concatenate(parts)


def _places_of(seqs: I64, opened: Snapshot) -> I64:
    """Where rows of these seqs (q, k) stand among all, -1 for -1."""
    all_seqs = np.concatenate([np.asarray(b["seq"], np.int64) for b in opened.batches(("seq",))])
    order = np.argsort(all_seqs)
    at = np.searchsorted(all_seqs[order], seqs)
    return np.where(seqs >= 0, order[np.minimum(at, len(order) - 1)], -1)


def _filled(hits: list[I64], depth: int) -> I64:
    found = np.full((len(hits), depth), -1, np.int64)
    for row, some in zip(found, hits, strict=True):
        row[: len(some)] = some[:depth]
    return found


def _without(hits: I64, own_rows: I64 | None) -> I64:
    """Hits (q, k) less each query's own row, those behind it moved up."""
    if own_rows is None:
        return hits
    kept = np.full((len(hits), hits.shape[1] - 1), -1, np.int64)
    for row, some, own in zip(kept, hits, own_rows, strict=True):
        others = some[some != own][: len(row)]
        row[: len(others)] = others
    return kept
