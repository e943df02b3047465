"""Weights that are trained, widths that are drawn, and layers that weigh alike."""

from itertools import combinations

import pytest
import torch

from nestvec.learn.losses.contrastive import info_nce
from nestvec.learn.losses.distillation import score_divergence
from nestvec.learn.losses.nested import nested
from nestvec.learn.losses.two_d import uniform_layers
from nestvec.learn.losses.weights import LearnedWeights, sampled_nesting
from nestvec.nesting import Nesting

NESTING = Nesting((2, 4, 8), (1.0, 2.0, 3.0))


def pair(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(6, 8, generator=generator) for _ in range(2)]


def test_learned_weights_start_as_the_plain_sum():
    weights = LearnedWeights(Nesting((2, 8)))
    plain = nested(info_nce, pair(), Nesting((2, 8)))
    torch.testing.assert_close(weights(info_nce, pair()).total, plain.total)
    assert weights(info_nce, pair()).parts.keys() == plain.parts.keys()


def test_learned_weights_by_hand():
    weights = LearnedWeights(Nesting((2, 8)))
    with torch.no_grad():
        weights.log_variances.copy_(torch.tensor([0.5, -1.0]))
    found = weights(info_nce, pair())
    two, eight = (nested(info_nce, pair(), Nesting((m,))).total for m in (2, 8))
    wanted = 0.6065307 * two + 0.25 + 2.7182818 * eight - 0.5
    torch.testing.assert_close(found.total, wanted)


def test_a_width_that_costs_more_comes_to_weigh_less():
    weights = LearnedWeights(Nesting((2, 8)))
    optimizer = torch.optim.SGD(weights.parameters(), lr=0.05)
    losses = {2: torch.tensor(4.0), 8: torch.tensor(0.2)}
    for _ in range(500):
        optimizer.zero_grad()
        weights(lambda x: losses[x.shape[1]], [torch.zeros(1, 8)]).total.backward()
        optimizer.step()
    # the least of exp(-s) L + s / 2 is at exp(-s) = 1 / (2 L)
    torch.testing.assert_close(weights.weights(), torch.tensor([1 / 8, 2.5]), atol=1e-3, rtol=0)


def test_drawn_widths_give_the_whole_loss_on_the_average():
    whole = nested(info_nce, pair(), NESTING).total
    drawn = {}
    generator = torch.Generator().manual_seed(0)
    while len(drawn) < 3:
        found = sampled_nesting(NESTING, 2, generator)
        drawn[found.widths] = nested(info_nce, pair(), found).total
    assert set(drawn) == set(combinations(NESTING.widths, 2))
    torch.testing.assert_close(torch.stack(list(drawn.values())).mean(), whole)


def test_drawing_all_widths_changes_nothing():
    assert sampled_nesting(NESTING, 3, torch.Generator()) is NESTING
    one, two = (sampled_nesting(NESTING, 1, torch.Generator().manual_seed(5)) for _ in range(2))
    assert one == two


def test_uniform_layers_by_parts():
    layers = [pair(seed) for seed in (1, 2, 3)]
    found = uniform_layers(info_nce, layers, 2, NESTING, alignment=0.5)
    both = [nested(info_nce, layers[i], NESTING).total for i in (1, 2)]
    divergence = sum(
        score_divergence(a, b, temperature=0.3) for a, b in zip(layers[1], layers[2], strict=True)
    )
    torch.testing.assert_close(found.total, sum(both) + 0.5 * 0.3 * divergence / 2)
    assert set(found.parts) == {
        *(f"layer {layer}:{width}" for layer in (2, 3) for width in (2, 4, 8)),
        "alignment",
    }


def test_the_last_layer_teaches_and_does_not_learn_from_the_alignment():
    layers = [[x.requires_grad_() for x in pair(seed)] for seed in (1, 2)]
    zero = lambda *columns: 0.0 * sum(x.sum() for x in columns)  # noqa: E731
    uniform_layers(zero, layers, 1, Nesting((8,))).total.backward()
    assert layers[1][0].grad.abs().sum() == pytest.approx(0)
    assert layers[0][0].grad.abs().sum() > 0
