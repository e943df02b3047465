"""Few-shot accuracy by hand and against scikit-learn, and sets cut to a long tail."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from nestvec.errors import UserError
from nestvec.measure.shots import few_shot, long_tail, nearest_means
from nestvec.vectors import normalize


def test_the_nearest_mean_by_hand():
    train = np.array([[2, 0], [0, 3], [0, 1], [-1, 0]], np.float32)
    labels = np.array(["a", "b", "b", "c"])
    test = np.array([[5, 4], [1, 9], [-3, 1]], np.float32)
    assert nearest_means(train, labels, test).tolist() == ["a", "b", "c"]
    # lengths of the rows do not count: (1, 0) and (0, 1) have their mean half way
    both = nearest_means(np.array([[9, 0], [0, 1], [0, -1]], np.float32), [0, 0, 1], test)
    assert both.tolist() == [0, 0, 1]


def test_one_shot_equals_the_nearest_neighbour_of_scikit_learn():
    rng = np.random.default_rng(0)
    train = normalize(rng.standard_normal((12, 5)).astype(np.float32))
    test = normalize(rng.standard_normal((50, 5)).astype(np.float32))
    labels = np.arange(12)
    other = KNeighborsClassifier(n_neighbors=1).fit(train, labels).predict(test)
    assert nearest_means(train, labels, test).tolist() == other.tolist()


def test_shots_take_so_many_of_every_class_and_get_better_with_more():
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((4, 8)) * 1.2
    labels = np.repeat(np.arange(4), 30)
    train = (centres[labels] + rng.standard_normal((120, 8))).astype(np.float32)
    test = (centres[labels] + rng.standard_normal((120, 8))).astype(np.float32)
    found = [few_shot(train, labels, test, labels, shots, 8).mean() for shots in (1, 3, 9)]
    assert found[0] < found[1] < found[2]
    assert few_shot(train, labels, test, labels, 3, 2).shape == (2, 120)
    all_of_them = few_shot(train, labels, test, labels, 30, 1)
    assert np.array_equal(all_of_them[0], nearest_means(train, labels, test) == labels)
    with pytest.raises(UserError, match="has 30 for 31"):
        few_shot(train, labels, test, labels, 31, 1)


def test_a_long_tail_falls_exponentially():
    labels = np.repeat(np.arange(3), (120, 100, 110))
    counts = np.bincount(labels[long_tail(labels, 0.01)])
    assert counts.tolist() == [100, 10, 1]
    assert len(long_tail(labels, 1.0)) == 300
    with pytest.raises(UserError, match="above 0"):
        long_tail(labels, 0.0)
