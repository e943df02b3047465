"""What a cascade is compared with: costs and accuracies by hand, shares as a Cascade keeps them."""

import numpy as np
import pytest

from nestvec.choose.cascade import Cascade
from nestvec.choose.cascade_curves import (
    CHANCE,
    CHOSEN,
    KEPT,
    ONE,
    ORACLE,
    Steps,
    class_gains,
    cost_points,
    kept_thresholds,
    trust,
)
from nestvec.choose.thresholds import stops_at

WIDTHS = (2, 4, 8)


def logits_of(seed, rows=150, classes=4):
    """Logits that tell more the wider they are, and their labels."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, rows)
    found = {
        width: rng.standard_normal((rows, classes)) + width * np.eye(classes)[truth] / 3
        for width in WIDTHS
    }
    return found, truth


@pytest.fixture(scope="module")
def points():
    tuned, told = logits_of(0), logits_of(1)
    cascade = Cascade("keep", counted="sum").fit(*tuned)
    chosen = cascade.thresholds_, cascade.temperatures_.tolist(), cascade.confidence
    return cascade, told, cost_points(WIDTHS, *tuned, *told, chosen, "sum")


def of(points, way):
    return [each for each in points if each.way == way]


@pytest.mark.parametrize("counted", ["sum", "last"])
def test_shares_are_kept_as_a_cascade_keeps_them(counted):
    logits, truth = logits_of(0)
    steps = Steps.of(logits, truth, [1.0] * 3)
    kept = kept_thresholds(steps, np.array(WIDTHS, float), counted, (1.0, 0.97))
    for share, limits in kept.items():
        cascade = Cascade("keep", target=share, counted=counted).fit(logits, truth)
        assert limits.tolist() == cascade.thresholds_.tolist()


def test_points_are_what_the_cascade_gives(points):
    cascade, (logits, truth), found = points
    (own,) = of(found, CHOSEN)
    stopped = cascade.run(logits)
    assert own.accuracy.value == pytest.approx((stopped.labels == truth).mean())
    assert own.last == pytest.approx(stopped.widths.mean())
    assert own.sum == pytest.approx(cascade.cost(stopped, "sum").mean())
    assert of(found, KEPT)[0].sum == pytest.approx(own.sum)
    singles = of(found, ONE)
    assert [(each.detail, each.last, each.sum) for each in singles] == [
        ("2", 2, 2), ("4", 4, 4), ("8", 8, 8),
    ]  # fmt: skip
    for each in singles:
        right = logits[int(each.detail)].argmax(axis=1) == truth
        assert each.accuracy.value == pytest.approx(right.mean())


def test_the_oracle_is_at_or_above_all_and_chance_as_dear_as_the_cascade(points):
    _, (logits, truth), found = points
    (best,) = of(found, ORACLE)
    assert best.accuracy.value >= max(each.accuracy.value for each in found)
    for kept, chance in zip(of(found, KEPT), of(found, CHANCE), strict=True):
        assert (chance.last, chance.sum) == (kept.last, kept.sum)
    shares = np.array([logits[w].argmax(axis=1) == truth for w in WIDTHS]).mean(axis=1)
    for chance in of(found, CHANCE):
        assert shares.min() - 1e-9 <= chance.accuracy.value <= shares.max() + 1e-9


def test_gains_of_classes_by_hand():
    right = np.array([[True, False, False, False], [True, True, True, False]])
    steps = Steps(np.full((2, 4), 0.5), right)
    found = class_gains((2, 8), steps, np.array([0, 1, 0, 1]), np.array([0, 0, 2, 2]), "abc")
    assert [each.name for each in found] == ["a", "c"]
    first, second = found
    assert (first.rows, first.narrow, first.full, first.cascade) == (2, 0.5, 1.0, 1.0)
    assert (first.gain.value, first.mean_width) == (0.5, 5.0)
    assert (second.narrow, second.full, second.cascade) == (0.0, 0.5, 0.0)


def test_trust_is_of_each_width(points):
    _, (logits, truth), _ = points
    steps = Steps.of(logits, truth, [1.0] * 3)
    found = trust(WIDTHS, steps)
    assert [each.width for each in found] == list(WIDTHS)
    for i, each in enumerate(found):
        assert each.surest[-1] == pytest.approx(steps.right[i].mean())
        assert 0 <= each.error <= 1
    assert stops_at(np.ones(2), steps.sure).tolist() == [2] * len(truth)
