import json

import numpy as np
import pytest

from nestvec.choose.cheapest import Choice, Wish, break_even_rows, choose
from nestvec.choose.compare import halves
from nestvec.choose.evidence import Cell, Evidence
from nestvec.choose.relevance import QueryTask
from nestvec.errors import UserError
from nestvec.measure.intervals import Interval
from nestvec.measure.metrics import Relevance

Q = 60


def _task():
    return QueryTask(
        np.ones((Q, 2), np.float32),
        Relevance.from_gains([{i: 1.0} for i in range(Q)]),
        "nDCG@10",
        "labels",
        tuple(map(str, range(Q))),
    )


def _evidence(sizes, noise=0.0, documents=1000):
    """sizes: (method, bytes, codec bytes, share of the full vectors' .8)."""
    rng = np.random.default_rng(0)
    full = np.full(Q, 0.8)
    values = np.array([0.8 * share + noise * rng.standard_normal(Q) for *_, share in sizes])
    cells = tuple(
        Cell(name, None, size, 1, codec, float(v.mean()), 0, 1, 0, 0, 0)
        for (name, size, codec, _), v in zip(sizes, values, strict=True)
    )
    whole = Interval(0.8, 0.8, 0.8, Q)
    return Evidence(
        "nDCG@10", "labels", "cosine", documents, 384, Q, whole, cells,
        values=values, full_values=full,
    )  # fmt: skip


SIZES = [
    ("32xcb", 8, 1_000_000, 0.90),
    ("32xcb", 16, 2_000_000, 0.97),
    ("32xcb", 32, 4_000_000, 0.999),
    ("64xcb16", 16, 100_000, 0.93),
    ("64xcb16", 64, 400_000, 0.996),
    ("int8", 384, 3_000, 1.0),
]


@pytest.mark.parametrize(
    ("rows", "spec", "cut"),
    # 1,000 rows: 385 kB of int8 beats every codebook; more rows pay for larger codecs
    [(1000, "int8", 384), (5000, "64xcb16", 64), (1_000_000, "32xcb", 32)],
)
def test_total_bytes_decide(rows, spec, cut):
    choice = choose(_evidence(SIZES), _task(), Wish(keep=0.99), rows=rows)
    assert choice.met
    assert choice.confirmed
    assert (choice.spec, choice.cut) == (spec, cut)
    assert str(choice.plan) == f"{cut}B:10"
    cell = choice.option
    assert cell.total_bytes == rows * (cut + 1) + cell.codec_bytes
    assert choice.queries == 30
    assert choice.by == "document"


def test_a_share_must_exceed_the_wish_by_half_an_error():
    sizes = [("32xcb", 8, 0, 0.992), ("32xcb", 16, 0, 1.0)]
    evidence = _evidence(sizes)
    assert choose(evidence, _task(), Wish(keep=0.99)).cut == 8
    # the same mean from queries that differ: .1 / .8 / sqrt(30), half of it above .002
    spread = 0.1 * np.where(np.arange(Q) % 2, 1, -1)
    split = halves(_task())
    for half in (split.choosing, split.reporting):
        spread[half] -= spread[half].mean()
    evidence.values[0] += spread
    found = choose(evidence, _task(), Wish(keep=0.99))
    assert found.cut == 16
    near = choose(evidence, _task(), Wish(keep=0.97))
    assert near.cut == 8
    assert near.option.error == pytest.approx(spread[split.choosing].std() / 0.8 / 30**0.5)


def test_a_short_cut_that_beats_the_longer_ones_is_luck():
    sizes = [("32xcb", 8, 0, 0.999), ("32xcb", 16, 0, 0.95), ("32xcb", 32, 0, 1.0)]
    assert choose(_evidence(sizes), _task(), Wish(keep=0.99)).cut == 32


def test_max_bytes_counts_codes_and_facts():
    wish = Wish(max_bytes=33)
    assert choose(_evidence(SIZES), _task(), wish, rows=10**6).cut == 32
    wish = Wish(max_bytes=32)
    assert choose(_evidence(SIZES), _task(), wish, rows=10**6).cut == 16


def test_within_max_bytes_the_cheapest_of_the_best_is_taken():
    sizes = [("32xcb", 16, 4_000_000, 0.97), ("64xcb16", 16, 100_000, 0.969)]
    choice = choose(_evidence(sizes, noise=0.1), _task(), Wish(max_bytes=48))
    assert choice.met
    assert choice.spec == "64xcb16"


def test_what_cannot_be_met_gives_the_nearest_and_what_would():
    choice = choose(_evidence(SIZES), _task(), Wish(keep=0.99, max_bytes=17), rows=10**6)
    assert not choice.met
    assert not choice.confirmed
    assert (choice.spec, choice.cut) == ("32xcb", 16)
    assert choice.beyond is not None
    assert choice.beyond.cut == 32
    assert choice.reason == (
        "Nothing measured keeps 0.99 of the full vectors' quality and takes at most 17 bytes a "
        "vector; the nearest is 32xcb at 16 + 1 bytes, which keeps 0.970; "
        "32xcb at 32 + 1 bytes would keep it."
    )
    assert choice.comparison.share is not None
    assert choice.comparison.share.value == pytest.approx(0.97)


def test_fewer_bytes_than_any_option_gives_the_smallest():
    choice = choose(_evidence(SIZES), _task(), Wish(max_bytes=2))
    assert not choice.met
    assert choice.cut == 8


def test_choice_survives_json():
    choice = choose(_evidence(SIZES), _task(), Wish(keep=0.99, max_bytes=17))
    assert Choice.from_config(json.loads(json.dumps(choice.to_config()))) == choice


def test_methods_are_matched_with_their_specs():
    sizes = [("nested", 8, 0, 0.999), ("prefix-float", 4, 0, 1.0)]
    choice = choose(_evidence(sizes), _task(), Wish(keep=0.9), specs={"nested": "8xcb"})
    assert (choice.spec, choice.option.method) == ("8xcb", "nested")
    with pytest.raises(UserError, match="needs a codec among the methods; got nested"):
        choose(_evidence(sizes), _task(), Wish())


def test_break_even_by_hand():
    # 1,536 less 33 bytes are saved a row: 6 rows save 9,018, 7 save 10,521
    assert break_even_rows(33, 10_000, 384) == 7
    assert break_even_rows(1536, 0, 384) is None


@pytest.mark.parametrize(
    ("wish", "part"),
    [({"keep": 0.0}, "got 0.0"), ({"keep": 1.5}, "got 1.5"), ({"max_bytes": 0}, "got 0")],
)
def test_wishes_are_checked(wish, part):
    with pytest.raises(UserError, match=part):
        Wish(**wish)


def test_no_wish_is_the_default():
    assert Wish().keep == 0.99
    assert Wish(max_bytes=8).keep is None
