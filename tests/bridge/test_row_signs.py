from __future__ import annotations

import numpy as np
import pytest

from nestvec.bridge.row_signs import coordinate_signs, signs_of_code
from nestvec.codec.nested import Codec


def test_by_hand():
    # directions (1, 0), (0, 1), (0.6, 0.8); their mean (8/15, 0.6)
    rows = np.array([[2, 0], [0, 3], [3, 4]], np.float32)
    signs = coordinate_signs([rows[:1], rows[1:]], 2)
    np.testing.assert_allclose(signs.mean, [8 / 15, 0.6], rtol=1e-6)
    assert [f"{byte:08b}" for byte in signs.of_rows(rows)[:, 0]] == [
        "10000000", "01000000", "11000000",
    ]  # fmt: skip
    queries = np.array([[1, -1], [-1, 0]], np.float32)
    assert signs.of_queries(queries)[:, 0].tolist() == [0b10000000, 0]
    assert (signs.bits, signs.bytes, signs.of_code) == (2, 1, False)


@pytest.mark.parametrize("power", [0.0, -0.125])
def test_a_querys_bits_are_those_of_its_products_with_the_axes(power):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((200, 24)) * np.linspace(1, 4, 24)
    codec = Codec("sign16", power=power).fit(rows.astype(np.float32))
    signs = signs_of_code(codec)
    queries = rng.standard_normal((40, 24)).astype(np.float32)
    products = queries.astype(np.float64) @ signs.axes.astype(np.float64).T
    clear = np.abs(products) > 1e-4
    bits = np.unpackbits(signs.of_queries(queries), axis=1).astype(bool)
    assert (bits == (products > 0))[clear].all()
    assert clear.mean() > 0.99
