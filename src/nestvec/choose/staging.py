"""Which plan finds what exact search finds, and how fast: stages and depths chosen by measurement.

Each first stage is run once, deep; so is each pair of a first and a second one. Where the rows that
are wanted stand in these rankings says which depths keep them, without running every plan. Plans
that would reach the wish at the least estimated time are then run and timed, one query at a time.
Depths are found on one half of the queries, recall is told of the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.depths import depth_for, places, rising_depths, within
from nestvec.choose.stage_runs import Runs, Sample
from nestvec.errors import UserError
from nestvec.index.plan import Plan, Stage
from nestvec.index.search import Ranking
from nestvec.index.snapshot import Snapshot
from nestvec.measure.intervals import Interval, bootstrap_mean
from nestvec.progress import Progress, quiet

I64 = NDArray[np.int64]

#: recall that a plan within a budget is looked for at, the highest first
TARGETS = (0.999, 0.995, 0.99, 0.98, 0.95, 0.9, 0.8)
#: rows that a first stage is looked at, the most that it may keep
DEEPEST = 8_192
#: code bytes that a stage reads at most of, beside the whole code
SIZES = (4, 8, 12, 16, 24, 32, 48, 64)
_SHORTEST_CODE = 4
_TIMED = 8
_TIMED_QUERIES = 40
_FEWEST_QUERIES = 4
# A walk to more than this share of the rows is slower than reading them.
_GRAPH_SHARE = 8
_SURE = (1.5, 2.0, 2.5, 3.0, 4.0)


@dataclass(frozen=True)
class PlanWish:
    """What a plan should do.

    recall: of the k best of exact search, the share that it finds. budget_ms: what one query may
    take in the median; the plan of the highest recall within it is taken. max_ram: bytes of the
    arrays that every query reads whole.
    Raises UserError for a recall that is no share, and counts below 1.
    """

    recall: float = 0.99
    k: int = 10
    budget_ms: float | None = None
    max_ram: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1:
            raise UserError(f"recall is a share from above 0 to 1; got {self.recall:g}; try 0.99.")
        if self.k < 1:
            raise UserError(f"the number of hits must be at least 1; got {self.k}.")
        if self.budget_ms is not None and not self.budget_ms > 0:
            raise UserError(f"a budget is milliseconds above 0; got {self.budget_ms:g}.")


@dataclass(frozen=True)
class TimedPlan:
    """A plan that was run.

    recall: on queries that its depths were not chosen by. ms, slow_ms: median and 99th percentile
    of one query, milliseconds. bytes_read: of one query, in the mean. ram: bytes of the arrays
    that every query reads whole, or of the graph that it walks.
    """

    plan: str
    recall: Interval
    ms: float
    slow_ms: float
    bytes_read: int
    ram: int


@dataclass(frozen=True)
class PlanChoice:
    """The plan that was taken, those that it was taken from, and what recall is measured against.

    met: whether it keeps the wish. before: the collection's own plan, run alike.
    """

    taken: TimedPlan
    met: bool
    before: TimedPlan
    candidates: tuple[TimedPlan, ...]
    wanted: str
    queries: int


def choose_plan(
    snapshot: Snapshot,
    queries: NDArray[Any],
    wish: PlanWish | None = None,
    *,
    own_rows: I64 | None = None,
    progress: Progress | None = None,
) -> PlanChoice:
    """The fastest plan that finds what is wished, by sample queries (q, d).

    own_rows: (q,) the row that each query is, which does not count, -1 for none. What is wanted are
    the best by stored vectors, or by the whole code where there are none.
    Raises UserError for under 4 queries, and where no plan fits the memory.
    """
    wish = wish or PlanWish()
    if len(queries) < _FEWEST_QUERIES:
        raise UserError(
            f"a plan is chosen by sample queries, {_FEWEST_QUERIES} at least; got {len(queries)}."
        )
    progress = progress or quiet()
    sample, wanted = _sample(snapshot, queries, wish.k, own_rows)
    half = len(queries) // 2
    runs = Runs(snapshot, sample.of(slice(half)), min(DEEPEST, snapshot.count))
    reporting = sample.of(slice(half, None))
    firsts = [name for name in _firsts(snapshot) if _fits(snapshot, name, wish.max_ram)]
    if not firsts:
        least = min(_ram(snapshot, name) for name in _firsts(snapshot))
        raise UserError(
            f"a plan reads some array whole, and the smallest here takes {least:,} bytes; got at "
            f"most {wish.max_ram:,}: allow that, or build a code that can be cut shorter."
        )
    targets = (wish.recall,) if wish.budget_ms is None else TARGETS
    estimates = _estimates(runs, firsts, targets, wish.k, progress)
    if not estimates:
        last = _last(snapshot)
        deepest = [f"{name}:{runs.deep}" for name in firsts[-1:] if name != last]
        plan = Plan.parse(",".join([*deepest, f"{last}:{wish.k}"]))
        estimates = [_Estimate(plan, 0.0, 0.0)]
    estimates += _narrowed(runs, estimates, wish.max_ram, progress)
    if snapshot.has_vectors and wish.max_ram is None:
        estimates.append(_Estimate(Plan.parse(f"exact:{wish.k}"), 2.0, 0.0))
    candidates = _timed(snapshot, estimates, reporting, progress)
    before = _run(snapshot, snapshot.plan.with_k(_most(snapshot.plan, wish.k)), reporting)
    taken, met = _best(candidates, wish)
    return PlanChoice(taken, met, before, tuple(candidates), wanted, len(queries))


def _sample(
    snapshot: Snapshot, queries: NDArray[Any], k: int, own_rows: I64 | None
) -> tuple[Sample, str]:
    """Queries in an order of their own, and what is wanted for each."""
    rows = np.ascontiguousarray(queries, np.float32)
    if snapshot.has_vectors:
        plan, wanted = Plan.parse(f"exact:{k}"), "the best by stored vectors"
    else:
        plan = Plan((Stage("bytes", snapshot.codec.bytes, k),))
        wanted = "the best by the whole code"
    truth = [set(found.rows.tolist()) for found in snapshot.rank(rows, plan)]
    if own_rows is not None:
        for found, own in zip(truth, own_rows.tolist(), strict=True):
            found.discard(own)
    # queries come by topic in many files: the halves are drawn
    order = np.random.default_rng(0).permutation(len(rows))
    return Sample(rows[order], [truth[i] for i in order]), wanted


def _firsts(snapshot: Snapshot) -> list[str]:
    """The stages that a plan may begin with, but for raw."""
    codec = snapshot.codec
    names = ["sign", "sign4"] if codec.sign_bytes else []
    return names + [f"{cut}B" for cut in _cuts(snapshot)]


def _cuts(snapshot: Snapshot) -> list[int]:
    codec = snapshot.codec
    ends = [end for end in codec.level_ends if end >= _SHORTEST_CODE]
    near = {min(ends, key=lambda end: abs(end - size)) for size in SIZES} if ends else set()
    return sorted(near | {codec.bytes})


def _last(snapshot: Snapshot) -> str:
    return "raw" if snapshot.has_vectors else f"{snapshot.codec.bytes}B"


def _ram(snapshot: Snapshot, name: str) -> int:
    """Bytes of what a first stage reads whole, seq counted."""
    (read,) = snapshot.bytes_read(Plan.parse(f"{name}:1"))
    return read + 8 * snapshot.count


def _fits(snapshot: Snapshot, name: str, most: int | None) -> bool:
    return most is None or _ram(snapshot, name) <= most


@dataclass(frozen=True)
class _Estimate:
    """A plan that reaches a target on the choosing queries, and its estimated milliseconds."""

    plan: Plan
    target: float
    ms: float


def _estimates(
    runs: Runs, firsts: Sequence[str], targets: Sequence[float], k: int, progress: Progress
) -> list[_Estimate]:
    """For every chain of stages and target the depths that cost least."""
    snapshot, last = runs.snapshot, _last(runs.snapshot)
    # what a row of the last stage costs
    runs.ranked(*dict.fromkeys((firsts[0], last)))
    cuts = [f"{cut}B" for cut in _cuts(snapshot)]
    found: list[_Estimate] = []
    progress.start("ranking by stages", len(firsts))
    for first in firsts:
        reached = [min((e.ms for e in found if e.target == t), default=np.inf) for t in targets]
        if runs.hopeless(first, max(reached)):
            progress.advance(1)
            continue
        found += _of_chain(runs, (first,), last, targets, k)
        for second in cuts:
            if second != last and _deeper(first, second):
                found += _of_chain(runs, (first, second), last, targets, k)
        progress.advance(1)
    progress.finish()
    return found


def _narrowed(
    runs: Runs, estimates: Sequence[_Estimate], most: int | None, progress: Progress
) -> list[_Estimate]:
    """The cheapest plan of every target over as few lists, near rows or reads as still reach it."""
    snapshot, ways = runs.snapshot, ["sure"]
    if snapshot.lists is not None:
        ways.append("probe")
    if snapshot.graph is not None and (most is None or _graph_ram(snapshot) <= most):
        ways.append("graph")
    cheapest: dict[float, _Estimate] = {}
    for each in estimates:
        if not each.target:
            continue  # it reaches nothing that reading less could keep
        if each.target not in cheapest or each.ms < cheapest[each.target].ms:
            cheapest[each.target] = each
    found = []
    progress.start("reading less", len(cheapest) * len(ways))
    for target, each in cheapest.items():
        # depths that just reach the target of all rows leave no room for what is not read
        stages = [replace(stage, keep=2 * stage.keep) for stage in each.plan.stages[:-1]]
        plan = replace(each.plan, stages=(*stages, each.plan.stages[-1]))
        for way in ways:
            for near in _ever_wider(plan, way, snapshot):
                recall = _recalls(snapshot.rank(runs.sample.queries, near), runs.sample)
                if recall.mean() >= target:
                    found.append(_Estimate(near, target, 0.0))
                    break
            progress.advance(1)
    progress.finish()
    return found


def _ever_wider(plan: Plan, way: str, snapshot: Snapshot) -> Iterator[Plan]:
    """The plan over ever more lists or near rows, or ever surer before it stops."""
    if way == "sure":
        if len(plan.stages) > 1:
            yield from (replace(plan, sure=sure) for sure in _SURE)
        return
    count, end = plan.stages[0].keep, snapshot.count // _GRAPH_SHARE
    if way == "probe":
        assert snapshot.lists is not None
        count, end = 1, snapshot.lists.count
    while count < end:
        yield replace(plan, probe=count) if way == "probe" else replace(plan, graph=count)
        count = max(count + 1, count * 3 // 2)


def _graph_ram(snapshot: Snapshot) -> int:
    """Bytes of the graph and of seq: walks may touch any page of it."""
    assert snapshot.graph is not None
    return snapshot.graph.size_bytes() + 8 * snapshot.count


def _deeper(first: str, second: str) -> bool:
    return first.startswith("sign") or int(first[:-1]) < int(second[:-1])


def _of_chain(
    runs: Runs, names: tuple[str, ...], last: str, targets: Sequence[float], k: int
) -> Iterator[_Estimate]:
    """Plans of these stages before the last one, a target each, where they reach it."""
    if names == (last,):
        runs.ranked(last)
        yield _Estimate(Plan.parse(f"{last}:{k}"), 1.0, runs.costs[last])
        return
    firsts = runs.ranked(names[0])
    if len(names) == 1:
        ranks = places(runs.sample.wanted, firsts)
        for target in targets:
            depth = depth_for(ranks, target)
            if depth is not None and (plan := _plan(runs, (*names, last), (depth, k))):
                yield _Estimate(plan, target, _cost(runs, plan))
        return
    seconds = runs.ranked(*names)
    least: dict[float, _Estimate] = {}
    for first_depth in rising_depths(k, runs.deep):
        ranks = places(runs.sample.wanted, list(within(firsts, seconds, first_depth)))
        for target in targets:
            depth = depth_for(ranks, target)
            if depth is None or 2 * depth > first_depth:
                continue
            plan = _plan(runs, (*names, last), (first_depth, depth, k))
            if plan is None:
                continue
            found = _Estimate(plan, target, _cost(runs, plan))
            if target not in least or found.ms < least[target].ms:
                least[target] = found
    yield from least.values()


def _plan(runs: Runs, names: Sequence[str], depths: Sequence[int]) -> Plan | None:
    """The plan, or None where a stage would keep fewer than the next."""
    depths = [max(depth, depths[-1]) for depth in depths]
    if any(later > earlier for earlier, later in pairwise(depths)):
        return None
    kept = zip(names, depths, strict=True)
    return Plan.parse(",".join(f"{name}:{depth}" for name, depth in kept))


def _cost(runs: Runs, plan: Plan) -> float:
    """Milliseconds, by what the stages took."""
    rows = plan.rows_read(runs.snapshot.count)
    later = zip(plan.stages[1:], rows[1:], strict=True)
    return runs.costs[plan.stages[0].name] + sum(runs.costs[s.name] * n for s, n in later)


def _timed(
    snapshot: Snapshot, estimates: Sequence[_Estimate], sample: Sample, progress: Progress
) -> list[TimedPlan]:
    """The cheapest plans of every target, run."""
    chosen: dict[str, Plan] = {}
    targets = sorted({each.target for each in estimates}, reverse=True)
    for target in targets:
        best = sorted((e for e in estimates if e.target == target), key=lambda each: each.ms)
        for each in best[: max(2, _TIMED // len(targets))]:
            chosen[str(each.plan)] = each.plan
    progress.start("timing plans", len(chosen))
    found = []
    for plan in chosen.values():
        found.append(_run(snapshot, plan, sample))
        progress.advance(1)
    progress.finish()
    return found


def _run(snapshot: Snapshot, plan: Plan, sample: Sample) -> TimedPlan:
    snapshot.rank(sample.queries[:1], plan)
    recalls, times, read = [], [], []
    for i, query in enumerate(sample.queries):
        begun = time.perf_counter()
        (ranking,) = snapshot.rank(query[None], plan)
        if i < _TIMED_QUERIES:
            times.append((time.perf_counter() - begun) * 1000)
        read.append(sum(stage.bytes for stage in ranking.stages))
        if sample.wanted[i]:
            recalls.append(_recall(ranking, sample.wanted[i]))
    slow = float(np.quantile(times, 0.99))
    ram = _ram(snapshot, plan.stages[0].name) if plan.graph is None else _graph_ram(snapshot)
    recall = bootstrap_mean(np.array(recalls))
    return TimedPlan(str(plan), recall, float(np.median(times)), slow, int(np.mean(read)), ram)


def _recalls(rankings: Sequence[Ranking], sample: Sample) -> NDArray[np.float64]:
    """The recall of every query that wants something."""
    pairs = zip(rankings, sample.wanted, strict=True)
    return np.array([_recall(found, wanted) for found, wanted in pairs if wanted])


def _recall(ranking: Ranking, wanted: set[int]) -> float:
    return len(wanted & set(ranking.rows.tolist())) / len(wanted)


def _most(plan: Plan, k: int) -> int:
    return k if len(plan.stages) == 1 else min(k, plan.stages[-2].keep)


def _best(candidates: Sequence[TimedPlan], wish: PlanWish) -> tuple[TimedPlan, bool]:
    """The plan to take, and whether it keeps the wish."""
    if wish.budget_ms is not None:
        within = [each for each in candidates if each.ms <= wish.budget_ms]
        if not within:
            return min(candidates, key=lambda each: each.ms), False
        return max(within, key=lambda each: (each.recall.value, -each.ms)), True
    reached = [each for each in candidates if each.recall.value >= wish.recall]
    if not reached:
        return max(candidates, key=lambda each: (each.recall.value, -each.ms)), False
    return min(reached, key=lambda each: each.ms), True
