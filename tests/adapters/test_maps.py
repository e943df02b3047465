"""Maps: numbers by hand, and reflections one after another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nestvec.adapters.maps import Linear, Reflections, Residual, Select, make_map
from nestvec.errors import UserError


def f32(values):
    return np.array(values, np.float32)


def test_a_matrix_by_hand():
    rows = f32([[1, 2], [3, 4]])
    mapped = Linear(f32([[1, 0, 2], [0, 1, -1]])).apply(rows)
    np.testing.assert_array_equal(mapped, [[1, 2, 0], [3, 4, 2]])


def test_a_residual_layer_by_hand():
    # x A + a = (1 - 2, 1 + 1) = (-1, 2), relu (0, 2); times B (2, 4) + b (10, 20) + x (1, 1)
    layer = Residual(
        first=f32([[1, 0], [0, 1]]),
        first_bias=f32([-2, 1]),
        second=f32([[5, 5], [1, 2]]),
        second_bias=f32([10, 20]),
    )
    np.testing.assert_array_equal(layer.apply(f32([[1, 1]])), [[13, 25]])


def test_reflections_by_hand():
    # across (1, 0): the first coordinate turns its sign; then across (1, 1): swap and turn
    rows = f32([[2, 3]])
    one = Reflections(f32([[7, 0]])).apply(rows)
    np.testing.assert_allclose(one, [[-2, 3]], atol=1e-6)
    two = Reflections(f32([[7, 0], [0.5, 0.5]])).apply(rows)
    np.testing.assert_allclose(two, [[-3, 2]], atol=1e-6)
    np.testing.assert_array_equal(rows, [[2, 3]])  # what came in is left alone


def test_a_selection_takes_coordinates_in_its_order():
    chosen = Select(np.array([2, 0])).apply(f32([[1, 2, 3], [4, 5, 6]]))
    np.testing.assert_array_equal(chosen, [[3, 1], [6, 4]])


@given(seed=st.integers(0, 10_000), dim=st.integers(2, 12), count=st.integers(1, 9))
def test_reflections_keep_inner_products(seed, dim, count):
    rng = np.random.default_rng(seed)
    turned = Reflections(rng.standard_normal((count, dim)).astype(np.float32))
    rows = rng.standard_normal((5, dim)).astype(np.float32)
    mapped = turned.apply(rows)
    np.testing.assert_allclose(mapped @ mapped.T, rows @ rows.T, atol=1e-4)
    # in reverse they undo themselves
    back = Reflections(np.ascontiguousarray(turned.vectors[::-1])).apply(mapped)
    np.testing.assert_allclose(back, rows, atol=1e-4)


@pytest.mark.parametrize(
    "one",
    [
        Linear(f32([[1, 2], [3, 4]])),
        Residual(f32([[1], [2]]), f32([-1]), f32([[3, 4]]), f32([5, 6])),
        Reflections(f32([[1, 2], [2, -1]])),
        Select(np.array([1, 0])),
    ],
    ids=lambda each: each.kind,
)
def test_a_map_is_made_again_from_its_arrays(one):
    again = make_map(one.kind, one.arrays())
    assert type(again) is type(one)
    rows = f32([[0.5, -2], [1, 3]])
    np.testing.assert_array_equal(again.apply(rows), one.apply(rows))


def test_a_kind_from_the_future_is_refused():
    with pytest.raises(UserError, match=r"kinds linear, .*got 'spline'.*newer nestvec"):
        make_map("spline", {})
