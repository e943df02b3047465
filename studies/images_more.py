"""What nested image models are good for beside their own classes, at every width, by one seed.

Corruptions of the test pictures (five kinds, five severities), beside FF of full width, told by
heads and as queries against clean pictures; the hard set (images_shifted.py); few-shot labels of
classes that training left out; a training set with a long tail; coarse groups of classes; how
classes do as the width grows, and pictures that no width gets right.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from studies.image_models import DIM, SIZE, Outcome, Trainings
from studies.images_shifted import hard, shifted

from nestvec.data.corruptions import KINDS, SEVERITIES, corrupted
from nestvec.data.images import of_pixels
from nestvec.learn.pixels import encode_pictures, pixels_for
from nestvec.measure.shots import few_shot, long_tail

I64 = NDArray[np.int64]
CORRUPTED = 1_000
SHOTS = (1, 3, 5, 7, 9)
DRAWS = 5
NOVEL = 0.2
LEAST = 0.02


def more(trainings: Trainings, mrl: Outcome) -> dict[str, Any]:
    """All of it, as plain values; what a set does not allow is left out. Each part is kept."""
    place = trainings.folder / "more.json"
    found: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {}
    parts: dict[str, Callable[[], dict[str, Any] | None]] = {
        "agreement": lambda: agreement(mrl, trainings.pictures.labels[1]),
        "coarse": lambda: coarse(trainings, mrl),
        "corruptions": lambda: corruptions(trainings),
        "shifted": lambda: shifted(trainings),
        "hard": lambda: hard(trainings),
        "few_shot": lambda: novel_classes(trainings),
        "long_tail": lambda: tailed(trainings),
    }
    for name, part in parts.items():
        told = None if name in found else part()
        if told is not None:
            found[name] = told
            partial = place.with_suffix(".partial")
            partial.write_text(json.dumps(found))
            os.replace(partial, place)
    return dict(json.loads(place.read_text()))


def coarse(trainings: Trainings, mrl: Outcome) -> dict[str, Any] | None:
    """Accuracy in groups of classes and in classes, by width; None where a set has no groups."""
    groups = groups_of(trainings)
    if groups is None:
        return None
    _, asked = trainings.pictures.labels
    return {
        str(width): {
            "groups": float((groups[z.argmax(axis=1)] == groups[asked]).mean()),
            "classes": float((z.argmax(axis=1) == asked).mean()),
        }
        for width, z in mrl.logits.items()
    }


def agreement(mrl: Outcome, asked: I64) -> dict[str, Any]:
    """Shares of pictures by how many widths are right, and of classes by their trend."""
    widths = sorted(mrl.logits)
    right = np.stack([mrl.logits[w].argmax(axis=1) == asked for w in widths])
    of_class = np.array([right[:, asked == c].mean(axis=1) for c in np.unique(asked)])
    rises = np.diff(of_class, axis=1)
    return {
        "never_right": float((~right).all(axis=0).mean()),
        "always_right": float(right.all(axis=0).mean()),
        "any_width": float(right.any(axis=0).mean()),
        "full": float(right[-1].mean()),
        "classes_that_never_fall": int((rises >= 0).all(axis=1).sum()),
        "classes_best_before_full": int((of_class[:, :-1].max(axis=1) > of_class[:, -1]).sum()),
        "classes": len(of_class),
    }


def groups_of(trainings: Trainings) -> NDArray[np.int64] | None:
    """The group (classes,) of every class, where labels.json of the set names groups."""
    place = trainings.data / trainings.plan.name / "labels.json"
    if not place.exists():
        return None
    told = json.loads(place.read_text())["classes"]
    by_name = {str(each["label"]): int(each["superclass_id"]) for each in told}
    return np.array([by_name[name] for name in trainings.pictures.train.classes])


def corruptions(trainings: Trainings) -> dict[str, Any]:
    """{kind: {arm: {width: [accuracy at each severity]}}} of some test pictures, and untouched."""
    plan, pictures = trainings.plan, trainings.pictures
    rows = np.random.default_rng(3).permutation(len(pictures.test))[:CORRUPTED]
    asked = pictures.labels[1][rows]
    raw = pictures.test.pixels(rows, SIZE)
    arms = {"mrl": plan.widths, "ff": (DIM,)}
    models = {
        arm: trainings.trained(arm, widths, 0, pictures.fitted) for arm, widths in arms.items()
    }
    found: dict[str, Any] = {}
    for kind in ("none", *KINDS):
        by_arm: dict[str, dict[int, list[float]]] = {
            arm: {w: [] for w in ws} for arm, ws in arms.items()
        }
        for severity in SEVERITIES if kind != "none" else (0,):
            changed = raw if kind == "none" else corrupted(raw, kind, severity)
            for arm, (model, heads) in models.items():
                pixels = pixels_for(model, of_pixels(changed, None, (), kind), SIZE)
                vectors = encode_pictures(model, pixels, np.arange(len(changed)))
                with torch.no_grad():
                    for width, z in heads(torch.from_numpy(vectors)).items():
                        right = float((z.argmax(1).numpy() == asked).mean())
                        by_arm[arm][width].append(round(right, 4))
        found[kind] = by_arm
    return found


def novel_classes(trainings: Trainings) -> dict[str, Any]:
    """Nearest class means of base and novel classes, by a model that never saw the novel ones."""
    plan, pictures = trainings.plan, trainings.pictures
    labels, asked = pictures.labels
    count = len(pictures.train.classes)
    novel = np.random.default_rng(4).permutation(count)[: round(NOVEL * count)]
    is_novel = np.isin(np.arange(count), novel)
    base_rows = pictures.fitted[~is_novel[labels[pictures.fitted]]]
    model, _ = trainings.trained("mrl", plan.widths, 0, base_rows)
    train, test = trainings.pixels(model)
    # means come from held-out pictures, which no class was trained on
    shots, queries = pictures.held, np.random.default_rng(5).permutation(len(asked))[:2_000]
    known = encode_pictures(model, train, shots)
    vectors = encode_pictures(model, test, queries)
    found: dict[str, Any] = {"unseen": int(is_novel.sum()), "classes": count}
    most = int(np.bincount(labels[shots], minlength=count).min())
    for which, mask in (("base", ~is_novel), ("novel", is_novel)):
        rows, asks = mask[labels[shots]], mask[asked[queries]]
        found[which] = {
            width: {
                n: round(
                    float(
                        few_shot(
                            known[rows, :width],
                            labels[shots][rows],
                            vectors[asks, :width],
                            asked[queries][asks],
                            n,
                            DRAWS,
                        ).mean()
                    ),
                    4,
                )
                for n in SHOTS
                if n <= most
            }
            for width in plan.widths
        }
    return found


def tailed(trainings: Trainings) -> dict[str, Any]:
    """Accuracy on classes of many and of few pictures, the last with a share of the first's."""
    plan, pictures = trainings.plan, trainings.pictures
    labels, asked = pictures.labels
    rows = pictures.fitted[long_tail(labels[pictures.fitted], LEAST)]
    counts = np.bincount(labels[rows], minlength=len(pictures.train.classes))
    head = counts >= np.median(counts)
    found: dict[str, Any] = {"pictures": len(rows), "least": LEAST}
    for arm, widths in (("mrl", plan.widths), ("ff", (DIM,))):
        model, heads = trainings.trained(arm, widths, 0, rows)
        vectors = encode_pictures(model, trainings.pixels(model)[1], np.arange(len(asked)))
        with torch.no_grad():
            told = {w: z.argmax(1).numpy() for w, z in heads(torch.from_numpy(vectors)).items()}
        found[arm] = {
            width: {
                "head": round(float((each == asked)[head[asked]].mean()), 4),
                "tail": round(float((each == asked)[~head[asked]].mean()), 4),
            }
            for width, each in told.items()
        }
    return found
