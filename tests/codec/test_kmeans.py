import itertools

import numpy as np
import pytest
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_info

from nestvec.codec import kmeans
from nestvec.codec.kmeans import lloyd, progressive_kmeans, threads


@pytest.fixture
def pool():
    with threads() as pool:
        yield pool


def nearest(rows, centers):
    """Plain: the nearest center of each row, and the squared distance to it."""
    distances = ((rows[:, None] - centers[None]) ** 2).sum(axis=2)
    return distances.argmin(axis=1), distances.min(axis=1)


def clouds(seed=0, n=600):
    rng = np.random.default_rng(seed)
    middles = np.array([[5, 0, 0, 0], [0, 5, 0, 0], [0, 0, 5, 0]], np.float32)
    return middles, middles[np.arange(n) % 3] + rng.standard_normal((n, 4)).astype(np.float32) * 0.1


def test_one_iteration_by_hand_and_ties_to_the_first(pool):
    rows = np.array([[0.0, 0.0], [3.0, 0.0], [5.0, 0.0]], np.float32)
    centers = np.array([[1.0, 0.0], [-1.0, 0.0], [3.0, 1.0]], np.float32)
    moved = lloyd(rows, centers, 1, pool)
    # Row 0 is as near to the second center, which stays empty and becomes a twin of the largest.
    np.testing.assert_allclose(moved[0], [0, 0])
    np.testing.assert_allclose(moved[1], [4 * (1 - 1 / 1024), 0])
    np.testing.assert_allclose(moved[2], [4 * (1 + 1 / 1024), 0])


def test_iterations_equal_those_of_scikit_learn(pool):
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((9000, 12)).astype(np.float32)
    start = rows[:40].copy()
    theirs = KMeans(40, init=start, n_init=1, max_iter=7, tol=0, algorithm="lloyd").fit(rows)
    # Theirs labels once more after the last move, and moves no more.
    np.testing.assert_allclose(lloyd(rows, start, 7, pool), theirs.cluster_centers_, atol=1e-4)


def test_any_number_of_threads_gives_the_same_bits(monkeypatch):
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((3001, 20)).astype(np.float32)
    found = []
    for count in (1, 3, 8, 64):
        monkeypatch.setattr(kmeans, "thread_count", lambda count=count: count)
        with threads() as pool:
            found.append(progressive_kmeans(rows, 32, pool, seed=0))
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_blas_gets_its_threads_back():
    before = [(m["filepath"], m["num_threads"]) for m in threadpool_info()]
    with threads():
        pass
    assert [(m["filepath"], m["num_threads"]) for m in threadpool_info()] == before


def test_clouds_are_found(pool):
    middles, rows = clouds()
    centers = progressive_kmeans(rows, 3, pool, seed=0)
    near, _ = nearest(middles, centers)
    assert sorted(near.tolist()) == [0, 1, 2]
    np.testing.assert_allclose(centers[near], middles, atol=0.05)


def test_the_seed_decides(pool):
    _, rows = clouds(1)
    first, again, other = (progressive_kmeans(rows, 8, pool, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_fewer_rows_than_centers(pool):
    rows = np.eye(3, dtype=np.float32)
    centers = progressive_kmeans(rows, 8, pool, seed=0)
    assert centers.shape == (8, 3)
    assert np.isfinite(centers).all()
    _, gaps = nearest(rows, centers)
    np.testing.assert_allclose(gaps, 0, atol=1e-3)


def test_an_empty_center_joins_a_large_one(pool):
    rows = np.repeat(np.array([[0.0, 0.0], [1.0, 0.0]], np.float32), 5, axis=0)
    centers = lloyd(rows, np.array([[0, 0], [1, 0], [99, 99]], np.float32), 1, pool)
    assert np.abs(centers).max() < 2


def test_every_iteration_lowers_the_error(pool):
    _, rows = clouds(2)
    start = rows[:6].copy()
    errors = []
    for iterations in range(5):
        words, _ = nearest(rows, lloyd(rows, start, iterations, pool))
        errors.append(((rows - lloyd(rows, start, iterations, pool)[words]) ** 2).sum())
    assert all(b <= a * (1 + 1e-5) for a, b in itertools.pairwise(errors))


def test_blas_gets_its_threads_back_from_fits_that_overlap():
    before = [(m["filepath"], m["num_threads"]) for m in threadpool_info()]
    first, second = threads(), threads()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert [(m["filepath"], m["num_threads"]) for m in threadpool_info()] == before
