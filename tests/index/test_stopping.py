"""A last stage that stops early, against one that reads everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nestvec.index.scan import Shortlist, narrowed
from nestvec.index.stopping import until_sure


def shortlist(scores: Any) -> Shortlist:
    """Rows 0, 1, ... by falling scores."""
    rows = np.arange(len(scores))
    return Shortlist(rows, rows + 100, np.zeros(len(rows), np.float32), scores.astype(np.float32))


def by(final: Any) -> Callable[[Shortlist], Shortlist]:
    def rescored(part: Shortlist) -> Shortlist:
        return narrowed(replace(part, scores=final[part.rows].astype(np.float32)), len(part.rows))

    return rescored


def test_scores_that_agree_are_read_once() -> None:
    promised = np.linspace(1, 0, 1000)
    found, read = until_sure(shortlist(promised), 10, 3, by(2 * promised + 5))
    assert read == 64
    assert found.rows.tolist() == list(range(10))
    assert found.seqs.tolist() == list(range(100, 110))


def test_the_margin_by_hand() -> None:
    # The first 64 lie on a line but for strays of +-.1: the error is .1 (62 degrees of freedom).
    promised = np.concatenate([np.linspace(2, 1, 64), np.full(64, 0.9), np.full(128, 0.5)])
    strays = np.where(np.arange(256) // 2 % 2 == np.arange(256) % 2, 0.1, -0.1)
    final = promised + strays
    kept = np.sort(final[:64])[-20]
    line = np.polyfit(promised[:64], final[:64], 1)
    error = np.sqrt(((final[:64] - np.polyval(line, promised[:64])) ** 2).sum() / 62)
    reach = (kept - np.polyval(line, 0.9)) / error
    assert reach > 1
    for sure, expected in ((0.99 * reach, 64), (1.01 * reach, 128)):
        _, read = until_sure(shortlist(promised), 20, sure, by(final))
        assert read == expected


@given(st.integers(0, 10_000), st.integers(1, 40))
def test_what_says_nothing_is_read_to_the_end(seed: int, keep: int) -> None:
    final = np.random.default_rng(seed).standard_normal(300)
    found, read = until_sure(shortlist(np.linspace(1, 0.999, 300)), keep, 99, by(final))
    assert read == 300
    assert found.rows.tolist() == np.argsort(-final)[:keep].tolist()


def test_equal_promises_are_no_line() -> None:
    final = np.random.default_rng(0).standard_normal(200)
    found, read = until_sure(shortlist(np.ones(200)), 5, 4, by(final))
    assert read == 200
    assert found.rows.tolist() == np.argsort(-final)[:5].tolist()


def test_fewer_rows_than_are_kept() -> None:
    found, read = until_sure(shortlist(np.ones(3)), 5, 4, by(np.arange(3)))
    assert (read, found.rows.tolist()) == (3, [2, 1, 0])


def test_more_errors_read_more_and_miss_less() -> None:
    rng = np.random.default_rng(1)
    reads, missed = [], []
    for sure in (0.5, 2.0, 4.0):
        rows, lost = [], 0
        for _ in range(50):
            promised = np.sort(rng.standard_normal(2000))[::-1]
            final = promised + 0.3 * rng.standard_normal(2000)
            found, read = until_sure(shortlist(promised), 10, sure, by(final))
            rows.append(read)
            lost += len(np.setdiff1d(np.argsort(-final)[:10], found.rows))
        reads.append(np.mean(rows))
        missed.append(lost)
    assert reads == sorted(reads)
    assert reads[-1] < 2000
    assert missed == sorted(missed, reverse=True)
    assert missed[-1] <= 1 < missed[0]


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("stages", ["12B:{},raw:10", "6B:{},12B:10", "12B:{},8d:10"])
def test_a_plan_that_is_sure_finds_what_the_whole_plan_finds(
    make: Callable[..., Any], tmp_path: Path, queries: Any, metric: str, stages: str
) -> None:
    collection = make(1500, metric).collection(tmp_path / "a.nv")
    plan = stages.format(1200)
    whole = collection.rank(queries, plan)
    some = collection.rank(queries, f"sure=4;{plan}")
    shared = []
    for one, other in zip(some, whole, strict=True):
        shared.append(len(np.intersect1d(one.rows, other.rows)))
        at = dict(zip(other.rows.tolist(), other.scores, strict=True))
        for row, score in zip(one.rows.tolist(), one.scores, strict=True):
            assert score == at.get(row, score)
        first, last = one.stages
        assert last.scanned <= first.kept == 1200
        assert last.bytes == other.stages[1].bytes * last.scanned // 1200
    assert np.mean(shared) >= 9
    if not stages.endswith("8d:10"):  # half of so few coordinates says little of the other half
        assert min(one.stages[1].scanned for one in some) < 1200


def test_signs_promise_on_a_scale_of_their_own(
    make: Callable[..., Any], tmp_path: Path, queries: Any
) -> None:
    collection = make(1500, "cosine", "sign16+4xcb16").collection(tmp_path / "a.nv")
    found = collection.rank(queries, "sure=3;sign4:1000,raw:10")
    exact = collection.rank(queries, "sign4:1000,raw:10")
    for one, other in zip(found, exact, strict=True):
        assert len(np.intersect1d(one.rows, other.rows)) >= 8
    assert np.mean([one.stages[1].scanned for one in found]) < 1000
