"""Adapters over the vectors of two towers, learned from pictures alone or from both directions.

The towers' maps are trained, plainly, on one half of the training pictures; adapters learn from
the other half, which the maps do not know by heart; both are asked about the held-out pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from studies.trained import F32
from studies.two_towers_arms import DIM, WIDTHS, Material, frozen_space
from studies.two_towers_models import I64, Fit
from studies.two_towers_values import Values, agreement, recall

from nestvec.adapters.adapter import Adapter
from nestvec.learn.adapters.examples import Examples
from nestvec.learn.adapters.methods import AdapterSettings, Parts, fit_adapter
from nestvec.learn.adapters.settings import Training
from nestvec.learn.adapters.spectrum import principal_axes
from nestvec.vectors import prefix

RATES = (5e-4, 2e-3, 8e-3)
LEARNED = {
    "SMEC": ("smec", Parts()),
    "SMEC without ADS": ("smec", Parts(selecting=False)),
    "Matryoshka-Adaptor": ("matryoshka", Parts()),
    "linear from SVD": ("linear", Parts()),
}
ARMS = ("prefix", "SVD", *LEARNED)
KINDS = ("pictures", "both directions")
SIMILAR = "picture to picture"
ADS = "SMEC, from without ADS"


@dataclass(frozen=True, eq=False)
class Given:
    """Two-tower vectors: to learn from, and held out. owner: the picture of each caption."""

    images: F32
    texts: F32
    owner: I64
    asked_images: F32
    asked_texts: F32
    asked_owner: I64


def given(material: Material, fit: Fit) -> Given:
    """Vectors by maps of one half, of the other half of the training pictures and of the test."""
    order = np.random.default_rng(fit.seed).permutation(material.photos.fitted)
    half = len(order) // 2
    known, other = (material.side(np.sort(rows)) for rows in (order[:half], order[half:]))
    space, asked = frozen_space(known, replace(fit, widths=(DIM,))), material.asked
    return Given(
        space.images(other.images),
        space.texts(other.texts),
        other.owner,
        space.images(asked.images),
        space.texts(asked.texts),
        asked.owner,
    )


def adapted(found: Given, kind: str, arm: str, seed: int) -> Values:
    """Recall of both directions, and agreement with full among pictures, at every width.

    kind: "pictures", which learns from image vectors alone, or "both directions", from captions
    that ask for pictures and pictures that ask for captions.
    """
    examples = examples_of(found, kind)
    values: Values = {}
    adapter = None
    if arm in LEARNED:
        adapter, rate = tuned(examples, arm, seed)
        values["rate"] = np.array([rate])
    turn = np.eye(DIM, dtype=np.float32)
    if arm == "SVD":
        turn = principal_axes(examples.documents, seed)

    def cut(vectors: F32, width: int) -> F32:
        if adapter is not None:
            return adapter.transform(vectors, width)
        return prefix(vectors @ turn, width)

    for width in WIDTHS:
        images, texts = cut(found.asked_images, width), cut(found.asked_texts, width)
        for direction, each in recall(images, texts, found.asked_owner).items():
            values[f"{direction}@{width}"] = each
        values[f"{SIMILAR}@{width}"] = agreement(found.asked_images, images)
    return values


def examples_of(found: Given, kind: str) -> Examples:
    """What adapters learn from."""
    if kind == "pictures":
        return Examples(found.images)
    count, captions = len(found.images), np.arange(len(found.texts))
    pairs = np.concatenate(
        [
            np.stack([captions, found.owner], axis=1),
            # pictures ask after the captions do, and captions answer after the pictures
            np.stack([len(captions) + found.owner, count + captions], axis=1),
        ]
    )
    return Examples(
        np.concatenate([found.images, found.texts]),
        np.concatenate([found.texts, found.images]),
        pairs,
    )


def tuned(examples: Examples, arm: str, seed: int) -> tuple[Adapter, float]:
    """The adapter of the rate, of RATES, with the best score on what its training holds out."""
    method, parts = LEARNED[arm]
    tried = []
    for rate in RATES:
        batch = 64 if examples.pairs is None else 256
        training = Training(batch=batch, rate=rate, epochs=20, seed=seed)
        settings = AdapterSettings(
            widths=WIDTHS[:-1], training=training, parts=parts, temperature=0.05
        )
        adapter = fit_adapter(method, examples, settings)
        score = np.mean([max(each["scores"]) for each in adapter.facts["histories"]])
        tried.append((float(score), rate, adapter))
    _, rate, best = max(tried, key=lambda each: each[0])
    return best, rate
