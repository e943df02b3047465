"""What a set of vectors is good for by itself: clusters, and labels read off by simple learners.

The only file of this room that imports scikit-learn.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import MissingExtra, UserError

try:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
except ImportError:
    raise MissingExtra("measuring clusters and classes", "train") from None

F32 = NDArray[np.float32]

_ITERATIONS = 100  # of either learner, as in MTEB's tasks (arXiv:2210.07316)
_BLOCK = 2048


def cluster(vectors: F32, clusters: int, seed: int) -> NDArray[np.int64]:
    """The cluster of each of the vectors (n, d): (n,), by k-means of so many clusters.

    Raises UserError where there are fewer vectors than clusters.
    """
    if len(vectors) < clusters:
        raise UserError(
            f"clusters take a vector each at least; got {len(vectors)} vectors for {clusters}."
        )
    means = KMeans(clusters, n_init=1, max_iter=_ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct vectors than clusters
        return np.asarray(means.fit_predict(vectors), np.int64)


def linear_probe(train: F32, labels: NDArray[Any], test: F32) -> NDArray[Any]:
    """Labels of the test vectors (m, d) by logistic regression on the train vectors (n, d): (m,).

    Raises UserError for fewer than two labels.
    """
    return np.asarray(_probe(train, labels).predict(test))


def probe_scores(
    train: F32, labels: NDArray[Any], test: F32
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The labels (c,) that linear_probe tells apart, and their log probabilities (m, c).

    The largest of a row is linear_probe's answer; of fewer labels, the largest among theirs.
    Raises UserError for fewer than two labels.
    """
    probe = _probe(train, labels)
    return probe.classes_, np.asarray(probe.predict_log_proba(test), np.float64)


def _probe(train: F32, labels: NDArray[Any]) -> LogisticRegression:
    if len(np.unique(labels)) < 2:
        raise UserError("a probe tells labels apart; got one label alone; give two at least.")
    probe = LogisticRegression(max_iter=_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(train, labels)
    return probe


def nearest_labels(train: F32, labels: NDArray[Any], test: F32) -> NDArray[Any]:
    """The label of the train vector (n, d) of the largest inner product with each test vector.

    test: (m, d); ties go to the first. Memory: 2,048 x n.
    """
    found = [
        labels[(test[start : start + _BLOCK] @ train.T).argmax(axis=1)]
        for start in range(0, len(test), _BLOCK)
    ]
    return np.concatenate(found) if found else labels[:0]
