"""Plans chosen by measurement, on a small collection whose exact answers are known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nestvec.choose import depths, stage_runs, staging
from nestvec.choose.staging import PlanWish, TimedPlan, choose_plan
from nestvec.codec.nested import Codec
from nestvec.data.rows import Row
from nestvec.errors import UserError
from nestvec.index.collection import Collection
from nestvec.index.creation import create
from nestvec.index.manifest import Manifest
from nestvec.index.plan import Plan
from nestvec.measure.intervals import Interval

N, DIM = 1200, 16


def points(n: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(9).standard_normal((20, DIM))
    found = centers[rng.integers(0, 20, n)] + 0.6 * rng.standard_normal((n, DIM))
    return found.astype(np.float32)


def collection(place: Path, spec: str = "16xcb16", *, vectors: bool = True) -> Collection:
    rows = points(N, 0)
    codec = Codec(spec, beam=2, power=0.0).fit(rows)
    codes = codec.encode(rows)
    plan = f"{codec.level_ends[-1]}B:10"
    create(
        place,
        [Row(str(i), "") for i in range(N)],
        codes=codes,
        facts=codec.facts(codes, rows),
        vectors=rows if vectors else None,
        codec=codec,
        manifest=Manifest(metric="", dim=0, rows=0, spec="", plan=plan),
    )
    return Collection.open(place)


@pytest.mark.parametrize("spec", ["16xcb16", "sign16+8xcb16"])
def test_the_plan_keeps_the_wish_on_queries_that_had_no_part_in_it(
    tmp_path: Path, spec: str
) -> None:
    opened = collection(tmp_path / "a.nv", spec)
    queries = points(60, 1)
    found = choose_plan(opened, queries, PlanWish(0.95, k=5))
    assert found.met
    assert found.queries == 60
    assert found.taken in found.candidates
    assert found.taken.recall.n == 30
    assert {str(Plan.parse(each.plan)) for each in found.candidates} == {
        each.plan for each in found.candidates
    }
    assert found.before.plan == str(opened.plan.with_k(5))
    # the figure can be had again, from the half that is told of
    order = np.random.default_rng(0).permutation(60)[30:]
    truth = opened.rank(queries[order], "exact:5")
    hits = opened.rank(queries[order], found.taken.plan)
    shares = [
        len(set(one.rows) & set(other.rows)) / 5 for one, other in zip(truth, hits, strict=True)
    ]
    assert found.taken.recall.value == pytest.approx(np.mean(shares))
    fast = min((e for e in found.candidates if e.recall.value >= 0.95), key=lambda e: e.ms)
    assert found.taken == fast


def test_without_vectors_the_whole_code_is_the_measure(tmp_path: Path) -> None:
    opened = collection(tmp_path / "a.nv", vectors=False)
    found = choose_plan(opened, points(40, 1), PlanWish(0.9, k=3))
    assert found.wanted == "the best by the whole code"
    assert not any("raw" in each.plan or "exact" in each.plan for each in found.candidates)
    assert any(each.recall.value == 1 for each in found.candidates)


def test_where_no_depth_reaches_the_wish_the_deepest_plan_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "DEEPEST", 20)
    opened = collection(tmp_path / "a.nv", "4xcb4")
    found = choose_plan(opened, points(40, 1), PlanWish(0.999, max_ram=N * 100))
    assert [each.plan for each in found.candidates] == ["4B:20,raw:10"]
    assert not found.met
    # with the memory that bounds take, exact search reaches any wish
    assert choose_plan(opened, points(40, 1), PlanWish(0.999)).taken.plan == "exact:10"


def test_lists_are_tried_where_there_are_some(tmp_path: Path) -> None:
    opened = collection(tmp_path / "a.nv").make_lists("8B", 30)
    found = choose_plan(opened, points(60, 1), PlanWish(0.9, k=5))
    (probed,) = [each for each in found.candidates if each.plan.startswith("probe=")]
    assert 1 <= (Plan.parse(probed.plan).probe or 0) < 30
    assert probed.recall.value > 0.8
    whole = Plan.parse(probed.plan.partition(";")[2])
    (full,) = opened.rank(points(1, 2), whole)
    (some,) = opened.rank(points(1, 2), probed.plan)
    assert some.stages[0].scanned < full.stages[0].scanned


def test_links_are_tried_where_there_are_some(tmp_path: Path) -> None:
    opened = collection(tmp_path / "a.nv").make_graph("8B")
    found = choose_plan(opened, points(60, 1), PlanWish(0.8, k=5))
    (walked,) = [each for each in found.candidates if each.plan.startswith("graph=")]
    plan = Plan.parse(walked.plan)
    assert plan.graph is not None
    assert plan.stages[0].keep <= plan.graph < N // 8
    assert walked.recall.value > 0.7
    assert opened.graph is not None
    assert walked.ram == opened.graph.size_bytes() + 8 * N
    # a graph that is larger than the memory is left alone
    allowed = PlanWish(0.8, k=5, max_ram=walked.ram - 1)
    plans = [each.plan for each in choose_plan(opened, points(60, 1), allowed).candidates]
    assert not any(each.startswith("graph=") for each in plans)


def test_a_budget_takes_the_highest_recall_within_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = collection(tmp_path / "a.nv")

    def run(snapshot: Any, plan: Plan, sample: Any) -> TimedPlan:
        # longer chains as slower ones that find more
        ms = float(len(plan.stages)) if plan.stages[0].kind != "exact" else 9.0
        return TimedPlan(str(plan), Interval(1 - 0.1 / ms, 0, 1, 30), ms, ms, 1, 1)

    monkeypatch.setattr(staging, "_run", run)
    queries = points(40, 1)
    found = choose_plan(opened, queries, PlanWish(k=5, budget_ms=2.5))
    assert (found.taken.ms, found.met) == (2.0, True)
    found = choose_plan(opened, queries, PlanWish(k=5, budget_ms=0.5))
    assert not found.met
    assert found.taken.ms == min(each.ms for each in found.candidates)


def test_memory_rules_out_what_every_query_reads_whole(tmp_path: Path) -> None:
    opened = collection(tmp_path / "a.nv")
    found = choose_plan(opened, points(40, 1), PlanWish(0.9, k=5, max_ram=N * (8 + 4 + 1)))
    assert {Plan.parse(each.plan).stages[0].name for each in found.candidates} == {"4B"}
    assert all(each.ram <= N * 13 for each in found.candidates)
    with pytest.raises(UserError, match="the smallest here takes 15,600 bytes; got at most 100"):
        choose_plan(opened, points(40, 1), PlanWish(max_ram=100))


def test_a_query_that_is_a_row_does_not_find_itself(tmp_path: Path) -> None:
    opened = collection(tmp_path / "a.nv")
    rows = np.arange(40)
    sample, _ = staging._sample(opened, opened.vectors()[:40], 5, rows)
    order = np.random.default_rng(0).permutation(40)
    assert all(int(own) not in wanted for own, wanted in zip(order, sample.wanted, strict=True))
    assert all(len(wanted) == 4 for wanted in sample.wanted)


def test_depths_by_hand() -> None:
    ranks = np.array([0.0, 3.0, 7.0, 120.0, math.inf])
    # a quarter of what may be missed is kept as margin: .2 asks for .4, .6 for .7
    assert depths.depth_for(ranks, 0.2) == 4
    assert depths.depth_for(ranks, 0.4) == 8
    assert depths.depth_for(ranks, 0.6) == 130  # two digits, upward
    assert depths.depth_for(ranks, 1.0) is None
    assert depths.rising_depths(10, 100) == [20, 30, 45, 67, 100]
    assert [depths.rounded(n) for n in (7, 99, 100, 101, 1234)] == [7, 99, 100, 110, 1300]
    first, second = np.array([4, 2, 9, 1]), np.array([1, 9, 4, 2])
    assert [rows.tolist() for rows in depths.within([first], [second], 3)] == [[9, 4, 2]]


def test_wishes_that_are_none(tmp_path: Path) -> None:
    for wrong, says in [
        ({"recall": 1.5}, "a share from above 0 to 1; got 1.5"),
        ({"recall": 0}, "a share"),
        ({"k": 0}, "at least 1; got 0"),
        ({"budget_ms": 0}, "above 0; got 0"),
        ({"budget_ms": math.nan}, "above 0; got nan"),
    ]:
        with pytest.raises(UserError, match=says):
            PlanWish(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="4 at least; got 3"):
        choose_plan(collection(tmp_path / "a.nv"), points(3, 1))


def test_a_first_stage_that_is_far_slower_is_not_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]

    class Slow:
        def rank(self, queries: Any, plan: Plan) -> None:
            clock[0] += {"sign:9": 0.003, "33B:9": 0.009}[str(plan)]

    monkeypatch.setattr(stage_runs.time, "perf_counter", lambda: clock[0])
    sample = stage_runs.Sample(np.zeros((3, 4), np.float32), [])
    runs = stage_runs.Runs(Slow(), sample, 9)  # type: ignore[arg-type]
    assert not runs.hopeless("sign", 1.0)  # 3 ms, up to 4 are allowed
    assert runs.hopeless("33B", 2.0)
    assert not runs.hopeless("33B", 2.5)
    assert not runs.hopeless("33B", np.inf)  # nothing reaches the targets so far
    runs.rankings["33B",] = []
    assert not runs.hopeless("33B", 0.1)  # it was run already
