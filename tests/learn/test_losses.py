"""Losses: numbers by hand, properties, and parity with sentence-transformers."""

import math
from functools import partial

import pytest
import torch
from torch.nn import functional

from nestvec.errors import UserError
from nestvec.learn.losses.contrastive import info_nce, negative_weights
from nestvec.learn.losses.distillation import principal_target, score_divergence
from nestvec.learn.losses.heads import SeparateHeads, TiedHead, nested_cross_entropy
from nestvec.learn.losses.lean import nested_info_nce
from nestvec.learn.losses.nested import nested
from nestvec.learn.losses.ranking import cosent, pairwise_rank
from nestvec.learn.losses.temperature import schedule, temp_agg, temp_agg_mrl, temp_spec_mrl
from nestvec.learn.losses.two_d import Draw, fixed_pairs, two_d
from nestvec.nesting import Nesting

NESTING = Nesting((3, 8, 24), (2.0, 1.0, 0.5))


def pair(n=20, c=28, d=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(n, d, generator=generator, requires_grad=True),
        torch.randn(c, d, generator=generator, requires_grad=True),
    )


def grads(value, leaves):
    return torch.autograd.grad(value, leaves)


def test_info_nce_by_hand():
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    documents = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    e = math.e
    first, second = -math.log(e / (2 * e + 1)), -math.log(e / (e + 2))
    assert info_nce(queries, documents, temperature=1.0).item() == pytest.approx(
        (first + second) / 2, rel=1e-6
    )
    back = -math.log(e / (e + 1))
    both = info_nce(queries, documents, temperature=1.0, both_directions=True).item()
    assert both == pytest.approx(((first + second) / 2 + back) / 2, rel=1e-6)


def test_concentrated_negatives_by_hand():
    # negatives of query 0 score 1 and 0: weights e^b / mean and 1 / mean of (e^b, 1)
    queries = torch.tensor([[1.0, 0.0]])
    documents = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    weights = [math.e**2, 1.0]
    mean = sum(weights) / 2
    below = math.e + weights[0] / mean * math.e + weights[1] / mean
    wanted = -math.log(math.e / below)
    value = info_nce(queries, documents, temperature=1.0, beta=2.0).item()
    assert value == pytest.approx(wanted, rel=1e-5)


def test_weights_of_negatives_at_both_limits():
    scores = torch.tensor([[0.9, 0.5, 0.1]])
    assert negative_weights(scores, 1e-3)[0, 0].item() == pytest.approx(1.0)
    torch.testing.assert_close(
        negative_weights(scores, 1e4), torch.full((1, 3), 1 / 3), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("both", [False, True])
def test_lean_equals_nested(both):
    leaves = pair()
    plain = nested(partial(info_nce, temperature=0.1, both_directions=both), leaves, NESTING)
    lean = nested_info_nce(*leaves, NESTING, temperatures=(0.1,), both_directions=both, block=7)
    torch.testing.assert_close(lean.total, plain.total)
    for name, value in plain.parts.items():
        torch.testing.assert_close(lean.parts[name], value)
    for mine, wanted in zip(grads(lean.total, leaves), grads(plain.total, leaves), strict=True):
        torch.testing.assert_close(mine, wanted, atol=1e-6, rtol=1e-4)


def some_ignored(n=20, c=28, share=0.4):
    """(n, c) bool, about this share of all but each row's own."""
    drawn = torch.rand(n, c, generator=torch.Generator().manual_seed(3)) < share
    return drawn.fill_diagonal_(False)


def test_an_ignored_document_is_in_no_sum_by_hand():
    # of query 0 document 1 is left out: e against e and 1; of query 1 nothing: e, 1 and 1
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    documents = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    ignored = torch.tensor([[False, True, False], [False, False, False]])
    e = math.e
    first, second = -math.log(e / (2 * e)), -math.log(e / (e + 2))
    # the other way document 1 is not held against query 0: it loses nothing; 0 has e and 1
    back = -math.log(e / (e + 1))

    def lean(*rows, **how):
        return nested_info_nce(*rows, Nesting((2,)), temperatures=(1.0,), **how).total

    for loss in (partial(info_nce, temperature=1.0), lean):
        one_way = loss(queries, documents, ignored=ignored).item()
        assert one_way == pytest.approx((first + second) / 2, rel=1e-6)
        both = loss(queries, documents, ignored=ignored, both_directions=True).item()
        assert both == pytest.approx(((first + second) / 2 + back / 2) / 2, rel=1e-6)


def test_concentrated_negatives_are_those_that_are_not_ignored():
    queries, documents = pair(n=5, c=7)
    ignored = some_ignored(5, 7)
    value = info_nce(queries, documents, temperature=1.0, beta=0.3, ignored=ignored)
    rows = []
    for i in range(5):
        kept = [j for j in range(7) if j != i and not ignored[i, j]]
        alone = torch.cat([documents[i : i + 1], documents[kept]])
        rows.append(info_nce(queries[i : i + 1], alone, temperature=1.0, beta=0.3))
    torch.testing.assert_close(value, torch.stack(rows).mean())


@pytest.mark.parametrize("both", [False, True])
def test_gradients_of_what_ignores_are_right(both):
    leaves = [rows.detach().double().requires_grad_() for rows in pair(n=4, c=6, d=3)]
    ignored = some_ignored(4, 6)
    loss = partial(info_nce, temperature=0.5, both_directions=both, ignored=ignored)
    assert torch.autograd.gradcheck(loss, leaves)


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_where_all_others_are_ignored_nothing_is_lost(beta):
    leaves, others = pair(), some_ignored(share=1.0)
    value = info_nce(*leaves, beta=beta, both_directions=True, ignored=others)
    assert value.item() == 0
    assert all(grad.abs().max() == 0 for grad in grads(value, leaves))


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.9, 1.0])
def test_lean_ignores_as_nested_and_plain_loops_do(both, share):
    leaves, ignored = pair(), some_ignored(share=share)
    plain = nested(
        partial(info_nce, temperature=0.1, both_directions=both, ignored=ignored), leaves, NESTING
    )
    lean = nested_info_nce(
        *leaves, NESTING, temperatures=(0.1,), both_directions=both, ignored=ignored, block=7
    )
    wanted = torch.zeros((), dtype=torch.float64)
    for width, weight in zip(NESTING.widths, NESTING.weights, strict=True):
        q, d = (functional.normalize(rows[:, :width].double(), dim=1) for rows in leaves)
        scores = q @ d.T / 0.1
        for i in range(20):
            kept = [j for j in range(28) if not ignored[i, j]]
            asking = [j for j in range(20) if not ignored[j, i]]
            lost = torch.logsumexp(scores[i, kept], 0) - scores[i, i]
            if both:
                lost = (lost + torch.logsumexp(scores[asking, i], 0) - scores[i, i]) / 2
            wanted = wanted + weight * lost / 20
    by_loops = grads(wanted, leaves)
    for value in (plain, lean):
        torch.testing.assert_close(value.total.double(), wanted, atol=1e-6, rtol=1e-5)
        for mine, theirs in zip(grads(value.total, leaves), by_loops, strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)
        if share == 1:
            assert value.total.item() == pytest.approx(0, abs=1e-6)
    for name, value in plain.parts.items():
        torch.testing.assert_close(lean.parts[name], value)


def test_nothing_ignored_is_no_mask():
    leaves, nothing = pair(), some_ignored(share=0.0)
    lean = [nested_info_nce(*leaves, NESTING, ignored=each) for each in (None, nothing)]
    assert lean[0].total == lean[1].total
    for one, two in zip(*(grads(each.total, leaves) for each in lean), strict=True):
        assert torch.equal(one, two)
    assert info_nce(*leaves, beta=0.2) == info_nce(*leaves, beta=0.2, ignored=nothing)


def test_lean_takes_a_temperature_a_width_and_scales_with_what_comes_after():
    leaves = pair(seed=1)
    taus = (0.03, 0.06, 0.1)
    lean = nested_info_nce(*leaves, NESTING, temperatures=taus)
    spec = temp_spec_mrl(*leaves, NESTING, temperatures=taus)
    torch.testing.assert_close(lean.total, spec.total)
    mine, wanted = grads(3 * lean.total, leaves), grads(3 * spec.total, leaves)
    torch.testing.assert_close(mine[0], wanted[0], atol=1e-5, rtol=1e-4)


def test_coordinates_beyond_a_width_get_no_gradient_from_it():
    leaves = pair()
    for value in (
        nested(info_nce, leaves, Nesting((3, 8))).total,
        nested_info_nce(*leaves, Nesting((3, 8))).total,
    ):
        for grad in grads(value, leaves):
            assert grad[:, 8:].abs().max() == 0
            assert grad[:, :8].abs().min() >= 0
            assert grad[:, :3].abs().max() > 0


def test_the_full_width_alone_is_the_plain_loss():
    queries, documents = pair()
    plain = info_nce(functional.normalize(queries), functional.normalize(documents))
    torch.testing.assert_close(nested(info_nce, (queries, documents), Nesting((24,))).total, plain)
    torch.testing.assert_close(nested_info_nce(queries, documents, Nesting((24,))).total, plain)


def test_the_temperature_family_sums_what_it_says():
    queries, documents = pair(c=20)
    unit = functional.normalize(queries), functional.normalize(documents)
    agg = temp_agg(queries, documents)
    wanted = sum(info_nce(*unit, temperature=tau) for tau in (0.03, 0.06, 0.1))
    torch.testing.assert_close(agg.total, wanted)
    assert set(agg.parts) == {"24@0.03", "24@0.06", "24@0.1"}
    nesting = Nesting((8, 24))
    both = temp_agg_mrl(queries, documents, nesting)
    torch.testing.assert_close(
        both.total, temp_agg(queries[:, :8], documents[:, :8]).total + agg.total
    )
    with pytest.raises(UserError, match="one temperature a width"):
        temp_spec_mrl(queries, documents, nesting, temperatures=(0.1,))


def test_schedules():
    assert schedule("constant", 0.1)(0.7) == 0.1
    assert schedule("linear", 0.1, 0.2)(0.5) == pytest.approx(0.15)
    cosine = schedule("cosine", 0.1, 0.2)
    assert [round(cosine(t), 6) for t in (0, 0.5, 1, 2)] == [0.1, 0.15, 0.2, 0.2]
    with pytest.raises(UserError, match="got 'steps'"):
        schedule("steps", 0.1)


def test_rank_loss_by_hand():
    scores, grades = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[2.0, 0.0, 1.0]])
    pairs = [2 * math.log(1 + math.exp(-1)), 1 * math.log(1 + math.exp(-1)), math.log(2)]
    assert pairwise_rank(scores, grades).item() == pytest.approx(sum(pairs) / 3, rel=1e-6)
    assert pairwise_rank(scores, torch.zeros(1, 3)).item() == 0


def test_cosent_equals_sentence_transformers():
    losses = pytest.importorskip("sentence_transformers.losses")
    left, right = pair(c=20)
    grades = torch.rand(20, generator=torch.Generator().manual_seed(2)).round(decimals=1)
    theirs = losses.CoSENTLoss(None).compute_loss_from_embeddings([left, right], grades)
    torch.testing.assert_close(cosent(left, right, grades), theirs)


def test_info_nce_equals_sentence_transformers():
    losses = pytest.importorskip("sentence_transformers.losses")
    queries, documents = pair()
    columns = [queries, documents[:20], torch.cat([documents[20:], documents[:12]])]
    theirs = losses.MultipleNegativesRankingLoss(None).compute_loss_from_embeddings(columns, None)
    unit = [functional.normalize(column) for column in columns]
    mine = info_nce(unit[0], torch.cat(unit[1:]), temperature=1 / 20)
    torch.testing.assert_close(mine, theirs)


def test_heads():
    torch.manual_seed(0)
    x, labels = torch.randn(6, 24), torch.tensor([0, 1, 2, 0, 1, 2])
    tied = TiedHead(NESTING, 3)
    logits = tied(x)
    weight, bias = tied.head.weight, tied.head.bias
    wanted = {m: x[:, :m] @ weight[:, :m].T + bias for m in NESTING.widths}
    assert logits.keys() == wanted.keys()
    for m, z in wanted.items():
        torch.testing.assert_close(logits[m], z)
    mine, theirs = (
        torch.autograd.grad(sum(m * z.sin().sum() for m, z in found.items()), (weight, bias))
        for found in (logits, wanted)
    )
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-5)
    logits = tied(x)
    loss = nested_cross_entropy(logits, labels, NESTING)
    by_hand = sum(
        c * functional.cross_entropy(logits[m], labels)
        for c, m in zip(NESTING.weights, NESTING.widths, strict=True)
    )
    torch.testing.assert_close(loss.total, by_hand)
    assert set(SeparateHeads(NESTING, 3)(x)) == {3, 8, 24}


def test_a_teacher_gets_no_gradient_and_agreement_costs_nothing():
    scores, teacher = pair(c=20)
    score_divergence(scores, teacher).backward()
    assert teacher.grad is None
    assert score_divergence(scores, scores).item() == pytest.approx(0, abs=1e-6)


def test_the_principal_target_does_not_change_sign_with_the_order_of_rows():
    # coordinates of unlike sizes: singular values that nearly meet would make vectors of rounding
    rows = pair()[0].detach() * torch.linspace(3, 0.5, 24)
    target = principal_target(rows, 4)
    turned = principal_target(rows.flip(0), 4).flip(0)
    torch.testing.assert_close(target, turned, atol=1e-4, rtol=1e-3)


def test_two_d_at_full_width_counts_each_loss_twice():
    torch.manual_seed(0)
    layers = [[torch.randn(6, 8), torch.randn(6, 8)] for _ in range(3)]
    full = two_d(info_nce, layers, Draw(2, 8), alignment=0.0)
    unit = [[functional.normalize(x) for x in columns] for columns in layers]
    torch.testing.assert_close(full.total, 2 * (info_nce(*unit[1]) + info_nce(*unit[2])))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: info_nce(torch.ones(3, 2), torch.ones(2, 2)), "c at least n"),
        (lambda: info_nce(torch.ones(2, 2), torch.ones(2, 2), temperature=0), "got 0"),
        (lambda: info_nce(*pair(), ignored=torch.eye(20, 28).bool()), "that of query 0; set"),
        (
            lambda: nested_info_nce(*pair(), NESTING, ignored=torch.eye(20)),
            r"\(20, 28\); got torch",
        ),
        (lambda: nested(info_nce, pair(), Nesting((64,))), "for width 24"),
        (lambda: nested_info_nce(*pair(), NESTING, temperatures=(0.1, 0.2)), "got 2 for 3"),
        (lambda: nested([info_nce], pair(), NESTING), "got 1 for 3 widths"),
        (lambda: temp_agg(*pair(), temperatures=()), "got none"),
        (lambda: cosent(torch.ones(2, 3), torch.ones(2, 3), torch.ones(3)), "grades"),
        (lambda: fixed_pairs(info_nce, [[torch.ones(2, 4)] * 2] * 2, [(2, 4), (1, 2)]), "rise"),
    ],
)
def test_faults_are_one_sentence(call, says):
    with pytest.raises(UserError, match=says):
        call()
