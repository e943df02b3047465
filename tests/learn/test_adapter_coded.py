"""Training through the code: the straight-through loss by hand, and what a training keeps."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from nestvec.codec.nested import Codec
from nestvec.learn.adapters.coded import Coding, ThroughCode, decodings, train_through_code
from nestvec.learn.adapters.examples import Batch, Examples
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


def test_the_gradient_goes_straight_through(rows, codec):
    queries = torch.from_numpy(rows[:20])
    documents = torch.from_numpy(rows[20:40].copy()).requires_grad_(True)
    batch = Batch(documents, torch.arange(20), queries, torch.eye(20))
    ThroughCode(codec, SMALL)(Mapped(documents, queries), batch, lambda x: x).backward()
    assert documents.grad is not None
    assert documents.grad[:, :6].abs().max() > 0
    assert documents.grad[:, 6:].abs().max() == 0  # coordinates that are not coded


def test_a_training_keeps_its_best_round(rows):
    rng = np.random.default_rng(1)
    queries = rows + 0.3 * rng.standard_normal(rows.shape).astype(np.float32)
    pairs = np.stack([np.arange(300)] * 2, axis=1)
    fitted, held = Examples(rows, queries, pairs).split(0.2, 0)
    module = LinearMap(np.eye(DIM, dtype=np.float32))
    history = train_through_code(module, fitted, held, Nesting((4, DIM)), SMALL)
    assert len(history.scores) == SMALL.rounds + 1
    assert history.losses[0] is None
    assert all(0 <= score <= 1 for score in history.scores)
    again = LinearMap(np.eye(DIM, dtype=np.float32))
    train_through_code(again, fitted, held, Nesting((4, DIM)), SMALL)
    torch.testing.assert_close(module.weight, again.weight)
    if history.best == 0:
        torch.testing.assert_close(module.weight.detach(), torch.eye(DIM))
