"""A trained matrix drawn back towards its start, block by block."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nestvec.learn.adapters.blending import SHARES, blended
from nestvec.learn.adapters.held_out import HeldOut
from nestvec.learn.adapters.methods import _hold_out, fit_adapter
from nestvec.learn.adapters.spectrum import principal_axes
from nestvec.nesting import Nesting
from nestvec.progress import quiet

pytestmark = pytest.mark.usefixtures("one_thread")

START = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
TRAINED = torch.tensor([[0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
NESTING = Nesting((1, 3))


def nearness(target):
    """A score that is highest for one matrix."""
    return lambda apply: -float((apply(torch.eye(3)) - target).abs().sum())


def test_shares_by_hand():
    # both lengths are 12 ** .5 once the start is doubled; a third of the way in the second block
    target = torch.tensor([[0.0, 1.4, 0.0], [2.0, 0.6, 0.0], [0.0, 0.0, 2.0]])
    weight, shares = blended(START, TRAINED, NESTING, nearness(target))
    assert shares == [0.0, 0.3]
    torch.testing.assert_close(weight, target)


def test_the_start_is_given_back_where_it_is_best():
    weight, shares = blended(START, TRAINED, NESTING, nearness(2 * START))
    assert shares == [1.0, 1.0]
    torch.testing.assert_close(weight, 2 * START)


def test_a_trained_matrix_stays_where_every_share_is_worse():
    weight, shares = blended(START, TRAINED, NESTING, nearness(TRAINED))
    assert shares == [0.0, 0.0]
    assert torch.equal(weight, TRAINED)


def test_a_share_beyond_worse_ones_is_found():
    def score(apply):
        first = apply(torch.eye(3))[0, 0]  # twice the first block's share
        return {0.0: 0.1, 1.4: 0.2}.get(round(float(first), 2), 0.0)

    _, shares = blended(START, TRAINED, NESTING, score)
    assert shares[0] == 0.7


@pytest.mark.parametrize("labelled", [True, False])
def test_a_fit_is_blended_and_never_ranks_held_out_examples_worse(planted, quick, labelled):
    examples = planted(labelled=labelled)
    settings = quick()
    apart = fit_adapter("linear", examples, settings)
    both = fit_adapter("linear", examples, replace(settings, blend=True))
    assert "shares_of_start" not in apart.facts
    shares = both.facts["shares_of_start"]
    assert len(shares) == len(both.widths)
    assert set(shares) <= set(SHARES)
    trained, mixed = (each.stages[0].maps[0].weight for each in (apart, both))
    axes = principal_axes(examples.documents, settings.training.seed)
    longer = axes * (np.linalg.norm(trained) / np.linalg.norm(axes))
    edges = (0, *both.widths)
    for begin, end, share in zip(edges, edges[1:], shares, strict=False):
        expected = (1 - share) * trained[:, begin:end] + share * longer[:, begin:end]
        np.testing.assert_allclose(mixed[:, begin:end], expected, atol=1e-5)
    _, held = _hold_out(examples, settings.training.seed, quiet())
    score = HeldOut(held, Nesting(both.widths), settings.training.seed)
    values = [score(lambda rows, m=m: rows @ torch.from_numpy(m)) for m in (trained, mixed)]
    assert values[1] >= values[0]
