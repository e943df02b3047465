"""One fit of an adapter under way: its settings, its sides, and how a part of it is trained."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from nestvec.adapters.adapter import Stage
from nestvec.learn.adapters.checkpoint import History
from nestvec.learn.adapters.examples import Examples
from nestvec.learn.adapters.held_out import MOST_QUERIES, HeldOut
from nestvec.learn.adapters.objectives import Apply, Objective
from nestvec.learn.adapters.settings import AdapterSettings
from nestvec.learn.adapters.training import Score, Watch, train
from nestvec.nesting import Nesting
from nestvec.progress import Progress, quiet

HELD_OUT = 0.1


def held_share(count: int) -> float:
    """The share of pairs (or documents) held out to stop early on: a tenth, 1,000 at most.

    More are not asked (see HeldOut), and would be missed in training.
    """
    return min(HELD_OUT, MOST_QUERIES / max(1, count))


@dataclass(frozen=True, eq=False)
class Job:
    """One fit under way: its method, examples, settings and where it writes.

    fitted, held: the examples to train on, and those to stop early on. watch: called with every
    stage's gradients (see Watch).
    """

    method: str
    examples: Examples
    fitted: Examples
    held: Examples
    settings: AdapterSettings
    folder: Path | None = None
    progress: Progress = field(default_factory=quiet)
    watch: Watch | None = None

    @property
    def nesting(self) -> Nesting:
        """Widths to be good at."""
        return self.settings.nesting(self.examples.dim)


@dataclass
class Trained:
    """What a method gives: stages, the history of each training, and what else there is to tell."""

    stages: list[Stage]
    histories: list[History] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def run(
    job: Job,
    module: nn.Module,
    objective: Objective,
    nesting: Nesting,
    *,
    frozen: Apply | None = None,
    label: str = "one",
    sides: tuple[Examples, Examples] | None = None,
    score: Score | None = None,
) -> History:
    """One training: on nine tenths of the examples, scored on the rest, by HeldOut unless told."""
    fitted, held = sides or (job.fitted, job.held)
    training = job.settings.training
    return train(
        module,
        objective,
        fitted,
        score or HeldOut(held, nesting, training.seed, training.device),
        training,
        frozen=frozen,
        watch=job.watch,
        checkpoint=checkpoint_of(job, label),
        whose=whose_of(job, label, fitted),
        progress=job.progress,
    )


def checkpoint_of(job: Job, label: str) -> Path | None:
    """The file of one training of a job, in a folder that is there."""
    if job.folder is None:
        return None
    job.folder.mkdir(parents=True, exist_ok=True)
    return job.folder / f"{label}.pt"


def whose_of(job: Job, label: str, fitted: Examples, *others: dict[str, Any]) -> str:
    """What a checkpoint must agree with to be gone on from; the device may be another.

    others: settings of this training that are not the job's.
    """
    settings = asdict(job.settings)
    del settings["training"]["device"]
    return json.dumps([job.method, label, settings, fitted.digest(), *others])


def one_map(job: Job, module: nn.Module, objective: Objective) -> Trained:
    """A method of one map for all widths."""
    history = run(job, module, objective, job.nesting)
    return Trained([Stage(job.examples.dim, module.maps())], [history])  # type: ignore[operator]
