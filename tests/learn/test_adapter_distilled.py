"""Score lists of the full vectors, kept at every width: by plain loops, and what they are for."""

import numpy as np
import pytest
import torch

from nestvec.learn.adapters.distilled import POOL, ListsKept, ScoreLists, pool_rows
from nestvec.learn.adapters.examples import Batch, Examples
from nestvec.learn.adapters.methods import AdapterSettings, fit_adapter
from nestvec.learn.adapters.objectives import Mapped, list_divergence
from nestvec.learn.adapters.settings import Training
from nestvec.learn.adapters.spectrum import principal_axes
from nestvec.nesting import Nesting
from nestvec.vectors import normalize

DIM, TEMPERATURE = 5, 0.2
NESTING = Nesting((2, DIM), (1.0, 0.5))


def unit(*shape, seed):
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=-1)


POOLED = unit(7, DIM, seed=1)
ROWS = torch.tensor([0, 2, 3, 5, 6, 8, 9])
MATRIX = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(2))


def applied(rows):
    return rows @ MATRIX


def list_of(query, documents, left_out):
    """Probabilities of documents for one query, in float64."""
    found = []
    for place, document in enumerate(documents.double()):
        cosine = query.double() @ document / (query.double().norm() * document.norm())
        found.append(0.0 if place in left_out else float(torch.exp(cosine / TEMPERATURE)))
    return np.array(found) / sum(found)


def divergence(queries, width, left_out):
    """The mean over queries of sum p log(p / q), q of mapped vectors cut at width."""
    total = 0.0
    for query, out in zip(queries, left_out, strict=True):
        wanted = list_of(query, POOLED, out)
        got = list_of(applied(query)[:width], applied(POOLED)[:, :width], out)
        total += sum(p * np.log(p / q) for p, q in zip(wanted, got, strict=True) if p)
    return total / len(queries)


def test_queries_are_compared_with_the_whole_pool():
    queries, documents = unit(3, DIM, seed=3), unit(3, DIM, seed=4)
    batch = Batch(documents, torch.arange(3), queries, torch.eye(3))
    loss = ScoreLists(NESTING, POOLED, ROWS, TEMPERATURE)
    value = loss(Mapped(applied(documents), applied(queries)), batch, applied)
    nothing = [()] * 3
    expected = divergence(queries, 2, nothing) + 0.5 * divergence(queries, DIM, nothing)
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_documents_that_ask_are_left_out_of_their_own_lists():
    documents = torch.stack([POOLED[1], POOLED[4], unit(1, DIM, seed=5)[0]])
    batch = Batch(documents, torch.tensor([2, 6, 4]))  # the last is not in the pool
    loss = ScoreLists(NESTING, POOLED, ROWS, TEMPERATURE)
    value = loss(Mapped(applied(documents), None), batch, applied)
    own = [(1,), (4,), ()]
    expected = divergence(documents, 2, own) + 0.5 * divergence(documents, DIM, own)
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_what_keeps_all_scores_costs_nothing_and_has_no_gradient():
    queries = unit(3, DIM, seed=6)
    turned = torch.linalg.qr(MATRIX)[0].requires_grad_()
    loss = list_divergence(queries, POOLED, TEMPERATURE)(queries @ turned, POOLED @ turned)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert turned.grad.abs().max() < 1e-5


def test_the_pool_is_bounded_and_of_the_rows_that_may_be_learned_from():
    many = np.lib.stride_tricks.as_strided(np.ones(3, np.float32), (POOL + 5, 3), (0, 4))
    assert len(pool_rows(Examples(many), 0)) == POOL
    rows = np.array([1, 4, 7])
    assert pool_rows(Examples(many, rows=rows), 0).tolist() == rows.tolist()


def turned_away(seed=0, n=600):
    """Documents that vary most where queries never look, so that SVD keeps the wrong axes.

    seed: of the queries; documents are the same for all.
    """
    rng = np.random.default_rng(7)
    documents = rng.normal(size=(n, 16)) * np.array([2.0] * 4 + [1.0] * 4 + [0.1] * 8)
    basis = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    rng = np.random.default_rng(seed)
    queries = rng.normal(size=(n, 16)) * np.array([0.0] * 4 + [1.0] * 4 + [0.1] * 8)
    documents, queries = (normalize((x @ basis).astype(np.float32)) for x in (documents, queries))
    every = np.arange(n)
    return Examples(documents, queries, np.stack([every, every], axis=1))


def settings(**training):
    how = {"batch": 128, "rate": 3e-2, "epochs": 40, "patience": 40, **training}
    return AdapterSettings(widths=(4, 8), training=Training(**how))


def agreement(queries, documents, matrix, width):
    """R@10 of queries at a width by what the full vectors find, in numpy alone."""

    def nearest(q, d):
        return np.argsort(-normalize(q) @ normalize(d).T, axis=1)[:, :10]

    wanted = nearest(queries, documents)
    got = nearest((queries @ matrix)[:, :width], (documents @ matrix)[:, :width])
    return np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(wanted, got, strict=True)])


@pytest.mark.slow
def test_narrow_widths_keep_what_queries_look_for():
    examples, others = turned_away(), turned_away(seed=1)
    adapter = fit_adapter("distilled", examples, settings())
    learned = np.array(adapter.stages[0].maps[0].weight)
    axes = principal_axes(examples.documents, 0)

    def kept(matrix, width):
        return agreement(others.queries, examples.documents, matrix, width)

    assert kept(learned, 4) > kept(axes, 4) + 0.1
    assert kept(learned, 8) > 0.9
    assert kept(learned, 16) > 0.9


def test_documents_alone_will_do_and_what_does_not_help_is_not_kept():
    examples = Examples(turned_away().documents)  # of which SVD keeps the most there is
    adapter = fit_adapter("distilled", examples, settings(epochs=3))
    assert adapter.facts["pairs"] == 0
    scores = adapter.facts["histories"][0]["scores"]
    assert 0 < max(scores[1:]) < scores[0] < 1
    learned = np.array(adapter.stages[0].maps[0].weight)
    np.testing.assert_array_equal(learned, principal_axes(examples.documents, 0))


def test_the_score_is_of_lists_kept():
    queries = unit(3, DIM, seed=3)
    batch = Batch(queries, torch.arange(3), queries)
    score = ListsKept(ScoreLists(NESTING, POOLED, ROWS, TEMPERATURE), batch)
    nothing = [()] * 3
    lost = divergence(queries, 2, nothing) + 0.5 * divergence(queries, DIM, nothing)
    assert score(applied) == pytest.approx(np.exp(-lost / 1.5), rel=1e-5)


def test_answers_are_of_no_account():
    """Queries alone are looked at: pairs with other documents teach the same, batch for batch."""
    examples = turned_away()
    assert examples.pairs is not None
    queries = torch.from_numpy(normalize(examples.queries[:4]))
    rows = torch.from_numpy(examples.documents[:9])
    loss = ScoreLists(NESTING, rows, torch.arange(9))
    values = [
        loss(
            Mapped(documents, queries), Batch(documents, torch.arange(4), queries), lambda x: x
        ).item()
        for documents in (rows[:4], rows[4:8])
    ]
    assert values[0] == values[1]
