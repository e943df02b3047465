"""Principal axes by SVD, and weights that are a power of the spectrum."""

import numpy as np
import pytest

from nestvec.learn.adapters import spectrum
from nestvec.learn.adapters.spectrum import principal_axes, sample, spectral_weights
from nestvec.vectors import normalize


def stretched(n=400, dim=8, seed=0):
    """Rows of a falling spectrum, turned at random."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    return ((rng.standard_normal((n, dim)) * 0.7 ** np.arange(dim)) @ turn).astype(np.float32)


def test_principal_axes_are_right_singular_vectors_of_unit_rows():
    rows = stretched()
    axes = principal_axes(rows, 0)
    wanted = np.linalg.svd(normalize(rows).astype(np.float64), full_matrices=False)[2].T
    signs = np.sign((axes * wanted).sum(axis=0))
    np.testing.assert_allclose(axes * signs, wanted, atol=1e-4)
    assert axes.dtype == np.float32
    assert axes.flags.c_contiguous


def test_weights_are_a_power_of_the_spectrum():
    rows = stretched()
    axes, weights = spectral_weights(rows, 0)
    np.testing.assert_array_equal(axes, principal_axes(rows, 0))
    values = ((normalize(rows) @ axes).astype(np.float64) ** 2).sum(axis=0)
    assert weights[0] == 1
    assert weights.dtype == np.float32
    # one exponent for all: log weight by log eigenvalue is the same of every axis
    powers = np.log(weights[1:]) / np.log(values[1:] / values[0])
    np.testing.assert_allclose(powers, powers[0], atol=1e-3)
    assert -0.5 <= powers[0] <= 0.5


def test_an_axis_without_spread_is_not_blown_up(monkeypatch):
    monkeypatch.setattr(spectrum, "fit_exponent", lambda rows, moment, seed: -0.25)
    rows = stretched()
    rows = np.concatenate([rows, np.zeros_like(rows[:, :2])], axis=1)
    weights = spectral_weights(rows, 0)[1]
    assert np.isfinite(weights).all()
    assert weights.max() < 50  # (1e-3 of the mean)^-1/2 is below that


def test_a_sample_is_of_unit_rows_drawn_by_seed(monkeypatch):
    rows = stretched()
    np.testing.assert_array_equal(sample(rows, 0), normalize(rows))
    monkeypatch.setattr(spectrum, "MOST_ROWS", 50)
    one, again, other = sample(rows, 1), sample(rows, 1), sample(rows, 2)
    assert one.shape == (50, 8)
    assert len(np.unique(one, axis=0)) == 50
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("n", [2, 9, pytest.param(10, marks=pytest.mark.slow)])
def test_of_a_few_rows_weights_are_numbers(n):
    weights = spectral_weights(stretched(n), 0)[1]
    assert np.isfinite(weights).all()
    if n < 10:
        assert (weights == 1).all()
