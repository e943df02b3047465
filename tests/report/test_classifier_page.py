"""A classifier's page: whole, escaped, with every part, and its values there and back by JSON."""

import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from nestvec.report.classifier_page import classifier_page, cost_picture
from nestvec.report.classifier_sheet import (
    ClassifierSheet,
    ClassRow,
    CostRow,
    Example,
    WidthRow,
)
from nestvec.report.sheet import Figure, Note


def figure(value):
    return Figure(value, value - 0.03, value + 0.03)


@pytest.fixture
def sheet():
    ways = (
        "one width",
        "this cascade",
        "keeps more or less",
        "stops at random",
        "greedy",
        "oracle",
    )
    return ClassifierSheet(
        name="in<b>tents",
        summary="3 classes",
        policy="keep",
        counted="sum",
        widths=tuple(
            WidthRow(w, figure(v), figure(v - 0.9), 0.5, 0.02, (0.99, v))
            for w, v in ((16, 0.8), (64, 0.9))
        ),
        visited=(16, 64),
        accuracy=figure(0.895),
        from_full=figure(-0.005),
        last=40.0,
        sum=48.0,
        microseconds=3.0,
        full_microseconds=4.0,
        surest=(0.5, 1.0),
        points=tuple(
            CostRow(way, "16" if i == 0 else "", 20.0 + i, 24.0 + i, figure(0.8 + i / 50))
            for i, way in enumerate(ways)
        ),
        classes=tuple(
            ClassRow(f"class <{i}>", 12, 0.5, 0.75, 0.7, figure(0.25), 30.0) for i in range(14)
        ),
        early=(Example("a", "short <text>", "", "x", "x", 16, 0.99),),
        late=(Example("b", "", "data:image/jpeg;base64,AA==", "x", "y&z", 64, 0.4),),
        notes=(Note("seed", "0"),),
        warnings=("few rows.",),
        command="nestvec classify fit a b",
        made="2026-11-23",
        version="0",
    )  # fmt: skip


def test_the_page_is_whole_and_needs_no_network(sheet, parsed):
    html = classifier_page(sheet)
    found = parsed(html)
    assert not {"script", "link", "iframe", "object"} & set(found.tags)
    assert not re.search(r"url\(|@import|@font-face", html)
    assert [v for k, v in found.attrs if v and v.startswith("http") and k != "xmlns"] == []
    for words in ("in<b>", "short <text>", "class <3>", "y&z"):
        assert words not in html
    for heading in (
        "Accuracy against width",
        "Accuracy against cost",
        "Which classes need width",
        "Stopped first, at 16 dimensions",
        "Read furthest, at 64 dimensions",
        "Can confidence be believed?",
    ):
        assert heading in html
    assert "labelled y&amp;z" in html
    assert "The 12 of 14 classes that gain most." in html
    assert "48.0 of 64 dimensions" in html


def test_parts_without_rows_are_left_out(sheet):
    html = classifier_page(dataclasses.replace(sheet, early=(), late=(), classes=(), points=()))
    assert "Stopped first" not in html
    assert "Which classes" not in html
    assert "against cost" not in html


def test_the_sheet_survives_json(sheet):
    again = ClassifierSheet.from_json(json.loads(json.dumps(sheet.to_json())))
    assert again == sheet
    with pytest.raises(ValueError, match="schema_version 1; got 9"):
        ClassifierSheet.from_json({**sheet.to_json(), "schema_version": 9})


def test_the_picture_stands_alone(sheet):
    svg = cost_picture(sheet)
    ElementTree.fromstring(svg)
    assert svg.startswith("<svg")
    assert "<style>" in svg
    assert "this cascade" in svg
