"""The judge: what helps is used, what does not or hurts anywhere is not."""

import numpy as np
import pytest

from nestvec.choose.evidence import Cell, Evidence
from nestvec.choose.judge import judge
from nestvec.errors import UserError
from nestvec.measure.intervals import Interval

QUERIES = 400


def evidence_of(values):
    """{(method, bytes): (q,)} as evidence."""
    cells = tuple(
        Cell(method, size // 4, size, 0, 0, float(v.mean()), 0, 1, 0, 0, 0)
        for (method, size), v in values.items()
    )
    full = Interval(0.5, 0.4, 0.6, QUERIES)
    return Evidence(
        "nDCG@10", "labels", "cosine", 1000, 8, QUERIES, full, cells,
        values=np.array(list(values.values())), full_values=np.zeros(QUERIES),
    )  # fmt: skip


def drawn(mean, seed):
    return np.clip(np.random.default_rng(seed).normal(mean, 0.2, QUERIES), 0, 1)


def test_a_gain_at_every_size_is_used():
    base = {size: drawn(0.4, size) for size in (4, 8)}
    found = {("svd", s): v for s, v in base.items()}
    found |= {("new", s): v + 0.05 for s, v in base.items()}
    verdict = judge(evidence_of(found), "new", ["svd"])
    assert verdict.used
    assert verdict.mean.value == pytest.approx(0.05)
    assert [each.size for each in verdict.sizes] == [4, 8]
    assert all(each.better for each in verdict.sizes)
    assert "helps" in verdict.reason
    assert f"{QUERIES} held-out" in verdict.reason


def test_what_is_no_better_is_not_used():
    base = drawn(0.4, 1)
    noise = np.random.default_rng(2).normal(0, 0.1, QUERIES)
    noise -= noise.mean()
    verdict = judge(evidence_of({("svd", 4): base, ("new", 4): base + noise}), "new", ["svd"])
    assert not verdict.used
    assert "no gain is proven" in verdict.reason


def test_one_size_that_is_worse_is_enough_to_refuse():
    base = {size: drawn(0.4, size) for size in (4, 8)}
    found = {("svd", s): v for s, v in base.items()}
    found |= {("new", 4): base[4] + 0.3, ("new", 8): base[8] - 0.05}
    verdict = judge(evidence_of(found), "new", ["svd"])
    assert verdict.mean.low > 0
    assert not verdict.used
    assert "worse at 8 bytes" in verdict.reason


def test_the_best_baseline_of_each_size_stands_against_it():
    found = {
        ("a", 4): np.full(QUERIES, 0.5), ("b", 4): np.full(QUERIES, 0.3),
        ("a", 8): np.full(QUERIES, 0.4), ("b", 8): np.full(QUERIES, 0.6),
        ("new", 4): np.full(QUERIES, 0.55), ("new", 8): np.full(QUERIES, 0.65),
        ("new", 16): np.full(QUERIES, 0.1),
    }  # fmt: skip
    verdict = judge(evidence_of(found), "new", ["a", "b"])
    assert [each.baseline for each in verdict.sizes] == ["a", "b"]
    assert [each.difference.value for each in verdict.sizes] == pytest.approx([0.05, 0.05])


def test_some_queries_alone_are_judged_by():
    base = drawn(0.4, 1)
    chosen = np.arange(QUERIES) < QUERIES // 2
    new = np.where(chosen, base + 0.1, base - 0.3)
    evidence = evidence_of({("svd", 4): base, ("new", 4): new})
    verdict = judge(evidence, "new", ["svd"], queries=chosen)
    assert verdict.used
    assert verdict.queries == QUERIES // 2
    assert not judge(evidence, "new", ["svd"], queries=~chosen).used


def test_no_shared_size_is_said():
    evidence = evidence_of({("svd", 4): drawn(0.4, 1), ("new", 8): drawn(0.4, 2)})
    with pytest.raises(UserError, match="share; got none for new and svd"):
        judge(evidence, "new", ["svd"])


def test_adapted_codes_are_called_so():
    base = drawn(0.4, 1)
    evidence = evidence_of({("svd", 4): base, ("linear:8xcb", 4): base + 0.1})
    verdict = judge(evidence, "linear:8xcb", ["svd"])
    assert verdict.method == "linear:8xcb"
    assert verdict.reason.startswith("adapted 8xcb helps")
