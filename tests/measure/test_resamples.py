import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import v_measure_score

from nestvec.errors import UserError
from nestvec.measure.resamples import (
    draw_counts,
    paired_intervals,
    spearman_of_draws,
    v_measure_of_draws,
)


def test_every_draw_takes_as_many_items_as_there_are():
    counts = draw_counts(7, seed=1, draws=50)
    assert counts.shape == (50, 7)
    assert (counts.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(counts, draw_counts(7, seed=1, draws=50))
    with pytest.raises(UserError):
        draw_counts(0)


@given(st.integers(0, 1000))
def test_correlations_equal_scipys_on_the_drawn_items(seed):
    rng = np.random.default_rng(seed)
    scores, grades = rng.standard_normal(30).round(1), rng.integers(0, 5, 30).astype(float)
    counts = draw_counts(30, seed, draws=4)
    for found, weights in zip(spearman_of_draws(scores, grades, counts), counts, strict=True):
        drawn = np.repeat(np.arange(30), weights)
        assert found == pytest.approx(spearmanr(scores[drawn], grades[drawn]).statistic)


@given(st.integers(0, 1000))
def test_v_measures_equal_scikit_learns_on_the_drawn_items(seed):
    rng = np.random.default_rng(seed)
    labels, clusters = rng.integers(0, 4, 40), rng.integers(0, 6, 40)
    counts = draw_counts(40, seed, draws=4)
    for found, weights in zip(v_measure_of_draws(labels, clusters, counts), counts, strict=True):
        drawn = np.repeat(np.arange(40), weights)
        assert found == pytest.approx(v_measure_score(labels[drawn], clusters[drawn]), abs=1e-9)


def test_a_constant_side_has_no_correlation():
    assert np.isnan(spearman_of_draws(np.array([1.0, 2.0]), np.ones(2), np.ones((1, 2), int)))[0]


def test_by_hand_a_column_and_its_difference():
    drawn = [np.array([0.0, 0.5, 1.0]), np.array([0.1, 0.6, 1.1])]
    (full, none), (other, delta) = paired_intervals(np.array([0.5, 0.6]), drawn.__getitem__, 9)
    assert (full.value, full.n) == (0.5, 9)
    assert (full.low, full.high) == pytest.approx((0.025, 0.975))
    assert (none.value, none.low, none.high) == (0, 0, 0)
    assert other.value == 0.6
    assert (delta.value, delta.low, delta.high) == pytest.approx((0.1, 0.1, 0.1))
