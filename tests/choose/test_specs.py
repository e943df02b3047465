import numpy as np
import pytest

from nestvec.choose.evidence import Cell
from nestvec.choose.specs import (
    area_under_totals,
    candidate_power,
    candidate_specs,
    choose_spec,
    codebook_specs,
    nested_methods,
)
from nestvec.codec.spec import parse_spec


@pytest.mark.parametrize("rows", [10, 5_183, 54_031, 10**6])
def test_every_candidate_is_a_spec_and_fallbacks_come_last(rows):
    specs = candidate_specs(rows)
    assert specs[-2:] == ("int8", "float16")
    assert all(parse_spec(spec) for spec in specs)
    assert [m.name for m in nested_methods(specs, rows)] == list(specs)


def test_few_rows_get_few_codewords():
    assert parse_spec(codebook_specs(1000)[0])[-1].codewords == 64
    assert candidate_power(1000) == 0
    assert candidate_power(10**6) == "auto"
    assert parse_spec(codebook_specs(10**6)[0])[0].codewords == 256


def test_area_by_hand():
    cells = tuple(
        Cell(name, None, size, 0, codec, value, 0, 1, 0, 0, 0)
        for name, size, codec, value in [("a", 1, 0, 0.5), ("a", 100, 0, 0.9), ("b", 10, 0, 0.7)]
    )
    scores = area_under_totals(cells, 1)
    # 16 budgets from 1 to 100 bytes: b's cell fits in the upper 8, a's second in the last alone
    assert scores["a"] == pytest.approx((15 * 0.5 + 0.9) / 16)
    assert scores["b"] == pytest.approx(8 * 0.7 / 16)


def test_auto_measures_without_labels(monkeypatch):
    monkeypatch.setattr("nestvec.choose.specs.codebook_specs", lambda rows: ("4xcb16", "8xcb16"))
    documents = np.random.default_rng(0).standard_normal((400, 16)).astype(np.float32)
    found = choose_spec(documents, rows=10_000)
    assert found.spec in ("4xcb16", "8xcb16")
    assert found.evidence.kind == "agreement"
    assert set(found.scores) == {"4xcb16", "8xcb16"}
