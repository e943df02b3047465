"""A router: what it reads of scores, what it widens, and when the judge refuses it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nestvec.choose.router import (
    FEATURES,
    TEMPERATURE,
    Costs,
    Router,
    agreement,
    order_statistics,
)
from nestvec.errors import UserError

COSTS = Costs(narrow=1.0, wide=10.0)


def planted(seed, n=500, share=0.3, k=3, telling=True):
    """Queries of which a share is lost by the narrow plan; their scores hardly fall, if telling."""
    rng = np.random.default_rng(seed)
    lost = rng.random(n) < share
    flat = lost if telling else rng.random(n) < share
    steps = np.where(flat, 0.01, 0.05)[:, None] * rng.uniform(0.5, 1.5, (n, 2 * k))
    scores = 0.9 - np.cumsum(steps, axis=1)
    wide = rng.uniform(0.7, 1.0, n)
    return scores, wide - 0.4 * lost, wide, lost


def test_features_by_hand():
    scores = np.array([[0.9, 0.8, 0.6, 0.5], [0.5, 0.5, 0.5, 0.5]])
    found = dict(zip(FEATURES, order_statistics(scores, 2).T, strict=True))
    np.testing.assert_allclose(found["first"], [0.9, 0.5])
    np.testing.assert_allclose(found["to second"], [0.1, 0], atol=1e-12)
    np.testing.assert_allclose(found["to k"], [0.1, 0], atol=1e-12)
    np.testing.assert_allclose(found["at the edge"], [0.2, 0], atol=1e-12)
    np.testing.assert_allclose(found["to last"], [0.4, 0], atol=1e-12)
    np.testing.assert_allclose(found["spread"], [0.05, 0], atol=1e-12)
    weights = np.exp(-np.array([0, 0.1, 0.3, 0.4]) / TEMPERATURE)
    shares = weights / weights.sum()
    np.testing.assert_allclose(found["entropy"], [-(shares @ np.log(shares)) / np.log(4), 1])


def test_agreement_by_hand():
    hits = np.array([[1, 2, 3, 4], [5, 6, -1, -1]])
    other = np.array([[4, 9, 1, 8], [6, -1, -1, -1]])
    assert agreement(hits, other).tolist() == [0.5, 0.25]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), shift=st.floats(-1, 1))
def test_features_but_the_first_do_not_depend_on_a_shift(seed, shift):
    scores = -np.sort(-np.random.default_rng(seed).normal(size=(4, 8)), axis=1)
    one, other = order_statistics(scores, 3), order_statistics(scores + shift, 3)
    np.testing.assert_allclose(one[:, 1:], other[:, 1:], atol=1e-9)
    assert ((one[:, -1] >= 0) & (one[:, -1] <= 1 + 1e-12)).all()


def test_planted_queries_are_found_and_it_pays():
    scores, narrow, wide, _ = planted(0)
    router = Router(k=3).fit(scores, narrow, wide)
    scores, narrow, wide, lost = planted(1)
    widened = router.decide(scores)
    assert widened[lost].mean() > 0.95
    assert widened[~lost].mean() < 0.1
    told = router.report(scores, narrow, wide, COSTS)
    assert told.pays, told.reason
    routed = np.where(widened, wide, narrow)
    assert told.quality.value == pytest.approx(routed.mean())
    assert told.cost == pytest.approx(1 + widened.mean() * 10)
    # the same mean cost without a narrow ranking first: 1 - p + 10 p
    drawn = widened.mean() * 10 / 9
    assert 1 - drawn + 10 * drawn == pytest.approx(told.cost)
    assert told.at_random == pytest.approx(drawn * wide.mean() + (1 - drawn) * narrow.mean())
    assert told.over_random.value == pytest.approx(told.quality.value - told.at_random)


def test_noise_is_refused():
    scores, narrow, wide, _ = planted(2, telling=False)
    router = Router(k=3).fit(scores, narrow, wide)
    told = router.report(*planted(3, telling=False)[:3], COSTS)
    assert not told.pays


def test_a_narrow_plan_that_loses_nothing_is_left_alone():
    scores, narrow, wide, _ = planted(4, share=0.0)
    router = Router(k=3).fit(scores, narrow, wide)
    assert not router.decide(scores).any()
    assert "narrow plan alone" in router.report(scores, narrow, wide, COSTS).reason


def test_a_narrow_plan_that_always_loses_is_always_widened():
    scores, narrow, wide, _ = planted(5, share=1.0)
    router = Router(k=3).fit(scores, narrow, wide)
    assert router.decide(scores).all()
    told = router.report(scores, narrow, wide, COSTS)
    assert (told.pays, told.reason) == (False, "the wide plan alone costs no more")


def test_one_that_is_dear_is_refused():
    scores, narrow, wide, _ = planted(6)
    router = Router(k=3).fit(scores, narrow, wide)
    told = router.report(scores, narrow, wide, Costs(narrow=8.0, wide=10.0))
    assert (told.pays, told.reason) == (False, "the wide plan alone costs no more")


def test_a_harder_target_widens_more():
    scores, narrow, wide, _ = planted(7)
    noisy = np.clip(scores + np.random.default_rng(0).normal(scale=0.02, size=(500, 1)), 0, 1)
    noisy -= np.arange(6) * np.random.default_rng(1).uniform(0, 0.03, (500, 1))
    shares = [Router(k=3, margin=m).fit(noisy, narrow, wide).share_ for m in (0.1, 0.05, 0.01)]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_further_features_count():
    scores, narrow, wide, lost = planted(8, telling=False)
    rng = np.random.default_rng(0)
    more = np.where(lost, 0.2, 0.8) + rng.normal(scale=0.1, size=len(lost))
    router = Router(k=3).fit(scores, narrow, wide, more)
    assert (router.decide(scores, more) == lost).mean() > 0.95
    with pytest.raises(UserError, match="in both or in neither"):
        router.decide(scores)


def test_it_says_what_is_wrong():
    scores, narrow, wide, _ = planted(9, n=40)
    with pytest.raises(UserError, match="Rank 2 k rows"):
        Router(k=6).fit(scores, narrow, wide)
    with pytest.raises(UserError, match="fall from hit to hit"):
        Router(k=3).fit(scores[:, ::-1], narrow, wide)
    with pytest.raises(UserError, match="a number a query"):
        Router(k=3).fit(scores, narrow[:-1], wide)
    with pytest.raises(UserError, match="10 queries at least"):
        Router(k=3).fit(scores[:9], narrow[:9], wide[:9])
    with pytest.raises(UserError, match="finite number"):
        Router(k=3).fit(scores, narrow * np.nan, wide)
    with pytest.raises(UserError, match="a row a query"):
        Router(k=3).fit(scores, narrow, wide, np.zeros(3))


def test_settings_are_those_of_scikit_learn():
    router = Router(k=5, margin=0.02)
    assert Router(**router.get_params()).get_params() == router.get_params()
