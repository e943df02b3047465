"""Signs by bit planes: the layout, the digits of queries, and sums of 256 rows at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray

from nestvec.index.bit_slices import BLOCK_ROWS, PLANE_WORDS, bit_slices, first_word
from nestvec.index.kernels_bits import HELD, WORDS, add_planes, copy_slices, lowest_bit, not_below
from nestvec.index.kernels_signs import additions

I64 = NDArray[np.int64]
ROWS = 64 * WORDS


@njit
def _add(words: Any, planes: Any, first: int, stop: int, slices: Any) -> None:
    add_planes(
        words.ctypes.data, 0, planes.ctypes.data, first, stop, slices.ctypes.data, len(slices)
    )


@njit
def _not_below(one: Any, other: Any, out: Any) -> None:
    not_below(one.ctypes.data, other.ctypes.data, len(one), out.ctypes.data)


@njit
def _copied(words: Any, stride: int, slices: Any) -> None:
    copy_slices(words.ctypes.data, stride, slices.ctypes.data, len(slices))


@njit
def _lowest_bit(word: Any) -> Any:
    return lowest_bit(word)


def sliced(numbers: I64, depth: int) -> NDArray[np.uint64]:
    """Numbers (256,) as slices (depth, 4)."""
    bits = (numbers >> np.arange(depth)[:, None] & 1).astype(np.uint8)
    return np.packbits(bits, axis=1, bitorder="little").view(np.uint64)


def whole(slices: NDArray[np.uint64]) -> I64:
    """The numbers (256,) again, not negative."""
    bits = np.unpackbits(slices.view(np.uint8), axis=1, bitorder="little").astype(np.int64)
    return (bits << np.arange(len(slices))[:, None]).sum(axis=0)


def test_three_rows_of_eight_signs() -> None:
    slices = bit_slices(np.array([[0b10000001], [0b00000001], [0b11111111]], np.uint8))
    # eight planes, the line that is left out after them, and four bits of counts
    assert slices.shape == (1, 8 * 64 + 8 + 4 * 64)
    first, last, between = 0b101, 0b111, 0b100
    assert slices[0, : 8 * 64 : 64].tolist() == [first, *[between] * 6, last]
    # 2, 1 and 8 set bits
    assert slices[0, 8 * 64 + 8 :: 64].tolist() == [0b010, 0b001, 0b000, 0b100]
    assert np.count_nonzero(slices) == 8 + 3


def test_rows_stand_in_their_blocks() -> None:
    signs = np.zeros((BLOCK_ROWS + 70, 2), np.uint8)
    signs[BLOCK_ROWS + 65, 1] = 1  # the last coordinate
    slices = bit_slices(signs)
    assert slices.shape == (2, 16 * 64 + 2 * 8 + 5 * 64)
    assert np.argwhere(slices).tolist() == [[1, 15 * 64 + 8 + 1], [1, 16 * 64 + 2 * 8 + 1]]
    assert slices[1, 15 * 64 + 8 + 1] == 2


def test_a_query_of_one_bit_adds_the_planes_of_its_rarer_sign() -> None:
    few, many = np.array([0b00100000], np.uint8), np.array([0b11011111], np.uint8)
    asked = additions(np.stack([few, many])[:, None])
    assert asked.planes.tolist() == [2 * PLANE_WORDS, 2 * PLANE_WORDS]
    assert asked.sides.tolist() == [1, 0]  # set bits count against a row, or for it
    assert asked.totals.tolist() == [1 - 7, 7 - 1]
    assert asked.bounds.tolist() == [8, 8]


@settings(deadline=None)
@given(st.data())
def test_what_is_added_is_the_weighted_sum(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n_bits, width = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 9))
    planes = rng.integers(0, data.draw(st.sampled_from([1, 256])), (3, n_bits, width), np.uint8)
    asked = additions(planes)
    starts = np.array([first_word(i) for i in range(8 * width)])
    bits = np.unpackbits(planes, axis=2).astype(np.int64)
    weights = (2 * bits - 1) * (1 << np.arange(n_bits))[None, :, None]
    for q, wanted in enumerate(weights.sum(axis=1)):
        counted = np.full(8 * width, -1 if asked.sides[q] else 1)
        for side, place, first, stop in asked.sums[q]:
            at = np.searchsorted(starts, asked.planes[first:stop])
            np.testing.assert_array_equal(starts[at], asked.planes[first:stop])
            assert (np.diff(at) > 0).all()
            counted[at] += (-1 if side else 1) << place
            assert place + HELD <= asked.depth
        np.testing.assert_array_equal(counted, wanted)
        assert asked.totals[q] == wanted.sum()
        assert asked.bounds[q] == np.abs(wanted).sum() < 1 << (asked.depth - 2)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 31, 32, 33, 64, 101])
def test_planes_are_added_to_every_number(count: int) -> None:
    rng = np.random.default_rng(count)
    words = rng.integers(0, 1 << 64, (130, WORDS), np.uint64)
    picks = rng.permutation(len(words))
    first = 3
    before = rng.integers(0, 1 << 7, ROWS)
    slices = sliced(before, 7)
    _add(words, picks * WORDS, first, first + count, slices)
    bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little").astype(np.int64)
    wanted = before + bits[picks[first : first + count]].sum(axis=0)
    np.testing.assert_array_equal(whole(slices), wanted % (1 << 7))


def test_numbers_are_compared_in_twos_complement() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(-500, 500, ROWS)
    other = one + rng.integers(-3, 4, ROWS)
    out = np.zeros((1, WORDS), np.uint64)
    _not_below(sliced(one, 11), sliced(other, 11), out)
    np.testing.assert_array_equal(whole(out), one >= other)


def test_slices_are_copied_from_where_they_stand_apart() -> None:
    words = np.arange(60, dtype=np.uint64)
    out = np.zeros((3, WORDS), np.uint64)
    _copied(words, 20, out)
    assert out.tolist() == [[0, 1, 2, 3], [20, 21, 22, 23], [40, 41, 42, 43]]


def test_the_lowest_bit() -> None:
    assert [_lowest_bit(np.uint64(word)) for word in (1, 6, 1 << 63)] == [0, 1, 63]
