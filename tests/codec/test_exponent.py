import numpy as np

from nestvec.codec.exponent import EXPONENTS, fit_exponent
from nestvec.codec.power import second_moment


def test_an_exponent_of_the_list_is_found_and_the_seed_decides():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((1200, 12)).astype(np.float32) * np.linspace(2, 0.2, 12)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    first, again = (fit_exponent(rows, second_moment(rows), seed=s) for s in (0, 0))
    assert first == again
    assert first in EXPONENTS


def test_a_spectrum_with_one_loud_direction_asks_for_whitening():
    # One direction carries nearly all the energy and tells rows apart no better than the others.
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((3000, 24)).astype(np.float32)
    rows[:, 0] = 6 + 3 * rows[:, 0]
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    assert fit_exponent(rows, second_moment(rows), seed=0) < 0
