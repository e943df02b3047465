"""What the study of two towers measures: recall in both directions, kept by arm and seed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from studies.trained import F32, F64
from studies.two_towers_models import I64

from nestvec.measure.intervals import bootstrap_means, paired_ratio
from nestvec.measure.metrics import exact_top
from nestvec.vectors import normalize, prefix

K = 10
TO_PICTURES = "caption to picture"
TO_CAPTIONS = "picture to caption"
DIRECTIONS = (TO_PICTURES, TO_CAPTIONS)
Values = dict[str, F64]
"""{"direction@width": a value for each picture (n,)}; other figures are (1,)."""


def recall(images: F32, texts: F32, owner: I64) -> dict[str, F64]:
    """For each picture (n,), in both directions, whether the right thing is among the first K.

    images: (n, d) and texts: (t, d), compared by inner products; owner: (t,) the picture of each
    text. Caption to picture: the share of a picture's captions that find it. Picture to caption: 1
    where one of its own captions is found, as is usual for captions.
    """
    scores = texts @ images.T
    found = (exact_top(scores, K) == owner[:, None]).any(axis=1)
    back = owner[exact_top(np.ascontiguousarray(scores.T), K)]
    return {
        TO_PICTURES: np.bincount(owner, found) / np.bincount(owner),
        TO_CAPTIONS: (back == np.arange(len(images))[:, None]).any(axis=1).astype(np.float64),
    }


def at_widths(images: F32, texts: F32, owner: I64, widths: Sequence[int]) -> Values:
    """recall of both sides cut to each width."""
    return {
        f"{direction}@{width}": each
        for width in widths
        for direction, each in recall(prefix(images, width), prefix(texts, width), owner).items()
    }


def agreement(images: F32, cut: F32) -> F64:
    """R@10 of each picture (n,): its ten nearest others by cut among those by full vectors."""
    tops = []
    for rows in (images, cut):
        scores = normalize(rows) @ normalize(rows).T
        np.fill_diagonal(scores, -np.inf)
        tops.append(exact_top(scores, K))
    found: F64 = (tops[1][:, :, None] == tops[0][:, None, :]).any(axis=1).mean(axis=1)
    return found


def kept(place: Path, make: Callable[[], Mapping[str, F64]]) -> Values:
    """Values that were kept in a file, else made and kept."""
    place = place.with_name(re.sub(r"[ ,]+", "-", place.name))
    if not place.exists():
        made = make()
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_suffix(".partial.npz")
        np.savez(partial, **made)  # type: ignore[arg-type]
        os.replace(partial, place)
        print(place.stem, {name: round(float(each.mean()), 3) for name, each in made.items()})
    with np.load(place) as found:
        return {name: found[name] for name in found.files}


def summary(of_seeds: Sequence[Values], beside: Sequence[Values] | None = None) -> dict[str, Any]:
    """{name: the mean over seeds, its interval over pictures, and each seed's mean}.

    beside: what to take the paired difference from, where it has the name as well.
    """
    means = {name: np.mean([each[name] for each in of_seeds], axis=0) for name in of_seeds[0]}
    found: dict[str, Any] = {
        name: {
            "value": float(mean.mean()),
            "seeds": [round(float(each[name].mean()), 4) for each in of_seeds],
        }
        for name, mean in means.items()
    }
    told = {name: mean for name, mean in means.items() if len(mean) > 1}
    for name, interval in _intervals(told).items():
        found[name] |= interval
    if beside is not None:
        shared = [name for name in told if name in beside[0]]
        others = {name: np.mean([each[name] for each in beside], axis=0) for name in shared}
        for name, interval in _intervals({n: told[n] - others[n] for n in shared}).items():
            found[name]["from"] = interval
    return found


def _intervals(values: Mapping[str, F64]) -> dict[str, dict[str, float]]:
    """{name: mean and interval}, from the same draws; paired where given differences."""
    if not values:
        return {}
    intervals = bootstrap_means(np.stack(list(values.values()), axis=1))
    return {name: asdict(each) for name, each in zip(values, intervals, strict=True)}


def shares(of_seeds: Sequence[Values], full: str) -> dict[str, Any]:
    """{name: the share of `full` that is left, with its interval}, of names of its direction."""
    direction = full.split("@", maxsplit=1)[0]
    whole = np.mean([each[full] for each in of_seeds], axis=0)
    return {
        name: asdict(paired_ratio(np.mean([each[name] for each in of_seeds], axis=0), whole))
        for name in of_seeds[0]
        if name.startswith(f"{direction}@")
    }
