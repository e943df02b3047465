from __future__ import annotations

from typing import Any

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nestvec.errors import UserError
from nestvec.measure.metrics import (
    ABSENT,
    NAMES,
    Measure,
    Relevance,
    exact_top,
    ranks_in_hits,
    ranks_of_relevant,
)


@pytest.mark.parametrize("text", ["nDCG@10", "R@100", "RR@10", "AP@5", "APk@25", "P@1"])
def test_a_measure_reads_prints_and_compares_as_itself(text: str) -> None:
    assert str(Measure.parse(text)) == text
    assert Measure.parse(text) == Measure.parse(text.lower())
    assert Measure.parse(text) != Measure.parse("nDCG@7")


@pytest.mark.parametrize("text", ["nDCG", "nDCG@0", "ndgc@10", "@10", "nDCG@ten", "", "R@-1"])
def test_a_bad_measure_is_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match=r"Try nDCG@10\.$"):
        Measure.parse(text)


def test_numbers_worked_by_hand() -> None:
    # one query: relevant rows at ranks 1, 3 and 12, with gains 1, 2 and 1
    relevance = Relevance.from_gains([{5: 1.0, 6: 2.0, 7: 1.0}])
    ranks = np.array([1, 3, 12])

    def value(text: str) -> float:
        return float(Measure.parse(text).values(ranks, relevance)[0])

    ideal = 2 / 1 + 1 / np.log2(3) + 1 / 2
    assert value("nDCG@10") == pytest.approx((1 / 1 + 2 / 2) / ideal)
    assert value("R@10") == pytest.approx(2 / 3)
    assert value("P@10") == pytest.approx(0.2)
    assert value("RR@10") == 1.0
    assert value("AP@10") == pytest.approx((1 / 1 + 2 / 3) / 3)
    assert value("APk@10") == pytest.approx((1 / 1 + 2 / 3) / 10)
    assert value("AP@12") == pytest.approx((1 / 1 + 2 / 3 + 3 / 12) / 3)


def test_queries_without_relevant_rows_count_zero() -> None:
    relevance = Relevance.from_gains([{}, {0: 1.0}, {3: 0.0, 4: -1.0}])
    assert relevance.counts.tolist() == [0, 1, 0]
    for name in NAMES:
        values = Measure(name, 1).values(np.array([1]), relevance)
        assert values.tolist() == [0.0, 1.0, 0.0]


def _random_case(seed: int) -> tuple[NDArray[Any], Relevance]:
    rng = np.random.default_rng(seed)
    q, n = 12, 200
    scores = rng.integers(0, 12, (q, n)).astype(np.float32)  # full of ties
    scores[:, ::3] += rng.random((q, n))[:, ::3].astype(np.float32)
    gains = []
    for i in range(q):
        rows = rng.choice(n, size=[1, 3, 8, 120][i % 4], replace=False)
        gains.append({int(row): float(rng.integers(1, 4)) for row in rows})
    return scores, Relevance.from_gains(gains)


def _sorted_rows(scores: NDArray[Any]) -> NDArray[np.int64]:
    return np.argsort(-scores, axis=1, kind="stable")


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_ranks_equal_those_of_a_stable_sort(seed: int) -> None:
    scores, relevance = _random_case(seed)
    order = _sorted_rows(scores)
    place = np.argsort(order, axis=1) + 1
    expected = place[relevance.query_of, relevance.rows]
    assert ranks_of_relevant(scores, relevance).tolist() == expected.tolist()


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 10, 199, 200, 500]))
@settings(max_examples=40, deadline=None)
def test_exact_top_equals_a_stable_sort(seed: int, k: int) -> None:
    scores, _ = _random_case(seed)
    assert exact_top(scores, k).tolist() == _sorted_rows(scores)[:, :k].tolist()


def test_ties_at_the_border_go_to_the_smaller_row() -> None:
    scores = np.array([[1.0, 2.0, 1.0, 1.0, 3.0, 1.0]])
    assert exact_top(scores, 3).tolist() == [[4, 1, 0]]
    assert exact_top(scores, 4).tolist() == [[4, 1, 0, 2]]
    assert exact_top(np.zeros((2, 5)), 2).tolist() == [[0, 1], [0, 1]]
    assert exact_top(scores, 0).shape == (1, 0)
    infinite = np.array([[-np.inf, 0.0, -np.inf, np.inf]])
    assert exact_top(infinite, 3).tolist() == [[3, 1, 0]]


def test_nan_scores_never_pass_as_first() -> None:
    scores = np.array([[0.0, np.nan, 1.0]])
    with pytest.raises(ValueError, match="query 0 has NaN"):
        exact_top(scores, 1)
    with pytest.raises(ValueError, match="query 0 has NaN"):
        ranks_of_relevant(scores, Relevance.from_gains([{1: 1.0}]))


def test_shapes_are_checked() -> None:
    relevance = Relevance.from_gains([{1: 1.0}])
    with pytest.raises(ValueError, match=r"got \(2, 3\) for 1 queries"):
        ranks_of_relevant(np.zeros((2, 3)), relevance)
    with pytest.raises(ValueError, match=r"got \(2, 3\) for 1 queries"):
        ranks_in_hits(np.zeros((2, 3), dtype=np.int64), relevance)


def test_ranks_in_hits_agree_with_ranks_up_to_k() -> None:
    scores, relevance = _random_case(3)
    ranks = ranks_of_relevant(scores, relevance)
    hits = exact_top(scores, 10)
    found = ranks_in_hits(hits, relevance)
    assert found.tolist() == np.where(ranks <= 10, ranks, ABSENT).tolist()
    for name in NAMES:
        measure = Measure(name, 10)
        assert measure.values(found, relevance) == pytest.approx(measure.values(ranks, relevance))


def test_short_lists_are_padded_with_minus_one() -> None:
    relevance = Relevance.from_gains([{2: 1.0, 4: 1.0}])
    assert ranks_in_hits(np.array([[4, -1, -1]]), relevance).tolist() == [ABSENT, 1]


def test_take_keeps_the_order_asked_for() -> None:
    _, relevance = _random_case(0)
    some = relevance.take(np.array([3, 0, 3]))
    assert some.counts.tolist() == [120, 1, 120]
    own = slice(relevance.indptr[3], relevance.indptr[4])
    assert some.rows.tolist()[:120] == relevance.rows[own].tolist() == some.rows.tolist()[121:]
    mask = np.zeros(relevance.queries, dtype=bool)
    mask[1] = True
    assert relevance.take(mask).counts.tolist() == [3]
    assert relevance.take(slice(0, 0)).queries == 0


def test_from_top_is_agreement_with_a_list() -> None:
    scores, _ = _random_case(1)
    relevance = Relevance.from_top(exact_top(scores, 10))
    agreement = Measure("R", 10).values(ranks_of_relevant(scores, relevance), relevance)
    assert agreement.tolist() == [1.0] * len(scores)


@pytest.mark.parametrize("seed", range(5))
def test_parity_with_ir_measures(seed: int) -> None:
    scores, relevance = _random_case(seed)
    ranks = ranks_of_relevant(scores, relevance)
    order = _sorted_rows(scores)
    qrels = [
        ir_measures.Qrel(str(query), str(row), int(gain))
        for query, row, gain in zip(
            relevance.query_of, relevance.rows, relevance.gains, strict=True
        )
    ]
    # the reference breaks ties by name, so it is given the ranking itself as scores
    run = [
        ir_measures.ScoredDoc(str(i), str(row), -float(place))
        for i, rows in enumerate(order)
        for place, row in enumerate(rows)
    ]
    for name in ("nDCG", "R", "P", "AP"):
        for k in (1, 5, 10, 50):
            theirs = _reference(ir_measures.parse_measure(f"{name}@{k}"), qrels, run)
            ours = Measure(name, k).values(ranks, relevance)
            assert ours == pytest.approx([theirs[str(i)] for i in range(len(ours))]), (name, k)
    for k in (1, 3, 50):
        cut = [hit for hit in run if -hit.score < k]
        theirs = _reference(ir_measures.RR, qrels, cut)
        ours = Measure("RR", k).values(ranks, relevance)
        assert ours == pytest.approx([theirs.get(str(i), 0.0) for i in range(len(ours))])


def _reference(measure: Any, qrels: list[Any], run: list[Any]) -> dict[str, float]:
    return {m.query_id: m.value for m in ir_measures.iter_calc([measure], qrels, run)}


@pytest.mark.parametrize("name", NAMES)
def test_a_better_rank_never_lowers_a_measure(name: str) -> None:
    rng = np.random.default_rng(0)
    relevance = Relevance.from_gains([{0: 1.0, 1: 3.0, 2: 2.0}])
    measure = Measure(name, 10)
    for _ in range(50):
        ranks = rng.choice(np.arange(2, 20), 3, replace=False)
        lifted = ranks.copy()
        best = int(ranks.min())
        lifted[int(ranks.argmin())] = best - 1
        assert measure.values(lifted, relevance) >= measure.values(ranks, relevance) - 1e-12
