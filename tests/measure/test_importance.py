"""WARE by hand, in both readings, and the achievement rate."""

import numpy as np
import pytest

from nestvec.measure.importance import achievement_rate, ware

LEFT = np.array([[3.0, 4.0, 0.0], [1.0, 2.0, 2.0]])
RIGHT = np.array([[4.0, 3.0, 0.0], [2.0, 1.0, 2.0]])
# scores of all coordinates: 24/25 and 8/9; without the first: 12/12 = 1 and 6 / sqrt(8 * 5)
FULL = (24 / 25, 8 / 9)
WITHOUT_FIRST = (1.0, 6 / np.sqrt(40))


def test_ware_by_hand_in_both_readings():
    gaps = [abs(f - w) for f, w in zip(FULL, WITHOUT_FIRST, strict=True)]
    after = np.mean([g / w for g, w in zip(gaps, WITHOUT_FIRST, strict=True)])
    before = np.mean([g / f for g, f in zip(gaps, FULL, strict=True)])
    assert ware(LEFT, RIGHT)[0] == pytest.approx(after)
    assert ware(LEFT, RIGHT, divided_by="before")[0] == pytest.approx(before)
    assert after != pytest.approx(before)


def test_a_coordinate_that_is_zero_everywhere_does_not_matter():
    left = np.concatenate([LEFT, np.zeros((2, 1))], axis=1)
    right = np.concatenate([RIGHT, np.zeros((2, 1))], axis=1)
    assert ware(left, right)[3] == 0
    np.testing.assert_allclose(ware(left, right)[:3], ware(LEFT, RIGHT))


def test_ware_equals_scores_taken_one_by_one():
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((40, 7)), rng.standard_normal((40, 7))

    def cosine(a, b):
        return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)

    full = cosine(left, right)
    for j in range(7):
        cut = cosine(np.delete(left, j, 1), np.delete(right, j, 1))
        wanted = np.mean(np.abs(full - cut) / np.abs(cut))
        assert ware(left, right)[j] == pytest.approx(wanted)


def test_achievement_rate():
    importance = np.array([0.1, 0.9, 0.5, 0.7])
    assert achievement_rate(np.array([1, 3]), importance) == 1.0
    assert achievement_rate(np.array([0, 1]), importance) == 0.5
    assert achievement_rate(np.array([0]), importance) == 0.0
    assert achievement_rate(np.arange(4), importance) == 1.0
