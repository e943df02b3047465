from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nestvec.errors import UserError
from nestvec.index.plan import Plan, Stage


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    amounts = sorted(draw(st.sets(st.integers(1, 4096), max_size=3)))
    widths = sorted(draw(st.sets(st.integers(1, 4096), max_size=3)))
    bits = sorted(draw(st.sets(st.integers(1, 8), max_size=2)))
    names = (
        [("sign", b) for b in bits]
        + [("bytes", a) for a in amounts]
        + [("dims", w) for w in widths]
    )
    if draw(st.booleans()) or not names:
        names.append(("raw", 0))
    size = len(names)
    keeps = sorted(draw(st.lists(st.integers(1, 10**6), min_size=size, max_size=size)))[::-1]
    probe = draw(st.none() | st.integers(1, 10**4))
    graph = None if probe else draw(st.none() | st.integers(keeps[0], 10**7))
    stages = tuple(Stage(kind, a, k) for (kind, a), k in zip(names, keeps, strict=True))
    sure = draw(st.none() | st.sampled_from([0.5, 2.0, 3.25])) if size > 1 else None
    return Plan(stages, probe, graph, sure)


@given(plans())
def test_every_plan_reads_back_as_itself(plan: Plan) -> None:
    assert Plan.parse(str(plan)) == plan
    assert str(Plan.parse(str(plan))) == str(plan)


def test_parse_gives_stages_and_the_default_k() -> None:
    plan = Plan.parse(" 8B:2000, 32B:200,64d:50,raw:10")
    assert plan.stages == (
        Stage("bytes", 8, 2000),
        Stage("bytes", 32, 200),
        Stage("dims", 64, 50),
        Stage("raw", 0, 10),
    )
    assert plan.k == 10
    assert plan.code_bytes == 32
    assert str(plan) == "8B:2000,32B:200,64d:50,raw:10"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a plan is stages"),
        ("8B", "'8B'"),
        ("8b:10", "'8b:10'"),
        ("0B:10", "'0B:10'"),
        ("8B:0", "'8B:0'"),
        ("raw", "'raw'"),
        ("8B:10,", "''"),
        ("sign0:10", "'sign0:10'"),
        ("sign9:10", "'sign9:10'"),
        ("sign", "'sign'"),
        ("8B:100,sign:10", "sign, then B stages"),
        ("sign4:100,sign:10", "amounts rising"),
        ("probe=0;8B:10", "'probe=0'"),
        ("16;8B:10", "'16'"),
        ("probe=16;", "''"),
        ("probe=16;exact:10", "leave out probe=16"),
        ("graph=0;8B:10", "'graph=0'"),
        ("probe=2,probe=3;8B:10", "'probe=3'"),
        ("sure=0;8B:20,raw:10", "below 100; got 0"),
        ("sure=x;8B:20,raw:10", "'sure=x'"),
        ("sure=3;raw:10", "leave out sure=3"),
        ("sure=3;exact:10", "leave out sure=3"),
        ("graph=16;exact:10", "leave out graph=16"),
        ("graph=16;8B:20,raw:10", "Try graph=20 or more"),
        ("graph=16;probe=4;8B:10", "'probe=4;8B:10'"),
        ("auto", "'auto'"),
        ("exact:0", "'exact:0'"),
        ("exact:10,raw:5", "Try exact:5"),
        ("8B:10,32B:20", "32B:10"),
        ("32B:100,8B:10", "amounts rising"),
        ("raw:100,8B:10", "then raw"),
        ("8B:100,8B:10", "8B:10 after 8B:100"),
        ("raw:100,raw:10", "raw:10 after raw:100"),
    ],
)
def test_a_wrong_plan_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        Plan.parse(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def check(text: str, ends: tuple[int, ...] = (1, 2, 4, 8), vectors: bool = True) -> None:
    Plan.parse(text).check(code_bytes=ends[-1], level_ends=ends, dim=16, has_vectors=vectors)


def test_check_accepts_what_a_collection_can_run() -> None:
    check("4B:10,8B:10,16d:5,raw:1")
    check("4B:10,8B:10", vectors=False)


@pytest.mark.parametrize(
    ("text", "vectors", "says"),
    [
        ("9B:10", True, "Try 8B:10"),
        ("3B:10", True, "Try 2B:10 or 4B:10"),
        ("raw:10", False, "Use a plan of B stages such as 8B:10"),
        ("4d:10", False, "reads stored vectors"),
        ("17d:10", True, "Try raw:10"),
    ],
)
def test_check_names_the_remedy(text: str, vectors: bool, says: str) -> None:
    with pytest.raises(UserError, match=says):
        check(text, vectors=vectors)


def test_a_cut_below_the_first_level_names_only_the_next() -> None:
    with pytest.raises(UserError, match=r"Try 32B:10\.$"):
        check("8B:10", ends=(32, 33))


def test_k_overrides_within_the_stage_before() -> None:
    plan = Plan.parse("8B:100,raw:10")
    assert str(plan.with_k(100)) == "8B:100,raw:100"
    assert str(Plan.parse("8B:10").with_k(5000)) == "8B:5000"
    with pytest.raises(UserError, match="at most 100"):
        plan.with_k(101)
    with pytest.raises(UserError, match="at least 1; got 0"):
        plan.with_k(0)


def test_bytes_read_by_hand() -> None:
    plan = Plan.parse("8B:2000,31B:200,raw:10")
    cosine = plan.bytes_read(
        rows=10_000, dim=384, metric="cosine", cuts=(4, 8, 12), vector_itemsize=2
    )
    assert cosine == (10_000 * 9, 2000 * (23 + 4), 200 * 768)
    dot = plan.bytes_read(rows=1000, dim=384, metric="dot", cuts=(8, 31), vector_itemsize=4)
    assert dot == (1000 * 13, 1000 * (23 + 1 + 4), 200 * 1540)
    widths = Plan.parse("64d:5,raw:1")
    assert widths.bytes_read(rows=9, dim=384, metric="l2", cuts=(), vector_itemsize=2) == (
        9 * 260,
        5 * 772,
    )
