"""Products of stored rows with a query."""

import numpy as np
import pytest

from nestvec.index.kernels_vectors import products, stored_products, widened
from nestvec.index.scan import product_scores, vector_scores


@pytest.mark.parametrize("width", [1, 7, 8, 9, 33, 384])
def test_products_are_numpys_and_the_same_wherever_a_row_stands(width):
    rng = np.random.default_rng(width)
    stored = rng.standard_normal((40, 384)).astype(np.float16)
    query = rng.standard_normal(width).astype(np.float32)
    rows = rng.permutation(40)[:25]
    dots, squares = stored_products(stored, rows, query)
    wide = stored[rows, :width].astype(np.float64)
    np.testing.assert_allclose(dots, wide @ query, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(squares, (wide**2).sum(axis=1), rtol=1e-5)
    again = products(widened(stored, rows, width), query)
    assert (dots.tobytes(), squares.tobytes()) == tuple(each.tobytes() for each in again)
    for place in (0, 24):
        one = stored_products(stored, rows[place : place + 1], query)
        assert (one[0][0], one[1][0]) == (dots[place], squares[place])


def test_products_by_hand():
    rows = np.array([[1, 2, 3, 0, 0, 0, 0, 0, 2], [0] * 9], np.float32)
    query = np.array([1, 1, 1, 5, 5, 5, 5, 5, 10], np.float32)
    dots, squares = products(rows, query)
    assert dots.tolist() == [26.0, 0.0]
    assert squares.tolist() == [18.0, 0.0]


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_scores_of_products_are_those_of_vectors(metric):
    rng = np.random.default_rng(0)
    rows, query = rng.standard_normal((9, 20)), rng.standard_normal(32)
    rows, query = rows.astype(np.float32), query.astype(np.float32)
    lengths = None if metric == "cosine" else np.linspace(1, 2, 9, dtype=np.float32)
    found = product_scores(query, products(rows, query[:20]), 20, lengths, metric)
    np.testing.assert_allclose(found, vector_scores(query, rows, lengths, metric), rtol=1e-4)


def test_no_rows():
    dots, squares = stored_products(
        np.zeros((3, 8), np.float16), np.empty(0, np.int64), np.ones(8, np.float32)
    )
    assert len(dots) == len(squares) == 0
