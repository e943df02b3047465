"""Calibration and selective accuracy by hand."""

import numpy as np
import pytest

from nestvec.measure.calibration import accuracy_of_surest, calibration_error


def test_calibration_error_by_hand():
    # bins of a half: (0, .5] holds .3 and .5, both wrong; (.5, 1] holds .9 right and .7 wrong
    sure = np.array([0.3, 0.5, 0.9, 0.7])
    right = np.array([False, False, True, False])
    assert calibration_error(sure, right, bins=2) == pytest.approx((0.8 + 0.6) / 4)
    assert calibration_error(np.ones(3), np.ones(3, bool)) == 0
    assert calibration_error(np.array([]), np.array([], bool)) == 0


def test_confidence_that_is_the_share_of_right_labels_has_no_error():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 200_000)
    right = rng.uniform(size=len(sure)) < sure
    assert calibration_error(sure, right) < 0.005
    assert calibration_error(sure, np.ones_like(right)) == pytest.approx(0.25, abs=0.01)


def test_the_surest_rows_come_first_and_ties_by_place():
    sure = np.array([0.2, 0.9, 0.9, 0.4])
    right = np.array([False, True, False, True])
    found = accuracy_of_surest(sure, right, (0.01, 0.25, 0.5, 0.75, 1.0))
    assert found == pytest.approx([1, 1, 1 / 2, 2 / 3, 1 / 2])
