"""Labels from a few examples a class: the nearest of the classes' means."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import UserError
from nestvec.vectors import normalize

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def nearest_means(train: F32, labels: NDArray[Any], test: F32) -> NDArray[Any]:
    """The label whose mean of train vectors (n, d), at length 1, has the largest cosine with each.

    test: (m, d); the answer (m,). Vectors are brought to length 1 before means are taken; a tie
    goes to the smaller label. Nearest class mean, as MRL's few-shot tables have it (Kusupati et
    al. 2022, arXiv:2205.13147, sec. 4.4.1).
    """
    names, numbers = np.unique(labels, return_inverse=True)
    summed = np.zeros((len(names), train.shape[1]), np.float64)
    np.add.at(summed, numbers, normalize(np.asarray(train, np.float32)))
    means = normalize(summed.astype(np.float32))
    found: NDArray[Any] = names[(np.asarray(test, np.float32) @ means.T).argmax(axis=1)]
    return found


def few_shot(
    train: F32,
    labels: NDArray[Any],
    test: F32,
    truth: NDArray[Any],
    shots: int,
    draws: int,
    seed: int = 0,
) -> F64:
    """1 or 0 for each test vector and draw, (draws, m): whether nearest_means by shots was right.

    Each draw takes so many train vectors of every class.
    Raises UserError where a class has fewer.
    """
    names, counts = np.unique(labels, return_counts=True)
    if shots < 1 or counts.min() < shots:
        least = names[counts.argmin()]
        raise UserError(
            f"so many shots are there in every class; {least!r} has {counts.min()} for {shots}. "
            "Ask for fewer, or leave the class out."
        )
    of_class = [np.flatnonzero(labels == name) for name in names]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        rows = np.concatenate([rng.choice(each, shots, replace=False) for each in of_class])
        found.append(nearest_means(train[rows], labels[rows], test) == truth)
    return np.array(found, np.float64)


def long_tail(labels: NDArray[Any], least: float, seed: int = 0) -> NDArray[np.int64]:
    """Places, rising, of a set cut so that classes fall off exponentially.

    The first class, in the order of labels, keeps all of its rows, the last a share of least of the
    smallest class's count, at least one (Cui et al. 2019, arXiv:1901.05555, sec. 5.1).
    Raises UserError for a share outside of 0 to 1.
    """
    if not 0 < least <= 1:
        raise UserError(f"a share is above 0 and at most 1; got {least:g}.")
    names, counts = np.unique(labels, return_counts=True)
    rng = np.random.default_rng(seed)
    kept = []
    for i, name in enumerate(names):
        share = least ** (i / max(len(names) - 1, 1))
        count = max(1, round(int(counts.min()) * share))
        kept.append(rng.choice(np.flatnonzero(labels == name), count, replace=False))
    return np.sort(np.concatenate(kept))
