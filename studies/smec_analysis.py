"""How adapters behave, beside how good they are: gradients, selections, memory, few labels."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from studies.smec_tuning import MOST_A_STEP, PAIRS_A_STEP, WIDTHS
from torch import nn

from nestvec.adapters.adapter import Adapter, Stage
from nestvec.adapters.maps import Linear, Select
from nestvec.choose import axes as kinds
from nestvec.choose.adapted import AdaptedFloat
from nestvec.choose.baselines import FloatAxes
from nestvec.choose.evidence import Evidence
from nestvec.choose.grid import evaluate_grid
from nestvec.choose.judge import judge
from nestvec.choose.methods import Method
from nestvec.choose.relevance import QueryTask
from nestvec.learn.adapters.examples import Examples, steps_an_epoch
from nestvec.learn.adapters.gradients import GradientWatch, norms_by_width
from nestvec.learn.adapters.methods import AdapterSettings, Parts, fit_adapter
from nestvec.learn.adapters.objectives import Objective, Rank
from nestvec.learn.adapters.running import held_share
from nestvec.learn.adapters.training import Training
from nestvec.measure.importance import achievement_rate, ware
from nestvec.measure.intervals import paired_difference
from nestvec.nesting import Nesting
from nestvec.vectors import normalize

BASELINES = {
    "prefix-float": kinds.leading,
    "random-float": kinds.random,
    "variance-float": kinds.variance,
    "pca-float": kinds.pca,
    "svd-float": kinds.svd,
}
COUNTS = (50, 200, 1_000)
QUEUES = (500, 2_000, 5_000)
LEARNERS = ("linear", "smec", "search")
_LEAST_STEPS = 200
_IMPORTANT_PAIRS = 2_000


def baselines() -> list[Method]:
    """What needs no training."""
    return [FloatAxes(name, kind, WIDTHS) for name, kind in BASELINES.items()]


class _Watch:
    """Gradients of every stage apart."""

    def __init__(self, epoch_steps: int) -> None:
        self._steps = epoch_steps
        self.stages: list[GradientWatch] = []

    def __call__(self, step: int, module: nn.Module) -> None:
        if step == 0:
            self.stages.append(GradientWatch(self._steps))
        self.stages[-1](step, module)


def gradients(examples: Examples, settings: AdapterSettings) -> list[dict[str, Any]]:
    """Of MRL (one map, all widths at once) and of SMRL's stages, epoch by epoch.

    Means over a block's coordinates of the norm and of the variance of a step's gradient, and
    over all of them its noise: summed variance over the squared length of the mean gradient.
    """
    assert examples.pairs is not None
    fitted, _ = examples.split(held_share(len(examples.pairs)), settings.training.seed)
    steps = steps_an_epoch(fitted, settings.training.batch)
    edges = (0, *settings.nesting(examples.dim).widths)
    found = []
    for name, parts in (("MRL", Parts(False, False, False)), ("SMRL", Parts(True, False, False))):
        watch = _Watch(steps)
        fit_adapter("smec", examples, replace(settings, parts=parts), watch=watch)
        for stage, seen in enumerate(watch.stages):
            for epoch, each in enumerate(seen.epochs):
                blocks = [
                    (high, float(each.norm[low:high].mean()), float(each.variance[low:high].mean()))
                    for low, high in pairwise(edges)
                    if high <= len(each.norm)
                ]
                found.append(
                    {
                        "trained": name,
                        "stage": stage,
                        "width": len(each.norm),
                        "epoch": epoch,
                        "variance": float(each.variance.mean()),
                        "noise": each.noise,
                        "blocks": blocks,
                    }
                )
    return found


def norms(examples: Examples, widths: Sequence[int], scale: float) -> dict[str, Any]:
    """The norm of L_rank's gradient of each width alone beside the prefix's norm, untouched.

    slope: of log norm over log prefix norm; the paper says -2.
    """
    assert examples.queries is not None
    assert examples.pairs is not None
    picks = examples.pairs[:256]
    queries = torch.from_numpy(normalize(np.asarray(examples.queries[picks[:, 0]])))
    documents = torch.from_numpy(normalize(np.asarray(examples.documents[picks[:, 1]])))
    losses: list[tuple[int, Objective]] = [(w, Rank(Nesting((w,)), scale)) for w in widths]
    identity = torch.eye(documents.shape[1])
    rows = norms_by_width(identity, documents, queries, torch.eye(len(picks)), losses)
    table = np.log(np.array([(norm, prefix) for _, norm, prefix in rows]))
    slope = float(np.polyfit(table[:, 1], table[:, 0], 1)[0])
    return {"widths": rows, "slope": slope}


def achievements(adapter: Adapter, examples: Examples, seed: int) -> list[dict[str, Any]]:
    """Of every selection of SMEC: the share of what it keeps that is among the most important.

    Importance is WARE over training pairs, of the coordinates that the stage's map gives; beside
    it what the first coordinates, the most varying and random ones would have had.
    """
    assert examples.queries is not None
    assert examples.pairs is not None
    pairs = examples.pairs[:_IMPORTANT_PAIRS]
    rng = np.random.default_rng(seed)
    found = []
    for i, stage in enumerate(adapter.stages):
        keep = adapter.stages[i + 1].width if i + 1 < len(adapter.stages) else min(adapter.widths)
        linear, select = stage.maps
        if not isinstance(linear, Linear) or not isinstance(select, Select):
            raise TypeError("a stage of a map and a selection")
        # The stage as it was before its selection.
        before = [*adapter.stages[:i], Stage(stage.width, (linear,), stage.source)]
        open_stage = replace(adapter, stages=tuple(before))
        left = open_stage.transform(examples.queries[pairs[:, 0]], stage.width)
        right = open_stage.transform(examples.documents[pairs[:, 1]], stage.width)
        importance = ware(left, right)
        chosen = {
            "ADS": select.order[:keep],
            "prefix": np.arange(keep),
            "variance": np.argsort(-right.var(axis=0), kind="stable")[:keep],
            "random": rng.permutation(stage.width)[:keep],
        }
        rates = {name: achievement_rate(each, importance) for name, each in chosen.items()}
        found.append({"width": keep, "of": stage.width, **rates})
    return found


def memories(
    documents: NDArray[Any],
    task: QueryTask,
    examples: Examples,
    settings: AdapterSettings,
    widths: tuple[int, ...],
) -> tuple[list[dict[str, Any]], Adapter]:
    """SMEC with memories of several sizes: quality at every width, and seconds.

    Also the adapter without memory, the first of them.
    """
    found: list[dict[str, Any]] = []
    adapters: list[Adapter] = []
    for queue in (0, *QUEUES):
        begun = time.perf_counter()
        how = replace(settings, parts=Parts(remembering=queue > 0), queue=max(1, queue))
        adapters.append(fit_adapter("smec", examples, how))
        seconds = time.perf_counter() - begun
        held = [max(history["scores"]) for history in adapters[-1].facts["histories"]]
        found.append(
            {"queue": queue, "seconds": round(seconds, 1), "held_out": float(np.mean(held))}
        )
    methods = [AdaptedFloat(str(i), each, widths) for i, each in enumerate(adapters)]
    evidence = evaluate_grid(documents, task, methods)
    for i, row in enumerate(found):
        cells = [cell for cell in evidence.cells if cell.method == str(i)]
        row["values"] = {cell.dims: cell.value for cell in cells}
    return found, adapters[0]


def few_labels(
    documents: NDArray[Any],
    judged_by: QueryTask,
    task: QueryTask,
    examples: Examples,
    widths: tuple[int, ...],
    rates: dict[str, float],
    counts: Sequence[int],
    seed: int,
) -> list[dict[str, Any]]:
    """The learning curve: adapters of ever more pairs, chosen by the judge on other queries.

    judged_by: queries that the judge sees, task: those of the test. Of every count the chosen one
    is the adapter with the best mean difference among those that the judge lets pass, else the
    baseline that is best by his queries at each width. Every rate is that of 8,000 pairs.
    """
    assert examples.pairs is not None
    order = np.random.default_rng(seed).permutation(len(examples.pairs))
    names = {count: {name: f"{name} {count}" for name in LEARNERS} for count in counts}
    methods = baselines()
    for count in counts:
        some = replace(examples, pairs=examples.pairs[np.sort(order[:count])], grades=None)
        for name, label in names[count].items():
            adapter = _of_few(name, some, rates[name], widths, seed)
            methods.append(AdaptedFloat(label, adapter, widths))
    by_judge = evaluate_grid(documents, judged_by, methods, seed=seed)
    tested = evaluate_grid(documents, task, methods, seed=seed)
    found = []
    for count in counts:
        verdicts = {
            name: judge(by_judge, label, list(BASELINES), seed=seed)
            for name, label in names[count].items()
        }
        passed = [name for name, verdict in verdicts.items() if verdict.used]
        chosen = max(passed, key=lambda name: verdicts[name].mean.value, default=None)
        found.append(
            {
                "pairs": count,
                "used": passed,
                "chosen": chosen or "baseline",
                "widths": [
                    _at_width(by_judge, tested, chosen, width, names[count], seed)
                    for width in widths
                ],
            }
        )
    return found


def _of_few(
    name: str, examples: Examples, rate: float, widths: tuple[int, ...], seed: int
) -> Adapter:
    assert examples.pairs is not None
    count = len(examples.pairs)
    batch = int(min(MOST_A_STEP.get(name, PAIRS_A_STEP), max(16, count // 4)))
    epochs = max(10, -(-_LEAST_STEPS // max(1, count // batch)))
    training = Training(batch=batch, rate=rate, epochs=epochs, patience=5, seed=seed)
    how = AdapterSettings(widths=widths[:-1], training=training, temperature=0.03)
    return fit_adapter(name, examples, how)


def _at_width(
    by_judge: Evidence,
    tested: Evidence,
    chosen: str | None,
    width: int,
    labels: dict[str, str],
    seed: int,
) -> dict[str, Any]:
    """Values at one width, and the chosen one's paired difference from the best baseline."""
    values, _ = tested.query_values()
    row = {(cell.method, cell.dims): i for i, cell in enumerate(tested.cells)}
    seen = {cell.method: cell.value for cell in by_judge.cells if cell.dims == width}
    shown = {**{name: name for name in BASELINES}, **labels}
    mean = {name: float(values[row[label, width]].mean()) for name, label in shown.items()}
    best = max(BASELINES, key=lambda name: mean[name])  # on the test's own queries: the hardest
    taken = chosen or max(BASELINES, key=lambda name: seen[name])
    gap = paired_difference(values[row[shown[taken], width]], values[row[best, width]], seed)
    return {"width": width, "values": mean, "best": best, "taken": taken, **asdict(gap)}
