from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats

from nestvec.errors import UserError
from nestvec.measure.intervals import (
    Interval,
    better,
    bootstrap_mean,
    bootstrap_means,
    non_inferior,
    paired_difference,
    paired_ratio,
)


def test_value_is_the_mean_and_lies_inside() -> None:
    values = np.random.default_rng(0).random(200)
    interval = bootstrap_mean(values)
    assert interval.value == pytest.approx(values.mean())
    assert interval.low < interval.value < interval.high
    assert interval.n == 200


def test_a_seed_gives_the_same_interval_and_another_nearly_so() -> None:
    values = np.random.default_rng(1).random(300)
    assert bootstrap_mean(values, seed=5) == bootstrap_mean(values, seed=5)
    one, two = bootstrap_mean(values, seed=5), bootstrap_mean(values, seed=6)
    assert one != two
    assert one.low == pytest.approx(two.low, abs=0.003)


def test_parity_with_scipy() -> None:
    values = np.random.default_rng(2).exponential(size=150)
    ours = bootstrap_mean(values, draws=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=0, batch=1000
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.01)
    assert ours.high == pytest.approx(theirs.high, abs=0.01)


def test_two_values_by_hand() -> None:
    # means of two draws of {0, 1}: 0 (1/4), 1/2 (1/2), 1 (1/4)
    assert bootstrap_mean(np.array([0.0, 1.0])) == Interval(0.5, 0.0, 1.0, 2)
    narrow = bootstrap_mean(np.array([0.0, 1.0]), level=0.4)
    assert (narrow.low, narrow.high) == (0.5, 0.5)


def test_columns_share_draws_and_equal_one_by_one() -> None:
    table = np.random.default_rng(3).random((120, 4))
    together = bootstrap_means(table, seed=9)
    for column, interval in enumerate(together):
        alone = bootstrap_mean(table[:, column], seed=9)
        assert interval.low == pytest.approx(alone.low, abs=1e-12)
        assert interval.high == pytest.approx(alone.high, abs=1e-12)


def test_blocks_of_draws_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.random.default_rng(4).random((50, 2))
    whole = bootstrap_means(table, draws=500)
    monkeypatch.setattr("nestvec.measure.intervals._BLOCK_CELLS", 50 * 7)
    # a product of another shape may round its last bit otherwise
    for ours, theirs in zip(bootstrap_means(table, draws=500), whole, strict=True):
        assert asdict(ours) == pytest.approx(asdict(theirs), rel=1e-12)


def test_pairing_narrows_the_interval() -> None:
    rng = np.random.default_rng(5)
    hardness = rng.random(400)
    a, b = hardness + 0.02 + 0.01 * rng.standard_normal(400), hardness
    paired = paired_difference(a, b)
    assert better(paired)
    assert paired.high - paired.low < (lambda i: i.high - i.low)(bootstrap_mean(a)) / 10


def test_equal_sides_are_non_inferior_but_not_better() -> None:
    a = np.random.default_rng(6).random(50)
    same = paired_difference(a, a)
    assert same == Interval(0.0, 0.0, 0.0, 50)
    assert non_inferior(same)
    assert not better(same)


def test_too_few_queries_prove_nothing() -> None:
    certain = Interval(0.5, 0.5, 0.5, 3)
    assert not better(certain)
    assert not non_inferior(certain)


def test_margin_is_the_border() -> None:
    assert non_inferior(Interval(0.0, -0.0099, 0.1, 100))
    assert not non_inferior(Interval(0.0, -0.01, 0.1, 100))
    assert non_inferior(Interval(0.0, -0.01, 0.1, 100), margin=0.02)


def test_a_ratio_keeps_its_share() -> None:
    b = np.random.default_rng(7).random(80)
    interval = paired_ratio(0.9 * b, b)
    assert interval.value == pytest.approx(0.9)
    assert interval.low == pytest.approx(0.9)
    assert interval.high == pytest.approx(0.9)


def test_a_ratio_leaves_out_draws_without_quality() -> None:
    b = np.array([1.0, 0.0, 0.0])
    interval = paired_ratio(b / 2, b)
    assert (interval.value, interval.low, interval.high) == (0.5, 0.5, 0.5)


def test_bad_input() -> None:
    with pytest.raises(UserError, match="at least one query"):
        bootstrap_mean(np.array([]))
    with pytest.raises(ValueError, match=r"got \(3,\) and \(2,\)"):
        paired_difference(np.ones(3), np.ones(2))
    with pytest.raises(UserError, match="quality 0 in all 4 queries"):
        paired_ratio(np.ones(4), np.zeros(4))
