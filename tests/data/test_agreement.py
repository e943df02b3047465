from __future__ import annotations

import numpy as np

from nestvec.data.agreement import compare_rankings


def test_rankings_are_compared_by_hand() -> None:
    exact = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    cosine, agreement = compare_rankings(exact, exact * 2)
    assert (round(cosine, 5), agreement) == (1.0, 1.0)
    cosine, agreement = compare_rankings(exact, -exact)
    assert round(cosine, 5) == -1.0
    other = exact.copy()
    other[0] = -other[0]
    cosine, agreement = compare_rankings(exact, other)
    assert round(cosine, 5) == -1.0
    assert 0.7 < agreement < 1.0
