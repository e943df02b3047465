"""Checkpoints: what an interrupted training goes on from, and what it refuses."""

from functools import partial

import numpy as np
import pytest
import torch

from nestvec.errors import UserError
from nestvec.learn.adapters.held_out import HeldOut
from nestvec.learn.adapters.memory import Queue
from nestvec.learn.adapters.methods import fit_adapter
from nestvec.learn.adapters.modules import Chain, LinearMap, ReflectionsMap, ResidualMap, Selection
from nestvec.learn.adapters.objectives import (
    Contrast,
    MemorySimilarity,
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


class Interrupted(Exception):
    """A power cut."""


def cut_at(last):
    def watch(step, module):
        if step == last:
            raise Interrupted

    return watch


def queued():
    return Weighed([(1.0, Rank(NESTING)), (0.5, MemorySimilarity(NESTING, Queue(96, DIM)))])


def predicting():
    return Weighed([(1.0, Rank(NESTING)), (1.0, Prediction(DIM))])


RESUMED = [
    pytest.param(identity, lambda: Contrast(NESTING), id="linear"),
    pytest.param(lambda: ResidualMap(DIM, 6), lambda: Rank(NESTING), id="residual"),
    pytest.param(lambda: ReflectionsMap(DIM, 4), lambda: Contrast(NESTING), id="reflections"),
    pytest.param(
        lambda: Chain(identity(), Selection(DIM, 3)), lambda: Rank(NESTING), id="selection"
    ),
    pytest.param(identity, queued, id="queue"),
    pytest.param(identity, predicting, id="prediction"),
]


@pytest.mark.parametrize(("make", "loss"), RESUMED)
@pytest.mark.parametrize("at", [6, 15])
def test_an_interrupted_training_goes_on_as_if_nothing_was(
    planted, tmp_path, make, loss, at, weights
):
    examples = planted()

    def run(place, watch=None):
        torch.manual_seed(0)
        module = make()
        score = HeldOut(examples, NESTING)
        training = Training(batch=16, rate=1e-2, epochs=4, patience=9)
        history = train(module, loss(), examples, score, training, watch=watch, checkpoint=place)
        return weights(module), history

    wanted, whole = run(tmp_path / "whole.pt")
    place = tmp_path / "run.pt"
    with pytest.raises(Interrupted):
        run(place, cut_at(at))
    found, history = run(place)
    assert history.scores == whole.scores
    assert history.losses[1:] == whole.losses[1:]
    assert found == wanted
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.pt", "whole.pt"]


def test_interrupted_before_the_first_check_it_starts_again(planted, tmp_path, rising, weights):
    examples, place = planted(), tmp_path / "run.pt"
    alone, twice = identity(), identity()
    train(alone, Contrast(NESTING), examples, rising(), TRAINING)
    with pytest.raises(Interrupted):
        train(
            twice,
            Contrast(NESTING),
            examples,
            rising(),
            TRAINING,
            checkpoint=place,
            watch=cut_at(3),
        )
    again = identity()
    train(again, Contrast(NESTING), examples, rising(), TRAINING, checkpoint=place)
    assert weights(again) == weights(alone)


def test_a_finished_training_is_taken_as_it_is(planted, tmp_path, told, weights):
    examples, place = planted(), tmp_path / "run.pt"
    first, second, steps = identity(), identity(), []
    whole = train(
        first, Contrast(NESTING), examples, told(0, 1, 3, 2, 2), TRAINING, checkpoint=place
    )
    again = train(
        second,
        Contrast(NESTING),
        examples,
        told(),
        TRAINING,
        checkpoint=place,
        watch=lambda step, module: steps.append(step),
    )
    assert steps == []
    assert again.scores == whole.scores
    assert weights(second) == weights(first)


def test_a_training_that_stopped_early_stays_stopped(planted, tmp_path, told):
    examples, place, steps = planted(), tmp_path / "run.pt", []
    training = Training(batch=16, rate=1e-2, epochs=9, patience=1)
    train(identity(), Contrast(NESTING), examples, told(0, 1, 0), training, checkpoint=place)
    train(
        identity(),
        Contrast(NESTING),
        examples,
        told(5, 5),
        training,
        checkpoint=place,
        watch=lambda step, module: steps.append(step),
    )
    assert steps == []


@pytest.mark.parametrize("fault", ["damaged", "of another shape"])
def test_a_checkpoint_that_does_not_fit_is_said_so(planted, tmp_path, fault, rising):
    place = tmp_path / "run.pt"
    train(identity(), Contrast(NESTING), planted(), rising(), TRAINING, checkpoint=place)
    if fault == "damaged":
        place.write_bytes(place.read_bytes()[:100])
    width = DIM if fault == "damaged" else DIM - 1
    module = LinearMap(np.eye(DIM, width, dtype=np.float32))
    with pytest.raises(UserError, match=r"run\.pt is damaged or of.*Remove the folder"):
        train(module, Contrast(Nesting((3,))), planted(), rising(), TRAINING, checkpoint=place)


def test_a_checkpoint_of_another_training_is_said_so(planted, tmp_path, rising):
    place, examples = tmp_path / "run.pt", planted()

    def run(whose):
        return train(
            identity(),
            Contrast(NESTING),
            examples,
            rising(),
            TRAINING,
            checkpoint=place,
            whose=whose,
        )

    wanted = run("mine")
    assert run("mine") == wanted
    with pytest.raises(UserError, match=r"run\.pt is of another method, .*Remove the folder"):
        run("another's")


def test_progress_counts_steps_also_those_of_before(planted, tmp_path, rising, listener):
    examples, place = planted(), tmp_path / "run.pt"
    for watch, done in ((cut_at(7), None), (None, 6)):
        listener.told.clear()
        try:
            train(
                identity(),
                Contrast(NESTING),
                examples,
                rising(),
                TRAINING,
                checkpoint=place,
                watch=watch,
                progress=listener,
            )
        except Interrupted:
            continue
        assert listener.told[:2] == [("train", 24), done]
        assert sum(listener.told[1:-1]) == 24
        assert listener.told[-1] == "end"


def test_a_rerun_in_the_same_folder_goes_on(planted, tmp_path, each_trained_method, quick):
    steps = []

    def fitted(**kwargs):
        return fit_adapter(each_trained_method, planted(), quick(patience=9), **kwargs)

    whole = fitted()

    def count(step, module):
        steps.append(step)

    fitted(watch=count)
    left = [len(steps) - 3]  # in the last epoch of the last training

    def cut(step, module):
        if not left[0]:
            raise Interrupted
        left[0] -= 1

    with pytest.raises(Interrupted):
        fitted(folder=tmp_path / "new", watch=cut)
    steps.clear()
    again = fitted(folder=tmp_path / "new", watch=count)
    assert 3 <= len(steps) <= 6  # what is done is not done again
    for history, wanted in zip(again.facts["histories"], whole.facts["histories"], strict=True):
        assert history["scores"] == wanted["scores"]
        assert history["losses"][1:] == wanted["losses"][1:]
    for stage, wanted in zip(again.stages, whole.stages, strict=True):
        for each, other in zip(stage.maps, wanted.maps, strict=True):
            for name, array in each.arrays().items():
                np.testing.assert_array_equal(array, other.arrays()[name])


@pytest.mark.parametrize(("method", "other"), [("mrl", {}), ("linear", {"seed": 1})])
def test_a_folder_of_another_training_is_not_gone_on_from(planted, tmp_path, method, other, quick):
    fit_adapter("linear", planted(), quick(), folder=tmp_path)
    with pytest.raises(UserError, match=r"of another method, .*Remove the folder"):
        fit_adapter(method, planted(), quick(**other), folder=tmp_path)
    with pytest.raises(UserError, match=r"or other examples. Remove the folder"):
        fit_adapter("linear", planted(seed=1), quick(), folder=tmp_path)
