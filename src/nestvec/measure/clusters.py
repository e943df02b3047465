"""Agreement between labels: V-measure of clusters, accuracy of predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nestvec.errors import UserError


def v_measure(labels: ArrayLike, clusters: ArrayLike, beta: float = 1.0) -> float:
    """How well clusters match labels, whatever their names, in [0, 1].

    labels, clusters: (n,), any comparable kind. The weighted harmonic mean of homogeneity
    (each cluster holds one label) and completeness (each label lies in one cluster); beta > 1
    weighs completeness more. Raises UserError if empty or of two lengths.
    Rosenberg and Hirschberg 2007, section 2.
    """
    truth, found = _same_length(labels, clusters)
    _, truth = np.unique(truth, return_inverse=True)
    _, found = np.unique(found, return_inverse=True)
    width = int(found.max()) + 1
    # only the cells that occur are counted: labels x clusters may be far larger than n
    _, joint = np.unique(truth.astype(np.int64) * width + found, return_counts=True)
    return v_of_counts(np.bincount(truth), np.bincount(found), joint, beta)


def v_of_counts(
    of_label: NDArray[Any], of_cluster: NDArray[Any], of_both: NDArray[Any], beta: float = 1.0
) -> float:
    """The V-measure from how many items bear each label, lie in each cluster, and do both."""
    h_truth, h_found = _entropy(of_label), _entropy(of_cluster)
    shared = h_truth + h_found - _entropy(of_both)
    homogeneity = shared / h_truth if h_truth else 1.0
    completeness = shared / h_found if h_found else 1.0
    weighed = beta * homogeneity + completeness
    if weighed <= 0:
        return 0.0
    return float(np.clip((1 + beta) * homogeneity * completeness / weighed, 0.0, 1.0))


def accuracy(labels: ArrayLike, predicted: ArrayLike) -> float:
    """The share of predicted labels that are right; labels, predicted: (n,)."""
    return float(correct(labels, predicted).mean())


def correct(labels: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    """1 where a predicted label is right and 0 elsewhere, (n,) float64: what intervals take."""
    truth, found = _same_length(labels, predicted)
    return np.asarray(truth == found, dtype=np.float64)


def _same_length(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    left, right = np.asarray(a), np.asarray(b)
    if left.ndim != 1 or left.shape != right.shape or len(left) == 0:
        raise UserError(
            f"labels must be two flat lists of one length, not empty; got shapes {left.shape} "
            f"and {right.shape}. Give one label an item on both sides."
        )
    return left, right


def _entropy(counts: NDArray[Any]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())
