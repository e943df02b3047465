"""Training through the code: the straight-through loss by hand, and what a training keeps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from nestvec.codec.nested import Codec
from nestvec.errors import UserError
from nestvec.learn.adapters import methods
from nestvec.learn.adapters.coded import Coding, ThroughCode, decodings, train_through_code
from nestvec.learn.adapters.examples import Batch, Examples
from nestvec.learn.adapters.methods import fit_adapter
from nestvec.learn.adapters.modules import LinearMap
from nestvec.learn.adapters.objectives import Mapped
from nestvec.learn.losses.contrastive import info_nce
from nestvec.nesting import Nesting
from nestvec.vectors import normalize

DIM = 8
SMALL = Coding(
    rounds=2, steps=3, batch=64, rate=1e-2, width=6, spec="3xcb16", beam=2, power=0.0, cuts=(2, 3),
    fit_rows=200,
)  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return normalize(rng.standard_normal((300, DIM)).astype(np.float32))


@pytest.fixture(scope="module")
def codec(rows):
    found = Codec("3xcb16", beam=2, power=0.0)
    return found.fit(normalize(rows[:, :6]))


def test_decodings_are_those_of_the_codec(rows, codec):
    some = torch.from_numpy(normalize(rows[:20, :6]))
    codes = codec.encode(some.numpy())
    for cut, found in zip((2, 3), decodings(codec, some, (2, 3)), strict=True):
        wanted = next(x for c, x in codec.reconstructions(codes, (cut,)) if c == cut)
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-6)


def test_the_loss_is_infonce_of_decoded_documents_at_every_cut(rows, codec):
    queries, documents = torch.from_numpy(rows[:20]), torch.from_numpy(rows[20:40])
    batch = Batch(documents, torch.arange(20), queries, torch.eye(20))
    loss = ThroughCode(codec, SMALL)(Mapped(documents, queries), batch, lambda x: x)
    cut = functional.normalize(documents[:, :6], dim=1)
    asked = functional.normalize(queries[:, :6], dim=1)
    wanted = sum(
        info_nce(asked, functional.normalize(x, dim=1), temperature=SMALL.temperature)
        for x in decodings(codec, cut, (2, 3))
    )
    assert loss.item() == pytest.approx(float(wanted), rel=1e-5)


def test_other_answers_are_left_out_of_the_loss(rows, codec):
    queries, documents = torch.from_numpy(rows[:2]), torch.from_numpy(rows[20:22])
    batch = Batch(documents, torch.arange(2), queries, torch.ones(2, 2))
    # each document answers both queries, so that there is none that does not
    assert ThroughCode(codec, SMALL)(Mapped(documents, queries), batch, lambda x: x).item() == 0


def test_the_gradient_goes_straight_through(rows, codec):
    queries = torch.from_numpy(rows[:20])
    documents = torch.from_numpy(rows[20:40].copy()).requires_grad_(True)
    batch = Batch(documents, torch.arange(20), queries, torch.eye(20))
    ThroughCode(codec, SMALL)(Mapped(documents, queries), batch, lambda x: x).backward()
    assert documents.grad is not None
    assert documents.grad[:, :6].abs().max() > 0
    assert documents.grad[:, 6:].abs().max() == 0  # coordinates that are not coded


@pytest.fixture(scope="module")
def sides(rows):
    rng = np.random.default_rng(1)
    queries = rows + 0.3 * rng.standard_normal(rows.shape).astype(np.float32)
    # some queries have two answers, so that batches differ by what is drawn first
    pairs = np.array([[i, i] for i in range(300)] + [[i, i + 1] for i in range(0, 200, 3)])
    return Examples(rows, queries, pairs).split(0.2, 0)


def trained(sides, coding, **kwargs):
    """(the weights, the history) of a training from the identity."""
    module = LinearMap(np.eye(DIM, dtype=np.float32))
    history = train_through_code(module, *sides, Nesting((4, DIM)), coding, **kwargs)
    return module.weight.detach().numpy(), history


def test_a_training_keeps_its_best_round(sides):
    weight, history = trained(sides, SMALL)
    assert len(history.scores) == SMALL.rounds + 1
    assert history.losses[0] is None
    assert all(0 <= score <= 1 for score in history.scores)
    again, _ = trained(sides, SMALL)
    np.testing.assert_array_equal(weight, again)
    if history.best == 0:
        np.testing.assert_array_equal(weight, np.eye(DIM))


class Interrupted(Exception):
    """A power cut."""


class Counting:
    """Counts steps, also those of before, and fails after the one it is told."""

    def __init__(self, last=None):
        self.told, self.last = [], last

    def start(self, what, total):
        pass

    def advance(self, n):
        self.told.append(n)
        if sum(self.told) == self.last:
            raise Interrupted

    def note(self, sentence):
        pass

    def finish(self):
        pass


# Four rounds of three steps.
LONG = replace(SMALL, rounds=4)


@pytest.mark.parametrize(
    "after", [6, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (2, 8, 12))]
)
def test_an_interrupted_training_goes_on_as_if_nothing_was(sides, tmp_path, after):
    wanted, whole = trained(sides, LONG)
    assert whole.best > 0  # or nothing that was learned would be compared
    place = tmp_path / "coded.pt"
    with pytest.raises(Interrupted):
        trained(sides, LONG, checkpoint=place, progress=Counting(after))
    counted = Counting()
    found, history = trained(sides, LONG, checkpoint=place, progress=counted)
    # a round is written down as the next begins; the rest is done again
    assert counted.told == [(after - 1) // 3 * 3] + [1] * (12 - (after - 1) // 3 * 3)
    assert history == whole
    np.testing.assert_array_equal(found, wanted)
    assert [each.name for each in tmp_path.iterdir()] == ["coded.pt"]


def test_a_finished_training_is_taken_as_it_is(sides, tmp_path, monkeypatch):
    place = tmp_path / "coded.pt"
    wanted, whole = trained(sides, SMALL, checkpoint=place)

    def fit(self, vectors):
        raise AssertionError("nothing is left to be fitted")

    monkeypatch.setattr(Codec, "fit", fit)
    found, history = trained(sides, SMALL, checkpoint=place)
    assert history == whole
    np.testing.assert_array_equal(found, wanted)


def test_a_checkpoint_that_is_not_its_own_or_damaged_is_refused(sides, tmp_path):
    place = tmp_path / "coded.pt"
    trained(sides, SMALL, checkpoint=place, whose="mine")
    with pytest.raises(UserError, match=r"coded\.pt is of another method, .*Remove the folder"):
        trained(sides, SMALL, checkpoint=place, whose="another's")
    place.write_bytes(place.read_bytes()[:100])
    with pytest.raises(UserError, match=r"coded\.pt is damaged or of.*Remove the folder"):
        trained(sides, SMALL, checkpoint=place, whose="mine")


def test_the_method_goes_on_in_its_folder(planted, quick, tmp_path, monkeypatch):
    examples = planted(n=300)

    def fitted(coding, **kwargs):
        monkeypatch.setattr(methods, "Coding", lambda: coding)
        adapter = fit_adapter("coded", examples, quick(), **kwargs)
        return adapter.stages[0].maps[0].weight, adapter.facts["histories"]

    wanted, whole = fitted(LONG)
    # 3 epochs of 16 steps and a rest go before
    with pytest.raises(Interrupted):
        fitted(LONG, folder=tmp_path, progress=Counting(48 + 8))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["coded.pt", "one.pt"]
    found, histories = fitted(LONG, folder=tmp_path)
    assert histories == whole
    np.testing.assert_array_equal(found, wanted)
    with pytest.raises(UserError, match=r"coded\.pt is of another method, other settings"):
        fitted(replace(LONG, floats=0.25), folder=tmp_path)
