from __future__ import annotations

import numpy as np
import pytest

from nestvec.index.kernels_vectors import gathered, products, widened

#: every finite float16 there is
ALL = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
ALL = ALL[np.isfinite(ALL)]


def test_every_float16_is_the_same_number() -> None:
    found = widened(ALL[: len(ALL) // 4 * 4].reshape(-1, 4), slice(None), 4)
    expected = ALL[: len(ALL) // 4 * 4].reshape(-1, 4).astype(np.float32)
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("width", [1, 7, 20])
def test_some_rows_of_some_width(width: int) -> None:
    rows = np.random.default_rng(0).standard_normal((50, 20)).astype(np.float16)
    rows.flags.writeable = False
    for some in (slice(3, 40), slice(None, None, 7), np.array([4, 4, 0, 49])):
        expected = rows[some, :width].astype(np.float32)
        np.testing.assert_array_equal(widened(rows, some, width), expected)
    assert widened(rows, np.empty(0, np.int64), width).shape == (0, width)


@pytest.mark.parametrize("width", [1, 7, 20])
def test_scattered_rows_of_some_width(width: int) -> None:
    rows = np.random.default_rng(0).standard_normal((50, 20)).astype(np.float32)
    for some in (np.array([4, 4, 0, 49]), np.empty(0, np.int64), np.arange(30)[::3]):
        np.testing.assert_array_equal(gathered(rows, some, width), rows[some, :width])


@pytest.mark.parametrize("width", [1, 7, 20, 40])
def test_products_of_scattered_rows_are_those_of_numpy(width: int) -> None:
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((50, 40)).astype(np.float16)
    rows.flags.writeable = False
    query = rng.standard_normal(width).astype(np.float32)
    for some in (np.array([4, 4, 0, 49]), np.empty(0, np.int64), np.arange(50)[::-1]):
        dots, squares = products(rows, some, query)
        wide = rows[some, :width].astype(np.float64)
        np.testing.assert_allclose(dots, wide @ query, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(squares, (wide * wide).sum(axis=1), rtol=1e-5)


def test_a_row_has_the_same_products_wherever_it_stands() -> None:
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((300, 384)).astype(np.float16)
    query = rng.standard_normal(384).astype(np.float32)
    dots, squares = products(rows, np.arange(300), query)
    order = rng.permutation(300)
    again = products(rows[order], np.argsort(order), query)
    alone = [products(rows, np.array([i]), query) for i in range(20)]
    np.testing.assert_array_equal(dots, again[0])
    np.testing.assert_array_equal(squares, again[1])
    np.testing.assert_array_equal(dots[:20], [each[0][0] for each in alone])


def test_products_of_numbers_by_hand() -> None:
    dots, squares = products(
        np.array([[1, 2, 3], [0, 0, -65504]], np.float16),
        np.array([1, 0]),
        np.array([1, 0.5, 2], np.float32),
    )
    assert dots.tolist() == [-131008, 8]
    assert squares.tolist() == [65504.0**2, 14]
