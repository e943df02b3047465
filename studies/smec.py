"""Adapters over frozen vectors, beside what needs no training: make study NAME=smec DATA=folder.

SMEC and its parts added one at a time, Matryoshka-Adaptor, Search-Adaptor, the plain MRL adapter,
reflections, a projection a width, SpecTemp and a linear map from SVD, against prefix, random
coordinates, variance order, PCA and SVD of the same all-MiniLM-L6-v2 vectors, at 16 to 384
dimensions; and the nested code over some of them at 4 to 64 bytes. Trained with labels, with
titles alone, and with neither: then also with a sentence of a text as a query for it. DATA has
acl_abstracts, scifact, wikiqa and quora_dup in the BEIR layout (ACL Anthology, allenai/scifact,
WikiQA, Quora duplicates). Of each method the learning rate is chosen, of three, by its own
held-out score after a third of the passes: test queries are asked once; where no labels are
trained on, those of train splits are asked as well. Nothing is trained on a
document that a test query asks for, except with labels on scifact (and five queries of wikiqa),
where both kinds are told apart. On acl_abstracts with labels also: three seeds of the headline
rows, gradients, selections, memories of several sizes, and how few labels will do (see
smec_analysis). By default 8,000 training pairs, training that sees 5,000 documents, and one seed;
FULL=1 takes all pairs and documents and three seeds. What was measured is kept in --work, and a
rerun adds what is missing.
"""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import Executor
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

from studies.bytes import load_set
from studies.smec_analysis import (
    BASELINES,
    COUNTS,
    achievements,
    baselines,
    few_labels,
    gradients,
    memories,
    norms,
)
from studies.smec_cells import (
    CODED,
    Cell,
    Options,
    arms_of,
    groups_of,
    material,
    place_of,
    read,
    seen_of,
    train_arms,
    workers,
)
from studies.smec_codes import (
    HEADLINE,
    SEEDS,
    Jobs,
    code_jobs,
    merged,
    seed_jobs,
    slim,
    with_seeds,
)
from studies.smec_report import ORDER, PARTS, as_markdown, pictures
from studies.smec_tuning import WIDTHS, how_trained
from studies.trained import command_of, machine, parser_of

from nestvec.choose.adapted import AdaptedFloat
from nestvec.choose.evidence import Evidence
from nestvec.choose.grid import evaluate_grid
from nestvec.choose.judge import judge
from nestvec.choose.methods import Method
from nestvec.learn.adapters.methods import AdapterSettings
from nestvec.measure.intervals import paired_difference

SUPERVISION = ("labels", "titles", "none")
SETS = ("acl_abstracts", "scifact", "wikiqa", "quora_dup")
# Of a verdict: the rest is in the grid.
SAID = ("used", "mean", "reason")
LOOKS = ("gradients", "selections", "few-labels")


def main() -> None:
    """Train, measure and write smec.json, smec.md and pictures."""
    parser = parser_of("smec", __doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--supervision", nargs="+", default=list(SUPERVISION))
    parser.add_argument("--pairs", type=int, default=8_000)
    parser.add_argument("--documents", type=int, default=5_000, help="that training sees")
    parser.add_argument("--methods", nargs="+", default=None)
    parser.add_argument("--looks", nargs="*", default=list(LOOKS), help="into behaviour")
    parser.add_argument("--codes", nargs="*", default=list(CODED), help="sets coded, too")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="processes of one thread each"
    )
    options = parser.parse_args(namespace=Options())
    begun, from_nothing = time.perf_counter(), not options.work.exists()
    full = os.environ.get("FULL") == "1"
    if full:
        options.pairs = options.documents = None
    seeds = SEEDS if full else (options.seed,)
    wanted = [(n, s, seed) for n in options.sets for s in options.supervision for seed in seeds]
    # Texts are encoded once, by all threads; vectors of 384 keep no two of them busy in training.
    wanted = [cell for cell in wanted if material(*cell, options) is not None]
    material.cache_clear()
    with workers(options.workers) as pool:
        found, looked_into = everything(wanted, options, pool)
    result = {
        "command": command_of(
            "smec",
            pairs=options.pairs or "all",
            documents=options.documents or "all",
            sets=options.sets,
            supervision=options.supervision,
            codes=options.codes,
            looks=options.looks,
        ),
        "machine": machine(),
        "minutes": round((time.perf_counter() - begun) / 60, 1) if from_nothing else None,
        "widths": WIDTHS,
        "cells": found,
        "looked_into": looked_into,
        "not_run": [
            f"{name}, {supervision}"
            for name in SETS
            for supervision in SUPERVISION
            if name not in options.sets or supervision not in options.supervision
        ],
        "not_coded": [name for name in options.sets if name not in options.codes],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for cell in found:
        said = cell["verdicts"].items()
        cell["verdicts"] = {name: {key: each[key] for key in SAID} for name, each in said}
    (options.out / "smec.json").write_text(json.dumps(result) + "\n")
    (options.out / "smec.md").write_text(as_markdown(result))
    for picture, text in pictures(result).items():
        (options.out / picture).write_text(text)
    print(as_markdown(result))


def everything(
    wanted: list[Cell], options: Options, pool: Executor
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Each cell's record, and how adapters behave: first all trainings, then what they give."""
    arms = [
        (cell, group)
        for cell in wanted
        for group in groups_of([arm[0] for arm in arms_of(cell, options)])
    ]
    # the longest first: training through the code
    arms.sort(key=lambda each: "coded" not in each[1])
    for training in [pool.submit(train_arms, *each, options) for each in arms]:
        training.result()
    # the longest first here, too: codes, then looks and seeds
    shared: Jobs = {}
    codes = {cell: code_jobs(cell, options, pool, shared) for cell in wanted}
    looks = []
    if HEADLINE in [cell[:2] for cell in wanted]:
        looks = [pool.submit(look_into, look, options) for look in options.looks]
    seeds = {cell: seed_jobs(cell, options, pool) for cell in wanted}
    cells = {cell: pool.submit(measured, *cell, options) for cell in wanted}
    behaviour: dict[str, Any] = {}
    for each in looks:
        behaviour |= each.result()
    found = []
    for cell in wanted:
        record = cells[cell].result()
        grids = [job.result() for job in codes[cell].values()]
        record["codes"] = merged(grids) if grids else None
        record["seeds"] = with_seeds(record, seeds[cell]) or None
        found.append(record)
    return found, behaviour


def measured(name: str, supervision: str, seed: int, options: Options) -> dict[str, Any]:
    """One set under one supervision."""
    place = place_of(options, name, supervision, seed)
    if place.exists():
        return read(place)
    here = material(name, supervision, seed, options)
    assert here is not None
    documents, task, drawn, _ = here
    examples = drawn.examples
    begun = time.perf_counter()
    cell = (name, supervision, seed)
    trained = train_arms(cell, tuple(arm[0] for arm in arms_of(cell, options)), options)
    facts = {label: each[1] for label, each in trained.items()}
    adapters = {label: each[0] for label, each in trained.items()}
    methods: list[Method] = [
        *baselines(),
        *(AdaptedFloat(label, adapter, WIDTHS) for label, adapter in adapters.items()),
    ]
    task = replace(task, seen=seen_of(task, drawn))
    evidence = evaluate_grid(documents, task, methods, seed=seed)
    record = {
        "set": name,
        "supervision": supervision,
        "seed": seed,
        "pairs": 0 if examples.pairs is None else len(examples.pairs),
        "trained_documents": len(examples.documents),
        "queries": len(task.ids),
        "documents": len(documents),
        "facts": facts,
        "grid": slim(evidence),
        "verdicts": {
            label: judge(evidence, label, list(BASELINES), seed=seed).to_config()
            for label in adapters
        },
        "differences": differences(evidence, list(adapters), seed),
        "seconds": round(time.perf_counter() - begun),
    }
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(record))
    return record


def look_into(look: str, options: Options) -> dict[str, Any]:
    """How adapters behave on the headline set (see smec_analysis): one of LOOKS."""
    seed, (name, supervision) = options.seed, HEADLINE
    place = place_of(options, name, f"{supervision}-{look}", seed)
    if place.exists():
        return read(place)
    begun = time.perf_counter()
    here = material(name, supervision, seed, options)
    assert here is not None
    documents, task, drawn, _ = here
    examples = drawn.examples
    assert examples.pairs is not None
    count = len(examples.pairs)
    cell = (name, supervision, seed)
    labels = tuple(label for label, method, _ in arms_of(cell, options) if method != "coded")
    facts = {label: each[1] for label, each in train_arms(cell, labels, options).items()}
    how = how_trained(examples, facts["smec"]["rate"], AdapterSettings(), seed)

    def gradients_and_norms() -> dict[str, Any]:
        return {
            "gradients": gradients(examples, how),
            "norms": norms(examples, WIDTHS, how.scale),
        }

    def selections_and_memories() -> dict[str, Any]:
        remembered, selected = memories(documents, task, examples, how, WIDTHS)
        return {
            "achievements": achievements(selected, examples, seed),
            "memories": remembered,
        }

    def labels_needed() -> dict[str, Any]:
        _, dev, _ = load_set(options.data / name, "dev", options.work / name)
        rates = {label: each["rate"] for label, each in facts.items()}
        counts = (*COUNTS, count)
        return {
            "few_labels": few_labels(documents, dev, task, examples, WIDTHS, rates, counts, seed)
        }

    measures = (gradients_and_norms, selections_and_memories, labels_needed)
    record = dict(zip(LOOKS, measures, strict=True))[look]()
    record[f"{look}_seconds"] = round(time.perf_counter() - begun)
    place.write_text(json.dumps(record))
    return record


def differences(evidence: Evidence, labels: list[str], seed: int) -> list[dict[str, Any]]:
    """Paired differences at every width: of each from SVD and prefix, and as the tables ask."""
    values, _ = evidence.query_values()
    row = {(cell.method, cell.dims): i for i, cell in enumerate(evidence.cells)}
    names = [*labels, *BASELINES]
    asked = {*pairwise(ORDER), *pairwise(reversed(PARTS))}
    asked |= {(name, other) for name in names for other in ("svd-float", "prefix-float")}
    found = []
    for width in WIDTHS:
        for one in names:
            for other in names:
                if (
                    (one, other) in asked
                    and one != other
                    and (one, width) in row
                    and (other, width) in row
                ):
                    a, b = values[row[one, width]], values[row[other, width]]
                    interval = asdict(paired_difference(a, b, seed))
                    found.append({"width": width, "a": one, "b": other, **interval})
    return found


if __name__ == "__main__":
    main()
