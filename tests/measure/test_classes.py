"""Class-labelled retrieval: by hand, by definition, and against ir_measures and scikit-learn."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier

from nestvec.measure.classes import (
    ap_at_k,
    ap_by_k,
    first_right,
    nearest_rows,
    precision_at_k,
    relevant_hits,
)
from nestvec.measure.metrics import Measure, Relevance, ranks_in_hits


def drawn(seed: int, queries: int = 20, rows: int = 60, classes: int = 5):
    rng = np.random.default_rng(seed)
    database = rng.integers(0, classes, rows)
    labels = rng.integers(0, classes, queries)
    scores = rng.normal(size=(queries, rows))
    return database, labels, np.argsort(-scores, axis=1)


def test_numbers_worked_by_hand() -> None:
    # relevant at places 1, 3 and 4 of 5, of 4 and of 40 relevant rows: 1 + 2/3 + 3/4
    relevant = np.array([[1, 0, 1, 1, 0], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0]], bool)
    summed = 1 + 2 / 3 + 3 / 4
    assert ap_at_k(relevant, 5, np.array([4, 40, 0])) == pytest.approx([summed / 4, summed / 5, 0])
    assert ap_by_k(relevant, 5) == pytest.approx([summed / 5, summed / 5, 0])
    assert ap_at_k(relevant, 3, np.array([1, 40, 9]))[1] == pytest.approx((1 + 2 / 3) / 3)
    assert precision_at_k(relevant, 5) == pytest.approx([0.6, 0.6, 0])
    assert precision_at_k(relevant, 10) == pytest.approx([0.3, 0.3, 0])
    assert first_right(relevant).tolist() == [1, 1, 0]


def test_hits_are_relevant_by_their_label() -> None:
    database = np.array(["cat", "dog", "cat", "eel"])
    hits = np.array([[2, 1, 0], [1, 3, -1], [0, 1, 2]])
    relevant, totals = relevant_hits(hits, database, np.array(["cat", "eel", "zebra"]))
    assert relevant.tolist() == [[True, False, True], [False, True, False], [False] * 3]
    assert totals.tolist() == [2, 1, 0]


def test_a_full_list_of_its_own_class_has_one() -> None:
    relevant = np.ones((2, 10), bool)
    assert ap_at_k(relevant, 10, np.array([10, 6000])).tolist() == [1, 1]
    few = np.arange(10)[None] < 3
    assert ap_at_k(few, 10, np.array([3])) == pytest.approx([1])
    assert ap_by_k(few, 10) == pytest.approx([0.3])


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 70))
def test_equal_to_the_definition(seed: int, k: int) -> None:
    database, labels, hits = drawn(seed, queries=3)
    relevant, totals = relevant_hits(hits, database, labels)
    usual, by_k = ap_at_k(relevant, k, totals), ap_by_k(relevant, k)
    for q in range(3):
        summed, right = 0.0, 0
        for place, row in enumerate(hits[q][:k], 1):
            right += database[row] == labels[q]
            summed += (database[row] == labels[q]) * right / place
        wanted = sum(database == labels[q])
        assert usual[q] == pytest.approx(summed / max(1, min(wanted, k)))
        assert by_k[q] == pytest.approx(summed / k)


def test_equal_to_ir_measures_where_every_relevant_row_has_a_place() -> None:
    database, labels, hits = drawn(3, classes=12)
    relevant, totals = relevant_hits(hits, database, labels)
    k = int(totals.max())
    qrels = [
        ir_measures.Qrel(str(q), str(row), 1)
        for q, label in enumerate(labels)
        for row in np.flatnonzero(database == label)
    ]
    run = [
        ir_measures.ScoredDoc(str(q), str(row), float(len(database) - place))
        for q, own in enumerate(hits)
        for place, row in enumerate(own)
    ]
    told = ir_measures.iter_calc([ir_measures.AP @ k, ir_measures.P @ 10], qrels, run)
    theirs = {(str(one.measure), int(one.query_id)): one.value for one in told}
    found, precise = ap_at_k(relevant, k, totals), precision_at_k(relevant, 10)
    for q in np.flatnonzero(totals > 0):
        assert found[q] == pytest.approx(theirs[f"AP@{k}", q])
        assert precise[q] == pytest.approx(theirs["P@10", q])


def test_equal_to_scikit_learn_over_a_whole_list() -> None:
    database, labels, hits = drawn(4)
    relevant, totals = relevant_hits(hits, database, labels)
    found = ap_at_k(relevant, hits.shape[1], totals)
    falling = np.arange(hits.shape[1], 0, -1)
    for q in range(len(hits)):
        assert found[q] == pytest.approx(average_precision_score(relevant[q], falling))


def test_equal_to_the_measures_that_start_from_ranks() -> None:
    database, labels, hits = drawn(5)
    relevant, totals = relevant_hits(hits, database, labels)
    of_all = Relevance.from_gains(
        [dict.fromkeys(np.flatnonzero(database == label).tolist(), 1.0) for label in labels]
    )
    ranks = ranks_in_hits(hits, of_all)
    assert ap_by_k(relevant, 10) == pytest.approx(Measure("APk", 10).values(ranks, of_all))
    assert precision_at_k(relevant, 10) == pytest.approx(Measure("P", 10).values(ranks, of_all))
    scaled = ap_at_k(relevant, 10, totals) * np.minimum(totals, 10) / totals
    assert scaled == pytest.approx(Measure("AP", 10).values(ranks, of_all))


def test_nearest_rows_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 6)).astype(np.float32) * rng.uniform(0.1, 5, (300, 1))
    queries = rng.normal(size=(1030, 6)).astype(np.float32)
    labels = rng.integers(0, 4, 300)
    hits = nearest_rows(rows.astype(np.float32), queries, 7)
    theirs = KNeighborsClassifier(1, metric="cosine").fit(rows, labels)
    _, near = theirs.kneighbors(queries, 7)
    assert (hits == near).all()
    assert (labels[hits[:, 0]] == theirs.predict(queries)).all()


def test_nearest_rows_of_equal_rows_are_the_smaller() -> None:
    rows = np.array([[0, 0], [1, 0], [2, 0], [1, 1], [-1, 0]], np.float32)
    assert nearest_rows(rows, np.array([[3, 0]], np.float32), 9).tolist() == [[1, 2, 3, 0, 4]]
    assert nearest_rows(rows, np.empty((0, 2), np.float32), 3).shape == (0, 3)
