from __future__ import annotations

import numpy as np
import pytest

from nestvec.index.kernels_vectors import gathered, widened

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
