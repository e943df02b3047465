import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nestvec.choose import axes, ranking
from nestvec.choose.baselines import FloatAxes, FullVectors
from nestvec.measure.metrics import ABSENT, Relevance, ranks_of_relevant
from nestvec.progress import quiet


def _ranks(x, queries, relevance, own=None, enough=10**9, method=None):
    fitted = (method or FullVectors()).fit(x, "dot", 0, quiet())
    encoded = fitted.encode(x, quiet())
    return ranking.rank_relevant(
        encoded, len(fitted.sizes), queries, relevance, len(x), own, enough, quiet()
    )


def test_a_tiny_case_by_hand():
    x = np.array([[1.0], [3.0], [2.0], [3.0], [0.0]], np.float32)
    relevance = Relevance.from_gains([{3: 1.0, 0: 1.0}, {4: 2.0}])
    queries = np.array([[1.0], [-1.0]], np.float32)
    # scores 1 3 2 3 0: row 3 loses its tie with row 1; row 0 is behind 1, 2, 3
    assert _ranks(x, queries, relevance).tolist() == [[2, 4, 1]]
    # the first query is row 1, the second row 4 itself is not left out
    own = np.array([1, -1])
    assert _ranks(x, queries, relevance, own).tolist() == [[1, 3, 1]]


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(2, 40),
    levels=st.integers(1, 4),
    rows=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_counting_by_blocks_equals_sorting_with_ties(n, levels, rows, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-levels, levels + 1, (n, 3)).astype(np.float32)
    queries = rng.integers(-2, 3, (4, 3)).astype(np.float32)
    relevance = Relevance.from_gains(
        [dict.fromkeys(rng.choice(n, min(n, 3), replace=False).tolist(), 1.0) for _ in range(4)]
    )
    most, scores = ranking._MOST_ROWS, ranking._SCORES
    try:
        ranking._MOST_ROWS, ranking._SCORES = rows, 3 * rows
        found = _ranks(x, queries, relevance)[0]
    finally:
        ranking._MOST_ROWS, ranking._SCORES = most, scores
    np.testing.assert_array_equal(found, ranks_of_relevant(queries @ x.T, relevance))


def test_equal_rows_tie_whatever_their_block(monkeypatch):
    monkeypatch.setattr(ranking, "_MOST_ROWS", 5)
    rng = np.random.default_rng(0)
    x = np.repeat(rng.standard_normal((1, 333)), 23, axis=0).astype(np.float32)
    queries = rng.standard_normal((2, 333)).astype(np.float32)
    relevance = Relevance.from_gains([{7: 1.0}, {22: 1.0}])
    assert _ranks(x, queries, relevance).tolist() == [[8, 23]]


def test_every_size_is_ranked_and_far_ranks_may_stay_low():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((500, 16)).astype(np.float32)
    queries = rng.standard_normal((6, 16)).astype(np.float32)
    relevance = Relevance.from_top(rng.integers(0, 500, (6, 1)))
    method = FloatAxes("prefix-float", axes.leading)
    exact = _ranks(x, queries, relevance, method=method)
    near = _ranks(x, queries, relevance, enough=10, method=method)
    np.testing.assert_array_equal(exact <= 10, near <= 10)
    for i, width in enumerate([1, 2, 3, 4, 6, 8, 12, 16]):
        expected = ranks_of_relevant(queries[:, :width] @ x[:, :width].T, relevance)
        np.testing.assert_array_equal(exact[i], expected)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 40), rows=st.integers(1, 9), k=st.integers(1, 12), seed=st.integers(0, 99))
def test_lists_give_the_ranks_within_them(n, rows, k, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, (n, 3)).astype(np.float32)
    queries = rng.integers(-2, 3, (4, 3)).astype(np.float32)
    relevance = Relevance.from_gains(
        [dict.fromkeys(rng.choice(n, n // 2 + 1, replace=False).tolist(), 1.0) for _ in range(4)]
    )
    own = np.array([-1, n - 1, 0, -1])
    encoded = FullVectors().fit(x, "dot", 0, quiet()).encode(x, quiet())
    most, scores = ranking._MOST_ROWS, ranking._SCORES
    try:
        ranking._MOST_ROWS, ranking._SCORES = rows, 3 * rows
        found = ranking.rank_in_lists(encoded, 1, queries, relevance, n, own, k, quiet())[0]
    finally:
        ranking._MOST_ROWS, ranking._SCORES = most, scores
    exact = _ranks(x, queries, relevance, own)[0]
    left = own[relevance.query_of] != relevance.rows
    expected = np.where((exact <= k) & left, exact, ABSENT)
    np.testing.assert_array_equal(found[left], expected[left])
    assert (found[~left] == ABSENT).all()


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_full_vectors_rank_by_the_metric(metric):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((100, 8)).astype(np.float32)
    queries = rng.standard_normal((5, 8)).astype(np.float32)
    relevance = Relevance.from_top(rng.integers(0, 100, (5, 1)))
    fitted = FullVectors().fit(x, metric, 0, quiet())
    found = ranking.rank_relevant(
        fitted.encode(x, quiet()), 1, queries, relevance, 100, None, 1000, quiet()
    )
    if metric == "cosine":
        scores = queries @ (x / np.linalg.norm(x, axis=1)[:, None]).T
    else:
        scores = -((queries[:, None] - x) ** 2).sum(axis=2)
    np.testing.assert_array_equal(found[0], ranks_of_relevant(scores, relevance))
