"""Plans that begin with the signs of a code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nestvec.errors import UserError
from nestvec.index.collection import Collection

N = 1500


@pytest.fixture(scope="module", params=["cosine", "dot", "l2"])
def opened(
    request: pytest.FixtureRequest,
    make: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    material = make(N, request.param, "sign16+4xcb16")
    path: Path = tmp_path_factory.mktemp("signs") / "a.nv"
    return material, material.collection(path, "sign:50,raw:10")


def signs_and_levels(material: Any, queries: Any, bits: int) -> tuple[Any, Any]:
    """Rows' signs (n, 16), and the queries' rotated coordinates in steps, worked anew."""
    (plane,) = [level for level in material.codec.levels if level.kind == "sign"]
    signs = np.unpackbits(material.codes[:, :2], axis=1).astype(int) * 2 - 1
    turned = queries @ plane.axes.T
    step = np.abs(turned).max(axis=1, keepdims=True) / 2 ** (bits - 1)
    levels = np.clip(np.floor(turned / step), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) + 0.5
    return signs, levels


@pytest.mark.parametrize(("name", "bits"), [("sign", 1), ("sign2", 2), ("sign4", 4), ("sign8", 8)])
def test_signs_are_weighted_by_the_query_in_so_many_bits(
    opened: Any, queries: Any, name: str, bits: int
) -> None:
    material, collection = opened
    signs, levels = signs_and_levels(material, queries, bits)
    expected = 2 * levels @ signs.T
    for ranking, scores in zip(collection.rank(queries, f"{name}:40"), expected, strict=True):
        order = np.lexsort((np.arange(N), -scores))[:40]
        assert ranking.rows.tolist() == order.tolist()
        np.testing.assert_array_equal(ranking.scores, scores[order])
        assert ranking.stages[0].bytes == 2 * N


def test_more_bits_come_nearer_to_the_query(opened: Any, queries: Any) -> None:
    material, _ = opened
    (plane,) = [level for level in material.codec.levels if level.kind == "sign"]
    turned = queries @ plane.axes.T
    errors = []
    for bits in (1, 2, 4, 8):
        step = np.abs(turned).max(axis=1, keepdims=True) / 2 ** (bits - 1)
        errors.append(np.abs(signs_and_levels(material, queries, bits)[1] * step - turned).max())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.01 * np.abs(turned).max()


def test_later_stages_do_not_depend_on_how_the_shortlist_came(opened: Any, queries: Any) -> None:
    _, collection = opened
    end = collection.codec.bytes
    for staged, whole in [
        (f"sign:{N},3B:10", "3B:10"),
        (f"sign:{N},3B:{N},{end}B:10", f"{end}B:10"),
        (f"sign:{N},sign4:{N},{end}B:{N},raw:10", "raw:10"),
        (f"sign:{N},sign4:10", "sign4:10"),
    ]:
        for one, other in zip(
            collection.rank(queries, staged), collection.rank(queries, whole), strict=True
        ):
            assert one.rows.tolist() == other.rows.tolist()
            np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5, atol=1e-5)


def test_bytes_read_are_told(opened: Any, queries: Any) -> None:
    material, collection = opened
    length = 0 if material.codec.metric == "cosine" else 4
    (ranking,) = collection.rank(queries[:1], "sign:100,sign4:50,3B:20,raw:5")
    assert [(s.stage, s.bytes, s.scanned, s.kept) for s in ranking.stages] == [
        ("sign:100", 2 * N, N, 100),
        ("sign4:50", 2 * 100, 100, 50),
        ("3B:20", 50 * (3 + 4 + length), 50, 20),
        ("raw:5", 20 * (64 + length), 20, 5),
    ]


def test_deleted_and_filtered_rows_are_passed_over(
    make: Callable[..., Any], tmp_path: Path, queries: Any
) -> None:
    material = make(300, "cosine", "sign16+4xcb16")
    collection = material.collection(tmp_path / "a.nv")
    collection = collection.delete(f"r{row}" for row in range(0, 300, 2))
    collection = collection.add(material.rows[:10:2], material.vectors[:10:2])
    hits = collection.search(queries, "sign:60", where="year < 2060")[0].hits
    ids = {int(hit.id[1:]) for hit in hits}
    assert ids == {*range(1, 60, 2), *range(0, 10, 2)}
    (tmp_path / "a.nv" / "cache").rename(tmp_path / "old")
    again = Collection.open(tmp_path / "a.nv").search(queries, "sign:60", where="year < 2060")
    assert again[0].hits == hits


def test_a_code_that_begins_otherwise_has_no_sign_stage(
    make: Callable[..., Any], tmp_path: Path, queries: Any
) -> None:
    collection = make(300).collection(tmp_path / "a.nv")
    with pytest.raises(UserError, match="got sign4:20 for a code of other levels: write 1B:20"):
        collection.rank(queries, "sign4:20,raw:10")
