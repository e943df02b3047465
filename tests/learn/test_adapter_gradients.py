"""Statistics of gradients, by hand and against plain loops."""

import numpy as np
import pytest
import torch

from nestvec.learn.adapters.gradients import GradientWatch, norms_by_width
from nestvec.learn.adapters.modules import Chain, LinearMap, Selection
from nestvec.learn.adapters.objectives import Rank
from nestvec.nesting import Nesting


def test_mean_variance_and_norm_of_a_pass_by_hand():
    module = LinearMap(np.eye(2, dtype=np.float32))
    watch = GradientWatch(2)
    # columns: (3, 4) then (3, -4); (0, 1) twice
    for gradient in ([[3.0, 0.0], [4.0, 1.0]], [[3.0, 0.0], [-4.0, 1.0]]):
        module.weight.grad = torch.tensor(gradient)
        watch(0, module)
    (epoch,) = watch.epochs
    np.testing.assert_allclose(epoch.norm, [5, 1])
    np.testing.assert_allclose(epoch.mean, [3, 1])
    np.testing.assert_allclose(epoch.variance, [16, 0])
    assert epoch.noise == pytest.approx(16 / 10)


def test_passes_follow_one_another_and_selections_are_looked_through():
    module = Chain(LinearMap(np.eye(3, dtype=np.float32)), Selection(3, 2))
    watch = GradientWatch(3)
    for step in range(7):
        module.parts[0].weight.grad = torch.full((3, 3), float(step))
        watch(step, module)
    assert len(watch.epochs) == 2
    np.testing.assert_allclose(watch.epochs[0].mean, [np.sqrt(3)] * 3)
    np.testing.assert_allclose(watch.epochs[1].mean, [4 * np.sqrt(3)] * 3)


def test_norms_by_width_equal_autograd():
    rng = torch.Generator().manual_seed(0)
    documents, queries = (torch.randn(12, 6, generator=rng) for _ in range(2))
    weight = torch.eye(6)
    losses = [(width, Rank(Nesting((width,)), 20.0)) for width in (2, 6)]
    found = norms_by_width(weight, documents, queries, torch.eye(12), losses)
    assert [width for width, _, _ in found] == [2, 6]
    for (width, norm, prefix), (_, loss) in zip(found, losses, strict=True):
        trained = weight.clone().requires_grad_(True)
        from nestvec.learn.adapters.examples import Batch
        from nestvec.learn.adapters.objectives import Mapped

        batch = Batch(documents, torch.arange(12), queries, torch.eye(12))
        mapped = Mapped(documents @ trained, queries @ trained)
        loss(mapped, batch, lambda rows: rows).backward()
        assert norm == pytest.approx(trained.grad[:, :2].norm().item() / 2, rel=1e-5)
        assert prefix == pytest.approx(documents[:, :width].norm(dim=1).mean().item(), rel=1e-5)
