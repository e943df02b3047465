import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nestvec.codec.facts import agreement, divisors, fit_exponent
from nestvec.codec.ranges import ByteRange


@given(st.lists(st.floats(0.01, 50), min_size=1, max_size=30))
def test_a_byte_keeps_a_number_to_half_a_step(values):
    numbers = np.array(values)
    grid = ByteRange.spanning(numbers)
    step = (grid.high / grid.low) ** (1 / 510) - 1
    back = grid.unpack(grid.pack(numbers))
    assert (np.abs(back / numbers - 1) <= step + 1e-5).all()


def test_what_lies_outside_is_clipped():
    grid = ByteRange(1.0, 4.0)
    assert grid.pack(np.array([0.1, 1.0, 2.0, 4.0, 99.0])).tolist() == [0, 0, 128, 255, 255]
    assert ByteRange.from_config(grid.to_config()) == grid


def test_nothing_positive_still_gives_a_range():
    assert ByteRange.spanning(np.zeros(3)).low > 0


def test_divisors_by_hand():
    norms, cosines = np.array([2.0, 2.0], np.float32), np.array([0.25, -1.0], np.float32)
    np.testing.assert_allclose(divisors(norms, cosines, 0.0), [2, 2])
    np.testing.assert_allclose(divisors(norms, cosines, 0.5), [1.0, 2 * 0.05**0.5], rtol=1e-6)
    np.testing.assert_allclose(divisors(norms, cosines, 1.0), [0.5, 0.1], rtol=1e-6)


def test_agreement_by_hand():
    exact = np.array([[0, 1], [2, 3]])
    scores = np.array([[9, 8, 1, 0], [9, 0, 8, 1]], np.float32)
    assert agreement(exact, scores) == 0.75


def test_the_exponent_that_restores_the_order_is_found():
    # Rows of norm one whose reconstructions shrink the score by their cosine: b = 1 undoes it.
    rng = np.random.default_rng(0)
    true = rng.random((40, 300)).astype(np.float32) + 1
    cosines = rng.uniform(0.5, 1, 300).astype(np.float32)
    exact = np.argsort(-true, axis=1)[:, :10]
    assert fit_exponent(true * cosines, np.ones(300, np.float32), cosines, exact) == 1.0
    assert fit_exponent(true, np.ones(300, np.float32), cosines, exact) == 0.0
