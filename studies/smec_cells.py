"""What the study of adapters trains: which methods for which cell, each trained once and kept."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from studies.smec_examples import Drawn, asked_of, drawn_of
from studies.smec_tuning import RATES, tuned

from nestvec.adapters.adapter import Adapter
from nestvec.choose.relevance import QueryTask
from nestvec.learn.adapters.methods import METHODS, AdapterSettings, Parts

# SMEC's parts, added one at a time: the plain map, stage after stage, selection, memory.
ABLATION = {
    "smec: none": Parts(False, False, False),
    "smec: SMRL": Parts(True, False, False),
    "smec: SMRL, ADS": Parts(True, True, False),
    "smec": Parts(),
}
CODED = ("acl_abstracts",)
# With neither labels nor titles a sentence still may ask for the text that it was taken from.
OF_SENTENCES = ("linear, sentences", "smec, sentences")


class Options(argparse.Namespace):
    """The study's options, which what a cell is made of may be kept by."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(repr(sorted(vars(self).items())))


Cell = tuple[str, str, int]
"""A set, a supervision and a seed."""
Found = tuple[Adapter, dict[str, Any]]


@contextmanager
def workers(count: int) -> Iterator[Executor]:
    """Processes of one thread each."""
    for variable in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        yield pool


def groups_of(labels: list[str]) -> list[tuple[str, ...]]:
    """Labels to train one by one, but for coded, which takes its rate from linear."""
    if "coded" not in labels:
        return [(label,) for label in labels]
    return [("linear", "coded"), *((n,) for n in labels if n not in ("linear", "coded"))]


@lru_cache(maxsize=2)
def material(
    name: str, supervision: str, seed: int, options: Options
) -> tuple[NDArray[Any], QueryTask, Drawn, Drawn | None] | None:
    """Documents, queries to test by, what is trained on, and sentences where nothing is labelled.

    None where the set has no such supervision.
    """
    documents, task = asked_of(options, name, supervision)
    drawn = drawn_of(options, name, documents, task, supervision, seed)
    if drawn is None:
        return None
    told = None
    if not drawn.examples.labelled:
        told = drawn_of(options, name, documents, task, "sentences", seed)
    return documents, task, drawn, told


def train_arms(cell: Cell, labels: tuple[str, ...], options: Options) -> dict[str, Found]:
    """{label: its adapter, and how it was found}, from --work where it is."""
    name, supervision, seed = cell
    found: dict[str, Found] = {}
    for label, method, settings in arms_of(cell, options):
        if label not in labels:
            continue
        own = place_of(options, name, f"{supervision}-{label}", seed)
        fresh = not own.exists()
        here = material(*cell, options)
        assert here is not None
        learned_from = here[3] if label in OF_SENTENCES else here[2]
        if learned_from is None:
            continue
        # Its first part is the linear map, and its second takes minutes.
        through = method == "coded" and "linear" in found
        rates = (found["linear"][1]["rate"],) if through else RATES
        found[label] = tuned(method, settings, learned_from.examples, seed, rates, own)
        if fresh:
            print(name, supervision, label, found[label][1], flush=True)
    return found


def place_of(options: Options, name: str, kind: str, seed: int) -> Path:
    """The file in --work of one thing that was measured."""
    sizes = f"{options.pairs or 'all'}-{options.documents or 'all'}"
    kind = re.sub(r"[^a-zA-Z]+", "-", kind)
    place: Path = options.work / f"{name}-{kind}-{sizes}-{seed}.json"
    return place


def seen_of(task: QueryTask, drawn: Drawn) -> NDArray[np.bool_] | None:
    """Which queries (q,) ask for a document that was trained on; None where none does."""
    touched = np.isin(task.relevance.rows, drawn.trained)
    seen = np.zeros(len(task.ids), bool)
    np.logical_or.at(seen, task.relevance.query_of, touched)
    return seen if seen.any() else None


def read(place: Path) -> dict[str, Any]:
    """A record that was kept."""
    found: dict[str, Any] = json.loads(place.read_text())
    return found


def coded(cell: Cell, options: Options) -> bool:
    """Whether codes are measured in a cell: on some sets, with labels and with neither."""
    return cell[0] in options.codes and cell[1] != "titles"


def arms_of(cell: Cell, options: Options) -> list[tuple[str, str, AdapterSettings]]:
    """(label, method, what differs from the settings of all) of everything to train in a cell."""
    labelled = cell[1] != "none"
    only = options.methods
    same, turned = AdapterSettings(), AdapterSettings(start="svd")
    # What needs no labels at all is shown where there are none.
    left = {
        "smec",
        *(() if coded(cell, options) else ("coded",)),
        *(("spectemp",) if labelled else ()),
    }
    plain = [(n, n, same) for n in METHODS if n not in left]
    smec = [(label, "smec", AdapterSettings(parts=parts)) for label, parts in ABLATION.items()]
    arms = [*plain, *smec, *((f"{n} from SVD", n, turned) for n in ("mrl", "smec"))]
    if cell[1] != "labels":  # what SMEC's parts add is asked with labels
        arms = [*plain, smec[-1]]
    if not labelled:
        arms = [arm for arm in arms if METHODS[arm[1]].labels != "needed"]
        arms += [(label, label.split(",")[0], same) for label in OF_SENTENCES]
    return [arm for arm in arms if only is None or arm[1] in only]
