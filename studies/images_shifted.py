"""Nested image models on pictures unlike those they learned from, by one seed.

Corrupted queries against the clean database; the hard set, which a reference model gets wrong; and
the lines of the page that tell of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from studies.image_models import DIM, SIZE, Trainings

from nestvec.data.corruptions import KINDS, corrupted
from nestvec.data.images import of_pixels
from nestvec.learn.pixels import encode_pictures, pixels_for
from nestvec.measure.classes import ap_at_k, first_right, nearest_rows, relevant_hits
from nestvec.measure.clusters import correct
from nestvec.measure.intervals import bootstrap_mean, paired_difference

QUERIES = 1_000
DATABASE = 10_000
K = 10
SEVERITIES = (1, 3, 5)
REFERENCE = 1
"""The seed of the model that says what is hard; those told of have seed 0."""
_NAMES = {"mrl": "MRL", "ff": "FF"}


def shifted(trainings: Trainings) -> dict[str, Any]:
    """{kind: {arm: {width: {measure: [value at each severity]}}}}, "none" of untouched queries.

    Test pictures made worse ask, training pictures as they are answer; the same class is relevant.
    """
    plan, pictures = trainings.plan, trainings.pictures
    labels, asked = pictures.labels
    rows = np.random.default_rng(3).permutation(len(pictures.test))[:QUERIES]
    known = pictures.fitted[np.random.default_rng(0).permutation(len(pictures.fitted))[:DATABASE]]
    raw = pictures.test.pixels(rows, SIZE)
    changed = {("none", 0): raw} | {
        (kind, severity): corrupted(raw, kind, severity)
        for kind in KINDS
        for severity in SEVERITIES
    }
    found: dict[str, Any] = {kind: {} for kind in ("none", *KINDS)}
    for arm, widths in (("mrl", plan.widths), ("ff", (DIM,))):
        model, _ = trainings.trained(arm, widths, 0, pictures.fitted)
        database = encode_pictures(model, trainings.pixels(model)[0], known)
        for (kind, _), each in changed.items():
            pixels = pixels_for(model, of_pixels(each, None, (), kind), SIZE)
            queries = encode_pictures(model, pixels, np.arange(len(each)))
            by_width = found[kind].setdefault(arm, {width: {} for width in widths})
            for width in widths:
                told = retrieved(
                    database[:, :width], queries[:, :width], labels[known], asked[rows]
                )
                for measure, value in told.items():
                    by_width[width].setdefault(measure, []).append(round(value, 4))
    return found


def retrieved(
    database: NDArray[np.float32],
    queries: NDArray[np.float32],
    labels: NDArray[np.int64],
    asked: NDArray[np.int64],
) -> dict[str, float]:
    """1-NN accuracy and mAP@10 of queries (q, d) of classes asked (q,) in a database (n, d)."""
    relevant, totals = relevant_hits(nearest_rows(database, queries, K), labels, asked)
    return {
        "1-NN": float(first_right(relevant).mean()),
        "mAP@10": float(ap_at_k(relevant, K, totals).mean()),
    }


def hard(trainings: Trainings) -> dict[str, Any]:
    """Accuracy on the test pictures that FF of full width, of another seed, gets wrong.

    FF is like the reference in all but the seed, and so may share more of its errors than MRL.
    {"pictures", "of", arm: {width: accuracy with its interval}, "mrl - ff": {width: paired}}.
    """
    _, asked = trainings.pictures.labels
    reference = trainings.outcome("ff", (DIM,), REFERENCE).logits[DIM]
    wrong = np.flatnonzero(reference.argmax(axis=1) != asked)
    mrl = trainings.outcome("mrl", trainings.plan.widths, 0).logits
    found: dict[str, Any] = {"pictures": len(wrong), "of": len(asked)}
    found |= {"mrl": {}, "ff": {}, "mrl - ff": {}}
    for width in trainings.plan.widths:
        ff = trainings.outcome("ff", (width,), 0).logits[width]
        one, other = (correct(asked[wrong], z[wrong].argmax(axis=1)) for z in (mrl[width], ff))
        found["mrl"][width] = asdict(bootstrap_mean(one))
        found["ff"][width] = asdict(bootstrap_mean(other))
        found["mrl - ff"][width] = asdict(paired_difference(one, other))
    return found


def lines_of(more: Mapping[str, Any], widths: Sequence[int]) -> list[str]:
    """Of a set's page, what `shifted` and `hard` of images_more have found."""
    out = [
        f"Corrupted test pictures that ask for clean training pictures (1,000 against 10,000), "
        f"mAP@10 at severities {', '.join(map(str, SEVERITIES))}:",
        "",
        *_head("queries", widths),
    ]
    for kind, by in more["shifted"].items():
        for arm, cells in by.items():
            told = [
                " ".join(f"{100 * v:.1f}" for v in cells[str(w)]["mAP@10"])
                if str(w) in cells
                else ""
                for w in widths
            ]
            out.append(f"| {_NAMES[arm]}, {kind} | " + " | ".join(told) + " |")
    found = more["hard"]
    out += [
        "",
        f"The hard set: {found['pictures']:,} of {found['of']:,} test pictures, those that FF of "
        "full width with another seed gets wrong (whose errors FF may share more than MRL does). "
        "Accuracy:",
        "",
        *_head("hard set", widths),
    ]
    for arm, name in (*_NAMES.items(), ("mrl - ff", "MRL - FF")):
        told = [_interval(found[arm][str(w)], "+" if arm == "mrl - ff" else "") for w in widths]
        out.append(f"| {name} | " + " | ".join(told) + " |")
    return [*out, ""]


def _head(name: str, widths: Sequence[int]) -> list[str]:
    return [f"| {name} | " + " | ".join(map(str, widths)) + " |", "|---|" + "---:|" * len(widths)]


def _interval(cell: Mapping[str, float], sign: str) -> str:
    value, low, high = (f"{100 * cell[k]:{sign}.1f}" for k in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
