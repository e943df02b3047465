"""What a cascade is compared with: itself when it keeps less, other policies, chance, the oracle.

Every way is set on tuning rows and told of others. Arrays alone: no classifier, no drawing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.thresholds import (
    F64,
    I64,
    Bools,
    confidence,
    frontier,
    greedy,
    oracle,
    outcome,
    spent,
    stops_at,
    temperature_of,
)
from nestvec.measure.calibration import accuracy_of_surest, calibration_error
from nestvec.measure.intervals import Interval, bootstrap_means
from nestvec.progress import Progress, quiet

SHARES = (1.0, 0.998, 0.995, 0.99, 0.98, 0.96, 0.93, 0.9)
"""Of the widest width's right labels, kept on the tuning rows."""
SUREST = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
MOST_TUNING = 2_000
"""Tuning rows at most: thresholds of a whole frontier take seconds for so many."""

ONE, KEPT, CHANCE = "one width", "keeps more or less", "stops at random"
GREEDY, WARM, LEAST, ORACLE = "greedy", "greedy, calibrated", "full accuracy", "oracle"
CHOSEN = "this cascade"


@dataclass(frozen=True)
class CostPoint:
    """One way at one setting. last, sum: expected dimensions by either count.

    way: one of the names above. detail: of a width its number, of a share the share.
    """

    way: str
    detail: str
    last: float
    sum: float
    accuracy: Interval


@dataclass(frozen=True)
class ClassGain:
    """One class on the told rows: accuracy narrow, full and by the cascade.

    gain: full less narrow, paired. mean_width: the mean last width of the cascade.
    """

    name: str
    rows: int
    narrow: float
    full: float
    cascade: float
    gain: Interval
    mean_width: float


@dataclass(frozen=True)
class Trust:
    """How confidence of a width can be believed: its calibration error, and the accuracy of the
    surest shares SUREST of the rows."""

    width: int
    error: float
    surest: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Steps:
    """Rows seen at every width: sure and right, (w, n)."""

    sure: F64
    right: Bools

    @classmethod
    def of(
        cls,
        logits: Mapping[int, NDArray[Any]],
        truth: I64,
        temperatures: Sequence[float],
        kind: str = "largest",
    ) -> Steps:
        """From logits {width: (n, classes)}, columns (n,) of the labels, a temperature a width.

        kind: of CONFIDENCES.
        """
        widths = sorted(logits)
        return cls(
            np.stack(
                [confidence(logits[w], t, kind) for w, t in zip(widths, temperatures, strict=True)]
            ),
            np.stack([np.asarray(logits[w]).argmax(axis=1) == truth for w in widths]),
        )


def cost_points(
    widths: Sequence[int],
    tuned: Mapping[int, NDArray[Any]],
    tuned_truth: I64,
    told: Mapping[int, NDArray[Any]],
    told_truth: I64,
    chosen: tuple[F64, Sequence[float], str],
    counted: str = "sum",
    seed: int = 0,
    progress: Progress | None = None,
) -> list[CostPoint]:
    """Accuracy and cost of every way, on rows that set no thresholds.

    tuned, told: {width: (n, classes)} of the rows that set thresholds and of the others; truth: the
    columns of their labels. chosen: thresholds (w - 1,), temperatures (w,) and confidence of the
    cascade that all is about; the last two are those of the shares kept, too. counted: what
    frontiers minimize. At most MOST_TUNING tuning rows, drawn by seed, set the thresholds of the
    other ways.
    "stops at random" stops as many rows at each width as the cascade of that share, whichever.
    """
    listener = progress or quiet()
    listener.start("comparing cascades", 3)
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(len(tuned_truth))[:MOST_TUNING])
    own = {width: np.asarray(tuned[width])[some] for width in widths}
    truth = tuned_truth[some]
    thresholds, heats, kind = chosen
    plain = np.ones(len(widths))
    warm = np.array([temperature_of(own[width], truth) for width in widths])
    costs = np.asarray(widths, np.float64)
    other = Steps.of(told, told_truth, list(heats), kind)
    right = other.right.astype(np.float64)
    n = right.shape[1]
    found: list[tuple[str, str, float, float, F64]] = [
        (ONE, str(width), width, width, right[i]) for i, width in enumerate(widths)
    ]

    def add(way: str, detail: str, limits: F64, steps: Steps) -> F64:
        at = stops_at(limits, steps.sure)
        last, summed = (float(spent(limits, costs, each)[at].mean()) for each in ("last", "sum"))
        found.append((way, detail, last, summed, steps.right[at, np.arange(n)].astype(np.float64)))
        shares: F64 = np.bincount(at, minlength=len(widths)) / n
        return shares

    add(CHOSEN, "", thresholds, other)
    listener.advance(1)
    mine = Steps.of(own, truth, list(heats), kind)
    for share, limits in kept_thresholds(mine, costs, counted, SHARES).items():
        shares = add(KEPT, f"{share:g}", limits, other)
        last, summed = found[-1][2:4]
        by_chance: F64 = np.einsum("w,wn->n", shares, right)
        found.append((CHANCE, f"{share:g}", last, summed, by_chance))
    listener.advance(1)
    for way, heat in ((GREEDY, plain), (WARM, warm)):
        steps = Steps.of(own, truth, heat.tolist())
        add(way, "", greedy(steps.sure, ~steps.right), Steps.of(told, told_truth, heat.tolist()))
    add(LEAST, "", _full_accuracy(mine, costs, counted), other)
    at = oracle(~other.right)
    at_any: F64 = right.max(axis=0)
    found.append((
        ORACLE, "", float(costs[at].mean()), float(np.cumsum(costs)[at].mean()),
        at_any,
    ))  # fmt: skip
    listener.advance(1)
    listener.finish()
    intervals = bootstrap_means(np.stack([each[4] for each in found], axis=1))
    return [CostPoint(*each[:4], told) for each, told in zip(found, intervals, strict=True)]


def kept_thresholds(
    steps: Steps, costs: F64, counted: str, shares: Sequence[float]
) -> dict[float, F64]:
    """The cheapest thresholds (w - 1,) that keep a share of the widest's right labels.

    As Cascade("keep", target=share) sets them, for all shares from one frontier.
    """
    lost = ~steps.right & steps.right[-1]
    found = [
        (each, *outcome(each, steps.sure, lost, costs, counted))
        for each in frontier(steps.sure, lost, costs, counted)
    ]
    share_right = float(steps.right[-1].mean())
    kept = {}
    for share in shares:
        allowed = (1.0 - share) * share_right + 1e-12
        met = [each for each in found if each[1] <= allowed]
        kept[share] = min(met, key=lambda each: (each[2], each[1]))[0]
    return kept


def _full_accuracy(steps: Steps, costs: F64, counted: str) -> F64:
    """The cheapest thresholds with the widest's accuracy, whichever rows it comes from."""
    wrong = ~steps.right
    found = [
        (each, *outcome(each, steps.sure, wrong, costs, counted))
        for each in frontier(steps.sure, wrong, costs, counted)
    ]
    met = [each for each in found if each[1] <= wrong[-1].mean() + 1e-12]
    return min(met, key=lambda each: (each[2], each[1]))[0]


def class_gains(
    widths: Sequence[int], steps: Steps, stops: I64, truth: I64, names: Sequence[str]
) -> list[ClassGain]:
    """Every class that has told rows, those that gain most from narrowest to widest first.

    stops: (n,) the step that the cascade stopped at. truth: (n,) places in names.
    """
    by_cascade = steps.right[stops, np.arange(len(truth))]
    wide = np.asarray(widths, np.float64)[stops]
    found = []
    for place in np.unique(truth):
        rows = truth == place
        narrow, full, own = (
            each[rows].astype(np.float64) for each in (steps.right[0], steps.right[-1], by_cascade)
        )
        (gain,) = bootstrap_means((full - narrow)[:, None])
        found.append(
            ClassGain(
                str(names[place]),
                int(rows.sum()),
                float(narrow.mean()),
                float(full.mean()),
                float(own.mean()),
                gain,
                float(wide[rows].mean()),
            )
        )
    return sorted(found, key=lambda each: (-each.gain.value, each.name))


def trust(widths: Sequence[int], steps: Steps) -> list[Trust]:
    """Calibration and selective accuracy of each width."""
    return [
        Trust(
            int(width),
            calibration_error(steps.sure[i], steps.right[i]),
            tuple(accuracy_of_surest(steps.sure[i], steps.right[i], SUREST)),
        )
        for i, width in enumerate(widths)
    ]
