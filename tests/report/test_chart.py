import xml.etree.ElementTree as ET

import pytest

from nestvec.report.chart import draw, standalone
from nestvec.report.lines import NARROW, WIDE

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("canvas", [WIDE, NARROW])
def test_everything_lies_within_the_picture(make_sheet, canvas):
    root = ET.fromstring(draw(make_sheet(), canvas, "c"))
    for circle in root.iter(f"{SVG}circle"):
        assert 0 <= float(circle.get("cx")) <= canvas.width
        assert 0 <= float(circle.get("cy")) <= canvas.height
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.get("x")) <= canvas.width


def test_each_cell_is_a_point_and_more_bytes_lie_further_right(make_sheet):
    root = ET.fromstring(draw(make_sheet(), WIDE, "c"))
    nested = next(g for g in root.iter(f"{SVG}g") if g.get("data-name") == "nested code")
    points = [c for c in nested.iter(f"{SVG}circle") if c.get("class") == "point"]
    assert len(points) == 2
    assert float(points[0].get("cx")) < float(points[1].get("cx"))
    assert float(points[0].get("cy")) > float(points[1].get("cy"))


def test_the_chosen_cut_is_ringed_on_the_nested_line(make_sheet):
    root = ET.fromstring(draw(make_sheet(), WIDE, "c"))
    rings = [c for c in root.iter(f"{SVG}circle") if c.get("class") == "ring"]
    nested = next(g for g in root.iter(f"{SVG}g") if g.get("data-name") == "nested code")
    last = [c for c in nested.iter(f"{SVG}circle") if c.get("class") == "point"][-1]
    assert [(r.get("cx"), r.get("cy")) for r in rings] == [(last.get("cx"), last.get("cy"))]
    assert "chosen: 33 bytes" in "".join(root.itertext())


@pytest.mark.parametrize("canvas", [WIDE, NARROW])
def test_an_adapted_code_has_a_line_and_a_name_beside_the_nested_one(adapted_sheet, canvas):
    root = ET.fromstring(draw(adapted_sheet, canvas, "c"))
    drawn = {g.get("data-name"): g for g in root.iter(f"{SVG}g") if g.get("data-name")}
    assert drawn["nested code"].get("class") == "line nested"
    assert drawn["adapted nested code"].get("class") == "line adapted"
    names = [text.text for text in root.iter(f"{SVG}text") if "name" in text.get("class")]
    assert {"nested code", "adapted nested code"} <= set(names)
    words = next(root.iter(f"{SVG}desc")).text
    assert "Nested code: 9 bytes .580" in words
    assert "Adapted nested code: 9 bytes .700" in words


def test_the_ring_is_on_the_line_that_was_chosen(adapted_sheet):
    root = ET.fromstring(draw(adapted_sheet, WIDE, "c"))
    (mark,) = (g for g in root.iter(f"{SVG}g") if g.get("class") == "chosen adapted-chosen")
    (ring,) = (c for c in mark.iter(f"{SVG}circle") if c.get("class") == "ring")
    line = next(g for g in root.iter(f"{SVG}g") if g.get("data-name") == "adapted nested code")
    last = [c for c in line.iter(f"{SVG}circle") if c.get("class") == "point"][-1]
    assert (ring.get("cx"), ring.get("cy")) == (last.get("cx"), last.get("cy"))


def test_a_choice_outside_the_grid_gets_no_ring(make_sheet, make_cell):
    root = ET.fromstring(draw(make_sheet(cells=(make_cell("sign", None, 49, 0.6),)), WIDE, "c"))
    assert not [c for c in root.iter(f"{SVG}circle") if c.get("class") == "ring"]


def test_standalone_brings_its_own_colours(make_sheet):
    text = standalone(make_sheet())
    ET.fromstring(text)
    assert "prefers-color-scheme:dark" in text


def test_equal_and_zero_values_can_be_drawn(make_sheet, make_cell):
    ET.fromstring(draw(make_sheet(cells=(make_cell("nested", None, 8, 0.0),)), WIDE, "c"))
