from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nestvec.index.bounds import FACT_BYTES, Bound, block_ends, bound, coded_blocks, principal_axes


def test_blocks_end_at_a_sixth_a_third_two_thirds_and_all() -> None:
    assert block_ends(384) == (64, 128, 256, 384)
    assert block_ends(7) == (2, 3, 5, 7)
    assert block_ends(2) == (1, 2)
    assert block_ends(1) == (1,)


def test_axes_are_orthonormal_and_of_falling_variance() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((500, 6)) * [1, 5, 2, 9, 1, 3]).astype(np.float32)
    axes = principal_axes(rows)
    np.testing.assert_allclose(axes.T @ axes, np.eye(6), atol=1e-5)
    assert (np.diff(np.square(rows @ axes).sum(axis=0)) < 0).all()


def test_a_bound_by_hand() -> None:
    rows = np.array([[0.6, 0.0, 0.8, 0.0]], np.float32)
    first, *_ = coded_blocks(rows, np.eye(4, dtype=np.float32))
    assert first.shape == (1, 1 + FACT_BYTES)
    found = bound(first, np.array([0.5], np.float32), np.float32(0.25))
    # .6 is 127 steps of about .6 / 127, and what follows has the length .8
    assert found.dots[0] == pytest.approx(0.3, rel=1e-3)
    assert found.hidden[0] == pytest.approx(0.5 * 0.5 * 0.6 / 127, rel=1e-3)
    assert found.beyond[0] == pytest.approx(0.25 * 0.8, rel=1e-3)
    assert found.most[0] == pytest.approx(0.3 + 0.25 * 0.6 / 127 + 0.2, rel=1e-3)


@settings(deadline=None)
@given(st.data())
def test_every_block_bounds_the_product_and_none_is_looser_than_the_one_before(
    data: st.DataObject,
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    dim, n = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 40))
    spread = data.draw(st.sampled_from([0.0, 1.0, 3.0]))
    scale = np.exp(-spread * np.arange(dim) / dim)
    rows = (rng.standard_normal((n, dim)) * scale).astype(np.float32)
    rows[rng.random(rows.shape) < data.draw(st.sampled_from([0.0, 0.7]))] = 0
    rows /= np.maximum(np.linalg.norm(rows, axis=1), 1e-20)[:, None]
    axes = principal_axes(rows)
    query = rng.standard_normal(dim).astype(np.float32)
    query /= np.linalg.norm(query)
    turned = query @ axes
    products = rows.astype(np.float64) @ query
    ends = block_ends(dim)
    so_far: Bound | None = None
    before = np.full(n, np.inf)
    for block, (start, end) in zip(coded_blocks(rows, axes), pairwise((0, *ends)), strict=True):
        rest = np.float32(np.linalg.norm(turned[end:]))
        so_far = bound(block, turned[start:end], rest, so_far)
        assert (so_far.most >= products - 2e-6).all()
        # rounding may hide more in a block than its length promised
        assert (so_far.most <= before + 0.02).all()
        before = so_far.most
    assert so_far is not None
    assert (so_far.most - products <= 0.05).all()
