"""Adapters over frozen vectors, beside what needs no training: make study NAME=smec DATA=folder.

SMEC and its parts added one at a time, Matryoshka-Adaptor, Search-Adaptor, the plain MRL adapter,
reflections, a projection a width, SpecTemp and a linear map from SVD, against prefix, random
coordinates, variance order, PCA and SVD of the same all-MiniLM-L6-v2 vectors, at 16 to 384
dimensions; and the nested code over some of them at 4 to 64 bytes. Trained with labels, with
titles alone, and with neither. DATA has acl_abstracts, scifact, wikiqa and quora_dup in the BEIR
layout (ACL Anthology, allenai/scifact, WikiQA, Quora duplicates). Of each method the learning rate
is chosen, of three, by its own held-out score: test queries are asked once. Nothing is trained on a
document that a test query asks for, except on scifact, where both kinds are told apart. By
default 8,000 training pairs and one seed; FULL=1 takes all pairs and three seeds. What was measured
is kept in --work, and a rerun adds what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from studies.bytes import load_set
from studies.smec_report import ORDER, PARTS, as_markdown, pictures
from studies.trained import command_of, machine, parser_of

from nestvec.adapters.adapter import Adapter
from nestvec.choose import axes as kinds
from nestvec.choose.adapted import AdaptedFloat, AdaptedMethod
from nestvec.choose.baselines import FloatAxes
from nestvec.choose.evidence import Evidence
from nestvec.choose.grid import evaluate_grid
from nestvec.choose.judge import judge
from nestvec.choose.methods import Method, NestedMethod
from nestvec.choose.relevance import QueryTask, title_queries
from nestvec.data.encode import encode_texts
from nestvec.data.encoder import load_encoder
from nestvec.data.lines import read_lines
from nestvec.data.source import open_source
from nestvec.learn.adapters.examples import Examples
from nestvec.learn.adapters.methods import METHODS, AdapterSettings, Parts, fit_adapter
from nestvec.learn.adapters.training import Training
from nestvec.measure.intervals import paired_difference

SUPERVISION = ("labels", "titles", "none")
SETS = ("acl_abstracts", "scifact", "wikiqa", "quora_dup")
WIDTHS = (16, 32, 64, 96, 128, 192, 256, 384)
BASELINES = ("prefix-float", "random-float", "variance-float", "pca-float", "svd-float")
RATES = (5e-4, 2e-3, 8e-3)
# SMEC's parts, added one at a time: the plain map, stage after stage, selection, memory.
ABLATION = {
    "smec: none": Parts(False, False, False),
    "smec: SMRL": Parts(True, False, False),
    "smec: SMRL, ADS": Parts(True, True, False),
    "smec": Parts(),
}
SPEC, CODEC_ROWS = "32xcb", 40_000
# Losses of cosines alone want small batches (Matryoshka-Adaptor took 128), InfoNCE large ones.
CONTRASTIVE = ("linear", "coded", "reflections", "per-width")


def main() -> None:
    """Train, measure and write smec.json, smec.md and pictures."""
    parser = parser_of("smec", __doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--supervision", nargs="+", default=list(SUPERVISION))
    parser.add_argument("--pairs", type=int, default=8_000)
    parser.add_argument("--methods", nargs="+", default=None)
    parser.add_argument("--codes", nargs="*", default=["acl_abstracts"], help="sets coded, too")
    options = parser.parse_args()
    full = os.environ.get("FULL") == "1"
    found = []
    for name in options.sets:
        for supervision in options.supervision:
            for seed in (0, 1, 2) if full else (options.seed,):
                cell = measured(name, supervision, seed, options, None if full else options.pairs)
                if cell is not None:
                    found.append(cell)
    result = {
        "command": command_of(
            "smec",
            pairs=options.pairs,
            sets=options.sets,
            supervision=options.supervision,
            codes=options.codes or ["none"],
        ),
        "machine": machine(),
        "widths": WIDTHS,
        "cells": found,
        "not_run": [
            f"{name}, {supervision}"
            for name in SETS
            for supervision in SUPERVISION
            if name not in options.sets or supervision not in options.supervision
        ],
        "not_coded": [name for name in options.sets if name not in options.codes],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "smec.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "smec.md").write_text(as_markdown(result))
    for picture, text in pictures(result).items():
        (options.out / picture).write_text(text)
    print(as_markdown(result))


def measured(
    name: str, supervision: str, seed: int, options: argparse.Namespace, most: int | None
) -> dict[str, Any] | None:
    """One set under one supervision; None where it has none of that kind."""
    place = options.work / f"{name}-{supervision}-{most or 'all'}-{seed}.json"
    if place.exists():
        found: dict[str, Any] = json.loads(place.read_text())
        return found
    work = options.work / name
    documents, task, _ = load_set(options.data / name, "test", work)
    examples = examples_of(options.data / name, documents, task, supervision, most, seed, work)
    if examples is None:
        return None
    begun = time.perf_counter()
    methods: list[Method] = [
        FloatAxes(n, k)
        for n, k in zip(
            BASELINES,
            (kinds.leading, kinds.random, kinds.variance, kinds.pca, kinds.svd),
            strict=True,
        )
    ]
    facts: dict[str, Any] = {}
    adapters = {}
    for label, method, settings in _arms(examples.labelled, name in options.codes, options.methods):
        # Its first part is the linear map, and its second takes minutes.
        rates = (facts["linear"]["rate"],) if method == "coded" else RATES
        adapter, facts[label] = tuned(method, settings, examples, seed, rates)
        adapters[label] = adapter
        methods.append(AdaptedFloat(label, adapter, WIDTHS))
        print(name, supervision, label, facts[label], flush=True)
    seen = None
    if examples.pairs is not None:
        touched = np.isin(task.relevance.rows, examples.pairs[:, 1])
        seen = np.zeros(len(task.ids), bool)
        np.logical_or.at(seen, task.relevance.query_of, touched)
    task = replace(task, seen=seen if seen is not None and seen.any() else None)
    evidence = evaluate_grid(documents, task, methods, seed=seed)
    record = {
        "set": name,
        "supervision": supervision,
        "seed": seed,
        "pairs": 0 if examples.pairs is None else len(examples.pairs),
        "queries": len(task.ids),
        "documents": len(documents),
        "facts": facts,
        "grid": evidence.to_config(),
        "verdicts": {
            label: judge(evidence, label, BASELINES, seed=seed).to_config() for label in adapters
        },
        "differences": differences(evidence, list(adapters), seed),
        "codes": codes(documents, task, adapters, seed) if name in options.codes else None,
        "seconds": round(time.perf_counter() - begun),
    }
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(record))
    return record


def _arms(
    labelled: bool, coded: bool, only: list[str] | None
) -> list[tuple[str, str, AdapterSettings]]:
    """(label, method, what differs from the settings of all) of everything to train."""
    same, turned = AdapterSettings(), AdapterSettings(start="svd")
    plain = [(n, n, same) for n in METHODS if n != "smec" and (coded or n != "coded")]
    smec = [(label, "smec", AdapterSettings(parts=parts)) for label, parts in ABLATION.items()]
    arms = [*plain, *smec, *((f"{n} from SVD", n, turned) for n in ("mrl", "smec"))]
    arms = [arm for arm in arms if labelled or METHODS[arm[1]].labels != "needed"]
    return [arm for arm in arms if only is None or arm[1] in only]


def tuned(
    method: str, settings: AdapterSettings, examples: Examples, seed: int, rates: Sequence[float]
) -> tuple[Adapter, dict[str, Any]]:
    """The adapter of the learning rate with the best held-out score, and how it was found."""
    count = len(examples.documents) if examples.pairs is None else len(examples.pairs)
    batch = int(min(1_024 if method in CONTRASTIVE else 256, max(64, count // 8)))
    found = []
    begun = time.perf_counter()
    for rate in rates if METHODS[method].labels != "unused" else rates[:1]:
        # Few pairs make few steps a pass, and tens of thousands of documents many.
        epochs = 20 if count < 5_000 else (10 if count < 20_000 else 3)
        training = Training(batch=batch, rate=rate, epochs=epochs, seed=seed)
        how = replace(settings, widths=WIDTHS[:-1], training=training, temperature=0.03)
        adapter = fit_adapter(method, examples, how)
        scores = [max(history["scores"]) for history in adapter.facts["histories"]]
        found.append((float(np.mean(scores)) if scores else 0.0, rate, adapter))
    score, rate, adapter = max(found, key=lambda each: each[0])
    return adapter, {
        "rate": rate,
        "held_out": round(score, 4),
        "tried": {str(r): round(s, 4) for s, r, _ in found},
        "seconds": round(time.perf_counter() - begun, 1),
        "adapter_bytes": adapter.size_bytes(),
    }


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


def codes(
    documents: NDArray[Any],
    task: QueryTask,
    adapters: dict[str, Adapter],
    seed: int,
) -> dict[str, Any]:
    """The nested code over untouched and over adapted vectors."""
    inner = NestedMethod(SPEC, beam=5)
    methods: list[Method] = [replace(inner, name="untouched")]
    methods += [
        AdaptedMethod(label, adapters[label], inner)
        for label in ("linear", "coded")
        if label in adapters
    ]
    return evaluate_grid(documents, task, methods, seed=seed, fit_rows=CODEC_ROWS).to_config()


def examples_of(
    folder: Path,
    documents: NDArray[Any],
    task: QueryTask,
    supervision: str,
    most: int | None,
    seed: int,
    work: Path,
) -> Examples | None:
    """What to train on; None where the set has no such supervision."""
    if supervision == "none":
        free = np.setdiff1d(np.arange(len(documents)), task.relevance.rows)
        return Examples(np.asarray(documents[free], np.float32))
    asked = np.zeros(len(documents), bool)
    asked[task.relevance.rows] = True
    if (folder / "train_ids.txt.gz").exists():
        if supervision == "titles":
            return None  # its labels are titles
        source = open_source(folder, qrels="test")
        places = {identity: row for row, identity in enumerate(source.ids)}
        ids = [line.strip() for _, line in read_lines(folder / "train_ids.txt.gz") if line.strip()]
        rows = np.array([places[identity] for identity in ids])
        titles = {place: row.title for place, row in enumerate(source.rows())}
        texts = [titles[row] for row in rows.tolist()]
    elif supervision == "titles":
        names = [row.title for row in open_source(folder, qrels="test").rows()]
        if not any(names):
            return None
        texts, bearers = title_queries(names, len(names), seed, fewest_words=1)
        alone = [i for i, group in enumerate(bearers) if not asked[group].any()]
        texts = [texts[i] for i in alone]
        groups = [bearers[i] for i in alone]
        vectors = _encoded(texts, work / "titles.npy")
        pairs = [(q, row) for q, group in enumerate(groups) for row in group]
        return _drawn(documents, vectors, np.array(pairs, np.int64), most, seed)
    else:
        _, trained, _ = load_set(folder, "train", work)
        pairs_of = np.stack([trained.relevance.query_of, trained.relevance.rows], axis=1)
        grades = trained.relevance.gains.astype(np.float32)
        return Examples(documents, trained.vectors, pairs_of, grades)
    vectors = _encoded(texts, work / "train_titles.npy")
    own = np.stack([np.arange(len(rows)), rows], axis=1)
    return _drawn(documents, vectors, own, most, seed)


def _drawn(
    documents: NDArray[Any],
    queries: NDArray[Any],
    pairs: NDArray[np.int64],
    most: int | None,
    seed: int,
) -> Examples:
    if most is not None and len(pairs) > most:
        pairs = pairs[np.sort(np.random.default_rng(seed).permutation(len(pairs))[:most])]
    return Examples(documents, np.asarray(queries, np.float32), pairs)


def _encoded(texts: list[str], place: Path) -> NDArray[Any]:
    place.parent.mkdir(parents=True, exist_ok=True)
    return encode_texts(iter(texts), load_encoder("minilm"), place, kind="query").vectors


if __name__ == "__main__":
    main()
