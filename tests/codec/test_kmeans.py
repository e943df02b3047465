import itertools

import numpy as np

from nestvec.codec.kmeans import lloyd, nearest, progressive_kmeans


def clouds(seed=0, n=600):
    rng = np.random.default_rng(seed)
    middles = np.array([[5, 0, 0, 0], [0, 5, 0, 0], [0, 0, 5, 0]], np.float32)
    return middles, middles[np.arange(n) % 3] + rng.standard_normal((n, 4)).astype(np.float32) * 0.1


def test_the_nearest_center_by_hand_and_ties_to_the_first():
    rows = np.array([[0.0, 0.0], [3.0, 0.0]], np.float32)
    centers = np.array([[1.0, 0.0], [-1.0, 0.0], [3.0, 1.0]], np.float32)
    words, gaps = nearest(rows, centers)
    assert words.tolist() == [0, 2]
    np.testing.assert_allclose(gaps + (rows**2).sum(axis=1), [1.0, 1.0])


def test_clouds_are_found():
    middles, rows = clouds()
    centers = progressive_kmeans(rows, 3, seed=0)
    near, _ = nearest(middles, centers)
    assert sorted(near.tolist()) == [0, 1, 2]
    np.testing.assert_allclose(centers[near], middles, atol=0.05)


def test_the_seed_decides():
    _, rows = clouds(1)
    first, again, other = (progressive_kmeans(rows, 8, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_fewer_rows_than_centers():
    rows = np.eye(3, dtype=np.float32)
    centers = progressive_kmeans(rows, 8, seed=0)
    assert centers.shape == (8, 3)
    assert np.isfinite(centers).all()
    _, gaps = nearest(rows, centers)
    np.testing.assert_allclose(gaps + 1, 0, atol=1e-3)


def test_an_empty_center_joins_a_large_one():
    rows = np.repeat(np.array([[0.0, 0.0], [1.0, 0.0]], np.float32), 5, axis=0)
    centers = lloyd(rows, np.array([[0, 0], [1, 0], [99, 99]], np.float32), 1)
    assert np.abs(centers).max() < 2


def test_every_iteration_lowers_the_error():
    _, rows = clouds(2)
    start = rows[:6].copy()
    errors = []
    for iterations in range(5):
        words, _ = nearest(rows, lloyd(rows, start, iterations))
        errors.append(((rows - lloyd(rows, start, iterations)[words]) ** 2).sum())
    assert all(b <= a * (1 + 1e-5) for a, b in itertools.pairwise(errors))
