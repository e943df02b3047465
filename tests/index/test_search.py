from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nestvec.index import search

METRICS = ("cosine", "dot", "l2")
N = 1500


@pytest.fixture(scope="module", params=METRICS)
def opened(
    request: pytest.FixtureRequest,
    make: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    material = make(N, request.param)
    path: Path = tmp_path_factory.mktemp("search") / "a.nv"
    return material, material.collection(path)


def raw_scores(material: Any, queries: Any, width: int, measured: Any) -> NDArray[np.float64]:
    rows, heads = material.vectors.astype(np.float64), queries.astype(np.float64)
    units = rows[:, :width] / np.linalg.norm(rows[:, :width], axis=1, keepdims=True)
    turned = heads[:, :width] * (
        np.linalg.norm(heads, axis=1) / np.linalg.norm(heads[:, :width], axis=1)
    ).reshape(-1, 1)
    metric = material.codec.metric
    result: NDArray[np.float64] = measured(
        metric, turned @ units.T, queries, np.linalg.norm(rows, axis=1)
    )
    return result


@pytest.mark.parametrize("cut", [1, 4, 6, 12])
def test_one_pass_over_codes_equals_brute_force(opened: Any, queries: Any, cut: int) -> None:
    material, collection = opened
    expected = material.code_scores(queries, cut)
    for ranking, scores in zip(collection.rank(queries, f"{cut}B:20"), expected, strict=True):
        np.testing.assert_allclose(ranking.scores, np.sort(scores)[::-1][:20], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(ranking.scores, scores[ranking.rows], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [3, 16])
def test_vector_stages_equal_plain_numpy(
    opened: Any, queries: Any, width: int, measured: Any
) -> None:
    material, collection = opened
    expected = raw_scores(material, queries, width, measured)
    plans = [f"{width}d:{N}"] + (["raw:1500", f"4d:{N},raw:{N}"] if width == 16 else [])
    for plan in plans:
        for ranking, scores in zip(collection.rank(queries, plan), expected, strict=True):
            assert sorted(ranking.rows) == list(range(N))
            np.testing.assert_allclose(ranking.scores, scores[ranking.rows], rtol=1e-4, atol=1e-4)
            assert (np.diff(ranking.scores) <= 0).all()


@pytest.mark.parametrize(
    ("staged", "whole"),
    [
        (f"4B:{N},12B:10", "12B:10"),
        (f"1B:{N},4B:{N},6B:{N},12B:10", "12B:10"),
        (f"4B:{N},raw:10", "raw:10"),
        (f"3d:{N},9d:{N},raw:10", "raw:10"),
    ],
)
def test_a_shortlist_of_everything_equals_brute_force(
    opened: Any, queries: Any, staged: str, whole: str
) -> None:
    _, collection = opened
    pairs = zip(collection.rank(queries, staged), collection.rank(queries, whole), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5, atol=1e-5)
        assert one.rows.tolist() == other.rows.tolist()


def test_a_stage_only_ranks_what_the_one_before_kept(opened: Any, queries: Any) -> None:
    material, collection = opened
    early = np.argsort(-material.code_scores(queries, 4), axis=1, kind="stable")[:, :30]
    late = material.code_scores(queries, 12)
    for i, ranking in enumerate(collection.rank(queries, "4B:30,12B:5")):
        kept = early[i]
        expected = kept[np.lexsort((kept, -late[i][kept]))][:5]
        assert ranking.rows.tolist() == expected.tolist()


def test_reports_say_what_was_read(opened: Any, queries: Any) -> None:
    material, collection = opened
    plan = collection.checked_plan("4B:100,6B:50,12d:20,raw:7")
    (ranking,) = collection.rank(queries[:1], plan)
    length = 0 if material.codec.metric == "cosine" else 4
    assert [(s.stage, s.bytes, s.scanned, s.kept) for s in ranking.stages] == [
        ("4B:100", N * (5 + length), N, 100),
        ("6B:50", 100 * (2 + 4 + length), 100, 50),
        ("12d:20", 50 * (48 + length), 50, 20),
        ("raw:7", 20 * (64 + length), 20, 7),
    ]
    assert all(stage.ms >= 0 for stage in ranking.stages)


def test_queries_do_not_depend_on_their_company(
    opened: Any, queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, collection = opened
    together = collection.rank(queries, "4B:40,12B:9")
    monkeypatch.setattr(search, "GROUP_QUERIES", 2)
    monkeypatch.setattr(search, "_RUN_SCORES", 2048)
    for alone in (
        collection.rank(queries, "4B:40,12B:9"),
        [collection.rank(queries[i : i + 1], "4B:40,12B:9")[0] for i in range(len(queries))],
    ):
        for one, other in zip(together, alone, strict=True):
            assert one.rows.tolist() == other.rows.tolist()
            np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n", [1, 3, 1023, 1025])
@pytest.mark.parametrize("plan", ["4B:50,12B:20,raw:10", "5d:10", "12B:2000"])
def test_odd_sizes(
    make: Callable[..., Any], tmp_path: Path, queries: Any, n: int, plan: str
) -> None:
    collection = make(n).collection(tmp_path / "a.nv")
    for ranking in collection.rank(queries, plan):
        assert len(ranking.rows) == min(n, collection.checked_plan(plan).k)
        assert len(set(ranking.rows.tolist())) == len(ranking.rows)


def test_equal_rows_tie_to_the_earlier_one(
    make: Callable[..., Any], tmp_path: Path, queries: Any
) -> None:
    copies = make(40).shuffled(np.arange(2500) % 40)
    ids = [type(row)(f"r{i}", row.text) for i, row in enumerate(copies.rows)]
    collection = type(copies)(
        ids, copies.vectors, copies.codec, copies.codes, copies.facts
    ).collection(tmp_path / "a.nv")
    for plan in ("4B:90", "12B:90", "raw:90", "4B:300,12B:90", "5d:300,raw:90"):
        for ranking in collection.rank(queries, plan):
            groups: dict[int, list[int]] = {}
            for row in ranking.rows.tolist():
                groups.setdefault(row % 40, []).append(row)
            for start, rows in groups.items():
                assert rows == [start + 40 * i for i in range(len(rows))], plan


def test_shuffled_rows_give_the_same_hits(
    make: Callable[..., Any], tmp_path: Path, queries: Any
) -> None:
    material = make(1100)
    order = np.random.default_rng(0).permutation(1100)
    one = material.collection(tmp_path / "a.nv")
    other = material.shuffled(order).collection(tmp_path / "b.nv")
    for plan in ("12B:10", "4B:60,12B:10", "raw:10"):
        pairs = zip(one.rank(queries, plan), other.rank(queries, plan), strict=True)
        for mine, theirs in pairs:
            np.testing.assert_allclose(mine.scores, theirs.scores, rtol=1e-6, atol=1e-6)
            # Codes may coincide; where scores are all different, the rows are the same.
            if len(np.unique(mine.scores)) == 10 and "60" not in plan:
                assert mine.rows.tolist() == order[theirs.rows].tolist()
