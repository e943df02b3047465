import json

import pytest

from nestvec.report.sheet import Sheet, family, methods, title
from nestvec.report.style import number


def test_a_sheet_survives_json(make_sheet):
    for sheet in (make_sheet(), make_sheet(chosen=None)):
        assert Sheet.from_json(json.loads(json.dumps(sheet.to_json()))) == sheet


def test_another_schema_version_is_refused(make_sheet):
    value = {**make_sheet().to_json(), "schema_version": 99}
    with pytest.raises(ValueError, match="99"):
        Sheet.from_json(value)


def test_the_nested_code_is_drawn_last(make_sheet):
    assert methods(make_sheet()) == ["prefix-float", "sign", "pq", "nested"]


def test_unknown_methods_are_shown_under_their_own_name():
    assert family("itq") == "quantizer"
    assert title("itq") == "itq"


def test_adapted_codes_are_called_so_and_drawn_on_top(make_sheet, make_cell):
    assert (family("linear:nested"), title("linear:nested")) == ("adapted", "adapted nested code")
    assert (family("smec:24xcb"), title("smec:24xcb")) == ("quantizer", "adapted nested 24xcb")
    names = ("linear:nested", "nested", "linear:24xcb", "sign")
    sheet = make_sheet(cells=tuple(make_cell(name, None, 9, 0.5) for name in names))
    assert methods(sheet) == ["linear:24xcb", "sign", "nested", "linear:nested"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.6789, ".679"), (-0.004, "-.004"), (1.0, "1.000"), (-1e-9, ".000")]
)
def test_numbers(value, text):
    assert number(value) == text
