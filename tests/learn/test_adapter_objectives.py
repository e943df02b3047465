"""Objectives: numbers by hand or by plain loops over unit prefixes."""

import numpy as np
import pytest
import torch

from nestvec.learn.adapters.examples import Batch
from nestvec.learn.adapters.memory import Queue
from nestvec.learn.adapters.objectives import (
    Contrast,
    Distillation,
    Mapped,
    MemorySimilarity,
    PairSimilarity,
    Prediction,
    Rank,
    TopSimilarity,
    Weighed,
    pieces,
    recovered,
)
from nestvec.nesting import Nesting

NESTING = Nesting((2, 5), (1.0, 0.5))
N, DIM = 6, 5


def unit(*shape, seed=0):
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=-1)


def same(rows):
    return rows


GRADES = torch.eye(N)
GRADES[0, 3] = 2.0  # a second, better answer, and a weaker one
GRADES[2, 4] = 0.5
BATCH = Batch(unit(N, DIM, seed=1), torch.arange(N), unit(N, DIM, seed=2), GRADES)
MAPPED = Mapped(3 * unit(N, DIM, seed=3), 0.5 * unit(N, DIM, seed=4))
ALONE = Batch(BATCH.documents, BATCH.rows)
ALONE_MAPPED = Mapped(MAPPED.documents, None)


def cut(tensor, width):
    rows = tensor.numpy().astype(np.float64)[:, :width]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def log_softmax(scores):
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def by_width(loss):
    """1 x loss(2) + .5 x loss(5)."""
    return loss(2) + 0.5 * loss(5)


def test_contrast_is_info_nce_at_every_width_of_a_query_and_what_does_not_answer_it():
    def loss(width):
        scores = cut(MAPPED.queries, width) @ cut(MAPPED.documents, width).T / 0.1
        scores[0, 3] = scores[2, 4] = -np.inf
        return -np.diag(log_softmax(scores)).mean()

    value = Contrast(NESTING, 0.1)(MAPPED, BATCH, same).item()
    assert value == pytest.approx(by_width(loss), rel=1e-5)


def test_a_second_answer_is_no_wrong_one_by_hand():
    # document 1 answers both: query 0 has no wrong one and loses nothing; query 1 has cosines
    # 1 with its own and 0 with document 0, and loses log(1 + 1 / e)
    rows = torch.eye(2).requires_grad_()
    batch = Batch(torch.eye(2), torch.arange(2), torch.eye(2), torch.tensor([[1.0, 2], [0, 1]]))
    value = Contrast(Nesting((2,)), 1.0)(Mapped(torch.eye(2), rows), batch, same)
    assert value.item() == pytest.approx(np.log1p(1 / np.e) / 2, rel=1e-5)
    value.backward()
    assert rows.grad[0].abs().max() == 0
    assert rows.grad[1].abs().max() > 0.1


def test_rank_is_the_rank_loss_of_scaled_cosines_at_every_width():
    def loss(width):
        scores = 4 * cut(MAPPED.queries, width) @ cut(MAPPED.documents, width).T
        total, count = 0.0, 0
        for s, y in zip(scores, GRADES.tolist(), strict=True):
            for j in range(N):
                for k in range(N):
                    if y[j] > y[k]:
                        total += (y[j] - y[k]) * np.log1p(np.exp(s[k] - s[j]))
                        count += 1
        return total / count

    value = Rank(NESTING, 4.0)(MAPPED, BATCH, same).item()
    assert value == pytest.approx(by_width(loss), rel=1e-5)


@pytest.mark.parametrize(("batch", "mapped"), [(BATCH, MAPPED), (ALONE, ALONE_MAPPED)])
def test_distillation_is_the_divergence_from_full_scores(batch, mapped):
    asked = batch.documents if batch.queries is None else batch.queries
    asking = mapped.documents if mapped.queries is None else mapped.queries
    # a document that asks is no answer to itself
    others = ~np.eye(N, dtype=bool) if batch.queries is None else np.ones((N, N), bool)

    def lists(queries, documents):
        scores = (queries @ documents.T / 0.2)[others].reshape(N, -1)
        return log_softmax(scores)

    teacher = lists(cut(asked, DIM), cut(batch.documents, DIM))

    def loss(width):
        scores = lists(cut(asking, width), cut(mapped.documents, width))
        return (np.exp(teacher) * (teacher - scores)).sum(axis=1).mean()

    value = Distillation(NESTING, 0.2)(mapped, batch, same).item()
    assert value == pytest.approx(by_width(loss), rel=1e-4)


def test_distillation_of_the_vectors_themselves_is_nought_at_full_width():
    whole = Mapped(BATCH.documents, BATCH.queries)
    assert Distillation(Nesting((DIM,)))(whole, BATCH, same).item() == pytest.approx(0, abs=1e-6)


def test_similarities_are_summed_over_widths():
    full = cut(BATCH.documents, DIM) @ cut(BATCH.documents, DIM).T

    def gaps(width):
        mine = cut(MAPPED.documents, width)
        return np.abs(full - mine @ mine.T)

    def pairs(width):
        return gaps(width).sum() / (N * (N - 1))  # those with themselves are 0

    def top(width):
        others = full - 9 * np.eye(N)
        return np.mean([gaps(width)[i, np.argsort(-others[i])[:2]] for i in range(N)])

    value = PairSimilarity(NESTING)(MAPPED, BATCH, same).item()
    assert value == pytest.approx(by_width(pairs), rel=1e-5)
    value = TopSimilarity(NESTING, k=2)(MAPPED, BATCH, same).item()
    assert value == pytest.approx(by_width(top), rel=1e-5)


def test_recovered_is_the_mean_of_both_sides():
    documents = (MAPPED.documents - BATCH.documents).abs().mean().item()
    queries = (MAPPED.queries - BATCH.queries).abs().mean().item()
    value = recovered(MAPPED, BATCH, same).item()
    assert value == pytest.approx((documents + queries) / 2, rel=1e-5)
    assert recovered(ALONE_MAPPED, ALONE, same).item() == pytest.approx(documents, rel=1e-5)


def test_prediction_by_hand():
    # at first the guess is the document: |(1, 0) - (0, 1)| has the mean 1, |(1, 0) - (1, 1)| .5;
    # grades 1 and 3 make (1 + 3 x .5) / 4
    queries, documents = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    batch = Batch(documents, torch.arange(2), queries, torch.tensor([[1.0, 3.0]]))
    objective = Prediction(2)
    value = objective(Mapped(documents, queries), batch, same)
    assert value.item() == pytest.approx(2.5 / 4)
    value.backward()
    assert objective.predictor.weight.grad.abs().max() > 0
    # document 0 alone, through p(c) = 2 c + .5: (.5, 2.5) from (1, 0)
    with torch.no_grad():
        objective.predictor.weight.mul_(2)
        objective.predictor.bias.fill_(0.5)
    batch = Batch(documents, torch.arange(2), queries, torch.tensor([[1.0, 0.0]]))
    value = objective(Mapped(documents, queries), batch, same)
    assert value.item() == pytest.approx((0.5 + 2.5) / 2)


def test_weighed_adds_up():
    def three(mapped, batch, apply):
        return torch.tensor(3.0)

    def four(mapped, batch, apply):
        return torch.tensor(4.0)

    assert Weighed([(1.0, three), (0.1, four)])(MAPPED, BATCH, same).item() == pytest.approx(3.4)


def test_memory_similarity_by_hand():
    # queue: (1, 0) (0, 1) (-1, 0); the batch's (.8, .6) has cosines .8, .6, -.8, so the nearest
    # is (1, 0); at width 1 the mapped ones are turned about: .6 and 0 are 0 apart in sign
    queue = Queue(8, 2)
    queue.push(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), torch.tensor([10, 11, 12]))
    batch = Batch(torch.tensor([[0.8, 0.6]]), torch.tensor([13]))

    def apply(rows):
        return rows + torch.tensor([0.5, 0.0])

    # mapped: (1.3, .6) and (1.5, 0): at width 1 their cosine is 1, at 2 it is 1.3 / |(1.3, .6)|
    objective = MemorySimilarity(Nesting((1, 2)), queue, k=1)
    value = objective(Mapped(apply(batch.documents), None), batch, apply).item()
    wanted = abs(0.8 - 1) + abs(0.8 - 1.3 / np.hypot(1.3, 0.6))
    assert value == pytest.approx(wanted, rel=1e-5)
    assert len(queue) == 4  # the batch came in afterwards, as it was before the map
    torch.testing.assert_close(queue.vectors()[3], batch.documents[0])
    assert queue.names().tolist() == [10, 11, 12, 13]


def test_memory_similarity_is_its_formula_with_the_module_of_now():
    queue = Queue(30, DIM)
    held = unit(9, DIM, seed=7)
    held[4] = BATCH.documents[2]  # row 2 is there, and not its own neighbour
    names = torch.tensor([20, 21, 22, 23, 2, 25, 26, 27, 28])
    queue.push(held, names)
    weight = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(8))

    def apply(rows):
        return rows @ weight

    def loss(width):
        full = cut(BATCH.documents, DIM) @ cut(held, DIM).T
        mine = cut(apply(BATCH.documents), width) @ cut(apply(held), width).T
        ranked = full.copy()
        ranked[2, 4] = -9
        best = np.argsort(-ranked, axis=1)[:4, :3]  # of four anchors
        return np.mean([abs(full[i, j] - mine[i, j]) for i in range(4) for j in best[i]])

    objective = MemorySimilarity(NESTING, queue, k=3, anchors=4)
    value = objective(Mapped(apply(BATCH.documents), None), BATCH, apply).item()
    assert value == pytest.approx(by_width(loss), rel=1e-4)


def test_memory_similarity_waits_for_a_queue_and_maps_only_what_is_found():
    queue = Queue(100, DIM)
    weight = torch.eye(DIM, requires_grad=True)
    seen = []

    def apply(rows):
        seen.append(len(rows))
        return rows @ weight

    objective = MemorySimilarity(NESTING, queue, k=2, anchors=1)
    mapped = Mapped(BATCH.documents @ weight, None)
    first = objective(mapped, BATCH, apply)
    assert first.item() == 0
    first.backward()  # as any loss
    assert weight.grad.abs().max() == 0
    assert seen == []
    assert len(queue) == N
    objective(mapped, BATCH, apply)
    assert seen == [2]
    assert not queue.vectors().requires_grad


def test_no_copy_of_a_row_is_its_own_neighbour():
    queue = Queue(10, 2)
    rows = torch.tensor([[1.0, 0.0], [0.6, 0.8], [1.0, 0.0], [0.6, -0.8]])
    queue.push(rows, torch.tensor([5, 6, 5, 7]))
    batch = Batch(rows[:1], torch.tensor([5]))
    # its neighbour of another name has cosine .6, which a width of 1 makes 1
    objective = MemorySimilarity(Nesting((1,)), queue, k=1)
    value = objective(Mapped(batch.documents, None), batch, same).item()
    assert value == pytest.approx(0.4, rel=1e-5)


@pytest.mark.parametrize("objective", [PairSimilarity(NESTING), TopSimilarity(NESTING)])
def test_similarities_of_a_single_document_are_nought_and_can_be_learned_from(objective):
    documents = unit(1, DIM).requires_grad_()
    value = objective(Mapped(documents, None), Batch(unit(1, DIM), torch.arange(1)), same)
    assert value.item() == 0
    value.backward()
    assert documents.grad.abs().max() == 0


def test_pieces_are_those_of_sums_within_sums():
    contrast, rank = Contrast(NESTING), Rank(NESTING)
    whole = Weighed([(1.0, contrast), (0.5, Weighed([(1.0, rank), (2.0, recovered)]))])
    assert pieces(whole) == [contrast, rank, recovered]
    assert pieces(rank) == [rank]
