import numpy as np
import pytest

from nestvec.bridge.rotations import even_axes, nearest_rotation


def test_axes_are_shared_out_by_their_variances():
    # standard deviations 8 4 2 1: the first axis, then two that make up for it, then the last
    rows = np.repeat(np.eye(4, dtype=np.float32) * [8, 4, 2, 1], 2, axis=0) * np.resize(
        [1, -1], (8, 1)
    ).astype(np.float32)
    found = np.abs(even_axes(rows.astype(np.float32), 2))
    np.testing.assert_allclose(found, np.eye(4)[[0, 3, 1, 2]], atol=1e-6)


def test_axes_of_padded_and_of_equal_rows_are_a_rotation():
    rows = np.random.default_rng(0).standard_normal((60, 32)).astype(np.float32)
    padded = np.pad(rows, ((0, 0), (0, 4)))
    for some in (padded, np.ones((9, 12), np.float32)):
        axes = even_axes(some, 4).astype(np.float64)
        np.testing.assert_allclose(axes @ axes.T, np.eye(axes.shape[0]), atol=1e-5)


@pytest.mark.parametrize("rows", [50, 3])
def test_the_nearest_rotation_is_found_where_there_is_one(rows):
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.standard_normal((8, 8)))[0].astype(np.float32)
    x = rng.standard_normal((rows, 8)).astype(np.float32)
    found = nearest_rotation(x, x @ turn)
    np.testing.assert_allclose(x @ found, x @ turn, atol=1e-4)
    np.testing.assert_allclose(found @ found.T, np.eye(8), atol=1e-5)


def test_no_other_rotation_comes_nearer():
    rng = np.random.default_rng(2)
    x, wanted = rng.standard_normal((2, 40, 5)).astype(np.float32)
    best = ((x @ nearest_rotation(x, wanted) - wanted) ** 2).sum()
    for _ in range(50):
        other = np.linalg.qr(rng.standard_normal((5, 5)))[0]
        assert best <= ((x @ other - wanted) ** 2).sum() + 1e-3
