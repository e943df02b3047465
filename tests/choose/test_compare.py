import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nestvec.choose.compare import Comparison, compare, halves, query_groups, split_and_compare
from nestvec.choose.relevance import QueryTask, agreement
from nestvec.errors import UserError
from nestvec.measure.metrics import Relevance


def _task(gains):
    q = len(gains)
    return QueryTask(
        np.ones((q, 2), np.float32),
        Relevance.from_gains(gains),
        "nDCG@10",
        "labels",
        tuple(map(str, range(q))),
    )


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.sets(st.integers(0, 60), min_size=1, max_size=3), min_size=2, max_size=40),
    seed=st.integers(0, 5),
)
def test_no_document_is_on_both_sides(rows, seed):
    task = _task([dict.fromkeys(some, 1.0) for some in rows])
    split = halves(task, seed)
    assert split.choosing.any()
    assert split.reporting.any()
    left = set().union(*(s for s, c in zip(rows, split.choosing, strict=True) if c))
    right = set().union(*(s for s, c in zip(rows, split.choosing, strict=True) if not c))
    if split.by == "document":
        assert not left & right


def test_groups_follow_chains_of_documents():
    groups = query_groups(
        Relevance.from_gains([{1: 1.0}, {5: 1.0}, {1: 1.0, 2: 1.0}, {2: 1.0}, {6: 1.0}])
    )
    assert groups[0] == groups[2] == groups[3]
    assert len(set(groups)) == 3


def test_halves_are_even_and_drawn_by_seed():
    task = _task([{i: 1.0} for i in range(101)])
    one, two = halves(task, 0), halves(task, 1)
    assert one.by == "document"
    assert one.choosing.sum() in (50, 51)
    assert (one.choosing != two.choosing).any()
    np.testing.assert_array_equal(one.choosing, halves(task, 0).choosing)


def test_one_document_for_all_splits_by_query_and_says_so():
    split = halves(_task([{0: 1.0}] * 10))
    assert split.by == "query"
    assert split.choosing.sum() == 5


def test_agreement_splits_by_the_queries_own_rows():
    documents = np.random.default_rng(0).standard_normal((100, 4)).astype(np.float32)
    split = halves(agreement(documents))
    assert split.by == "document"
    assert split.choosing.sum() == 10


def test_a_single_query_is_refused():
    with pytest.raises(UserError, match="at least 2 queries; got 1"):
        halves(_task([{0: 1.0}]))


def test_selection_sees_one_half_and_comparison_the_other():
    task = _task([{i: 1.0} for i in range(40)])
    split = halves(task)
    baseline = np.full(40, 0.5)
    candidates = np.zeros((2, 40))
    candidates[0, split.choosing] = 1.0
    candidates[1, split.reporting] = 1.0
    picked, found = split_and_compare(
        candidates, baseline, split, lambda half, full: int(np.argmax(half.mean(axis=1)))
    )
    assert picked == 0
    assert found.value.value == 0
    assert found.difference.value == -0.5
    assert found.share is not None
    assert found.share.value == 0
    assert found.value.n == 20
    assert not found.non_inferior


def test_comparison_by_hand_and_through_its_record():
    a, b = np.tile([0.6, 0.8], 10), np.tile([0.5, 0.7], 10)
    found = compare(a, b)
    assert found.difference.value == pytest.approx(0.1)
    assert found.difference.low == pytest.approx(0.1)
    assert found.share is not None
    assert found.share.value == pytest.approx(0.7 / 0.6)
    assert found.better
    assert found.non_inferior
    assert Comparison.from_config(found.to_config()) == found


def test_a_baseline_of_zero_has_no_share():
    assert compare(np.ones(12), np.zeros(12)).share is None
