"""Cascades over MRL's heads: thresholds from held-out pictures, told on the test pictures.

Which policy a set is to have is chosen on the held-out pictures alone: thresholds from one half of
them, told on the other, both ways; the fewest dims among those that are proven no worse there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from studies.image_models import Outcome

from nestvec.choose.cascade import Cascade, oracle
from nestvec.measure.intervals import bootstrap_mean, paired_difference

POLICIES: dict[str, dict[str, Any]] = {
    "greedy": {"policy": "greedy"},
    "greedy, calibrated": {"policy": "greedy", "calibrate": True},
    "keep .98 of right labels": {"policy": "keep", "target": 0.98},
    "full accuracy at least cost": {"policy": "accuracy"},
    **{
        f"expected loss {loss:g}, by margin": {
            "policy": "expected",
            "target": loss,
            "confidence": "margin",
        }
        for loss in (0.001, 0.002, 0.005)
    },
}
DRAWS = 30
MARGIN = 0.005


def cascades(
    outcomes: Sequence[Outcome], held: NDArray[np.int64], asked: NDArray[np.int64]
) -> dict[str, Any]:
    """By policy: accuracy and dims, means over seeds, and how they differ from the full width.

    "chosen": the name of the one that held-out pictures choose.
    """
    widths = np.array(sorted(outcomes[0].logits))
    found: dict[str, Any] = {}
    for name, how in POLICIES.items():
        values, full, last, summed = [], [], [], []
        for outcome in outcomes:
            stopped = Cascade(**how).fit(outcome.held_logits, held).run(outcome.logits)
            values.append(stopped.labels == asked)
            full.append(outcome.logits[widths[-1]].argmax(axis=1) == asked)
            last.append(stopped.widths)
            summed.append(np.cumsum(widths)[np.searchsorted(widths, stopped.widths)])
        right, best = np.mean(values, 0), np.mean(full, 0)
        difference = paired_difference(right, best)
        dims = float(np.mean(last))
        found[name] = {
            "accuracy": asdict(bootstrap_mean(right)),
            "from_full": asdict(difference),
            "no_worse_by_half_a_point": difference.low > -MARGIN,
            "last": dims,
            "last_of_seeds": [round(float(each.mean()), 2) for each in last],
            "fewer": float(widths[-1]) / dims,
            "sum": float(np.mean(summed)),
            "draws": _drawn(how, outcomes[0], held, asked),
            "crossed": _crossed(how, outcomes, held),
        }
    found["chosen"] = chosen({name: one["crossed"] for name, one in found.items()})
    wrong = np.stack([outcomes[0].logits[w].argmax(axis=1) != asked for w in widths])
    steps = oracle(wrong)
    found["oracle"] = {
        "accuracy": float(1 - wrong.all(axis=0).mean()),
        "last": float(widths[steps].mean()),
        "sum": float(np.cumsum(widths)[steps].mean()),
    }
    return found


def chosen(crossed: dict[str, dict[str, Any]]) -> str:
    """Of the fewest dims among those no worse by half a point; of none, what is nearest to it."""
    proven = [name for name, one in crossed.items() if one["from_full"]["low"] > -MARGIN]
    if not proven:
        return max(crossed, key=lambda name: crossed[name]["from_full"]["low"])
    return min(proven, key=lambda name: crossed[name]["last"])


def _crossed(
    how: dict[str, Any], outcomes: Sequence[Outcome], held: NDArray[np.int64]
) -> dict[str, Any]:
    """Held-out pictures told by thresholds from their other half: from full, and dims."""
    order = np.random.default_rng(2).permutation(len(held))
    halves = np.sort(order[::2]), np.sort(order[1::2])
    right, full, last = (np.empty((len(outcomes), len(held))) for _ in range(3))
    for i, outcome in enumerate(outcomes):
        for own, other in (halves, halves[::-1]):
            of_own, of_other = (
                {w: each[rows] for w, each in outcome.held_logits.items()} for rows in (own, other)
            )
            stopped = Cascade(**how).fit(of_own, held[own]).run(of_other)
            right[i, other] = stopped.labels == held[other]
            full[i, other] = of_other[max(of_other)].argmax(axis=1) == held[other]
            last[i, other] = stopped.widths
    difference = paired_difference(right.mean(axis=0), full.mean(axis=0))
    return {"from_full": asdict(difference), "last": float(last.mean())}


def _drawn(
    how: dict[str, Any], outcome: Outcome, held: NDArray[np.int64], asked: NDArray[np.int64]
) -> dict[str, list[float]]:
    """Over random halves of held-out and test pictures: mean, and ends of the middle 95 %."""
    rng = np.random.default_rng(1)
    widest = max(outcome.logits)
    found = []
    for _ in range(DRAWS):
        own, other = (np.sort(rng.permutation(len(x))[: len(x) // 2]) for x in (held, asked))
        cascade = Cascade(**how).fit(
            {w: each[own] for w, each in outcome.held_logits.items()}, held[own]
        )
        stopped = cascade.run({w: each[other] for w, each in outcome.logits.items()})
        full = outcome.logits[widest][other].argmax(axis=1) == asked[other]
        right = stopped.labels == asked[other]
        found.append((right.mean(), right.mean() - full.mean(), stopped.widths.mean()))
    table = np.array(found)
    ends = np.quantile(table, [0.025, 0.975], axis=0)
    return {
        name: [float(table[:, i].mean()), float(ends[0, i]), float(ends[1, i])]
        for i, name in enumerate(("accuracy", "from_full", "last"))
    }
