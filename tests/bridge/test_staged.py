from __future__ import annotations

import numpy as np
import pytest

from nestvec.bridge.staged import cut_of
from nestvec.index.plan import Plan

from .staged_in_numpy import Held, agrees, held_of, measured, staged_search


def test_by_hand():
    # signs keep rows 5 and 3 (distance 0) and, of 2 and 9 at distance 1, the smaller seq
    held = Held(
        np.array([5, 2, 9, 3]),
        np.array([[0b11000000], [0b10000000], [0b01000000], [0b11000000]], np.uint8),
        {},
        np.array([[1, 0], [3, 4], [1, 1], [0, 1]], np.float32),
        "cosine",
    )
    query, signs = np.array([0, 1], np.float32), np.array([0b11000000], np.uint8)
    found, scores = staged_search(held, Plan.parse("sign:3,raw:2"), query, signs)
    assert found.tolist() == [3, 2]
    np.testing.assert_allclose(scores, [1, 0.8], rtol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize(
    "plan", ["sign:100,16d:40,raw:10", "16d:50,raw:10", "8d:100,24d:50,raw:10", "sign:60,16d:10"]
)
def test_the_same_plan_here(source_of, queries, metric, plan):
    """Over exported values by plain measures, and by nestvec's own kernels: the same hits."""
    source = source_of(metric)
    opened = source.opened
    parsed = Plan.parse(plan)
    held = held_of(source, parsed)
    order = {int(seq): i for i, seq in enumerate(held.seqs)}
    places = {int(p): i for i, p in enumerate(opened.positions())}
    asked = opened.map_queries(queries)
    bits = source.signs.of_queries(asked)
    for ours, query, signs in zip(opened.rank(queries, parsed), asked, bits, strict=True):
        seqs, scores = staged_search(held, parsed, query, signs)
        here = np.array([held.seqs[places[int(row)]] for row in ours.rows])
        assert agrees(here, seqs, scores)
        assert len(set(seqs.tolist())) == len(seqs)
        assert all(int(seq) in order for seq in seqs)
        np.testing.assert_allclose(ours.scores, scores, rtol=2e-4, atol=1e-4)


def test_stretched_prefixes_measure_what_a_stage_does():
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((20, 8)).astype(np.float32)
    query = rng.standard_normal(8).astype(np.float32)
    cosines = (rows[:, :3] @ query[:3]) / (
        np.linalg.norm(rows[:, :3], axis=1) * np.linalg.norm(query[:3])
    )
    lengths, length = np.linalg.norm(rows, axis=1), np.linalg.norm(query)
    for metric, wanted in (
        ("cosine", cosines),
        ("dot", cosines * lengths * length),
        ("l2", -(lengths**2 + length**2 - 2 * cosines * lengths * length)),
    ):
        cuts, asked = cut_of(rows, 3, metric), cut_of(query[None], 3, metric)[0]
        np.testing.assert_allclose(measured(cuts, asked, metric), wanted, rtol=1e-5, atol=1e-5)


def test_rows_may_change_places_only_within_rounding():
    wanted, scores = np.array([4, 7, 9]), np.array([0.9, 0.9 - 1e-8, 0.5])
    assert agrees(np.array([7, 4, 9]), wanted, scores)
    assert not agrees(np.array([9, 7, 4]), wanted, scores)
    assert agrees(np.array([4, 7, 11]), wanted, scores)  # 11 may tie with 9 at the edge
    assert not agrees(np.array([11, 7, 9]), wanted, scores)
    assert not agrees(np.array([4, 7]), wanted, scores)
