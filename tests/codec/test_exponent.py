import numpy as np

from nestvec.codec.exponent import EXPONENTS, _disturbed, _found, fit_exponent
from nestvec.codec.power import second_moment


def test_an_exponent_of_the_list_is_found_and_the_seed_decides():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((600, 12)).astype(np.float32) * np.linspace(2, 0.2, 12)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    first, again = (fit_exponent(rows, second_moment(rows), seed=s) for s in (0, 0))
    assert first == again
    assert first in EXPONENTS


def test_what_is_found_by_hand():
    scores = np.array([[3, 1, 2], [1, 3, 2], [2, 2, 1]], np.float32)
    # ranks 1, 3 and, the tie counting for the wanted row, 1
    want = (1 + 1 / np.log2(4) + 1) / 3
    assert abs(_found(scores, np.array([0, 0, 1])) - want) < 1e-6


def test_disturbed_rows_are_found_by_exact_search_mostly_but_not_always():
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((2000, 48)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    wanted = np.arange(200)
    queries = _disturbed(rows, wanted, rng)
    assert 0.7 < _found(queries @ rows.T, wanted) < 0.95
