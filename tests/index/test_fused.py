"""Compiled scans against the plain one, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray

from nestvec.index import fused, kernels, kernels_shuffles
from nestvec.index.bit_slices import bit_slices
from nestvec.index.kernels_shuffles import LIMITS, SHUFFLED_ROWS, below_limits
from nestvec.index.quantized_tables import by_deficits, by_fours
from nestvec.index.runs import CodeRun, PlaneRun, SignRun
from nestvec.index.scan import Shortlist, scan, sign_scores

METRICS = ("cosine", "dot", "l2")


def planes_of(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    blocks = -(-len(codes) // 1024)
    padded = np.zeros((blocks * 1024, codes.shape[1]), np.uint8)
    padded[: len(codes)] = codes
    return np.ascontiguousarray(padded.reshape(blocks, 1024, -1).transpose(0, 2, 1))


def both(
    material: Any,
    queries: NDArray[np.float32],
    rows: NDArray[np.int64],
    seqs: NDArray[np.int64],
    cut: int,
    keep: int,
    ends: tuple[int, ...],
    alive: NDArray[np.bool_] | None,
) -> tuple[list[Shortlist], list[Shortlist]]:
    """The compiled and the plain scan of the same rows, in fragments that end at ends."""
    codec, codes = material.codec, material.codes[rows]
    packed = material.facts[f"norm_{cut}"][rows] if cut in codec.cuts else None
    exact = None if packed is not None else codec.norms(codes, cut)
    norms = exact if packed is None else codec.unpack_norms(packed, cut)
    lengths = material.facts["length"][rows] if codec.metric != "cosine" else None
    prepared = codec.prepare(queries)
    compiled, plain = [], []
    start = 0
    for end in ends:
        part = slice(start, end)
        own = None if lengths is None else lengths[part]
        some = slice(None) if alive is None else alive[part]
        compiled.append(
            PlaneRun(
                start,
                end - start,
                planes_of(codes[part]),
                None if packed is None else packed[part],
                None if exact is None else exact[part],
                own,
                seqs[part],
                None if alive is None else alive[part],
            )
        )
        plain.append(
            CodeRun(
                np.arange(start, end)[some],
                codes[part, :cut][some],
                norms[part][some],
                None if own is None else own[some],
                seqs[part][some],
            )
        )
        start = end
    found = fused.scan_planes(codec, prepared, compiled, len(rows), cut, keep)
    return found, scan(codec, prepared, plain, cut, keep)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("spec", ["12xcb16", "19xcb8"])
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_compiled_scan_finds_what_the_plain_one_does(
    make: Callable[..., Any], metric: str, spec: str, data: st.DataObject
) -> None:
    material = make(300, metric, spec)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n = data.draw(st.sampled_from([1, 2, 15, 17, 1023, 1024, 1025, 2500]))
    # rows stand there several times: ties go to the smaller seq
    rows = rng.integers(0, data.draw(st.sampled_from([1, 3, 300])), n)
    seqs = rng.permutation(n).astype(np.int64)
    queries = rng.standard_normal((data.draw(st.integers(1, 5)), 16)).astype(np.float32)
    cut = data.draw(st.sampled_from(list(material.codec.level_ends)))
    keep = data.draw(st.sampled_from([1, 2, 10, n, n + 5]))
    ends = (n // 3, n) if n > 2 and data.draw(st.booleans()) else (n,)
    alive = rng.random(n) < 0.5 if data.draw(st.booleans()) else None
    with pytest.MonkeyPatch.context() as patch:
        if data.draw(st.booleans(), "without shuffles"):
            patch.setattr(fused, "SHUFFLES", False)
        if data.draw(st.booleans(), "threads"):
            patch.setattr(fused, "_FEW_LOOK_UPS", 0)
            patch.setattr(fused, "_HELD_ENTRIES", 8 * keep)
        if data.draw(st.booleans(), "sampled"):
            patch.setattr(fused, "_FEWEST_SAMPLED", 0)
            patch.setattr(fused, "_EVERY", data.draw(st.sampled_from([1, 2])))
        found, expected = both(material, queries, rows, seqs, cut, keep, ends, alive)
    assert len(found) == len(expected) == len(queries)
    for one, other in zip(found, expected, strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        assert one.seqs.tolist() == other.seqs.tolist()
        assert one.sums.tolist() == other.sums.tolist()
        assert one.scores.tolist() == other.scores.tolist()


@given(
    st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 2.0]), min_size=1, max_size=200),
    st.integers(1, 220),
    st.randoms(),
)
def test_narrow_moves_the_best_to_the_front_and_the_worst_of_them_last(
    values: list[float], keep: int, random: Any
) -> None:
    n = len(values)
    scores = np.array(values, np.float32)
    seqs = np.random.default_rng(random.getrandbits(32)).permutation(n).astype(np.int64)
    rows = np.arange(n)
    order = sorted(range(n), key=lambda i: (-values[i], seqs[i]))
    held = [scores.copy(), scores * 2, seqs.copy(), rows]
    left = kernels.narrow(*held, n, keep)
    assert left == min(keep, n)
    assert set(rows[:left].tolist()) == set(order[:left])
    if keep <= n:
        assert rows[keep - 1] == order[keep - 1]
    np.testing.assert_array_equal(held[0], scores[rows])
    np.testing.assert_array_equal(held[1], scores[rows] * 2)
    np.testing.assert_array_equal(held[2], seqs[rows])


def test_only_codebooks_from_the_first_byte_on_are_scanned_so(make: Callable[..., Any]) -> None:
    ladder = make(300, "cosine", "12xcb16").codec
    assert fused.fits(ladder, 4)
    assert fused.fits(ladder, 12)
    mixed = make(300, "cosine", "4xcb16+int8").codec
    assert fused.fits(mixed, 4)
    assert not fused.fits(mixed, mixed.bytes)
    assert not fused.fits(make(300, "cosine", "sign16+4xcb16").codec, 3)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_signs_by_counting_bits(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n, width = data.draw(st.sampled_from([1, 7, 1024, 2100])), data.draw(st.integers(1, 50))
    signs = rng.integers(0, data.draw(st.sampled_from([2, 256])), (n, width)).astype(np.uint8)
    planes = data.draw(st.sampled_from([1, 2, 4, 8]))
    queries = rng.integers(0, 256, (3, planes, width)).astype(np.uint8)
    seqs = rng.permutation(n).astype(np.int64)
    keep = data.draw(st.sampled_from([1, 10, n + 1]))
    alive = rng.random(n) < 0.7 if data.draw(st.booleans()) else np.ones(n, bool)
    ends = (0, n // 2, n) if n > 2 and data.draw(st.booleans()) else (0, n)
    runs = [
        SignRun(
            a, 8 * width, bit_slices(signs[a:b]), seqs[a:b], None if alive.all() else alive[a:b]
        )
        for a, b in pairwise(ends)
    ]
    with pytest.MonkeyPatch.context() as patch:
        if data.draw(st.booleans(), "threads"):
            patch.setattr(fused, "_FEW_SIGN_BYTES", 0)
            patch.setattr(fused, "_HELD_ENTRIES", 8 * keep)
        if data.draw(st.booleans(), "sampled"):
            patch.setattr(fused, "_FEWEST_SAMPLED", 0)
            patch.setattr(fused, "_EVERY", data.draw(st.sampled_from([1, 2])))
        found = fused.scan_signs(runs, queries, n, keep)
    bits = 8 * width
    for query, shortlist in zip(queries, found, strict=True):
        scores = np.zeros(n, int)
        for j in range(planes):
            differing = np.unpackbits(signs ^ query[j], axis=1).sum(axis=1).astype(int)
            scores += 2**j * (bits - 2 * differing)
        np.testing.assert_array_equal(sign_scores(signs, query), scores)
        order = sorted(np.flatnonzero(alive), key=lambda i: (-scores[i], seqs[i]))[:keep]
        assert shortlist.rows.tolist() == order
        assert shortlist.seqs.tolist() == seqs[order].tolist()
        assert shortlist.scores.tolist() == scores[order].tolist()
        assert not shortlist.sums.any()


def test_a_sample_that_is_better_than_the_rest_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    query = rng.integers(0, 256, 32).astype(np.uint8)
    signs = rng.integers(0, 256, (24 * 256, 32)).astype(np.uint8)
    groups = signs.reshape(24, 256, 32)
    for group in range(24):
        if (group + group // 16) % 2 == 0:  # those that are sampled
            groups[group, :, :24] = query[:24]
    run = SignRun(0, 256, bit_slices(signs), np.arange(len(signs)))
    monkeypatch.setattr(fused, "_FEWEST_SAMPLED", 0)
    monkeypatch.setattr(fused, "_EVERY", 2)
    monkeypatch.setattr(fused, "_SAMPLED_BEST", 400)
    scans = []
    real = fused.kernels_signs.scan_lane

    def counted(*arguments: Any) -> None:
        scans.append(arguments[-1])
        real(*arguments)

    monkeypatch.setattr(fused.kernels_signs, "scan_lane", counted)
    other = rng.integers(0, 256, 32).astype(np.uint8)
    found = fused.scan_signs([run], np.stack([other, query])[:, None], len(signs), 400)
    assert scans == [2, 0, 0]  # the sample, too few rows above what it says, and all again
    for one, asked in zip(found, (other, query), strict=True):
        scores = sign_scores(signs, asked[None])
        order = np.lexsort((np.arange(len(signs)), -scores))[:400]
        assert one.rows.tolist() == order.tolist()


@pytest.mark.parametrize("queries", [1, 3])
def test_a_sample_of_few_groups_loses_no_row(monkeypatch: pytest.MonkeyPatch, queries: int) -> None:
    rng = np.random.default_rng(1)
    signs = rng.integers(0, 256, (70_000, 8)).astype(np.uint8)
    monkeypatch.setattr(fused, "_FEWEST_GROUPS", 1)
    asked = rng.integers(0, 256, (queries, 8)).astype(np.uint8)
    run = SignRun(0, 64, bit_slices(signs), np.arange(len(signs)))
    scans = []
    real = fused.kernels_signs.scan_lane

    def counted(*arguments: Any) -> None:
        scans.append(arguments[-1])
        real(*arguments)

    monkeypatch.setattr(fused.kernels_signs, "scan_lane", counted)
    found = fused.scan_signs([run], asked[:, None], len(signs), 500)
    assert scans == [48, 0]  # 16 * (500 // 128) groups, then all
    for one, query in zip(found, asked, strict=True):
        scores = sign_scores(signs, query[None])
        order = np.lexsort((np.arange(len(signs)), -scores))[:500]
        assert one.rows.tolist() == order.tolist()


def test_slices_begin_with_a_cache_line() -> None:
    for n in (1, 5_000):
        slices = bit_slices(np.zeros((n, 32), np.uint8))
        assert slices.ctypes.data % 64 == 0
        assert slices.flags.c_contiguous


@settings(deadline=None)
@given(st.data())
def test_bounds_of_four_are_above_every_sum_and_near_it(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    q, width = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 70))
    scale = data.draw(st.sampled_from([1e-6, 1.0, 1e4]))
    offset = data.draw(st.sampled_from([0.0, 1.0, -50.0]))
    tables = ((rng.standard_normal((q, width, 16)) + offset) * scale).astype(np.float32)
    fours, bounds = by_fours(tables)
    words = rng.integers(0, 16, (40, width))
    words[0] = tables[0].argmax(axis=1)  # the largest sum there is
    looked_up = fours[:, np.arange(width), words].sum(axis=2, dtype=np.uint64)
    for query in range(q):
        bits = (looked_up[query // 4] >> np.uint64(16 * (query % 4))) & np.uint64(65535)
        most = bits.astype(np.float32) * bounds[query, 0] + bounds[query, 1]
        sums = np.zeros(40, np.float32)
        for j in range(width):
            sums += tables[query, j, words[:, j]]
        assert (most >= sums).all()
        spread = (tables[query].max(axis=1) - tables[query].min(axis=1)).sum()
        size = np.abs(tables[query]).max(axis=1).sum()
        assert (most - sums <= spread * width / 30_000 + (size + spread) * (width + 5) * 1e-6).all()


@settings(deadline=None)
@given(st.data())
def test_a_sum_is_at_most_what_its_deficits_leave_of_the_largest(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    q, width = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 70))
    scale = data.draw(st.sampled_from([1e-6, 1.0, 1e4]))
    offset = data.draw(st.sampled_from([0.0, 1.0, -50.0]))
    tables = ((rng.standard_normal((q, width, 16)) + offset) * scale).astype(np.float32)
    deficits, bounds = by_deficits(tables)
    words = rng.integers(0, 16, (40, width))
    words[0] = tables[0].argmax(axis=1)  # the largest sum there is
    for query in range(q):
        sums = np.zeros(40, np.float32)
        for j in range(width):
            sums += tables[query, j, words[:, j]]
        step, top = bounds[query].astype(float)
        behind = deficits[query, np.arange(width), words].astype(int).sum(axis=1)
        kept = (deficits[query, np.arange(width), words] < 255).all(axis=1)
        assert (sums <= top - step * behind).all()
        assert (behind[sums > 0] < 254).all()
        assert (sums >= top - step * (behind + width + 1e-3) - 1e-4 * abs(top))[kept].all()


def test_deficits_worked_by_hand() -> None:
    tables = np.array([[[3.0, 2.0, -9.0], [2.06, 0.0, 1.0]]], np.float32)
    deficits, bounds = by_deficits(tables)
    # 5.06 in 253 steps of .02: 1 is 50 of them less what rounding may take, 12 more than 255
    np.testing.assert_allclose(bounds, [[0.02, 5.06]], rtol=1e-4)
    assert deficits.tolist() == [[[0, 49, 255], [0, 102, 52]]]


@pytest.mark.parametrize("shuffles", sorted({False, kernels_shuffles.SHUFFLES}))
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_rows_whose_look_ups_stay_below_their_limits(
    find_below: dict[bool, Callable[..., int]], shuffles: bool, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    width = data.draw(st.integers(0, 9))
    planes = rng.integers(0, 256, (max(width, 1), 128), np.uint8)
    tables = rng.integers(0, data.draw(st.sampled_from([2, 60, 256])), (max(width, 1), 256))
    tables, limits = tables.astype(np.uint8), rng.integers(0, 256, LIMITS, np.uint8)
    norms = rng.integers(0, 256, SHUFFLED_ROWS, np.uint8)
    found = find_below[shuffles](tables, width, limits, planes[:, 17:], norms)
    some = planes[:width, 17 : 17 + SHUFFLED_ROWS]
    sums = tables[np.arange(width)[:, None], some].astype(int).sum(axis=0)
    below = np.minimum(sums, 255) < limits[norms >> 4]
    assert [found >> i & 1 for i in range(SHUFFLED_ROWS)] == below.astype(int).tolist()


@pytest.fixture(scope="module")
def find_below() -> dict[bool, Callable[..., int]]:
    """below_limits by shuffles, where this CPU has them, and byte by byte."""
    found: dict[bool, Callable[..., int]] = {}
    for shuffles in {False, kernels_shuffles.SHUFFLES}:

        @njit
        def find(tables: Any, width: Any, limits: Any, planes: Any, norms: Any) -> Any:
            return below_limits(
                tables.ctypes.data,
                width,
                limits.ctypes.data,
                planes.ctypes.data,
                planes.strides[0],
                norms.ctypes.data,
            )

        arrays = np.zeros((1, 256), np.uint8), 1, np.zeros(LIMITS, np.uint8)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernels_shuffles, "SHUFFLES", shuffles)
            find(*arrays, np.zeros((1, 128), np.uint8)[:, 17:], np.zeros(64, np.uint8))
        found[shuffles] = find
    return found
