"""Nested image models on three small sets: make study NAME=images DATA=folder.

fashion_mnist (IDX files of Zalando's Fashion-MNIST), cifar10 and tiny_imagenet32 (Parquet files of
small JPEGs; CIFAR-10, and Tiny ImageNet at 32 x 32). By default a small ResNet 256 wide, on 20,000,
18,000 and 8,000 training pictures (50 of Tiny ImageNet's 200 classes), and three seeds; FULL=1
trains ResNet-18 on all of them, for longer. Arms: MRL, MRL-E, and FF, a model for
each width; from FF of full width also SVD and random coordinates. Told at every width: accuracy of
the heads, 1-NN accuracy, mAP@10 and P@10 (2,000 test pictures against at most 10,000 training
pictures, the same class being relevant), with paired differences from FF over pictures and the
spread over seeds; what is told of MRL alone is in images_more.py; and cascades, their thresholds
from training pictures that were held out. --jobs trainings at once; their outcomes are kept in
--work, and a rerun adds what is missing.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from studies.image_models import BFLOAT16, DIM, LONGER, PLANS, Outcome, Plan, Trainings, pictures_of
from studies.images_cascade import cascades
from studies.images_more import more
from studies.images_report import as_markdown, picture
from studies.trained import F32, F64, command_of, machine, parser_of

from nestvec.measure.classes import (
    ap_at_k,
    ap_by_k,
    first_right,
    nearest_rows,
    precision_at_k,
    relevant_hits,
)
from nestvec.measure.clusters import correct
from nestvec.measure.intervals import bootstrap_mean, paired_difference
from nestvec.measure.probes import linear_probe

I64 = NDArray[np.int64]
K = 10
QUERIES = 2_000
DATABASE = 10_000
PROBED = 5_000
RANKED = ("1-NN", "mAP@10", "mAP@10 by k", "P@10")
Values = dict[str, dict[int, dict[str, F64]]]
"""{arm: {width: {measure: a value for each picture}}}."""


def main() -> None:
    """Train, measure, and write images.json, images.md and a picture a set."""
    parser = parser_of("images", __doc__)
    parser.add_argument("--sets", nargs="+", default=[plan.name for plan in PLANS])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--longer",
        action="store_true",
        help="MRL of half as many epochs more beside FF",
    )
    parser.add_argument(
        "--jobs", type=int, default=1 if torch.cuda.is_available() else os.cpu_count()
    )
    options = parser.parse_args()
    begun = time.perf_counter()
    flags = {"longer": ""} if options.longer else {}
    result: dict[str, Any] = {
        "command": command_of("images", sets=options.sets, seeds=options.seeds, **flags),
        "machine": machine(),
        "bfloat16": BFLOAT16,
        "sets": {},
    }
    plans = [plan for plan in PLANS if plan.name in options.sets]
    if options.jobs > 1:
        train_at_once(plans, options)
    with pool_of(options.jobs) as pool:
        told = pool.map(functools.partial(tell_one, options), plans)
        result["sets"] = {plan.name: each for plan, each in zip(plans, told, strict=True)}
    result["seconds"] = round(time.perf_counter() - begun, 1)
    options.out.mkdir(parents=True, exist_ok=True)
    stem = "images-longer" if options.longer else "images"
    (options.out / f"{stem}.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / f"{stem}.md").write_text(as_markdown(result, stem))
    for name, each in result["sets"].items():
        (options.out / f"{stem}-{name}.svg").write_text(picture(name, each))
    print(as_markdown(result, stem))


def train_at_once(plans: list[Plan], options: argparse.Namespace) -> None:
    """Train what is missing in processes of one thread each, the first seed of all sets first."""
    missing = []
    for plan in plans:
        trainings = trainings_of(plan, options.data, options.work)
        wanted = trainings.wanted(nested_of(options), range(options.seeds))
        missing += [(plan, *one) for one in wanted if not trainings.place(*one).exists()]
    missing.sort(key=lambda one: one[-1])
    with pool_of(options.jobs) as pool:
        done = [pool.submit(train_one, options.data, options.work, *one) for one in missing]
        for each in done:
            each.result()


def pool_of(jobs: int) -> ProcessPoolExecutor:
    """Processes that begin from nothing: torch's threads do not survive a fork."""
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))


def tell_one(options: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """Everything about a set, in a process of its own."""
    if options.jobs > 1:
        torch.set_num_threads(1)
    trainings = trainings_of(plan, options.data, options.work)
    seeds = range(options.seeds)
    told = of_arms(trainings, nested_of(options), seeds)
    return told if options.longer else told | of_mrl(trainings, seeds)


def nested_of(options: argparse.Namespace) -> tuple[str, ...]:
    """Arms of which one model has all widths."""
    return ("mrl", *LONGER) if options.longer else ("mrl", "mrl-e")


def train_one(
    data: Path, work: Path, plan: Plan, arm: str, widths: tuple[int, ...], seed: int
) -> None:
    """Train a model of the study and keep its outcome."""
    torch.set_num_threads(1)
    trainings_of(plan, data, work).outcome(arm, widths, seed)


@functools.cache
def trainings_of(plan: Plan, data: Path, work: Path) -> Trainings:
    """Of a set, whose pictures a process reads once."""
    return Trainings(pictures_of(plan, data), data, work)


def of_arms(trainings: Trainings, nested: Sequence[str], seeds: range) -> dict[str, Any]:
    """A set, what it is trained with, and its arms at every width."""
    plan = trainings.plan
    of_seed = [values_of(trainings, nested, seed) for seed in seeds]
    arms = list(of_seed[0])
    told: dict[str, Any] = {"arms": {}, "leads": {}}
    for arm in arms:
        told["arms"][arm] = over_seeds([each[arm] for each in of_seed])
        if arm != "ff":
            pairs = [(each[arm], each["ff"]) for each in of_seed]
            told["leads"][arm] = leads_over_seeds(pairs)
    return {
        "widths": plan.widths,
        "fitted": len(trainings.pictures.fitted),
        "held": len(trainings.pictures.held),
        "test": len(trainings.pictures.test),
        "classes": len(trainings.pictures.train.classes),
        "epochs": plan.epochs,
        "seeds": len(seeds),
        "model": plan.model,
        "weights": plan.weights,
        **told,
        "seconds_a_model": {
            arm: round(trainings.outcome(arm, plan.widths, 0).seconds, 1) for arm in nested
        }
        | {"ff": round(trainings.outcome("ff", (DIM,), 0).seconds, 1)},
    }


def of_mrl(trainings: Trainings, seeds: range) -> dict[str, Any]:
    """What is told of MRL alone."""
    widths, labels = trainings.plan.widths, trainings.pictures.labels
    mrl = [trainings.outcome("mrl", widths, seed) for seed in trainings.of_cascades(seeds)]
    return {
        "models_of_cascades": len(mrl),
        "cascades": cascades(mrl, labels[0][trainings.pictures.held], labels[1]),
        "more": more(trainings, mrl[0]),
    }


def values_of(trainings: Trainings, nested: Sequence[str], seed: int) -> Values:
    """All arms of one seed."""
    plan = trainings.plan
    labels, asked = trainings.pictures.labels
    known = labels[trainings.pictures.fitted]
    found: Values = {}
    for arm in nested:
        outcome = trainings.outcome(arm, plan.widths, seed)
        found[arm] = {
            width: {
                "accuracy": correct(asked, outcome.logits[width].argmax(axis=1)),
                **ranked(outcome, known, asked, columns(np.arange(width))),
            }
            for width in plan.widths
        }
    found["ff"] = {}
    for width in plan.widths:
        outcome = trainings.outcome("ff", (width,), seed)
        found["ff"][width] = {
            "accuracy": correct(asked, outcome.logits[width].argmax(axis=1)),
            **ranked(outcome, known, asked, columns(np.arange(width))),
        }
    return found | of_full_width(trainings.outcome("ff", (DIM,), seed), plan, known, asked, seed)


def of_full_width(full: Outcome, plan: Plan, known: I64, asked: I64, seed: int) -> Values:
    """What people cut from one model that was not made for it: SVD, and random coordinates."""
    weight, bias = full.weight, full.bias
    axes = {
        "head": np.linalg.svd(weight, full_matrices=True)[2],
        "features": np.linalg.svd(full.train[drawn(len(known), DATABASE)], full_matrices=False)[2],
    }
    some_rows = drawn(len(known), PROBED)
    order = np.random.default_rng(seed).permutation(DIM)
    found: Values = {"svd": {}, "random": {}}
    for width in plan.widths:
        kept = axes["head"][:width].T
        logits = (full.test @ kept) @ (weight @ kept).T + bias
        found["svd"][width] = {
            "accuracy": correct(asked, logits.argmax(axis=1)),
            **ranked(full, known, asked, turned(axes["features"][:width])),
        }
        some = order[:width]
        probed = linear_probe(full.train[some_rows][:, some], known[some_rows], full.test[:, some])
        found["random"][width] = {
            "accuracy": correct(asked, probed),
            **ranked(full, known, asked, columns(some)),
        }
    return found


def ranked(outcome: Outcome, known: I64, asked: I64, cut: Callable[[F32], F32]) -> dict[str, F64]:
    """Measures of retrieval, test pictures against training pictures, both cut."""
    rows, queries = drawn(len(known), DATABASE), drawn(len(asked), QUERIES)
    hits = nearest_rows(cut(outcome.train[rows]), cut(outcome.test[queries]), K)
    relevant, totals = relevant_hits(hits, known[rows], asked[queries])
    return {
        "1-NN": first_right(relevant),
        "mAP@10": ap_at_k(relevant, K, totals),
        "mAP@10 by k": ap_by_k(relevant, K),
        "P@10": precision_at_k(relevant, K),
    }


def columns(some: I64) -> Callable[[F32], F32]:
    """Takes some coordinates."""
    return lambda x: x[:, some]


def turned(axes: F32) -> Callable[[F32], F32]:
    """Takes coordinates along axes (m, d)."""
    return lambda x: x @ axes.T


def drawn(count: int, most: int) -> I64:
    """The same places for every arm and seed."""
    return np.random.default_rng(0).permutation(count)[:most]


def over_seeds(of_seed: list[dict[int, dict[str, F64]]]) -> dict[int, dict[str, Any]]:
    """{width: {measure: the mean, its interval over pictures, and each seed's}}."""
    return {
        width: {
            measure: {
                **asdict(bootstrap_mean(np.mean([each[width][measure] for each in of_seed], 0))),
                "seeds": [round(float(each[width][measure].mean()), 4) for each in of_seed],
            }
            for measure in by
        }
        for width, by in of_seed[0].items()
    }


def leads_over_seeds(
    pairs: list[tuple[dict[int, dict[str, F64]], dict[int, dict[str, F64]]]],
) -> dict[int, dict[str, Any]]:
    """The same of paired differences."""
    return {
        width: {
            measure: {
                **asdict(
                    paired_difference(
                        np.mean([one[width][measure] for one, _ in pairs], 0),
                        np.mean([other[width][measure] for _, other in pairs], 0),
                    )
                ),
                "seeds": [
                    round(float((one[width][measure] - other[width][measure]).mean()), 4)
                    for one, other in pairs
                ],
            }
            for measure in by
        }
        for width, by in pairs[0][0].items()
    }


if __name__ == "__main__":
    main()
