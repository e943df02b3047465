"""Choosing a collection's plan by measurement, or setting one."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.staging import PlanChoice, PlanWish, TimedPlan, choose_plan
from nestvec.data.source import read_queries
from nestvec.errors import UserError
from nestvec.index.collection import Collection
from nestvec.index.plan import Plan
from nestvec.jobs.asking import ask_collection
from nestvec.jobs.checks import check_collection
from nestvec.jobs.questions import encode_queries
from nestvec.jobs.search import Opened
from nestvec.jobs.settings import EvaluateSettings, default
from nestvec.progress import Progress, quiet
from nestvec.vectors import load_vectors

if TYPE_CHECKING:
    from nestvec.index.snapshot import Snapshot

_VECTOR_FILES = (".npy", ".npz", ".safetensors")


@dataclass(frozen=True)
class PlanResult:
    """The plan that a collection has now, and what was measured of it and of others.

    stored: whether the collection searches by it from now on. about: where the sample queries
    come from. choice: None where the plan was given.
    """

    plan: str
    stored: bool
    about: str
    choice: PlanChoice | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """{plan, stored, about, seconds}, and where it was measured the fields of PlanChoice."""
        found: dict[str, Any] = {
            "plan": self.plan,
            "stored": self.stored,
            "about": self.about,
            "seconds": round(self.seconds, 3),
        }
        return found if self.choice is None else found | asdict(self.choice)

    def rows(self) -> list[TimedPlan]:
        """What was timed, the fastest first, the plan that was there before among them."""
        if self.choice is None:
            return []
        names = {each.plan: each for each in (self.choice.before, *self.choice.candidates)}
        return sorted(names.values(), key=lambda each: each.ms)


def plan(
    path: str | os.PathLike[str],
    text: str | None = None,
    *,
    recall: float = 0.99,
    k: int = 10,
    budget_ms: float | None = None,
    max_ram: int | None = None,
    queries: str | os.PathLike[str] | None = None,
    sample_queries: int = 400,
    store: bool = True,
    trust_remote_code: bool = False,
    api: str | None = None,
    device: str = default(EvaluateSettings, "device"),
    progress: Progress | None = None,
) -> PlanResult:
    """Choose the plan of the collection at path by sample queries, and store it.

    text: a plan to store as it is, without measuring. recall, k, budget_ms, max_ram: the wish, as
    choose.staging.PlanWish has it. queries: a file of texts or vectors to measure by; else what the
    collection was measured by when it was built, its titles, or its own rows. sample_queries: most
    of them. store: make it the collection's plan.
    Raises UserError where there is no collection, it cannot run the plan, or has no queries.
    """
    begun = time.monotonic()
    check_collection(path)
    wish = PlanWish(recall, k, budget_ms, max_ram)
    opened = Collection.open(Path(path))
    if text is not None:
        given = opened.checked_plan(Plan.parse(text))
        if store:
            opened.store_plan(given)
        return PlanResult(str(given), store, "given", None, time.monotonic() - begun)
    settings = EvaluateSettings(
        queries=None if queries is None else os.fspath(queries),
        sample_queries=sample_queries,
        trust_remote_code=trust_remote_code,
        api=api,
        device=device,
    )
    asked = sample_of(opened, settings, progress or quiet())
    choice = choose_plan(opened, asked.vectors, wish, own_rows=asked.own_rows, progress=progress)
    if store:
        evidence = (opened.evidence() or {}) | {"plan": asdict(choice) | {"about": asked.about}}
        opened.store_plan(Plan.parse(choice.taken.plan), evidence)
    return PlanResult(choice.taken.plan, store, asked.about, choice, time.monotonic() - begun)


@dataclass(frozen=True, eq=False)
class Asked:
    """Sample queries (q, d); own_rows: (q,) the row that each is, None where none is."""

    vectors: NDArray[Any]
    own_rows: NDArray[np.int64] | None
    about: str


def sample_of(opened: Snapshot, settings: EvaluateSettings, progress: Progress) -> Asked:
    """Queries to try plans by, settings.sample_queries at most, drawn by settings.seed.

    Raises UserError where there are none to be had.
    """
    found = _asked(opened, settings, progress)
    most = settings.sample_queries
    if len(found.vectors) <= most:
        return found
    some = np.sort(np.random.default_rng(settings.seed).permutation(len(found.vectors))[:most])
    own = None if found.own_rows is None else found.own_rows[some]
    return Asked(found.vectors[some], own, found.about)


def _asked(opened: Snapshot, settings: EvaluateSettings, progress: Progress) -> Asked:
    if settings.queries is not None:
        path = Path(settings.queries)
        if path.suffix in _VECTOR_FILES:
            return Asked(load_vectors(path).vectors, None, f"queries of {path.name}")
        encoder = Opened(
            opened,
            trust_remote_code=settings.trust_remote_code,
            api=settings.api,
            device=settings.device,
        ).encoder
        texts = [query.text for query in read_queries(path)]
        return Asked(encode_queries(encoder, texts, progress), None, f"queries of {path.name}")
    vectors = opened.vectors() if opened.has_vectors else np.empty((0, opened.dim), np.float32)
    ids = [str(name) for batch in opened.batches(("id",)) for name in batch["id"]]
    questions = ask_collection(opened, ids, vectors, settings, progress)
    if questions is None:
        raise UserError(
            f"a plan is chosen by sample queries, and {opened.path} has no questions of its own "
            "and too few stored vectors: give some (--queries FILE)."
        )
    own = questions.task.own_rows
    if own is not None:
        own = np.where(own >= 0, opened.positions()[own], -1)
    return Asked(questions.task.vectors, own, questions.about)
