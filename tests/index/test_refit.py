"""A codec fitted anew on the rows that are there now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nestvec.adapters.adapter import Adapter, Stage
from nestvec.adapters.maps import Linear
from nestvec.codec.nested import Codec
from nestvec.errors import UserError
from nestvec.index.checksums import check_files
from nestvec.index.collection import Collection
from nestvec.index.snapshot import open_version
from nestvec.progress import quiet

OTHERS = np.random.default_rng(5).standard_normal((200, 16)).astype(np.float32) ** 3


def drifted(make: Callable[..., Any], place: Path, metric: str = "cosine") -> Any:
    material = make(300, metric)
    first = material.collection(place, "4B:50,raw:10")
    fresh = [material.rows[0].__class__(f"n{i}", f"new {i}", "", {"year": i}) for i in range(200)]
    return material, first, first.add(fresh, OTHERS)


def test_rows_unlike_the_first_are_coded_worse_until_refitted(
    make: Callable[..., Any], tmp_path: Path, queries: Any
) -> None:
    _, first, grown = drifted(make, tmp_path / "a.nv")
    assert first.drift() is None
    drift = grown.drift()
    assert drift is not None
    assert drift.added == 200
    assert drift.added_error > 1.05 * drift.error
    # by hand: of directions, over the whole code
    rows = OTHERS / np.linalg.norm(OTHERS, axis=1, keepdims=True)
    decoded = grown.codec.decode(grown.codes()[300:])
    assert drift.added_error == pytest.approx(((rows - decoded) ** 2).sum(axis=1).mean(), rel=1e-4)
    grown = grown.delete(["r2", "n3"])
    after = grown.refit()
    assert after.drift() is None
    expected = Codec(**grown.codec.get_params()).fit(grown.vectors())
    np.testing.assert_array_equal(after.codes(), expected.encode(grown.vectors()))
    for name, fact in expected.facts(after.codes(), grown.vectors()).items():
        np.testing.assert_array_equal(after.facts()[name], fact)
    new = np.delete(rows, 3, axis=0) - after.codec.decode(after.codes()[-199:])
    assert (new**2).sum(axis=1).mean() < 0.9 * drift.added_error


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_all_but_the_codes_stays(
    make: Callable[..., Any], tmp_path: Path, queries: Any, metric: str
) -> None:
    material, _, grown = drifted(make, tmp_path / "a.nv", metric)
    grown = grown.delete(["r2"]).make_lists("8d", 5)
    before = grown.search(queries, "raw:20")
    after = grown.refit(seed=7)
    assert after.codec.seed == 7
    for one, other in zip(after.search(queries, "raw:20"), before, strict=True):
        assert [(hit.id, hit.score, hit.text) for hit in one.hits] == [
            (hit.id, hit.score, hit.text) for hit in other.hits
        ]
    assert (after.count, str(after.plan)) == (499, "4B:50,raw:10")
    assert after.evidence() == {"cells": [1]}
    np.testing.assert_array_equal(after.vectors(), grown.vectors())
    assert after.rows([298, 299], ("id", "year")) == {"id": ["r299", "n0"], "year": [2299, 0]}
    assert after.search(queries, "probe=2;8B:20,raw:3")[0].hits
    assert len(after.search(queries, "8B:400", where="year < 100")[0].hits) == 100
    old = open_version(tmp_path / "a.nv", grown.version)
    np.testing.assert_array_equal(old.codes(), grown.codes())
    assert check_files(after.path, "rows.lance", "files", quiet()) == ([], [])
    more = after.add(material.rows[2:3], material.vectors[2:3])
    assert more.drift() is not None
    assert more.drift().added == 1  # type: ignore[union-attr]
    with pytest.raises(UserError, match="run it again"):
        after.refit()


def test_an_adapter_stays_and_maps_what_the_codec_is_fitted_on(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    material = make(300)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((16, 16)))[0].astype(np.float32)
    adapter = Adapter("turned", 16, (16,), (Stage(16, (Linear(turn),)),))
    collection = material.collection(tmp_path / "a.nv", adapter=adapter)
    after = collection.refit()
    expected = adapter.transform(material.vectors)
    decoded = after.codec.decode(after.codes())
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    assert ((unit - decoded) ** 2).sum(axis=1).mean() < 0.3


def test_codes_alone_cannot_be_made_anew(make: Callable[..., Any], tmp_path: Path) -> None:
    collection = make(300).collection(tmp_path / "a.nv", "4B:10", vectors=None)
    with pytest.raises(UserError, match="keeps only codes, no vectors"):
        collection.refit()
    assert collection.drift() is None
    assert Collection.open(tmp_path / "a.nv").version == collection.version
