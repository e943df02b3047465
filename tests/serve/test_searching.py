"""The collection of a server: plans it takes, what they read, and newer versions."""

import shutil

import numpy as np
import pytest

from nestvec.index.collection import Collection
from nestvec.index.plan import Plan
from nestvec.serve import searching
from nestvec.serve.faults import Fault
from nestvec.serve.readers import SearchAsked
from nestvec.serve.searching import Searched, evidence_curve, info_answer, search_answer, shortened

from .conftest import DIM, ROWS, Row, WordEncoder, make_collection


@pytest.fixture(scope="module")
def searched(words_nv):
    return Searched(words_nv, False, 100)


def asked(**fields):
    return SearchAsked("q", None, **fields)


@pytest.mark.parametrize(
    ("fields", "plan"),
    [
        ({}, "8B:50,raw:10"),
        ({"k": 3}, "8B:50,raw:3"),
        ({"plan": "8B:20,raw:4"}, "8B:20,raw:4"),
        ({"plan": "8B:20,raw:4", "k": 7}, "8B:20,raw:7"),
        ({"bytes": 4}, "4B:10"),
        ({"bytes": 8, "k": 2}, "8B:2"),
        ({"dims": 16, "k": 2}, "16d:2"),
        ({"exact": True}, "exact:10"),
    ],
)
def test_a_request_becomes_a_plan(searched, fields, plan):
    assert str(searched.plan_of(asked(**fields))) == plan


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"bytes": 5}, "bytes", "4, 8"),
        ({"dims": 9}, "dims", "8, 16, 32 dimensions here; got 9"),
        ({"dims": 64}, "dims", "64"),
        ({"plan": "9d:50,raw:10"}, "plan", "--any-dimensions"),
        ({"plan": "nonsense"}, "plan", "'nonsense'"),
        ({"plan": "auto"}, "plan", "nestvec plan"),
        ({"plan": "sign:20"}, "plan", "sign"),
        ({"plan": "probe=2;8B:20"}, "plan", "nestvec lists"),
        ({"plan": "8B:500"}, "plan", "100 hits at most; got a plan of 500"),
        ({"plan": "8B:99999999999,raw:5"}, "plan", "counts may be"),
        ({"plan": "8B:5,raw:2", "k": 9}, "plan", "at most 5"),
    ],
)
def test_plans_that_do_not_fit_are_refused(searched, fields, param, words):
    with pytest.raises(Fault) as found:
        searched.plan_of(asked(**fields))
    assert (found.value.status, found.value.param) == (400, param)
    assert words in found.value.message


def test_any_width_is_read_where_that_is_allowed(words_nv):
    assert str(Searched(words_nv, True, 100).plan_of(asked(dims=9))) == "9d:10"


def test_widths_are_those_trained_or_halves(words_nv):
    one = Searched(words_nv, False, 100)
    assert one.dims() == (8, 16, 32)
    one.widths = (10, 20, 64)
    assert one.dims() == (10, 20, 32)


@pytest.mark.parametrize(
    ("plan", "size"),
    [
        ("8B:10", 8 + 1),
        ("7B:10", 7 + 4),  # a cut that is not declared has its norm in four bytes
        ("4B:50,8B:10", 8 + 2),
        ("8B:50,raw:10", 8 + 1 + 4 * DIM),
        ("16d:10", 16 * 4),
        ("exact:10", 4 * DIM),
    ],
)
def test_bytes_of_a_vector_are_what_a_plan_reads_of_it(searched, plan, size):
    assert searched.bytes_per_vector(Plan.parse(plan)) == size


def test_a_search_answers_as_the_collection_does(searched, words_nv):
    vector = WordEncoder().encode(["row number 7 of what is odd"], "query")[0]
    found = searched.search(vector, asked(exact=True, k=3))
    answer = search_answer(found, 9, 1.23456)
    expected = Collection.open(words_nv).search(vector[None], "exact:3")[0].hits
    assert [hit["id"] for hit in answer["hits"]] == [hit.id for hit in expected]
    assert answer["hits"][0] == {
        "id": "r7",
        "score": pytest.approx(1.0, abs=1e-5),
        "title": "title 7",
        "text": "row …",
    }
    assert [stage["stage"] for stage in answer["stages"]] == ["exact:3"]
    assert answer["stages"][0]["rows"] == ROWS
    assert answer["encode_ms"] == 1.235
    with pytest.raises(Fault, match="shape"):
        searched.search(vector[:5], asked())
    with pytest.raises(Fault, match="all zeros"):
        searched.search(np.zeros(DIM, np.float32), asked())


def test_a_newer_version_is_taken(words_nv, tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "_LOOK_S", 0.0)
    path = tmp_path / "words.nv"
    shutil.copytree(words_nv, path)
    one = Searched(path, False, 100)
    assert not one.look()
    vector = WordEncoder().encode(["something quite new"], "query")
    Collection.open(path).add([Row("new", "something quite new")], vector)
    found = one.search(vector[0], asked(k=1))
    assert found.result.hits[0].id == "new"
    assert search_answer(found, 9, 0.0)["collection_version"] == one.snapshot.version == 2
    assert not one.look()
    assert info_answer(one, "w", DIM, "words", ())["rows"] == ROWS + 1


@pytest.mark.parametrize("given", ["texts", "vectors"])
@pytest.mark.parametrize("stored", [False, True])
def test_texts_are_had_where_they_are_stored(tmp_path, monkeypatch, given, stored):
    """given: what the collection was built from, which does not tell."""
    monkeypatch.setattr(searching, "_LOOK_S", 0.0)
    path = tmp_path / "some.nv"
    vectors = np.random.default_rng(0).standard_normal((40, DIM)).astype(np.float32)
    rows = [Row(f"r{i}", "a text" if stored and i == 33 else "") for i in range(40)]
    make_collection(path, rows, vectors, texts=given == "texts")
    one = Searched(path, False, 100)
    assert info_answer(one, "w", DIM, None, ())["has_texts"] is stored
    Collection.open(path).add([Row("new", "another")], vectors[:1])
    assert one.look()
    assert info_answer(one, "w", DIM, None, ())["has_texts"] is True
    if stored:
        Collection.open(path).delete(["r33", "new"])
        assert one.look()
        assert info_answer(one, "w", DIM, None, ())["has_texts"] is False


def test_a_version_that_cannot_be_opened_or_has_another_model_is_left(
    words_nv, tmp_path, monkeypatch
):
    monkeypatch.setattr(searching, "_LOOK_S", 0.0)
    path, notes = tmp_path / "words.nv", []
    shutil.copytree(words_nv, path)
    one = Searched(path, False, 100, notes.append)
    vectors = np.random.default_rng(0).standard_normal((40, DIM)).astype(np.float32)
    shutil.rmtree(path)
    assert not one.look()
    make_collection(path, [Row(f"r{i}", "") for i in range(40)], vectors, texts=False)
    assert not one.look()
    assert "another model" in notes.pop()
    vector = WordEncoder().encode(["row number 7"], "query")[0]
    assert one.snapshot.count == ROWS
    with pytest.raises(Fault, match="changed or damaged") as found:  # the rows' texts are gone
        one.search(vector, asked(bytes=8, k=3))
    assert found.value.status == 500
    assert "damaged" in notes.pop()


def test_the_curve_is_that_of_the_chosen_code(searched):
    points, measure, full = searched.curve
    assert [(point["bytes"], point["bytes_per_vector"]) for point in points] == [(4, 5), (8, 9)]
    assert points[0]["value"] == 0.5
    assert measure == "nDCG@10"
    assert full["value"] == 0.9
    assert evidence_curve(None) == evidence_curve({"cells": [1]}) == ([], None, None)


def test_the_curve_of_a_code_without_cuts_or_with_an_adapter_is_its_own():
    cell = {"fact_bytes": 1, "value": 0.5, "low": 0.4, "high": 0.6}
    methods = ("nested", "int8", "linear:nested")
    grid = {
        "measure": "R@10",
        "full": {"value": 1, "low": 1, "high": 1},
        "cells": [{**cell, "method": name, "bytes": i} for i, name in enumerate(methods)],
    }
    for result, place in (
        ({"spec": "int8", "adapter": None}, 1),
        ({"spec": "32xcb", "adapter": None}, 0),
        ({"spec": "32xcb", "adapter": "linear"}, 2),
    ):
        points = evidence_curve({"grid": grid, "result": result})[0]
        assert [point["bytes"] for point in points] == [place]


def test_texts_are_shortened_at_a_blank():
    assert shortened("one  two\nthree", 100) == "one two three"
    assert shortened("one two three", 9) == "one two …"
    assert shortened("onetwothree", 5) == "onetw …"
    assert shortened("one", 0) == ""
