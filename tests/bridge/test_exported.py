from __future__ import annotations

import importlib

import numpy as np
import pytest

from nestvec.bridge.exported import TARGETS, Source, Target, check_kinds, target_named
from nestvec.errors import UserError
from nestvec.index.collection import Collection
from nestvec.index.plan import Plan


def test_rows_come_in_runs_as_they_are_stored(source_of):
    source = source_of()
    runs = list(source.rows(batch_rows=100))
    assert max(len(run.ids) for run in runs) == 100
    ids = [identity for run in runs for identity in run.ids]
    assert len(ids) == len(set(ids)) == source.count == 597
    opened = source.opened
    np.testing.assert_array_equal(
        np.concatenate([run.vectors for run in runs]), np.asarray(opened.vectors(), np.float32)
    )
    codes = opened.codes()[:, : source.signs.bytes]
    np.testing.assert_array_equal(np.concatenate([run.signs for run in runs]), codes)
    at = ids.index("id-8")
    row = {name: value for run in runs[:1] for name, value in run.columns.items()}
    assert row["year"][at] == 1908
    assert row["tags"][at] == ["a", "b8"]
    assert row["more"][at] == '{"n": 8, "of": [1, null]}'
    assert source.kinds == {
        "year": "int", "share": "float", "good": "bool", "Lang": "text", "tags": "texts",
        "more": "json",
    }  # fmt: skip


def test_a_width_is_a_trained_one(source_of):
    assert source_of().width() == 16


def test_codes_alone_are_refused(stored, tmp_path, monkeypatch):
    opened = Collection.open(stored())
    monkeypatch.setattr(type(opened), "has_vectors", property(lambda _: False))
    with pytest.raises(UserError, match="needs stored vectors"):
        Source(opened)


def test_an_unknown_target_is_told_the_known():
    with pytest.raises(UserError, match=r"one of pgvector, sqlite-vec.*got 'oracle'"):
        target_named("oracle")


def test_every_target_has_a_file():
    for name, module in TARGETS.items():
        if importlib.util.find_spec(module) is not None:
            target = importlib.import_module(module).TARGET
            assert isinstance(target, Target)
            assert target.name == name


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ("8B:20,raw:10", "holds stages such as sign:1000"),
        ("probe=2;sign:20,raw:10", "without probe"),
        ("sign:20,64d:15,raw:10", "more coordinates than a vector has"),
        ("exact:10", "holds stages such as"),
    ],
)
def test_plans_that_no_target_holds(plan, words):
    with pytest.raises(UserError, match=words):
        check_kinds(Plan.parse(plan), ("sign", "dims", "raw"), "pgvector", 48)
    check_kinds(Plan.parse("sign:20,16d:12,raw:10"), ("sign", "dims", "raw"), "pgvector", 48)
