"""A sentence-transformers loss inside ours, beside the library's own MatryoshkaLoss."""

import pytest
import torch

from nestvec.errors import UserError
from nestvec.learn.losses.wrapped import NestedLoss

losses = pytest.importorskip("sentence_transformers.losses")


class Model(torch.nn.Module):
    """As much of a sentence-transformers model as losses use."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(12, 16)
        self.calls = 0

    def forward(self, features):
        self.calls += 1
        return {"sentence_embedding": self.linear(features["x"])}

    def __getitem__(self, place):
        return (self.linear,)[place]

    def get_embedding_dimension(self):
        return 16


def columns(count=2):
    generator = torch.Generator().manual_seed(1)
    return [{"x": torch.randn(10, 12, generator=generator)} for _ in range(count)]


INNER = {
    "cosent": (losses.CoSENTLoss, 2, torch.linspace(0, 1, 10)),
    "ranking": (losses.MultipleNegativesRankingLoss, 3, None),
    "cosine": (losses.CosineSimilarityLoss, 2, torch.linspace(0, 1, 10)),
}


@pytest.mark.parametrize("name", list(INNER))
def test_it_trains_what_the_library_trains(name):
    kind, count, labels = INNER[name]
    found = []
    for wrap in (
        lambda model: NestedLoss(model, kind(model), [16, 4, 8]),
        lambda model: losses.MatryoshkaLoss(model, kind(model), matryoshka_dims=[16, 8, 4]),
    ):
        model = Model()
        value = wrap(model)(columns(count), labels)
        total = sum(value.values()) if isinstance(value, dict) else value
        total.backward()
        found.append((total.detach(), model.linear.weight.grad))
    torch.testing.assert_close(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])


def test_losses_are_told_by_width_and_the_model_runs_once_a_column():
    model = Model()
    before = model.forward
    loss = NestedLoss(model, losses.MultipleNegativesRankingLoss(model), "4:2,16")
    value = loss(columns(), None)
    assert list(value) == ["4", "16"]
    assert model.calls == 2
    assert model.forward == before
    plain = NestedLoss(model, losses.MultipleNegativesRankingLoss(model), "4,16")(columns(), None)
    torch.testing.assert_close(value["4"], 2 * plain["4"])


def test_losses_of_magnitudes_see_prefixes_as_they_are():
    model = Model()
    teacher = torch.randn(10, 16, generator=torch.Generator().manual_seed(2))
    loss = NestedLoss(model, losses.MSELoss(model), "4,16", normalized=False)
    value = loss(columns(1), teacher)
    vectors = model.linear(columns(1)[0]["x"])
    wanted = torch.nn.functional.mse_loss(vectors[:, :4], teacher[:, :4])
    torch.testing.assert_close(value["4"], wanted)


def test_what_cannot_be_wrapped():
    model = Model()
    with pytest.raises(UserError, match="for width 16"):
        NestedLoss(model, losses.CoSENTLoss(model), "32")
    with pytest.raises(UserError, match="caches gradients"):
        NestedLoss(model, losses.CachedMultipleNegativesRankingLoss(model), "4,16")
