import numpy as np
from hypothesis import given
from hypothesis import strategies as st

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
