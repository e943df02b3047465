"""A cascade: thresholds, costs, and what it reads."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nestvec.choose.cascade import Cascade
from nestvec.choose.thresholds import (
    GRID,
    best_thresholds,
    confidence,
    expected_errors,
    frontier,
    greedy,
    oracle,
    outcome,
    probabilities,
    spent,
    stops_at,
    temperature_of,
    widen,
)
from nestvec.errors import UserError


def drawn(seed, n=60, widths=(8, 16, 32, 64), classes=5):
    """Logits that are surer and more often right the wider they are, and labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    noise = rng.standard_normal((n, classes))
    return {
        width: noise + rng.standard_normal((n, classes)) + np.eye(classes)[y] * (i + 1)
        for i, width in enumerate(widths)
    }, y


def of(sure, wrong):
    return np.array(sure, float), np.array(wrong, bool)


def test_confidence_by_hand():
    logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
    np.testing.assert_allclose(confidence(logits), [0.5, 0.8])
    # at temperature 2 the numbers are roots: 1 / (1 + 2 / 2 ** .5)
    np.testing.assert_allclose(confidence(logits[:1], 2.0), [1 / (1 + 2**0.5)])


def test_a_margin_by_hand():
    logits = np.log([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2]])
    np.testing.assert_allclose(probabilities(logits), np.exp(logits))
    found = confidence(logits, kind="margin")
    np.testing.assert_allclose(found[:2], [0.2, 0.7])
    # what ties is above 0 too, so that a threshold of 0 stops all
    assert 0.0 < found[2] < 1e-300
    roots = np.sqrt([0.5, 0.3, 0.2])
    by_root = confidence(logits[:1], 2.0, "margin")
    np.testing.assert_allclose(by_root, (roots[0] - roots[1]) / roots.sum())


def test_expected_errors_by_hand():
    narrow = np.log([[0.2, 0.7, 0.1], [0.8, 0.1, 0.1]])
    wide = np.log([[0.6, 0.3, 0.1], [0.9, 0.05, 0.05]])
    # the narrow one says 1, then 0; the wide one believes .3 of it, then .9
    np.testing.assert_allclose(expected_errors([narrow, wide], 1.0), [[0.7, 0.1], [0.4, 0.1]])
    roots = np.sqrt([0.6, 0.3, 0.1])
    by_root = expected_errors([narrow[:1], wide[:1]], 2.0)
    np.testing.assert_allclose(by_root[0], 1 - roots[1] / roots.sum())


def test_where_rows_stop_by_hand():
    sure, _ = of([[0.9, 0.4, 0.4], [0.1, 0.8, 0.3], [0.1, 0.1, 0.1]], np.zeros((3, 3)))
    assert stops_at(np.array([0.5, 0.5]), sure).tolist() == [0, 1, 2]
    # not above a threshold of itself
    assert stops_at(np.array([0.9, 0.8]), sure).tolist() == [2, 2, 2]


def test_costs_by_hand():
    X = {
        8: np.log([[0.9, 0.1], [0.6, 0.4], [0.6, 0.4]]),
        16: np.log([[0.9, 0.1], [0.1, 0.9], [0.55, 0.45]]),
        32: np.log([[0.9, 0.1], [0.1, 0.9], [0.3, 0.7]]),
    }
    y = [0, 1, 1]
    for counted, expected in (("last", [8, 16, 32]), ("sum", [8, 24, 56])):
        cascade = Cascade(counted=counted).fit(X, y)
        cascade.thresholds_ = np.array([0.7, 0.7])
        stopped = cascade.run(X)
        assert stopped.widths.tolist() == [8, 16, 32]
        assert stopped.labels.tolist() == y
        np.testing.assert_allclose(stopped.confidence, [0.9, 0.9, 0.7])
        assert cascade.cost(stopped).tolist() == expected
    cascade = Cascade(counted="sum", costs=(1, 2, 4)).fit(X, y)
    cascade.thresholds_ = np.array([0.7, 0.7])
    assert cascade.cost(cascade.run(X)).tolist() == [1, 3, 7]


def test_thresholds_above_one_always_read_the_full_width():
    X, y = drawn(0)
    cascade = Cascade().fit(X, y)
    cascade.thresholds_ = np.full(3, 1.0 + 1e-9)
    stopped = cascade.run(X)
    assert set(stopped.widths) == {64}
    assert stopped.labels.tolist() == X[64].argmax(axis=1).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_greedy_thresholds_are_those_of_a_search_over_every_pair(seed):
    X, y = drawn(seed)
    cascade = Cascade().fit(X, y)
    widths = sorted(X)
    for i, (narrow, wide) in enumerate(itertools.pairwise(widths)):
        best, least = None, None
        for threshold in GRID:
            errors = 0
            for row in range(len(y)):
                z = X[narrow][row]
                softmax = np.exp(z) / np.exp(z).sum()
                read = narrow if softmax.max() > threshold else wide
                errors += X[read][row].argmax() != y[row]
            if least is None or errors < least:
                best, least = threshold, errors
        assert cascade.thresholds_[i] == best


def loss(thresholds, sure, wrong, costs, weight, counted):
    """Row by row: the cost of the widths that it reads, and of an error."""
    total = 0.0
    for row in range(sure.shape[1]):
        paid = 0.0
        for i in range(len(sure)):
            limit = thresholds[i] if i < len(thresholds) else -1.0
            if limit >= 1.0:
                continue
            paid = paid + costs[i] if counted == "sum" else costs[i]
            if sure[i, row] > limit:
                total += paid + weight * wrong[i, row]
                break
    return total / sure.shape[1]


@pytest.mark.parametrize("kind", ["largest", "margin"])
@pytest.mark.parametrize("counted", ["last", "sum"])
@pytest.mark.parametrize("weight", [0.1, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("seed", range(8))
def test_best_thresholds_are_those_of_a_search_over_all(seed, weight, counted, kind):
    rng = np.random.default_rng(seed)
    X, y = drawn(seed, n=12, widths=(8, 16, 32))
    sure = np.stack([confidence(X[w], kind=kind) for w in sorted(X)])
    wrong = np.stack([X[w].argmax(axis=1) != y for w in sorted(X)])
    if kind == "margin":  # and errors that are likely, not certain
        wrong = expected_errors([X[w] for w in sorted(X)], 1.0)
    costs = np.sort(rng.uniform(0.5, 4.0, 3))
    starts = list(frontier(sure, wrong, costs, counted))[:2]
    starts += [np.array(each) for each in itertools.product((0.3, 0.5, 0.7, 1.0), repeat=2)]
    found = best_thresholds(sure, wrong, costs, weight, starts, counted)
    tried = itertools.product(*([0.0, *each, 1.0] for each in sure[:2]))
    best = min(loss(each, sure, wrong, costs, weight, counted) for each in tried)
    assert loss(found, sure, wrong, costs, weight, counted) == pytest.approx(best)
    share, cost = outcome(found, sure, wrong, costs, counted)
    assert cost + weight * share == pytest.approx(best)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["last", "sum"]))
def test_no_single_threshold_betters_the_best(seed, counted):
    X, y = drawn(seed, n=25)
    sure = np.stack([confidence(X[w]) for w in sorted(X)])
    wrong = np.stack([X[w].argmax(axis=1) != y for w in sorted(X)])
    costs, weight = np.array([1.0, 2.0, 4.0, 8.0]), float(10 ** (seed % 5 - 1))
    found = best_thresholds(sure, wrong, costs, weight, [np.zeros(3), np.ones(3)], counted)
    least = loss(found, sure, wrong, costs, weight, counted)
    for i in range(3):
        for threshold in (0.0, *sure[i], 1.0):
            other = found.copy()
            other[i] = threshold
            assert least <= loss(other, sure, wrong, costs, weight, counted) + 1e-9


def test_what_is_not_read_is_not_paid_for():
    costs = np.array([1.0, 2.0, 4.0, 8.0])
    assert spent(np.array([0.5, 0.5, 0.5]), costs, "sum").tolist() == [1, 3, 7, 15]
    assert spent(np.array([1.0, 0.5, 1.0]), costs, "sum").tolist() == [0, 2, 2, 10]
    assert spent(np.array([1.0, 0.5, 1.0]), costs, "last").tolist() == [1, 2, 4, 8]
    X, y = drawn(1)
    cascade = Cascade(counted="sum").fit(X, y)
    cascade.thresholds_ = np.array([1.0, 0.6, 1.0])
    assert cascade.visited_ == (16, 64)
    asked = []
    stopped = cascade.run(lambda w, rows: asked.append(w) or X[w][rows], np.arange(60))
    assert asked == [16, 64]
    # widths that are not read need not be there
    again = cascade.run({16: X[16], 64: X[64]})
    assert again.labels.tolist() == stopped.labels.tolist()
    assert set(cascade.cost(stopped)) == {16, 80}
    assert set(cascade.cost(stopped, "last")) == {16, 64}
    cascade.thresholds_ = np.array([0.5, 0.0, 0.5])
    assert cascade.visited_ == (8, 16)
    assert set(cascade.run(X).widths) == {8, 16}


def test_a_sum_leaves_out_widths_that_do_not_pay():
    X, y = drawn(2, n=400)
    X[9] = np.zeros_like(X[8])  # never sure
    cascade = Cascade("accuracy", counted="sum").fit(X, y)
    assert 9 not in cascade.visited_
    every = Cascade("accuracy").fit(X, y)
    assert cascade.cost(cascade.run(X)).mean() <= every.cost(every.run(X), "sum").mean()


@pytest.mark.parametrize("counted", ["last", "sum"])
def test_what_the_widest_has_right_is_kept(counted):
    X, y = drawn(6, n=400)
    right = X[64].argmax(axis=1) == y
    costs = []
    for share in (1.0, 0.98, 0.9):
        cascade = Cascade("keep", target=share, counted=counted).fit(X, y)
        stopped = cascade.run(X)
        assert (stopped.labels == y)[right].mean() >= share
        costs.append(cascade.cost(stopped).mean())
    assert costs[0] < 64 if counted == "last" else costs[0] <= 64
    assert costs == sorted(costs, reverse=True)
    default = Cascade("keep", counted=counted).fit(X, y)
    assert (default.run(X).labels == y)[right].all()


@pytest.mark.parametrize("kind", ["largest", "margin"])
@pytest.mark.parametrize("counted", ["last", "sum"])
def test_no_more_is_lost_than_the_widest_expects(counted, kind):
    X, y = drawn(6, n=400)
    heat = temperature_of(X[64], y)
    z = X[64] / heat
    believed = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    costs = []
    for target in (0.0, 0.005, 0.05):
        cascade = Cascade("expected", target, counted=counted, confidence=kind).fit(X, y)
        stopped = cascade.run(X)
        lost = believed.max(axis=1) - believed[np.arange(400), stopped.labels]
        assert -1e-12 <= lost.mean() <= target + 1e-9
        costs.append(cascade.cost(stopped).mean())
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 64 if counted == "last" else costs[-1] <= 64
    default = Cascade("expected", counted=counted, confidence=kind).fit(X, y)
    assert default.cost(default.run(X)).mean() == costs[1]


def test_expected_losses_have_less_luck_in_them_than_labels():
    """New rows lose what was said; thresholds for the accuracy of labels lose more."""
    lost, lucky = [], []
    for seed in range(12):
        X, y = drawn(seed, n=2_300, classes=20)
        fitted, others = {w: z[:300] for w, z in X.items()}, {w: z[300:] for w, z in X.items()}
        full = (others[64].argmax(axis=1) == y[300:]).mean()
        cascade = Cascade("expected", 0.02).fit(fitted, y[:300])
        lost.append(full - (cascade.predict(others) == y[300:]).mean())
        same_target = 1.0 - (fitted[64].argmax(axis=1) != y[:300]).mean() - 0.02
        cascade = Cascade("accuracy", same_target).fit(fitted, y[:300])
        lucky.append(full - (cascade.predict(others) == y[300:]).mean())
    assert abs(np.mean(lost) - 0.02) < 0.01
    assert np.mean(lucky) > np.mean(lost)


def test_rows_that_tie_stop_at_a_threshold_of_nought():
    X = {8: np.zeros((4, 3)), 16: np.zeros((4, 3))}
    cascade = Cascade("cost", target=8.0, confidence="margin").fit(X, np.arange(4) % 3)
    assert cascade.visited_ == (8,)
    assert cascade.run({8: X[8]}).widths.tolist() == [8] * 4


def test_widening_with_arrays_alone():
    X, y = drawn(7)
    cascade = Cascade(calibrate=True).fit(X, y)
    columns, widths, sure = widen(
        lambda w, rows: X[w][rows], 60, cascade.widths_, cascade.thresholds_, cascade.temperatures_
    )
    stopped = cascade.run(X)
    assert columns.tolist() == stopped.labels.tolist()
    assert widths.tolist() == stopped.widths.tolist()
    assert sure.tolist() == stopped.confidence.tolist()


def test_targets_are_met_on_what_they_were_fitted_on():
    X, y = drawn(3, n=400)
    full = (X[64].argmax(axis=1) == y).mean()
    cascade = Cascade("accuracy").fit(X, y)
    stopped = cascade.run(X)
    assert (stopped.labels == y).mean() >= full
    assert cascade.cost(stopped).mean() < 64
    greedier = Cascade("accuracy", target=full - 0.05).fit(X, y)
    assert greedier.cost(greedier.run(X)).mean() < cascade.cost(stopped).mean()
    for counted in ("last", "sum"):
        cheap = Cascade("cost", target=20.0, counted=counted).fit(X, y)
        assert cheap.cost(cheap.run(X)).mean() <= 20.0


def test_the_oracle_stops_at_the_first_width_that_is_right():
    wrong = np.array([[1, 0, 1], [0, 0, 1], [0, 1, 1]], bool)
    assert oracle(wrong).tolist() == [1, 0, 0]


def test_a_function_is_asked_only_for_rows_that_are_unsure():
    X, y = drawn(4)
    asked = {}

    def read(width, rows):
        asked[width] = rows.tolist()
        return X[width][rows]

    cascade = Cascade().fit(X, y)
    rows = np.arange(10, 50)
    stopped = cascade.run(read, rows)
    whole = cascade.run(X)
    assert stopped.labels.tolist() == whole.labels[rows].tolist()
    assert stopped.widths.tolist() == whole.widths[rows].tolist()
    for width, own in asked.items():
        assert own == rows[stopped.widths >= width].tolist()


def test_temperatures_make_confidence_what_it_says():
    rng = np.random.default_rng(0)
    true = rng.standard_normal((4000, 4)) * 2
    shares = np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)
    y = np.array([rng.choice(4, p=each) for each in shares])
    assert temperature_of(true * 3, y) == pytest.approx(3.0, rel=0.1)
    X = {8: true * 3, 16: true}
    cascade = Cascade(calibrate=True).fit(X, y)
    np.testing.assert_allclose(cascade.temperatures_, [3.0, 1.0], rtol=0.1)


def test_labels_are_those_of_classes():
    X, y = drawn(5)
    names = np.array(["a", "b", "c", "d", "e"])
    cascade = Cascade().fit(X, names[y], classes=names)
    assert set(cascade.predict(X)) <= set(names)
    assert cascade.predict(X).tolist() == names[Cascade().fit(X, y).predict(X)].tolist()
    assert cascade.score(X, names[y]) == (cascade.predict(X) == names[y]).mean()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda X, y: Cascade("best").fit(X, y), "policy is one of"),
        (lambda X, y: Cascade(counted="all").fit(X, y), "last width or the sum"),
        (lambda X, y: Cascade(costs=(1, 2)).fit(X, y), "one a width"),
        (lambda X, y: Cascade().fit({8: X[8]}, y), "at least two widths"),
        (lambda X, y: Cascade().fit({**X, 16: X[16][:9]}, y), "alike at every width"),
        (lambda X, y: Cascade().fit({**X, 16: X[16] * np.nan}, y), "finite"),
        (lambda X, y: Cascade().fit({w: z[:, :1] for w, z in X.items()}, y * 0), "two classes"),
        (lambda X, y: Cascade().fit(X, y[:-1]), "one a row"),
        (lambda X, y: Cascade().fit(X, y + 1), "among the 5 classes; got 5"),
        (lambda X, y: Cascade().fit(X, y, classes=[1, 2]), "one a column"),
        (lambda X, y: Cascade("accuracy", target=1.5).fit(X, y), "held-out rows reach"),
        (lambda X, y: Cascade("keep", target=1.5).fit(X, y), "share to keep is above 0"),
        (lambda X, y: Cascade("expected", target=1).fit(X, y), "at least 0 and below 1; got 1"),
        (lambda X, y: Cascade(confidence="luck").fit(X, y), "confidence is one of largest, margin"),
        (lambda X, y: Cascade("cost", target=7).fit(X, y), "at least the narrowest"),
        (lambda X, y: Cascade("cost").fit(X, y), "at least the narrowest"),
        (lambda X, y: Cascade().fit(X, y).run({8: X[8]}), "16, 32, 64 is not there"),
        (lambda X, y: Cascade().fit(X, y).run(lambda w, r: X[w][r]), "needs rows"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(make, words):
    X, y = drawn(0)
    with pytest.raises(UserError, match=words):
        make(X, y)


def test_greedy_takes_the_smallest_of_equal_thresholds():
    sure, wrong = of([[0.5, 0.9]] * 2, [[True, False], [False, False]])
    # any threshold from .5 on sends the first row on; the grid has 0.5 at no exact place
    assert greedy(sure, wrong).tolist() == [GRID[GRID >= 0.5][0]]
