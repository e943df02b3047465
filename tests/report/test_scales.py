import pytest
from hypothesis import given
from hypothesis import strategies as st

from nestvec.report.scales import (
    LinearScale,
    LogScale,
    byte_ticks,
    quality_range,
    quality_step,
    quality_ticks,
)


def test_scales_by_hand():
    log = LogScale(1, 100, 0, 200)
    assert log(10) == pytest.approx(100)
    line = LinearScale(0, 1, 100, 0)
    assert line(0.25) == pytest.approx(75)


def test_byte_ticks_are_thinned_evenly():
    assert byte_ticks(4, 64, 9) == [4, 8, 16, 32, 64]
    assert byte_ticks(4, 64, 3) == [4, 16, 64]


def test_quality_ticks_by_hand():
    assert quality_ticks(0.0, 0.7, 5) == [0.0, 0.2, 0.4, 0.6]
    assert quality_step(0.0, 0.5, 5) == pytest.approx(0.1)


def test_quality_starts_at_zero_where_values_come_near_it():
    assert quality_range([0.1], [0.7])[0] == 0.0
    assert 0.8 <= quality_range([0.9], [0.95])[0] <= 0.9


@given(st.floats(0, 1), st.floats(0, 1))
def test_ticks_lie_within_the_range_and_rise(a, b):
    low, high = quality_range([min(a, b)], [max(a, b)])
    ticks = quality_ticks(low, high, 6)
    assert 1 <= len(ticks) <= 8
    assert ticks == sorted(set(ticks))
    assert all(low - 1e-6 <= tick <= high + 1e-6 for tick in ticks)
