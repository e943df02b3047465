"""Losses of adapters: numbers by hand, and plain loops from their formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nestvec.errors import UserError
from nestvec.learn.losses.ranking import pairwise_rank
from nestvec.learn.losses.similarity import (
    nearest_in_memory,
    neighbour_similarity,
    pair_similarity,
    recovery,
)


def softplus(x):
    return math.log1p(math.exp(x))


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def ranked(scores, grades):
    """The formula of pairwise_rank, one triple after another."""
    total, count = 0.0, 0
    for s, y in zip(scores, grades, strict=True):
        for j in range(len(y)):
            for k in range(len(y)):
                if y[j] > y[k]:
                    total += (y[j] - y[k]) * softplus(s[k] - s[j])
                    count += 1
    return total / max(count, 1)


def test_pairwise_rank_with_grades_by_hand():
    # 2 above 1 and 0 by 1 and 2; 1 above 0 by 1: three pairs
    scores = torch.tensor([[0.2, 0.5, 0.1]])
    grades = torch.tensor([[2.0, 1.0, 0.0]])
    wanted = softplus(0.3) + 2 * softplus(-0.1) + softplus(-0.4)
    assert pairwise_rank(scores, grades).item() == pytest.approx(wanted / 3, rel=1e-6)


def test_pairwise_rank_of_several_positives_and_queries_by_hand():
    # query 0: documents 0 and 1 above 2, neither above the other; query 1 has document 2 alone
    scores = torch.tensor([[0.9, 0.1, 0.4], [0.0, 0.3, 0.5]])
    grades = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    parts = [softplus(-0.5), softplus(0.3), softplus(-0.5), softplus(-0.2)]
    assert pairwise_rank(scores, grades).item() == pytest.approx(sum(parts) / 4, rel=1e-6)


def test_a_query_whose_grades_are_equal_adds_nothing():
    scores, grades = torch.tensor([[0.3, 0.7]]), torch.tensor([[1.0, 0.0]])
    alone = pairwise_rank(scores, grades)
    both = pairwise_rank(torch.cat([scores, scores]), torch.cat([grades, torch.ones(1, 2)]))
    torch.testing.assert_close(both, alone)


@given(
    seed=st.integers(0, 10_000),
    grades=st.lists(
        st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=4, max_size=4),
        min_size=1,
        max_size=4,
    ),
)
def test_pairwise_rank_is_its_formula(seed, grades):
    scores = 3 * randn(len(grades), 4, seed=seed)
    value = pairwise_rank(scores, torch.tensor(grades)).item()
    assert value == pytest.approx(ranked(scores.tolist(), grades), rel=1e-5, abs=1e-7)


def test_the_rank_loss_lifts_the_better_document():
    scores = torch.tensor([[0.2, 0.5, 0.1]], requires_grad=True)
    pairwise_rank(scores, torch.tensor([[1.0, 0.0, 0.0]])).backward()
    assert scores.grad[0, 0] < 0
    assert (scores.grad[0, 1:] > 0).all()


@pytest.mark.parametrize("shape", [(3,), (2, 4)])
def test_scores_and_grades_of_unlike_shapes(shape):
    with pytest.raises(UserError, match=r"one shape \(q, c\)"):
        pairwise_rank(torch.zeros(shape), torch.zeros(3))


def test_pair_similarity_by_hand():
    # full: right angles; cut to one coordinate: 0 and 2 alike (1), 1 opposed to both (-1)
    full = torch.eye(3)
    cut = torch.tensor([[2.0], [-1.0], [5.0]])
    assert pair_similarity(full, cut).item() == pytest.approx(1.0)
    # full: 45 degrees between both, cut: 0, so one gap of 1 - cos 45
    full = torch.tensor([[1.0, 0.0], [3.0, 3.0]])
    gap = 1 - math.sqrt(0.5)
    assert pair_similarity(full, full[:, :1]).item() == pytest.approx(gap, rel=1e-5)


def test_pair_similarity_is_its_formula():
    full, cut = randn(6, 5), randn(6, 2, seed=1)
    a, b = full.numpy(), cut.numpy()
    gaps = [
        abs(cosine(a[i], a[j]) - cosine(b[i], b[j])) for i in range(6) for j in range(6) if i != j
    ]
    assert pair_similarity(full, cut).item() == pytest.approx(np.mean(gaps), rel=1e-5)


def test_neighbour_similarity_by_hand():
    # full: cosines 0.6 and 0.8 to the two of memory; cut to the first coordinate: 1 and -1
    full, memory = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0], [-4.0, 3.0]])
    near = torch.tensor([[0, 1]])
    value = neighbour_similarity(full, full[:, :1], memory, memory[:, :1], near).item()
    assert value == pytest.approx((abs(0.6 - 1) + abs(-0.8 + 1)) / 2, rel=1e-5)


def test_neighbour_similarity_is_its_formula():
    full, cut = randn(4, 6), randn(4, 3, seed=1)
    memory, memory_cut = randn(7, 6, seed=2), randn(7, 3, seed=3)
    near = torch.tensor([[0, 6, 3], [1, 2, 0], [4, 5, 1], [6, 0, 2]])
    e, c, m, mc = (each.numpy() for each in (full, cut, memory, memory_cut))
    gaps = [
        abs(cosine(e[i], m[j]) - cosine(c[i], mc[j])) for i in range(4) for j in near[i].tolist()
    ]
    value = neighbour_similarity(full, cut, memory, memory_cut, near).item()
    assert value == pytest.approx(np.mean(gaps), rel=1e-5)


def test_only_what_is_cut_gets_a_gradient():
    full, cut = randn(4, 6).requires_grad_(), randn(4, 3, seed=1).requires_grad_()
    near = nearest_in_memory(full, full, 2, torch.eye(4, dtype=torch.bool))
    value = (
        pair_similarity(full, cut)
        + neighbour_similarity(full, cut, full, cut, near)
        + recovery(full, torch.cat([cut, cut], 1))
    )
    value.backward()
    assert full.grad is None
    assert cut.grad.abs().min() > 0


def test_nearest_are_best_first_and_never_oneself():
    memory = torch.tensor([[1.0, 0.0], [9.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    full = memory[[0, 2]]
    assert nearest_in_memory(full, memory, 2).tolist() == [[0, 1], [2, 3]]
    own = torch.tensor([[1, 0, 0, 0], [0, 0, 1, 0]]).bool()
    assert nearest_in_memory(full, memory, 2, own).tolist() == [[1, 3], [3, 1]]
    # one that is not in memory leaves out nothing
    absent = own & torch.tensor([[False], [True]])
    assert nearest_in_memory(full, memory, 1, absent).tolist() == [[0], [3]]
    # k is lowered to the three others, and to two where one is there twice
    assert nearest_in_memory(full, memory, 9, own).shape == (2, 3)
    own[0, 3] = True
    assert nearest_in_memory(full, memory, 9, own).tolist() == [[1, 2], [3, 1]]


def test_recovery_by_hand():
    full = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    adapted = torch.tensor([[1.0, 1.0], [5.0, 4.0]])
    assert recovery(full, adapted).item() == pytest.approx(3 / 4)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: pair_similarity(torch.ones(1, 3), torch.ones(1, 2)),
        lambda: pair_similarity(torch.ones(3, 3), torch.ones(2, 2)),
        lambda: neighbour_similarity(
            torch.ones(2, 3), torch.ones(2, 2), torch.ones(3, 3), torch.ones(2, 2), torch.ones(2, 1)
        ),
    ],
)
def test_rows_that_do_not_match(wrong):
    with pytest.raises(UserError, match="similarities compare at least"):
        wrong()


def test_what_is_recovered_has_the_shape_of_the_full():
    with pytest.raises(UserError, match=r"shape \(2, 3\) of the full ones; got \(2, 2\)"):
        recovery(torch.ones(2, 3), torch.ones(2, 2))
