import numpy as np
import pytest

from nestvec.choose import axes


def _sample(n=300, d=6):
    rng = np.random.default_rng(0)
    return (rng.standard_normal((n, d)) * [1, 5, 0, 3, 2, 4] + 1).astype(np.float32)


def test_variance_orders_coordinates():
    assert axes.variance(_sample(), 0).order.tolist() == [1, 5, 3, 4, 0, 2]


def test_random_is_a_permutation_by_seed():
    one, two = axes.random(_sample(), 1).order, axes.random(_sample(), 1).order
    assert sorted(one) == list(range(6))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", [axes.pca, axes.svd])
def test_rotations_keep_lengths_even_with_a_constant_coordinate(kind):
    x = _sample()
    turned = kind(x, 0).turn(x)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(x, axis=1), rtol=1e-5)


def test_svd_axes_are_those_of_numpy():
    x = _sample()
    ours = axes.svd(x, 0).rotation
    _, _, rows = np.linalg.svd(x, full_matrices=False)
    np.testing.assert_allclose(np.abs((ours * rows.T).sum(axis=0)), 1, atol=1e-4)


def test_pca_keeps_the_mean():
    x = _sample()
    np.testing.assert_allclose(axes.pca(x, 0).centre, x.mean(axis=0), rtol=1e-5)


def test_sizes_count_rotation_centre_and_order():
    x = _sample()
    assert axes.leading(x, 0).size_bytes(4) == 0
    assert axes.random(x, 0).size_bytes(4) == 8
    assert axes.svd(x, 0).size_bytes(2) == 4 * 2 * 6
    assert axes.pca(x, 0).size_bytes(2) == 4 * 2 * 6 + 4 * 6
