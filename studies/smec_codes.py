"""What the study of adapters measures beside its grids: codes over adapters, and further seeds.

Each code and each training is a job of its own, so that no process is left with all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from typing import Any

from studies.smec_cells import (
    Cell,
    Options,
    arms_of,
    coded,
    material,
    place_of,
    read,
    seen_of,
    train_arms,
)
from studies.smec_tuning import WIDTHS, how_trained

from nestvec.choose.adapted import AdaptedFloat, AdaptedMethod
from nestvec.choose.evidence import Evidence
from nestvec.choose.grid import evaluate_grid
from nestvec.choose.methods import Method, NestedMethod
from nestvec.learn.adapters.coded import Coding
from nestvec.learn.adapters.methods import AdapterSettings, fit_adapter

# 64 bytes, of which signs cost far less to fit than codebooks would. The exponent is that which
# training through the code takes: finding one for each code costs a fifth of it.
CODE = NestedMethod("32xcb+sign248", beam=5, power=Coding().power)
CODEC_ROWS = 8_000
UNTOUCHED = "untouched"
# What codes are measured over beside the untouched vectors, with pairs and without.
_UNDER_CODES = {True: ("coded",), False: ("distilled",)}
# Where seeds are told apart and behaviour is looked into.
HEADLINE = ("acl_abstracts", "labels")
HEADLINE_ROWS = ("linear", "smec", "matryoshka", "search", "mrl")
SEEDS = (0, 1, 2)

Jobs = dict[str, Future[Any]]


def code_jobs(cell: Cell, options: Options, pool: Executor, shared: Jobs) -> Jobs:
    """{method: the grid of its code}; shared: codes of untouched vectors asked for before."""
    if not coded(cell, options):
        return {}
    labels = [label for label, *_ in arms_of(cell, options)]
    under = [label for label in _UNDER_CODES[cell[1] != "none"] if label in labels]
    jobs = {label: pool.submit(code_of, cell, label, options) for label in under}
    # Without a split to train on, queries are the same whatever is trained on.
    trains = (options.data / cell[0] / "qrels" / "train.tsv").exists()
    whose = f"{cell[0]}-{cell[1] if trains else ''}-{cell[2]}"
    if whose not in shared:
        shared[whose] = pool.submit(code_of, cell, UNTOUCHED, options)
    return {UNTOUCHED: shared[whose], **jobs}


def code_of(cell: Cell, label: str, options: Options) -> dict[str, Any]:
    """The nested code over untouched vectors, or over an adapter's."""
    name, supervision, seed = cell
    place = place_of(options, name, f"{supervision}-{label}-code", seed)
    if not place.exists():
        here = material(*cell, options)
        assert here is not None
        documents, task, drawn, _ = here
        method: Method = replace(CODE, name=UNTOUCHED)
        if label != UNTOUCHED:
            adapter = train_arms(cell, (label,), options)[label][0]
            method = AdaptedMethod(label, adapter, CODE)
        task = replace(task, seen=seen_of(task, drawn))
        found = evaluate_grid(documents, task, [method], seed=seed, fit_rows=CODEC_ROWS)
        place.write_text(json.dumps(slim(found)))
    return read(place)


def seed_jobs(cell: Cell, options: Options, pool: Executor) -> dict[tuple[str, int], Future[Any]]:
    """{(method, seed): its values at every width} of the headline rows, but for the cell's seed."""
    if cell[:2] != HEADLINE:
        return {}
    labels = [label for label, *_ in arms_of(cell, options) if label in HEADLINE_ROWS]
    return {
        (label, seed): pool.submit(seed_of, cell, label, seed, options)
        for label in labels
        for seed in SEEDS
        if seed != cell[2]
    }


def seed_of(cell: Cell, label: str, seed: int, options: Options) -> list[float]:
    """Values at every width of one more training, at the rate that the cell's own took."""
    name, supervision, own = cell
    place = place_of(options, name, f"{supervision}-{label}-of-{own}-again", seed)
    if not place.exists():
        here = material(*cell, options)
        assert here is not None
        documents, task, drawn, _ = here
        rate = train_arms(cell, (label,), options)[label][1]["rate"]
        how = how_trained(drawn.examples, rate, AdapterSettings(), seed, label)
        adapter = fit_adapter(label, drawn.examples, how)
        evidence = evaluate_grid(documents, task, [AdaptedFloat(label, adapter, WIDTHS)], seed=seed)
        place.write_text(json.dumps([cell.value for cell in evidence.cells]))
    values: list[float] = json.loads(place.read_text())
    return values


def with_seeds(
    record: dict[str, Any], jobs: dict[tuple[str, int], Future[Any]]
) -> dict[str, list[list[float]]]:
    """{method: values at every width, a list a seed}, the record's own first."""
    found: dict[str, list[list[float]]] = {}
    for (label, _), job in jobs.items():
        if label not in found:
            cells = record["grid"]["cells"]
            found[label] = [[cell["value"] for cell in cells if cell["method"] == label]]
        found[label].append(job.result())
    return found


def merged(grids: list[dict[str, Any]]) -> dict[str, Any]:
    """Grids of the same queries as one."""
    first = grids[0]
    cells: Callable[[list[dict[str, Any]]], list[Any]] = lambda some: [  # noqa: E731
        cell for each in some for cell in each["cells"]
    ]
    parts = [
        {**part, "cells": cells([each["parts"][i] for each in grids])}
        for i, part in enumerate(first["parts"])
    ]
    return {**first, "cells": cells(grids), "parts": parts}


def slim(evidence: Evidence) -> dict[str, Any]:
    """What tables and pictures show of a grid."""
    kept = ("method", "dims", "bytes", "value", "low", "high")

    def cells(some: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{key: cell[key] for key in kept} for cell in some]

    whole = evidence.to_config()
    return {
        "full": whole["full"],
        "cells": cells(whole["cells"]),
        "parts": [{**part, "cells": cells(part["cells"])} for part in whole["parts"]],
    }
