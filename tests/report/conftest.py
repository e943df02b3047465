"""A small sheet with every kind of part, for the tests of this room."""

import dataclasses

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
