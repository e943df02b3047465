"""The grid: every method at every size on one collection, with paired intervals."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.baselines import FullVectors
from nestvec.choose.evidence import SEEN, UNSEEN, Cell, Evidence, Part
from nestvec.choose.geometry import Geometry, geometry_of_sizes
from nestvec.choose.methods import Encoded, Method, Size, unique_names
from nestvec.choose.ranking import rank_in_lists, rank_relevant
from nestvec.choose.relevance import MOST_FITTING_ROWS, QueryTask, fitting_rows
from nestvec.measure.intervals import Interval, bootstrap_means
from nestvec.measure.metrics import Measure
from nestvec.progress import Progress, quiet

F64 = NDArray[np.float64]

# Relevant rows of a query, from which lists of the best rows cost less than counting each one's.
_MANY_RELEVANT = 64


def evaluate_grid(
    documents: NDArray[Any],
    task: QueryTask,
    methods: Sequence[Method],
    *,
    metric: str = "cosine",
    seed: int = 0,
    fit_rows: int = MOST_FITTING_ROWS,
    left_out: Sequence[str] = (),
    geometry: bool = False,
    progress: Progress | None = None,
) -> Evidence:
    """Measure every method at every one of its sizes, and the full vectors beside them.

    documents: (n, d) float16 or float32, perhaps a memmap, read by blocks. metric: cosine, dot
    or l2. seed: of the fitting sample, of the methods and of the bootstrap. fit_rows: rows to
    fit on at most; relevance.fitting_rows says which. left_out: what could not run, for the
    record. "seen" and "unseen" queries are told apart where the task marks them. geometry: say
    the shape of each size's vectors too, from 2,000 of them.

    Memory beyond the documents: at most 256 MB of scores and views (128 MB of scores, several
    blocks of 32 MB), the fitting sample and a method's copy of it (fit_rows x d x 8 bytes),
    the codes of one method, and 8 bytes a query and size.
    Time is that of one matrix product of all queries with all documents a size, plus fits.
    """
    began = time.perf_counter()
    unique_names(methods)
    listener = progress or quiet()
    sample_rows = fitting_rows(task, len(documents), seed, fit_rows)
    sample = np.asarray(documents[sample_rows.rows], dtype=np.float32)
    found: list[tuple[str, Size]] = []
    values: list[F64] = []
    shapes: list[Geometry] = []
    for method in (FullVectors(), *methods):
        fitted = method.fit(sample, metric, seed, listener)
        encoded = fitted.encode(documents, listener)
        listener.start(f"Measuring {method.name}", len(documents))
        values.extend(size_values(encoded, len(fitted.sizes), task, len(documents), listener))
        listener.finish()
        found.extend((method.name, size) for size in fitted.sizes)
        if geometry:
            shapes.extend(geometry_of_sizes(encoded, fitted.sizes, task, len(documents), seed))
        del fitted, encoded  # or two methods' codes were held at once
    full_values, found, values, shapes = values[0], found[1:], values[1:], shapes[1:]
    table = np.array(values).reshape(len(found), len(full_values))
    everyone = np.ones(len(full_values), dtype=bool)
    full, cells = summarize(found, table, full_values, everyone, seed)
    if geometry:
        cells = tuple(
            replace(cell, **asdict(shape)) for cell, shape in zip(cells, shapes, strict=True)
        )
    return Evidence(
        measure=task.measure,
        kind=task.kind,
        metric=metric,
        documents=len(documents),
        dim=documents.shape[1],
        queries=len(full_values),
        full=full,
        cells=cells,
        parts=_parts(found, table, full_values, task.seen, seed),
        fitted_rows=len(sample),
        fitted_on_relevant=sample_rows.on_relevant,
        seed=seed,
        seconds=round(time.perf_counter() - began, 3),
        left_out=tuple(left_out),
        values=table,
        full_values=full_values,
    )


def size_values(
    encoded: Encoded, sizes: int, task: QueryTask, n: int, progress: Progress
) -> list[F64]:
    """The measure of every query, (q,), at each of an encoded method's sizes."""
    measure = Measure.parse(task.measure)
    rank = rank_relevant
    if len(task.relevance.rows) > _MANY_RELEVANT * len(task.vectors):
        rank = rank_in_lists
    ranks = rank(
        encoded, sizes, task.vectors, task.relevance, n, task.own_rows, measure.k, progress
    )
    return [measure.values(of_size, task.relevance) for of_size in ranks]


def summarize(
    found: Sequence[tuple[str, Size]],
    values: F64,
    full_values: F64,
    queries: NDArray[np.bool_],
    seed: int,
) -> tuple[Interval, tuple[Cell, ...]]:
    """The full vectors' interval and one cell a size, over the chosen queries.

    found: method and size of each row of values (cells, q). Values and paired differences
    from full_values (q,) all come from the same draws of queries.
    """
    full = full_values[queries]
    mine = values[:, queries]
    columns = np.concatenate([full[None], mine, mine - full]).T
    intervals = bootstrap_means(columns, seed)
    count = len(found)
    cells = [
        Cell(
            method,
            size.dims,
            size.code_bytes,
            size.fact_bytes,
            size.codec_bytes,
            value.value,
            value.low,
            value.high,
            delta.value,
            delta.low,
            delta.high,
        )
        for (method, size), value, delta in zip(
            found, intervals[1 : 1 + count], intervals[1 + count :], strict=True
        )
    ]
    return intervals[0], tuple(cells)


def _parts(
    found: Sequence[tuple[str, Size]],
    values: F64,
    full_values: F64,
    seen: NDArray[np.bool_] | None,
    seed: int,
) -> tuple[Part, ...]:
    if seen is None:
        return ()
    parts = []
    for name, mask in ((SEEN, seen), (UNSEEN, ~seen)):
        if mask.any():
            full, cells = summarize(found, values, full_values, mask, seed)
            parts.append(Part(name, int(mask.sum()), full, cells))
    return tuple(parts)
