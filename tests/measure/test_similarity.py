from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nestvec.errors import UserError
from nestvec.measure.similarity import average_ranks, pearson, spearman


def test_by_hand() -> None:
    assert average_ranks(np.array([10.0, 5.0, 10.0, 7.0])).tolist() == [3.5, 1.0, 3.5, 2.0]
    assert pearson(np.array([1, 2, 3]), np.array([2, 4, 6])) == pytest.approx(1.0)
    assert spearman(np.array([1, 2, 3]), np.array([9, 4, 1])) == pytest.approx(-1.0)


@given(st.integers(0, 10_000), st.integers(3, 60))
@settings(max_examples=40, deadline=None)
def test_parity_with_scipy_with_ties(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    a = np.append(rng.integers(0, 5, n), [0, 9]).astype(np.float64)
    b = np.append(a[:n] + rng.integers(0, 6, n), [1, 40])
    assert average_ranks(a) == pytest.approx(stats.rankdata(a))
    assert pearson(a, b) == pytest.approx(stats.pearsonr(a, b).statistic)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)


def test_a_constant_side_is_refused() -> None:
    with pytest.raises(UserError, match="two different values"):
        pearson(np.ones(3), np.arange(3))
    with pytest.raises(UserError, match="two different values"):
        spearman(np.arange(1), np.arange(1))
    with pytest.raises(UserError, match="at position 1"):
        pearson(np.array([1.0, np.nan]), np.arange(2))
    with pytest.raises(ValueError, match="one length"):
        pearson(np.arange(3), np.arange(2))
    with pytest.raises(ValueError, match="flat arrays"):
        pearson(np.ones((2, 2)), np.ones((2, 2)))
