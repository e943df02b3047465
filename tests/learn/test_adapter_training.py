"""Training: the best is kept, early stop, and what went wrong."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from nestvec.errors import UserError
from nestvec.learn.adapters.checkpoint import History
from nestvec.learn.adapters.examples import steps_an_epoch
from nestvec.learn.adapters.held_out import HeldOut
from nestvec.learn.adapters.modules import (
    Chain,
    LinearMap,
    ReflectionsMap,
    Selection,
)
from nestvec.learn.adapters.objectives import (
    Contrast,
    Distillation,
    Prediction,
    Rank,
    Weighed,
)
from nestvec.learn.adapters.training import Training, train
from nestvec.nesting import Nesting

pytestmark = pytest.mark.usefixtures("one_thread")

DIM = 12
NESTING = Nesting((3, DIM))
TRAINING = Training(batch=16, rate=1e-2, epochs=4)
identity = partial(LinearMap, np.eye(DIM, dtype=np.float32))


def test_the_best_check_is_the_first_of_equals():
    assert History([0, 1, 2, 3], [0] * 4, [0.1, 0.5, 0.2, 0.5]).best == 1


def test_a_history_has_an_entry_a_check(planted, rising):
    examples = planted()
    history = train(identity(), Contrast(NESTING), examples, rising(), TRAINING)
    assert history.epochs == [0, 1, 2, 3, 4]
    assert history.scores == [0, 1, 2, 3, 4]
    assert history.losses[0] is None
    assert history.losses[4] < history.losses[1]
    # 6 steps an epoch: checks every 3
    steps = []
    history = train(
        identity(),
        Contrast(NESTING),
        examples,
        rising(),
        Training(batch=16, epochs=1, checks=2),
        watch=lambda step, module: steps.append(step),
    )
    assert history.epochs == [0, 0.5, 1]
    assert steps == list(range(6))


def test_losses_are_means_over_steps(planted, rising):
    values = []

    def objective(mapped, batch, apply):
        loss = mapped.documents.square().mean()
        values.append(loss.item())
        return loss

    history = train(identity(), objective, planted(), rising(), Training(batch=16, epochs=2))
    assert history.losses[1:] == pytest.approx([np.mean(values[:6]), np.mean(values[6:])])


def test_the_last_loss_is_a_mean_over_fewer_steps(planted, rising):
    def objective(mapped, batch, apply):
        return 0 * mapped.documents.sum() + 3

    # 5 steps, checked every 2: after 2, 4 and 5
    training = Training(batch=19, epochs=1, checks=2)
    history = train(identity(), objective, planted(), rising(), training)
    assert history.losses[1:] == pytest.approx([3, 3, 3])


def test_it_ends_where_the_held_out_score_was_best(planted, told, weights):
    examples, states = planted(), []

    def keep(step, module):
        states.append(weights(module))  # before the step

    module = identity()
    training = Training(batch=16, rate=1e-2, epochs=4, patience=9)
    scores = told(0.1, 0.2, 0.9, 0.3, 0.4)
    history = train(module, Contrast(NESTING), examples, scores, training, watch=keep)
    assert history.best == 2
    assert weights(module) == states[12]  # two epochs of 6 steps
    assert not module.training


def test_where_nothing_is_better_the_start_stays(planted, told):
    module = identity()
    history = train(module, Contrast(NESTING), planted(), told(1, 0, 0, 0, 0, 0), TRAINING)
    assert history.best == 0
    assert torch.equal(module.weight, torch.eye(DIM))


def test_it_stops_when_patience_is_out(planted, told):
    training = Training(batch=16, epochs=50, patience=2)
    scores = told(0.1, 0.2, 0.15, 0.3, 0.3, 0.1)
    history = train(identity(), Contrast(NESTING), planted(), scores, training)
    # the best again is no better: two checks after the fourth it is over
    assert history.epochs == [0, 1, 2, 3, 4, 5]
    assert history.best == 3


def test_the_rate_falls_to_nought(planted, rising):
    module, moved = identity(), []
    last = [module.weight.detach().clone()]

    def keep(step, module):
        moved.append((module.weight.detach() - last[0]).abs().max().item())
        last[0] = module.weight.detach().clone()

    train(module, Contrast(NESTING), planted(), rising(), TRAINING, watch=keep)
    assert moved[1] == pytest.approx(TRAINING.rate, rel=1e-2)  # Adam's first step
    assert moved[-1] < TRAINING.rate / 10


def test_what_is_frozen_comes_before_and_does_not_move(planted, rising):
    examples = planted()
    frozen = torch.randn(DIM, 5, generator=torch.Generator().manual_seed(0))
    before = frozen.clone()
    seen = []

    def objective(mapped, batch, apply):
        seen.append(torch.equal(mapped.documents, batch.documents @ frozen @ module.weight))
        seen.append(torch.equal(apply(batch.documents), mapped.documents))
        return Rank(Nesting((2, 5)))(mapped, batch, apply)

    module = LinearMap(np.eye(5, dtype=np.float32))
    train(module, objective, examples, rising(), TRAINING, frozen=lambda rows: rows @ frozen)
    assert all(seen)
    assert torch.equal(frozen, before)
    assert not torch.equal(module.weight, torch.eye(5))


def test_a_predictor_is_trained_along_also_inside_a_sum(planted, rising):
    for wrap in (lambda part: part, lambda part: Weighed([(1.0, Contrast(NESTING)), (1.0, part)])):
        prediction = Prediction(DIM)
        train(identity(), wrap(prediction), planted(), rising(), TRAINING)
        assert not torch.equal(prediction.predictor.weight, torch.eye(DIM))


def test_selection_puts_planted_coordinates_first(planted, rising):
    # of 12 coordinates queries and documents agree in three, elsewhere they are noise
    agree = (7, 2, 10)
    module = Selection(DIM, 3)
    training = Training(batch=64, rate=5e-2, epochs=40, patience=40)
    examples = planted(n=256, agree=agree)
    loss = Rank(Nesting((3,)), scale=5.0)
    train(module, loss, examples, rising(), training)
    assert set(module.order()[:3].tolist()) == set(agree)
    score = HeldOut(planted(n=256, agree=agree, seed=1), Nesting((3,)))
    before = score(lambda rows: rows)
    assert score(module) > before + 0.3


def test_selection_is_cooled_and_drawn_anew_every_step(planted, rising):
    module, seen = Selection(DIM, 3), []

    def keep(step, module):
        seen.append((module.temperature, module._noise.clone()))

    training = Training(batch=16, epochs=2, taus=(2.0, 0.2))
    train(module, Rank(NESTING), planted(), rising(), training, watch=keep)
    cooled = [temperature for temperature, _ in seen]
    assert cooled[0] == pytest.approx(2.0)
    assert cooled[6] == pytest.approx(2 * 10**-0.5)  # half way of 12 steps
    assert cooled == sorted(cooled, reverse=True)
    assert len({tuple(noise.tolist()) for _, noise in seen}) == 12


def test_reflections_keep_full_scores_whatever_they_learn(planted, rising):
    examples = planted()
    module = ReflectionsMap(DIM, 4)
    train(module, Contrast(NESTING), examples, rising(), TRAINING)
    rows = torch.from_numpy(np.concatenate([examples.documents, examples.queries]))
    with torch.no_grad():
        mapped = module(rows)
    torch.testing.assert_close(mapped @ mapped.T, rows @ rows.T, atol=1e-4, rtol=1e-5)
    # and it did learn: other coordinates come first
    assert (mapped - rows)[:, :3].abs().mean() > 0.05


@pytest.mark.parametrize("labelled", [True, False])
def test_the_same_seed_gives_the_same_weights(planted, labelled, rising, weights):
    def trained(seed):
        module = Chain(identity(), Selection(DIM, 3, seed))
        loss = Rank(NESTING) if labelled else Distillation(NESTING)
        training = Training(batch=16, rate=1e-2, epochs=2, seed=seed)
        train(module, loss, planted(labelled=labelled), rising(), training)
        return weights(module)

    assert trained(1) == trained(1)
    assert trained(1) != trained(2)


def test_contrast_counts_no_second_answer_of_a_batch_as_a_wrong_one(planted, rising):
    examples = planted()
    pairs = np.concatenate([examples.pairs, np.stack([np.arange(96), (np.arange(96) + 1) % 96], 1)])
    examples = replace(examples, pairs=pairs)
    most, gaps = [], []

    class Watching(Contrast):
        def __call__(self, mapped, batch, apply):
            value = super().__call__(mapped, batch, apply)
            wrong = (batch.grades == 0) | torch.eye(len(batch.rows), dtype=bool)
            wanted = 0
            for width in NESTING.widths:
                q, d = (normalize(x[:, :width]) for x in (mapped.queries, mapped.documents))
                scores = (q @ d.T / self.temperature).where(wrong, float("-inf"))
                wanted -= torch.log_softmax(scores, dim=1).diagonal().mean()
            most.append(int((batch.grades > 0).sum(dim=1).max()))
            gaps.append(abs((wanted - value).item()))
            return value

    once = Training(batch=64, epochs=1)
    train(identity(), Weighed([(1.0, Watching(NESTING))]), examples, rising(), once)
    assert set(most) == {2}
    assert max(gaps) < 1e-5


def test_a_rate_far_too_high_is_said_so(planted, rising):
    training = Training(batch=16, rate=1e29, epochs=4)
    with pytest.raises(UserError, match=r"a loss must stay a number; at step 6 it was nan.*rate"):
        train(identity(), Contrast(NESTING), planted(), rising(), training)


def test_a_loss_without_bounds_is_said_so(planted, rising):
    def objective(mapped, batch, apply):
        return 0 * mapped.documents.sum() + float("inf")

    with pytest.raises(
        UserError, match=r"at step 6 it was inf. Lower the learning rate below 0.01"
    ):
        train(identity(), objective, planted(), rising(), TRAINING)


def test_a_last_step_that_breaks_the_weights_is_said_so(planted):
    examples = planted()
    assert steps_an_epoch(examples, 1_000) == 1
    training = Training(batch=1_000, rate=1e29, epochs=4)
    score = HeldOut(examples, NESTING)
    with pytest.raises(UserError, match="a loss must stay a number; at step 1 it was nan"):
        train(identity(), Contrast(NESTING), examples, score, training)


def test_weights_that_the_last_step_breaks_are_not_scored(planted, told):
    def objective(mapped, batch, apply):
        return mapped.documents.sum() * 0

    def broken(step, module):
        if step == 5:
            module.weight.grad.fill_(float("nan"))

    with pytest.raises(UserError, match="at step 6 it was nan"):
        train(identity(), objective, planted(), told(1), TRAINING, watch=broken)
