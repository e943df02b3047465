from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from nestvec.errors import UserError
from nestvec.measure.clusters import accuracy, correct, v_measure


def test_names_of_clusters_do_not_matter() -> None:
    assert v_measure(["a", "a", "b"], [7, 7, 3]) == pytest.approx(1.0)


def test_one_cluster_for_all_is_worth_nothing() -> None:
    assert v_measure([0, 1, 0, 1], [5, 5, 5, 5]) == 0.0
    assert v_measure([1, 1], [2, 2]) == 1.0


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 8), st.sampled_from([0.5, 1, 2]))
@settings(max_examples=60, deadline=None)
def test_parity_with_scikit_learn(seed: int, n: int, kinds: int, beta: float) -> None:
    rng = np.random.default_rng(seed)
    labels, clusters = rng.integers(0, kinds, n), rng.integers(0, 9, n)
    expected = metrics.v_measure_score(labels, clusters, beta=beta)
    assert v_measure(labels, clusters, beta) == pytest.approx(expected, abs=1e-9)
    assert accuracy(labels, clusters) == pytest.approx(metrics.accuracy_score(labels, clusters))


def test_correct_gives_what_intervals_take() -> None:
    assert correct(["x", "y", "x"], ["x", "x", "x"]).tolist() == [1.0, 0.0, 1.0]


def test_lengths_must_agree() -> None:
    with pytest.raises(UserError, match=r"got shapes \(2,\) and \(1,\)"):
        accuracy([1, 2], [1])
    with pytest.raises(UserError, match="not empty"):
        v_measure([], [])
