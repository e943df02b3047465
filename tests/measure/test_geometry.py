import numpy as np
import pytest

from nestvec.errors import UserError
from nestvec.measure.geometry import alignment, intrinsic_dimension, uniformity
from nestvec.vectors import normalize


def test_numbers_by_hand():
    corners = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    assert intrinsic_dimension(corners) == 2
    assert intrinsic_dimension(corners[[0, 2]]) == 1
    assert alignment(corners[:1], corners[1:2]) == pytest.approx(2.0)
    # of the pairs of corners two in three are neighbours (2 apart), one is opposite (4 apart)
    wanted = np.log((2 * np.exp(-4.0) + np.exp(-8.0)) / 3)
    assert uniformity(corners) == pytest.approx(wanted)
    assert uniformity(np.ones((5, 3)) / np.sqrt(3)) == pytest.approx(0, abs=1e-12)


def test_random_vectors_fill_nearly_all_directions():
    # the paper names about 896 of 1,024
    rng = np.random.default_rng(0)
    found = intrinsic_dimension(rng.standard_normal((20_000, 1024), dtype=np.float32))
    assert 890 <= found <= 975


def test_a_share_that_components_reach_exactly_is_reached():
    assert intrinsic_dimension(np.diag([1.0, 1, 1, 1, 1]) - 0.2, share=0.75) == 3


def test_uniformity_does_not_depend_on_blocks():
    rows = normalize(np.random.default_rng(1).standard_normal((1500, 8)))
    gaps = ((rows[:, None].astype(np.float64) - rows[None]) ** 2).sum(axis=2)
    off = ~np.eye(len(rows), dtype=bool)
    assert uniformity(rows) == pytest.approx(np.log(np.exp(-2 * gaps[off]).mean()), abs=1e-6)


def test_single_precision_is_as_good():
    rows = normalize(np.random.default_rng(3).standard_normal((600, 20)))
    rows[300:320] = rows[:20]  # some coincide
    single, double = (uniformity(rows.astype(kind)) for kind in (np.float32, np.float64))
    assert single == pytest.approx(double, abs=1e-6)
    assert uniformity(rows.astype(np.float16)) == pytest.approx(double, abs=1e-3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: intrinsic_dimension(np.ones((1, 3))),
        lambda: intrinsic_dimension(np.ones((4, 3))),
        lambda: alignment(np.ones((2, 3)), np.ones((3, 3))),
        lambda: uniformity(np.ones((1, 3))),
    ],
)
def test_too_little_is_told(call):
    with pytest.raises(UserError):
        call()
