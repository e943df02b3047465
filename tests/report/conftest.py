"""A small sheet with every kind of part, and a reader of pages, for the tests of this room."""

import dataclasses
from html.parser import HTMLParser

import pytest

from nestvec.report.sheet import (
    Cell,
    Chosen,
    Cost,
    Figure,
    Hit,
    Note,
    Question,
    Reading,
    Sheet,
)


def cell(method, dims, n_bytes, value):
    return Cell(method, dims, n_bytes, value, value - 0.03, value + 0.03, value - 0.65, -0.02, 0.01)


def make(**changes):
    values = {
        "name": "notes <b>.nv",
        "summary": "1,000 texts, 384 dimensions",
        "measure": "nDCG@10",
        "full": Figure(0.65, 0.61, 0.69),
        "full_bytes": 1536,
        "cells": (
            cell("nested", None, 9, 0.58),
            cell("nested", None, 33, 0.64),
            cell("prefix-float", 64, 256, 0.5),
            cell("prefix-float", 384, 1536, 0.65),
            cell("sign", None, 49, 0.6),
            cell("pq", None, 8, 0.2),
        ),
        "chosen": Chosen(
            "keep 99 %",
            True,
            "32xcb",
            "32B:10",
            32,
            1,
            Figure(0.995, 0.98, 1.01),
            "33 bytes a vector keep 99.5 %.",
        ),
        "costs": (Cost("RAM per million vectors", "1.54 GB", "33 MB"),),
        "questions": (
            Question(
                "what is <i>?",
                (
                    Reading("full vectors", 1536, (Hit("1", "a text", True, True),)),
                    Reading("smaller", 9, (Hit("2", "another text", False, False),)),
                ),
            ),
        ),
        "notes": (Note("queries", "300 given"),),
        "warnings": ("The codec is larger than the codes.",),
        "command": "nestvec build notes --out 'a b.nv'",
        "made": "2026-11-21",
        "version": "0.1.0",
    }
    return Sheet(**{**values, **changes})


@pytest.fixture
def make_sheet():
    """A maker of sheets, with changes by field."""
    return make


@pytest.fixture
def make_cell():
    """A maker of cells: method, dims, bytes, value."""
    return cell


@pytest.fixture
def adapted_sheet(make_sheet):
    """A sheet whose choice is the nested code over adapted vectors."""
    plain = make_sheet()
    cells = (
        *plain.cells,
        cell("linear:nested", None, 9, 0.7),
        cell("linear:nested", None, 33, 0.8),
    )
    chosen = dataclasses.replace(plain.chosen, method="linear:nested")
    return make_sheet(cells=cells, chosen=chosen)


VOID = {"meta", "img", "br", "link", "input", "line", "circle", "rect", "polyline", "polygon"}


class Balance(HTMLParser):
    """Checks that every element is closed, and gathers tags and attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attrs = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attrs += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attrs += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def parsed():
    """parsed(html).tags and .attrs: what a page has, once all its elements are closed."""

    def parse(html):
        balance = Balance()
        balance.feed(html)
        assert balance.open == []
        return balance

    return parse
