import numpy as np
import pytest

from nestvec.errors import UserError
from nestvec.measure.clusters import v_measure
from nestvec.measure.probes import cluster, linear_probe, nearest_labels


def clouds(n=90, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    return (np.eye(3)[labels] * 5 + rng.standard_normal((n, 3)) * 0.1).astype(np.float32), labels


def test_clouds_are_clusters_and_the_seed_decides():
    vectors, labels = clouds()
    found = cluster(vectors, 3, seed=0)
    assert v_measure(labels, found) == pytest.approx(1)
    np.testing.assert_array_equal(found, cluster(vectors, 3, seed=0))
    with pytest.raises(UserError, match="2 vectors for 3"):
        cluster(vectors[:2], 3, seed=0)


def test_fewer_places_than_clusters_give_no_warning():
    assert len(set(cluster(np.repeat(np.eye(2, dtype=np.float32), 3, axis=0), 4, seed=0))) == 2


def test_labels_are_read_off_clouds():
    vectors, labels = clouds()
    names = np.array(["a", "b", "c"])[labels]
    other, truth = clouds(30, seed=1)
    assert (linear_probe(vectors, names, other) == np.array(["a", "b", "c"])[truth]).all()
    assert (nearest_labels(vectors, names, other) == np.array(["a", "b", "c"])[truth]).all()
    with pytest.raises(UserError, match="one label alone"):
        linear_probe(vectors, np.zeros(90), other)


def test_the_nearest_by_hand_ties_to_the_first():
    train = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
    test = np.array([[0, 2], [3, 1]], np.float32)
    assert nearest_labels(train, np.array(["x", "y", "z"]), test).tolist() == ["y", "x"]
    assert len(nearest_labels(train, np.array(["x", "y", "z"]), test[:0])) == 0
