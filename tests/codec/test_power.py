import numpy as np

from nestvec.codec.power import SpectralMap, second_moment


def test_the_second_moment_by_hand():
    rows = np.array([[1.0, 2.0], [3.0, 0.0]], np.float32)
    np.testing.assert_allclose(second_moment(rows), [[5, 1], [1, 2]])


def test_products_are_kept_and_the_way_back_is_exact():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((200, 16)).astype(np.float32) * np.linspace(3, 0.1, 16)
    rows = rows.astype(np.float32)
    queries = rng.standard_normal((3, 16)).astype(np.float32)
    spectral = SpectralMap.fitted(second_moment(rows), -0.25)
    coded = spectral.forward(rows)
    np.testing.assert_allclose(spectral.backward(coded), rows, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(spectral.queries(queries) @ coded.T, queries @ rows.T, atol=2e-3)


def test_half_a_negative_power_whitens():
    rng = np.random.default_rng(1)
    rows = (rng.standard_normal((4000, 4)) * [4, 2, 1, 0.5]).astype(np.float32)
    moment = second_moment(SpectralMap.fitted(second_moment(rows), -0.5).forward(rows))
    np.testing.assert_allclose(moment / moment[0, 0], np.eye(4), atol=2e-2)


def test_a_zero_eigenvalue_and_a_constant_coordinate_stay_finite():
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((100, 6)).astype(np.float32)
    rows[:, 2] = 0
    rows[:, 4] = rows[:, 5]
    spectral = SpectralMap.fitted(second_moment(rows), -0.25)
    assert np.isfinite(spectral.forward(rows)).all()
    np.testing.assert_allclose(spectral.backward(spectral.forward(rows)), rows, atol=5e-3)


def test_power_nought_is_the_identity_and_stores_nothing():
    rows = np.ones((2, 3), np.float32)
    spectral = SpectralMap.fitted(second_moment(rows), 0.0)
    assert spectral.forward(rows) is rows
    assert spectral.arrays() == {}
