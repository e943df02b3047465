"""What is held out, and its score: a plain nDCG@10 and R@10, one query after another."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from nestvec.errors import UserError
from nestvec.learn.adapters import held_out, running
from nestvec.learn.adapters.examples import Examples
from nestvec.learn.adapters.held_out import HeldOut
from nestvec.learn.adapters.methods import fit_adapter
from nestvec.learn.adapters.running import HELD_OUT, held_share
from nestvec.nesting import Nesting
from nestvec.vectors import normalize

pytestmark = pytest.mark.usefixtures("one_thread")


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def same(rows):
    return rows


def cosines(queries, documents):
    return np.array(
        [[q @ d / np.linalg.norm(q) / np.linalg.norm(d) for d in documents] for q in queries]
    )


def ndcg(scores, grades):
    """nDCG@10 of one query: linear gains, log2 discounts."""
    order = sorted(range(len(scores)), key=lambda row: -scores[row])[:10]
    got = sum(grades.get(row, 0) / math.log2(2 + place) for place, row in enumerate(order))
    best = sorted(grades.values(), reverse=True)[:10]
    return got / sum(grade / math.log2(2 + place) for place, grade in enumerate(best))


def test_ndcg_by_hand():
    # cosines of (1, 0): 1, .6, 0, -1. Grades: row 1 has 3, row 2 has 1, so ranks 2 and 3
    documents = np.array([[1, 0], [3, 4], [0, 1], [-1, 0]], np.float32)
    queries = np.array([[5, 0]], np.float32)
    examples = Examples(
        documents, queries, np.array([[0, 1], [0, 2]]), np.array([3, 1], np.float32)
    )
    score = HeldOut(examples, Nesting((1, 2)))
    got = 3 / math.log2(3) + 1 / math.log2(4)
    best = 3 + 1 / math.log2(3)
    found = score.by_width(same)
    assert found[2] == pytest.approx(got / best)
    # cut to one: 1, 1, nought, -1; of the equal ones row 0 is first, so the same ranks
    assert found[1] == pytest.approx(got / best)
    assert score(same) == pytest.approx(got / best)
    # the documents' coordinates swapped, the query's not: 0, .8, 1, 0, so ranks 2 and 1
    turned = {1: torch.tensor([[1.0, 0], [0, 1]]), 4: torch.tensor([[0.0, 1], [1, 0]])}
    by_rows = score.by_width(lambda rows: rows @ turned[len(rows)])
    assert by_rows[2] == pytest.approx((3 / math.log2(3) + 1) / best)


def test_ndcg_is_its_formula_over_all_documents_and_held_queries_alone():
    documents, queries = numbers(40, 6), numbers(9, 6, seed=1)
    pairs = np.array([[1, 3], [1, 20], [1, 21], [4, 5], [8, 39], [8, 0]])
    grades = np.array([1, 2, 0.5, 1, 3, 1], np.float32)
    weight = numbers(6, 6, seed=2)
    score = HeldOut(Examples(documents, queries, pairs, grades), Nesting((2, 4, 6)), seed=5)

    def wanted(width):
        found = cosines((queries @ weight)[:, :width], (documents @ weight)[:, :width])
        values = []
        for query in (1, 4, 8):
            mine = {int(r): float(g) for (q, r), g in zip(pairs, grades, strict=True) if q == query}
            values.append(ndcg(found[query], mine))
        return np.mean(values)

    def apply(rows):
        return rows @ torch.from_numpy(weight)

    # unit rows go in: the same cosines as of the rows themselves
    found = score.by_width(apply)
    assert found == {width: pytest.approx(wanted(width), abs=1e-6) for width in (2, 4, 6)}
    assert score(apply) == pytest.approx(np.mean([wanted(w) for w in (2, 4, 6)]), abs=1e-6)


def test_recall_of_full_neighbours_is_its_formula():
    documents = numbers(30, 6)
    score = HeldOut(Examples(documents), Nesting((2, 6)))

    def top(rows, i):
        found = cosines(rows, rows)[i]
        found[i] = -9
        return set(np.argsort(-found)[:10].tolist())

    shared = [len(top(documents, i) & top(documents[:, :2], i)) / 10 for i in range(30)]
    found = score.by_width(same)
    assert found[6] == 1
    assert found[2] == pytest.approx(np.mean(shared), abs=1e-6)


def test_it_takes_no_gradient_and_leaves_no_trace():
    weight = torch.eye(6, requires_grad=True)
    score = HeldOut(Examples(numbers(30, 6)), Nesting((2, 6)))
    assert score(lambda rows: rows @ weight) == score(same)
    assert weight.grad is None


def test_more_documents_than_are_ranked_keep_those_that_answer(monkeypatch):
    monkeypatch.setattr(held_out, "MOST_DOCUMENTS", 25)
    monkeypatch.setattr(held_out, "MOST_QUERIES", 3)
    documents = numbers(50, 6)
    pairs = np.stack([np.arange(20), 49 - np.arange(20)], 1)
    examples = Examples(documents, documents[::-1].copy(), pairs)  # each query is its document
    score = HeldOut(examples, Nesting((6,)), seed=1)
    assert score(same) == pytest.approx(1)
    seen = []
    score(lambda rows: seen.append(len(rows)) or rows)
    assert seen[0] <= 25
    assert seen[1] == 3
    score = HeldOut(Examples(documents), Nesting((6,)), seed=1)
    assert score(same) == pytest.approx(1)
    seen.clear()
    score(lambda rows: seen.append(len(rows)) or rows)
    assert seen == [25, 3]


def test_it_comes_again_by_seed(monkeypatch):
    monkeypatch.setattr(held_out, "MOST_QUERIES", 3)
    examples = Examples(numbers(50, 6))
    values = [HeldOut(examples, Nesting((2,)), seed)(same) for seed in (1, 1, 3)]
    assert values[0] == values[1]
    assert values[0] != values[2]


def test_documents_held_out_ask_all_the_others():
    documents = numbers(30, 6)
    held = Examples(documents, rows=np.array([4, 9, 20]))
    score = HeldOut(held, Nesting((2, 6)))
    found = cosines(documents, documents) - 9 * np.eye(30)
    cut = cosines(documents[:, :2], documents[:, :2]) - 9 * np.eye(30)
    shared = [
        len(set(np.argsort(-found[i])[:10].tolist()) & set(np.argsort(-cut[i])[:10].tolist())) / 10
        for i in (4, 9, 20)
    ]
    assert score.by_width(same) == {6: 1, 2: pytest.approx(np.mean(shared), abs=1e-6)}
    seen = []
    score(lambda rows: seen.append(len(rows)) or rows)
    assert seen == [30, 3]


def test_of_two_documents_each_is_the_others_neighbour():
    assert HeldOut(Examples(numbers(2, 6)), Nesting((6,)))(same) == 1


def test_the_held_out_pairs_are_not_trained_on(planted, monkeypatch, quick):
    examples = planted()
    fitted, held = examples.split(HELD_OUT, 0)
    shown = []

    def none(module, objective, given, score, training, **kwargs):
        shown.append(given.pairs)
        return running.History([0.0], [None], [0.0])

    monkeypatch.setattr(running, "train", none)
    fit_adapter("mrl", examples, quick())
    np.testing.assert_array_equal(shown[0], fitted.pairs)
    assert not set(shown[0][:, 1]) & set(held.pairs[:, 1])


class Notes:
    """What is to be known."""

    def __init__(self):
        self.told = []

    def start(self, what, total):
        pass

    def advance(self, n):
        pass

    def note(self, sentence):
        self.told.append(sentence)

    def finish(self):
        pass


def test_pairs_that_documents_tie_together_are_held_out_by_query(planted, quick):
    notes, examples = Notes(), planted()
    tied = replace(examples, pairs=np.array([[i, row] for i in range(60) for row in (i, 95)]))
    fit_adapter("smec", tied, quick(), progress=notes)
    (said,) = notes.told  # once, not once a stage
    assert "whole queries are held out" in said
    fit_adapter("linear", examples, quick(), progress=notes)
    assert len(notes.told) == 1
    one = replace(examples, pairs=np.array([[0, i] for i in range(20)]))
    with pytest.raises(UserError, match="all 20 pairs are of one"):
        fit_adapter("linear", one, quick())


def test_without_labels_a_tenth_of_the_documents_is_not_trained_on(planted, monkeypatch, quick):
    shown = []

    def none(module, objective, fitted, score, training, **kwargs):
        shown.append((fitted, score))
        return running.History([0.0], [None], [0.0])

    monkeypatch.setattr(running, "train", none)
    examples = planted(labelled=False)
    fit_adapter("mrl", examples, quick())
    (fitted, score) = shown[0]
    assert len(fitted.rows) == 86
    asked = []
    score(lambda rows: asked.append(rows.numpy()) or torch.from_numpy(rows.numpy()))
    documents, queries = asked
    assert len(documents) == 96
    trained = normalize(examples.documents[fitted.rows])
    assert len(queries) == 10
    assert (queries @ trained.T).max() < 0.9999


def test_no_more_is_held_out_than_is_asked():
    assert held_share(10) == held_share(10_000) == HELD_OUT
    assert held_share(40_000) * 40_000 == held_out.MOST_QUERIES
