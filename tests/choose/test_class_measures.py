"""Labelled vectors by hand: measures, agreement, groups of other classes, head and tail."""

import numpy as np
import pytest

from nestvec.choose import axes
from nestvec.choose.baselines import FloatAxes
from nestvec.choose.class_measures import LabelledVectors, head_and_tail
from nestvec.choose.tasks import evaluate_task
from nestvec.measure.probes import linear_probe, nearest_labels, probe_scores
from nestvec.vectors import normalize, prefix


def planted(rows=120, classes=4, dim=8, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    centers = np.random.default_rng(1).standard_normal((classes, dim))
    found = centers[labels] + 0.7 * rng.standard_normal((rows, dim))
    return normalize(found.astype(np.float32)), labels


def test_measures_are_those_of_the_parts_they_are_made_of():
    vectors, labels = planted()
    train, test = np.arange(80), np.arange(80, 120)
    task = LabelledVectors(labels, train, test, coarse=np.array([0, 0, 1, 1]))
    found = evaluate_task(vectors, task, [FloatAxes("prefix-float", axes.leading, (2, 8))])
    by = {each.measure: each for each in found}
    assert list(by) == [
        "linear-probe", "1-NN", "mAP@10", "P@10", "1-shot", "3-shot", "5-shot", "7-shot", "9-shot",
        "linear-probe, as full", "1-NN, as full", "linear-probe, coarse", "1-NN, coarse",
    ]  # fmt: skip
    cut = prefix(vectors, 2)
    told = linear_probe(cut[train], labels[train], cut[test])
    full = linear_probe(vectors[train], labels[train], vectors[test])
    narrow, whole = by["linear-probe"].cells
    assert narrow.value == pytest.approx((told == labels[test]).mean())
    assert whole.delta == 0
    assert by["linear-probe, as full"].cells[0].value == pytest.approx((told == full).mean())
    assert by["linear-probe, as full"].full.value == 1
    near = nearest_labels(cut[train], labels[train], cut[test])
    assert by["1-NN"].cells[0].value == pytest.approx((near == labels[test]).mean())
    same = (near // 2) == (labels[test] // 2)
    assert by["1-NN, coarse"].cells[0].value == pytest.approx(same.mean())
    assert by["1-NN, coarse"].cells[0].value >= by["1-NN"].cells[0].value
    assert by["1-NN"].parts == ()


def test_a_group_is_asked_among_the_train_rows_of_its_own_classes():
    vectors, labels = planted(rows=160)
    train, test, other = np.arange(80), np.arange(80, 120), np.arange(120, 160)
    other = other[labels[other] < 2]
    task = LabelledVectors(labels, train, test, {"other": other}, {"half": np.arange(20)})
    found = evaluate_task(vectors, task, [FloatAxes("prefix-float", axes.leading, (4,))])
    near = next(each for each in found if each.measure == "1-NN")
    assert near.queries == 40
    assert [(part.name, part.queries) for part in near.parts] == [("half", 20), ("other", 20)]
    own = train[labels[train] < 2]
    told = nearest_labels(vectors[own], labels[own], vectors[other])
    assert near.part("other").full.value == pytest.approx((told == labels[other]).mean())
    told = nearest_labels(vectors[train], labels[train], vectors[test[:20]])
    assert near.part("half").full.value == pytest.approx((told == labels[test[:20]]).mean())
    probe = next(each for each in found if each.measure == "linear-probe")
    names, scores = probe_scores(vectors[train], labels[train], vectors[other])
    assert (names[scores.argmax(axis=1)] == linear_probe(
        vectors[train], labels[train], vectors[other]
    )).all()  # fmt: skip
    told = names[scores[:, :2].argmax(axis=1)]
    assert probe.part("other").full.value == pytest.approx((told == labels[other]).mean())


def test_head_and_tail_classes_are_told_where_classes_differ():
    train = np.repeat([0, 1, 2], [8, 4, 2])
    truth = np.array([0, 1, 2, 2])
    found = head_and_tail(train, truth)
    assert found["head classes"].tolist() == [0, 1]
    assert found["tail classes"].tolist() == [2, 3]
    assert head_and_tail(np.repeat([0, 1], 5), truth[:2]) == {}
