"""Cached gradients: large batches by chunks, whatever the loss."""

from functools import partial

import pytest
import torch

from nestvec.learn.losses.cached import cached, split
from nestvec.learn.losses.contrastive import info_nce
from nestvec.learn.losses.lean import nested_info_nce
from nestvec.learn.losses.temperature import temp_agg_mrl
from nestvec.learn.losses.two_d import Draw, ese, fixed_pairs, two_d
from nestvec.nesting import Nesting


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(12, 12) for _ in range(3))
        self.dropout = torch.nn.Dropout(0.3)

    def forward(self, features):
        x, outputs = features["x"], []
        for layer in self.layers:
            x = self.dropout(torch.tanh(layer(x)))
            outputs.append(x)
        return outputs


LAYERED = {
    "2d": lambda layers: two_d(partial(info_nce, temperature=0.1), layers, Draw(1, 4)),
    "ese": lambda layers: ese(partial(info_nce, temperature=0.1), layers, 4),
    "pairs": lambda layers: fixed_pairs(info_nce, layers, [(1, 3), (2, 6), (3, 12)]),
    "scores": lambda layers: fixed_pairs(info_nce, layers, [(1, 3), (3, 12)], of_scores=True),
    "lean": lambda layers: nested_info_nce(*layers[-1], Nesting((3, 12))),
    "family": lambda layers: temp_agg_mrl(*layers[-1], Nesting((3, 12))),
}


@pytest.mark.parametrize("name", list(LAYERED))
def test_cached_equals_uncached(name):
    torch.manual_seed(0)
    encoder = Encoder()
    columns = [{"x": torch.randn(10, 12)}, {"x": torch.randn(10, 12)}]

    def uncached(features):
        parts = [encoder(chunk) for chunk in split(features, 4)]
        return [torch.cat(part) for part in zip(*parts, strict=True)]

    found = []
    for embed in (uncached, partial(cached, encoder, mini_batch=4)):
        encoder.zero_grad()
        torch.manual_seed(1)  # dropout falls alike
        made = [embed(features) for features in columns]
        parts = LAYERED[name]([list(layer) for layer in zip(*made, strict=True)])
        parts.total.backward()
        found.append((parts.total.detach(), [p.grad.clone() for p in encoder.parameters()]))
    torch.testing.assert_close(found[0][0], found[1][0])
    for plain, replayed in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(replayed, plain, atol=1e-5, rtol=1e-4)


def test_without_gradients_rows_are_encoded_once():
    calls = []

    def encode(features):
        calls.append(len(features["x"]))
        return [features["x"]]

    with torch.no_grad():
        (made,) = cached(encode, {"x": torch.ones(5, 2)}, 2)
    assert made.shape == (5, 2)
    assert calls == [2, 2, 1]
