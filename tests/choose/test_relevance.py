import numpy as np
import pytest

from nestvec.choose import relevance as module
from nestvec.choose.relevance import (
    FittingSample,
    QueryTask,
    agreement,
    exact_neighbours,
    fitting_rows,
    from_classes,
    from_qrels,
    from_titles,
    mark_seen,
    title_queries,
)
from nestvec.errors import UserError
from nestvec.measure.metrics import Relevance


def _vectors(n, d=8, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def test_qrels_become_rows_and_gains():
    qrels = {"q2": {"c": 2.0, "a": 0.0}, "q1": {"b": 1.0}, "q3": {"a": 0}}
    task = from_qrels(_vectors(2), ["q1", "q2"], ["a", "b", "c"], qrels)
    assert task.ids == ("q2", "q1")
    assert task.relevance.rows.tolist() == [2, 1]
    assert task.relevance.gains.tolist() == [2.0, 1.0]
    np.testing.assert_array_equal(task.vectors, _vectors(2)[[1, 0]])
    assert task.kind == "labels"
    assert task.seen is None


def test_seen_queries_are_marked():
    qrels = {"q1": {"a": 1.0}, "q2": {"b": 1.0}}
    seen = frozenset({"q2"})
    task = from_qrels(_vectors(2), ["q1", "q2"], ["a", "b"], qrels, seen_ids=seen)
    assert task.seen is not None
    assert task.seen.tolist() == [False, True]
    assert task.take(task.seen).ids == ("q2",)


def test_queries_are_seen_by_any_relevant_row_or_by_their_own():
    gains = [{0: 1.0, 5: 2.0}, {1: 1.0}, {2: 1.0}]
    task = QueryTask(
        _vectors(3), Relevance.from_gains(gains), "nDCG@10", "labels", ("a", "b", "c"),
        own_rows=np.array([-1, -1, 7]),
    )  # fmt: skip
    assert mark_seen(task, np.array([5, 6], np.uint32)).seen.tolist() == [True, False, False]
    assert mark_seen(task, np.array([1, 7], np.uint32)).seen.tolist() == [False, True, True]
    assert mark_seen(task, np.array([9], np.uint32)).seen is None
    assert mark_seen(task, np.array([], np.uint32)).seen is None


@pytest.mark.parametrize(
    ("qrels", "part"),
    [({"q1": {"x": 1.0}}, "'x'"), ({"q9": {"a": 1.0}}, "'q9'"), ({"q1": {"a": 0.0}}, "none")],
)
def test_qrels_that_do_not_fit_are_refused(qrels, part):
    with pytest.raises(UserError, match=part):
        from_qrels(_vectors(1), ["q1"], ["a"], qrels)


def test_titles_are_one_across_case_and_punctuation():
    titles = ["A new way", "", "a New, way!", "Too short", "Another old way"]
    texts, rows = title_queries(titles)
    assert texts == ["A new way", "Another old way"]
    assert rows == [[0, 2], [4]]
    task = from_titles(_vectors(2), rows, list("abcde"))
    assert task.kind == "title->text"
    assert task.relevance.rows.tolist() == [0, 2, 4]


def test_titles_are_drawn_by_seed():
    titles = [f"the paper number {i}" for i in range(50)]
    assert title_queries(titles, 5, seed=1) == title_queries(titles, 5, seed=1)
    assert title_queries(titles, 5, seed=1) != title_queries(titles, 5, seed=2)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_neighbours_across_blocks_equal_sorting(metric, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 7)
    monkeypatch.setattr(module, "BLOCK_QUERIES", 3)
    documents = _vectors(40)
    own = np.array([3, 9, 20, 21, 39])
    queries = documents[own]
    if metric == "cosine":
        scores = queries @ (documents / np.linalg.norm(documents, axis=1)[:, None]).T
    elif metric == "dot":
        scores = queries @ documents.T
    else:
        scores = -((queries[:, None] - documents) ** 2).sum(2)
    scores[np.arange(5), own] = -np.inf
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :6]
    found = exact_neighbours(documents, queries, own, metric, 6)
    np.testing.assert_array_equal(found, expected)


def test_neighbours_that_tie_go_to_the_smaller_row(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 4)
    documents = np.ones((10, 2), np.float32)
    found = exact_neighbours(documents, documents[:1], np.array([0]), "dot", 5)
    assert found.tolist() == [[1, 2, 3, 4, 5]]


def test_agreement_leaves_queries_out_of_ranking_and_fit():
    documents = _vectors(60)
    task = agreement(documents, at_most=9, k=4)
    assert task.own_rows is not None
    assert len(task.vectors) == 9
    assert task.measure == "R@10"
    assert all(
        own not in task.relevance.rows[task.relevance.indptr[i] : task.relevance.indptr[i + 1]]
        for i, own in enumerate(task.own_rows)
    )
    sample = fitting_rows(task, 60)
    assert sample.on_relevant
    assert not set(sample.rows) & set(task.own_rows)
    assert len(sample.rows) == 51


def test_agreement_of_two_rows_is_refused():
    with pytest.raises(UserError, match="at least 3 rows; got 2"):
        agreement(_vectors(2))


def test_relevant_rows_stay_out_of_the_sample_where_enough_are_left(monkeypatch):
    monkeypatch.setattr(module, "ENOUGH_FITTING_ROWS", 20)
    relevance = Relevance.from_top(np.array([[1], [5]]))
    task = QueryTask(_vectors(2), relevance, "nDCG@10", "labels", ("a", "b"))
    assert not fitting_rows(task, 22).on_relevant
    assert not {1, 5} & set(fitting_rows(task, 22).rows)
    assert fitting_rows(task, 21).on_relevant
    few = fitting_rows(task, 1000, at_most=30)
    assert len(few.rows) == 30
    assert (np.diff(few.rows) > 0).all()


def test_equal_samples_have_one_name():
    def name(*rows):
        return FittingSample(np.array(rows, np.int64), False).digest

    assert name(1, 2, 30) == name(1, 2, 30)
    assert len({name(1, 2, 30), name(1, 2), name(1, 2, 31), name()}) == 4


def test_classes_find_their_own_and_not_themselves():
    labels = np.array([2, 0, 2, 1, 0, 2, -1, -1, 0, 0])
    ids = [f"r{i}" for i in range(10)]
    task = from_classes(_vectors(10), labels, ids, "P@1", at_most=9)
    assert task.kind == "same class"
    assert task.measure == "P@1"
    assert len(task.vectors) == 2  # a fifth
    for i, row in enumerate(task.own_rows):
        assert labels[row] in (0, 2)  # the class 1 has no other row, -1 is none
        start, stop = task.relevance.indptr[i : i + 2]
        others = [j for j in range(10) if labels[j] == labels[row] and j != row]
        assert task.relevance.rows[start:stop].tolist() == others
        np.testing.assert_array_equal(task.vectors[i], _vectors(10)[row])
        assert task.ids[i] == f"r{row}"


def test_classes_that_tell_nothing_ask_nothing():
    assert from_classes(_vectors(9), np.zeros(9, np.int64), ["a"] * 9) is None
    assert from_classes(_vectors(9), np.arange(9), ["a"] * 9) is None
    assert from_classes(_vectors(9), np.full(9, -1), ["a"] * 9) is None


def test_large_classes_are_asked_by_fewer_rows(monkeypatch):
    monkeypatch.setattr(module, "_MOST_RELEVANT", 6000)
    monkeypatch.setattr(module, "_FEWEST_QUERIES", 5)
    labels = np.arange(1000) % 2
    task = from_classes(_vectors(1000), labels, list(map(str, range(1000))))
    assert len(task.vectors) == 12  # 500 rows a class
