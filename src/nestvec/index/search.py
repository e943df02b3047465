"""Running a plan for a batch of queries, stage by stage, and what each stage cost."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.nested import Codec
from nestvec.codec.scores import Prepared
from nestvec.index import fused
from nestvec.index.exact import exact_search
from nestvec.index.graph import Graph
from nestvec.index.lists import Lists
from nestvec.index.plan import Plan, Stage, keeps_prefix
from nestvec.index.reader import Reader
from nestvec.index.scan import (
    Shortlist,
    of_query,
    rescore,
    rescore_signs,
    rescore_vectors,
    scan,
    scan_vectors,
)
from nestvec.index.stopping import until_sure
from nestvec.progress import Progress, quiet

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

# Scores of one run of rows are held for all queries of a group: 4 million float32 at most.
GROUP_QUERIES = 64
_RUN_SCORES = 1 << 22
_RUN_ROWS = 1 << 16
_RUN_COORDINATES = 1 << 22


@dataclass(frozen=True)
class StageReport:
    """What one stage of one query did.

    stage: its text form. bytes: read, by plan.bytes_read, or as counted by an exact search.
    scanned, kept: rows. ms: milliseconds; for queries scanned together, their mean. share: what an
    exact search read in ratio to the bytes of all stored vectors, None for other stages.
    """

    stage: str
    bytes: int
    scanned: int
    kept: int
    ms: float
    share: float | None = None


@dataclass(frozen=True)
class Ranking:
    """One query's hits, best first: positions (k,) int64, scores (k,) float32; and the stages."""

    rows: I64
    scores: F32
    stages: tuple[StageReport, ...]


def run_plan(
    plan: Plan,
    queries: F32,
    codec: Codec,
    reader: Reader,
    progress: Progress | None = None,
    lists: Lists | None = None,
    graph: Graph | None = None,
) -> list[Ranking]:
    """The hits of queries (q, d) float32, in their order; the plan must fit the collection.

    lists: what a plan with probe reads; graph: what a plan with graph walks.
    """
    listener = progress or quiet()
    listener.start("searching", len(queries))
    rankings: list[Ranking] = []
    for start in range(0, len(queries), GROUP_QUERIES):
        group = queries[start : start + GROUP_QUERIES]
        rankings += _run_group(plan, group, codec, reader, lists, graph)
        listener.advance(len(group))
    listener.finish()
    return rankings


def _run_group(
    plan: Plan,
    queries: F32,
    codec: Codec,
    reader: Reader,
    lists: Lists | None,
    graph: Graph | None,
) -> list[Ranking]:
    if plan.stages[0].kind == "exact":
        return _exactly(plan.stages[0], queries, codec, reader)
    begun = time.perf_counter()
    # Preparing belongs to the first stage's time: a plan without code stages does without it.
    prepared = codec.prepare(queries) if plan.reads_codes else None
    first = plan.stages[0]
    read = reader.bytes_read(plan)
    shortlists, scanned, beside = first_stage(plan, queries, prepared, codec, reader, lists, graph)
    mean_ms = (time.perf_counter() - begun) * 1000 / len(queries)
    rankings = []
    for i, shortlist in enumerate(shortlists):
        kept, rows = len(shortlist.rows), int(scanned[i])
        first_read = read[0] // reader.count * rows + int(beside[i])
        reports = [StageReport(str(first), first_read, rows, kept, mean_ms)]
        one = None if prepared is None else of_query(prepared, i)
        rankings.append(
            _later_stages(plan, queries[i], one, codec, reader, shortlist, reports, read[1:])
        )
    return rankings


def first_stage(
    plan: Plan,
    queries: F32,
    prepared: Prepared | None,
    codec: Codec,
    reader: Reader,
    lists: Lists | None,
    graph: Graph | None,
) -> tuple[list[Shortlist], I64, I64]:
    """What a plan's first stage, not an exact one, keeps for each query of a group.

    With it the rows (q,) that were scanned, and the bytes (q,) read beside them to find them.
    """
    first = plan.stages[0]
    if plan.graph is not None:
        assert graph is not None
        walks = graph.walk(queries, prepared, plan.graph, reader)
        scanned = np.array([len(walk.rows) for walk in walks])
        beside = np.array([walk.bytes for walk in walks])
        rows_of = (walk.rows for walk in walks)
        return _of_rows(first, queries, prepared, codec, reader, rows_of), scanned, beside
    if plan.probe is not None:
        assert lists is not None
        nearest = lists.nearest(queries, plan.probe)
        beside = np.full(len(queries), lists.centers.size_bytes(), np.int64)
        found = _probed(first, queries, prepared, codec, reader, lists, nearest)
        return found, lists.scanned(nearest), beside
    scanned = np.full(len(queries), reader.count)
    beside = np.zeros(len(queries), np.int64)
    return _of_all(first, queries, prepared, codec, reader), scanned, beside


def _exactly(stage: Stage, queries: F32, codec: Codec, reader: Reader) -> list[Ranking]:
    begun = time.perf_counter()
    found = exact_search(queries, reader, codec.metric, min(stage.keep, reader.count))
    mean_ms = (time.perf_counter() - begun) * 1000 / len(queries)
    rankings = []
    for each in found:
        share = each.bytes / (reader.count * reader.vector_bytes)
        kept = len(each.shortlist.rows)
        report = StageReport(str(stage), each.bytes, reader.count, kept, mean_ms, share)
        rankings.append(Ranking(each.shortlist.rows, each.shortlist.scores, (report,)))
    return rankings


def _of_all(
    stage: Stage, queries: F32, prepared: Prepared | None, codec: Codec, reader: Reader
) -> list[Shortlist]:
    if prepared is not None and stage.kind == "bytes":
        cut = stage.amount
        if fused.fits(codec, cut):
            planes = reader.plane_runs(cut)
            return fused.scan_planes(codec, prepared, planes, reader.count, cut, stage.keep)
        run_rows = min(_RUN_ROWS, _RUN_SCORES // len(queries))
        runs = reader.code_runs(cut, run_rows)
        return scan(codec, prepared, runs, cut, stage.keep)
    if prepared is not None and stage.kind == "sign":
        asked = codec.sign_planes(prepared, stage.amount)
        signs = reader.sign_runs(codec.sign_bytes)
        return fused.scan_signs(signs, asked, reader.count, stage.keep)
    width = stage.amount or codec.dim
    if keeps_prefix(stage, codec.dim):
        kept = reader.prefix_runs(width)
        return fused.scan_prefixes(kept, queries, width, codec.metric, reader.count, stage.keep)
    run_rows = max(1, min(_RUN_COORDINATES // width, _RUN_SCORES // len(queries)))
    return scan_vectors(
        queries, reader.vector_runs(width, run_rows), width, codec.metric, stage.keep
    )


def _probed(
    stage: Stage,
    queries: F32,
    prepared: Prepared | None,
    codec: Codec,
    reader: Reader,
    lists: Lists,
    nearest: I64,
) -> list[Shortlist]:
    """A first stage over each query's lists alone."""
    by_codebooks = stage.kind == "bytes" and fused.fits(codec, stage.amount)
    if prepared is not None and (by_codebooks or stage.kind == "sign"):
        return lists.scan(stage, nearest, prepared, reader)
    rows_of = (lists.rows(own, reader) for own in nearest)
    return _of_rows(stage, queries, prepared, codec, reader, rows_of)


def _of_rows(
    stage: Stage,
    queries: F32,
    prepared: Prepared | None,
    codec: Codec,
    reader: Reader,
    rows_of: Iterable[I64],
) -> list[Shortlist]:
    """A first stage over some rows of each query."""
    found = []
    for i, (query, rows) in enumerate(zip(queries, rows_of, strict=True)):
        nothing = np.zeros(len(rows), np.float32)
        everything = Shortlist(rows, reader.seqs(rows), nothing, nothing)
        one = None if prepared is None else of_query(prepared, i)
        found.append(rescored(stage, query, one, codec, reader, everything, 0))
    return found


def rescored(
    stage: Stage,
    query: F32,
    prepared: Prepared | None,
    codec: Codec,
    reader: Reader,
    shortlist: Shortlist,
    done: int,
) -> Shortlist:
    """The best of one query's shortlist by a stage; done: bytes that its sums hold."""
    rows = shortlist.rows
    if prepared is not None and stage.kind == "bytes":
        codes = reader.codes(rows, done, stage.amount)
        norms = reader.norms(rows, stage.amount)
        lengths = reader.lengths(rows)
        return rescore(codec, prepared, shortlist, codes, norms, lengths, done, stage.keep)
    if prepared is not None and stage.kind == "sign":
        signs = reader.codes(rows, 0, codec.sign_bytes)
        planes = codec.sign_planes(prepared, stage.amount)[0]
        return rescore_signs(shortlist, signs, planes, stage.keep)
    width = stage.amount or codec.dim
    products, lengths = reader.products(rows, query[:width]), reader.lengths(rows)
    return rescore_vectors(query, width, shortlist, products, lengths, codec.metric, stage.keep)


def _later_stages(
    plan: Plan,
    query: F32,
    prepared: Prepared | None,
    codec: Codec,
    reader: Reader,
    shortlist: Shortlist,
    reports: list[StageReport],
    read: Sequence[int],
) -> Ranking:
    # what sign stages read is no partial sum: bytes are counted from the first
    done = plan.stages[0].amount if plan.stages[0].kind == "bytes" else 0
    for stage, stage_bytes in zip(plan.stages[1:], read, strict=True):
        begun = time.perf_counter()
        given = scanned = len(shortlist.rows)
        if plan.sure is not None and stage is plan.stages[-1] and given > stage.keep:
            whole = replace(stage, keep=given)
            again = partial(rescored, whole, query, prepared, codec, reader, done=done)
            shortlist, scanned = until_sure(shortlist, stage.keep, plan.sure, again)
        else:
            shortlist = rescored(stage, query, prepared, codec, reader, shortlist, done)
        if stage.kind == "bytes":
            done = stage.amount
        ms = (time.perf_counter() - begun) * 1000
        read_bytes = stage_bytes * scanned // max(1, given)
        reports.append(StageReport(str(stage), read_bytes, scanned, len(shortlist.rows), ms))
    return Ranking(shortlist.rows, shortlist.scores, tuple(reports))
