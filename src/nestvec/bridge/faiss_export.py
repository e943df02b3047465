"""Export to faiss: an index a stage, and the staged query in Python.

Codebook levels become an IndexResidualQuantizer that holds our very codes: its codebooks are ours,
decoded to float32 and taken through the inverse of the spectral map, so that sums of codewords are
reconstructions of directions in the original space. Signs become an IndexBinaryFlat; cuts and
whole vectors flat indexes. All bear the rows' seq as ids.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.bridge.export_folder import (
    check_folder,
    records,
    said_of,
    search_of,
    whole_folder,
    write_mark,
)
from nestvec.bridge.exported import Exported, Place, Source, Target, check_kinds
from nestvec.bridge.faiss_library import require_faiss
from nestvec.bridge.faiss_query import query_text
from nestvec.bridge.staged import cut_of, reads_signs
from nestvec.codec.ladder import Ladder, unpack
from nestvec.errors import UserError
from nestvec.index.plan import Plan, Stage
from nestvec.progress import Progress, quiet
from nestvec.vectors import normalize

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

QUERY = "query.py"
ROWS = "rows.jsonl"
AXES = "axes.npy"

_BLOCK = 8_192
_SAMPLE_QUERIES = 64
_LEAST_EDGE = 0.05


def plan_of(source: Source) -> Plan:
    """The collection's own where it begins with codebooks; else codebooks, or signs; then raw.

    A last stage of codes keeps ten times as many, for whole vectors to rank.
    """
    count = source.count
    raw = Stage("raw", 0, min(10, count))
    ladder = _ladder(source)
    if ladder is None:
        return Plan((Stage("sign", 1, min(1_000, count)), raw))
    own = replace(source.opened.plan, probe=None, graph=None, sure=None)
    fits = own.stages[0].kind == "bytes" and all(
        stage.kind in ("dims", "raw") or (stage.kind == "bytes" and stage.amount <= ladder.bytes)
        for stage in own.stages
    )
    if not fits:
        short = min(ladder.ends, key=lambda end: abs(end - 8))
        return Plan((Stage("bytes", short, min(1_000, count)), raw))
    if own.stages[-1].kind == "raw":
        return own
    *before, last = own.stages
    most = min([count, *(stage.keep for stage in before)])
    keep = min(most, max(100, 10 * last.keep))
    return Plan((*before, replace(last, keep=keep), Stage("raw", 0, min(last.keep, keep))))


def check(source: Source, place: Place, plan: Plan | None) -> None:
    """Raise UserError where faiss cannot hold the plan, or the folder is not ours."""
    assert place.out is not None
    require_faiss("an export to faiss")
    plan = plan or plan_of(source)
    check_kinds(plan, ("sign", "bytes", "dims", "raw"), "faiss", source.dim)
    for stage in plan.stages:
        if stage.kind == "bytes":
            _check_bytes(stage, source)
    check_folder(place.out)


def write(
    source: Source, place: Place, plan: Plan | None, progress: Progress | None = None
) -> Exported:
    """Write the folder place.out, whole or not at all; one that nestvec wrote is replaced.

    Memory: one index at a time, as faiss builds it (of whole vectors 4 d bytes a row, and
    its map of ids).
    """
    assert place.out is not None
    listener = progress or quiet()
    plan = plan or plan_of(source)
    check(source, place, plan)
    first = plan.stages[0]
    length = _query_length(source, first) if first.kind == "bytes" else 1.0
    query = query_text(source, plan, length)
    sizes = []
    with whole_folder(place.out) as folder:
        for stage in plan.stages:
            name = f"{stage.name}.faiss"
            listener.start(f"writing {name}", source.count)
            _write_stage(source, stage, folder / name, listener.advance)
            listener.finish()
            sizes.append((name, f"{(folder / name).stat().st_size:,} bytes"))
        if reads_signs(plan) and source.signs.axes is not None:
            np.save(folder / AXES, source.signs.axes)
        with (folder / ROWS).open("w", encoding="utf-8") as out:
            for rows in source.rows():
                for record in records(rows):
                    out.write(json.dumps(record, ensure_ascii=False) + "\n")
        (folder / QUERY).write_text(query, encoding="utf-8")
        write_mark(folder, said_of(source, plan, "faiss", query_length=length))
    facts = tuple(sizes)
    if first.kind == "bytes":
        facts += (("length of a query for the first stage", f"{length:.3g}"),)
    files = tuple(str(path) for path in sorted(place.out.iterdir()))
    search = search_of(query, place.out / QUERY)
    return Exported(str(place.out), source.count, plan, query, facts, files, search)


def residual_index(ladder: Ladder, books: F32, n_bytes: int, squares: F32) -> Any:
    """An empty IndexResidualQuantizer of the ladder's first n_bytes, trained as the ladder is.

    books: (codebooks, K, d) in the space that queries come from. squares: the squared norms of the
    reconstructions to come, by whose range faiss's one byte of norm is laid out.
    It ranks by |q - x|^2, the norm of a reconstruction being that byte.
    """
    faiss = require_faiss("an export to faiss")
    depth = n_bytes * 2 if ladder.packed else n_bytes
    bits = ladder.codewords.bit_length() - 1
    held = faiss.AdditiveQuantizer.ST_norm_qint8
    index = faiss.IndexResidualQuantizer(books.shape[2], depth, bits, faiss.METRIC_L2, held)
    quantizer = index.rq
    flat = np.ascontiguousarray(books[:depth], np.float32).ravel()
    faiss.copy_array_to_vector(flat, quantizer.codebooks)
    # rows that are added later are encoded as faiss itself would
    quantizer.max_beam_size = ladder.beam
    quantizer.is_trained = True
    quantizer.train_norm(len(squares), faiss.swig_ptr(squares))
    quantizer.compute_codebook_tables()
    index.is_trained = True
    return index


def packed_codes(index: Any, ladder: Ladder, codes: U8, squares: F32) -> U8:
    """Codes (m, b) of a ladder and squared norms (m,) as the index stores them: (m, code_size)."""
    faiss = require_faiss("an export to faiss")
    words = np.ascontiguousarray(unpack(codes) if ladder.packed else codes, np.int32)
    packed = np.zeros((len(codes), index.code_size), np.uint8)
    kept = np.ascontiguousarray(squares, np.float32)
    index.rq.pack_codes(
        len(codes), faiss.swig_ptr(words), faiss.swig_ptr(packed), -1, faiss.swig_ptr(kept), None
    )
    return packed


def _ladder(source: Source) -> Ladder | None:
    """The codebooks that the code begins with, where faiss can rank by them."""
    first = source.opened.codec.levels[0]
    return first if isinstance(first, Ladder) and source.metric == "cosine" else None


def _check_bytes(stage: Stage, source: Source) -> None:
    ladder = _ladder(source)
    codec = source.opened.codec
    if ladder is None:
        why = "compares by cosine" if source.metric != "cosine" else "begins with codebooks"
        found = source.metric if source.metric != "cosine" else codec.spec
        raise UserError(
            f"faiss holds a stage of bytes such as {stage} for a collection whose code {why}; got "
            f"{found}: write the plan of others, such as sign:1000,raw:10."
        )
    if stage.amount not in ladder.ends:
        raise UserError(
            f"faiss holds the {ladder.bytes} bytes of codebooks that the code {codec.spec} begins "
            f"with; got {stage}: read as many, or fewer."
        )


def _write_stage(source: Source, stage: Stage, path: Path, advance: Callable[[int], None]) -> None:
    faiss = require_faiss("an export to faiss")
    if stage.kind == "sign":
        index = faiss.IndexBinaryIDMap2(faiss.IndexBinaryFlat(8 * source.signs.bytes))
        for rows in source.rows():
            index.add_with_ids(rows.signs, rows.seqs)
            advance(len(rows.ids))
        faiss.write_index_binary(index, str(path))
        return
    if stage.kind == "bytes":
        index = _coded(source, stage, advance)
    else:
        width = stage.amount or source.dim
        plain = faiss.IndexFlatL2 if source.metric == "l2" else faiss.IndexFlatIP
        index = faiss.IndexIDMap2(plain(width))
        for rows in source.rows():
            index.add_with_ids(_held(rows.vectors, width, source.metric), rows.seqs)
            advance(len(rows.ids))
    faiss.write_index(index, str(path))


def _held(vectors: F32, width: int, metric: str) -> F32:
    """What a flat index holds of the first `width` coordinates: under cosine at length 1."""
    cut = cut_of(vectors, width, metric)
    return normalize(cut) if metric == "cosine" else cut


def _coded(source: Source, stage: Stage, advance: Callable[[int], None]) -> Any:
    faiss = require_faiss("an export to faiss")
    ladder = _ladder(source)
    assert ladder is not None
    codec = source.opened.codec
    opened = source.opened
    positions = opened.positions()
    starts = range(0, len(positions), _BLOCK)
    runs = (opened.codes(positions[at : at + _BLOCK]) for at in starts)
    squares = np.concatenate([codec.norms(codes, stage.amount) ** 2 for codes in runs])
    depth, k, dim = ladder.codebooks.shape
    books = codec.map.backward(ladder.codebooks.reshape(depth * k, dim)).reshape(depth, k, dim)
    index = residual_index(ladder, books, stage.amount, squares)
    named = faiss.IndexIDMap2(index)
    done = 0
    for rows in source.rows():
        some = slice(done, done + len(rows.ids))
        codes = opened.codes(positions[some])[:, : stage.amount]
        packed = packed_codes(index, ladder, codes, squares[some])
        named.add_sa_codes(packed, rows.seqs)
        done = some.stop
        advance(len(rows.ids))
    return named


def _query_length(source: Source, stage: Stage) -> float:
    """The length of a query at which faiss's distances rank nearly as cosines do.

    With a query of length a, |q - x|^2 ranks by s - n^2 / (2 a), where s is the product of x and
    the query's direction and n = |x|; near n = m that is s - (m / a) n and a constant. The cosine
    s / n is above c where s - c n is above 0. So a = m / c, with m the mean norm and c the cosine
    at which the shortlist ends, the median over some rows as queries.
    """
    opened = source.opened
    count = min(source.count, _SAMPLE_QUERIES)
    picks = np.sort(np.random.default_rng(0).choice(opened.positions(), count, replace=False))
    asked = np.asarray(opened.vectors(picks), np.float32)
    asked = asked[asked.any(axis=1)]
    if not len(asked):
        return 1.0
    keep = min(stage.keep, source.count)
    found = opened.rank(asked, Plan((replace(stage, keep=keep),)))
    edge = float(np.median([ranking.scores[-1] for ranking in found]))
    mean = float(opened.codec.norms(opened.codes(picks), stage.amount).mean())
    return mean / max(edge, _LEAST_EDGE)


TARGET = Target("faiss", "bench", "out", plan_of, check, write)
