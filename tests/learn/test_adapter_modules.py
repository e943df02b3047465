"""Modules: what they start as, that numpy's maps are the same, and selection."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nestvec.adapters.adapter import Adapter, Stage
from nestvec.errors import UserError
from nestvec.learn.adapters.modules import (
    Chain,
    LinearMap,
    ReflectionsMap,
    ResidualMap,
    Selection,
    annealed,
)
from nestvec.vectors import normalize

DIM = 10


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def disturbed(module, seed=3):
    """The module with weights as training may leave them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight += 0.5 * torch.randn(weight.shape, generator=generator)
    return module.eval()


MODULES = {
    "linear": lambda: LinearMap(numbers(DIM, DIM)),
    "narrowing": lambda: LinearMap(numbers(DIM, 4)),
    "residual": lambda: ResidualMap(DIM, 7),
    "reflections": lambda: ReflectionsMap(DIM, 6),
    "selection": lambda: Selection(DIM, 3),
    "chain": lambda: Chain(LinearMap(numbers(DIM, 6)), Selection(6, 2), ReflectionsMap(6, 2)),
}


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_numpy_gives_what_torch_gives(make):
    module = disturbed(make())
    rows = normalize(numbers(30, DIM, seed=1))
    with torch.no_grad():
        wanted = module(torch.from_numpy(rows))
    here = rows
    for each in module.maps():
        here = each.apply(here)
    np.testing.assert_allclose(here, wanted.numpy(), atol=2e-5, rtol=1e-4)
    width = wanted.shape[1]
    adapter = Adapter("any", DIM, (width,), (Stage(width, module.maps()),))
    for cut in range(1, width + 1):
        unit = torch.nn.functional.normalize(wanted[:, :cut], dim=1).numpy()
        np.testing.assert_allclose(adapter.transform(rows, cut), unit, atol=1e-4)
        np.testing.assert_allclose(adapter.cut(cut).transform(rows), unit, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "selection"])
def test_maps_are_what_a_module_was(name):
    module = disturbed(MODULES[name]())
    maps = module.maps()
    before = [{name: array.copy() for name, array in each.arrays().items()} for each in maps]
    disturbed(module, seed=4)
    for each, arrays in zip(maps, before, strict=True):
        for name, array in each.arrays().items():
            np.testing.assert_array_equal(array, arrays[name])


@pytest.mark.parametrize("module", [ResidualMap(DIM, 7), ReflectionsMap(DIM, 6, seed=5)])
def test_they_start_as_the_identity(module):
    rows = torch.from_numpy(numbers(9, DIM))
    torch.testing.assert_close(module(rows), rows, atol=2e-6, rtol=0)


def test_a_residual_layer_learns_from_its_first_step():
    module = ResidualMap(DIM, 7)
    module(torch.from_numpy(numbers(9, DIM))).square().sum().backward()
    assert module.second.weight.grad.abs().max() > 0


@given(seed=st.integers(0, 10_000), pairs=st.integers(1, 8))
def test_reflections_are_orthogonal_whatever_is_trained(seed, pairs):
    module = disturbed(ReflectionsMap(6, 2 * pairs, seed), seed)
    with torch.no_grad():
        whole = module(torch.eye(6)).numpy()
    np.testing.assert_allclose(whole @ whole.T, np.eye(6), atol=1e-4)
    assert np.linalg.det(whole) == pytest.approx(1, abs=1e-3)  # an even number of mirrors


def test_the_compact_form_is_one_reflection_after_another():
    module = disturbed(ReflectionsMap(DIM, 8))
    rows = torch.from_numpy(numbers(5, DIM))
    wanted = rows
    for vector in module.vectors.detach():
        unit = vector / vector.norm()
        wanted = wanted - 2 * (wanted @ unit)[:, None] * unit
    torch.testing.assert_close(module(rows).detach(), wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 3, -2])
def test_reflections_come_in_pairs(count):
    with pytest.raises(UserError, match=f"in pairs; got {count}"):
        ReflectionsMap(DIM, count)


@pytest.mark.parametrize("keep", [0, DIM + 1])
def test_a_selection_keeps_some_and_no_more_than_there_are(keep):
    with pytest.raises(UserError, match=f"keeps 1 to {DIM} coordinates; got {keep}"):
        Selection(DIM, keep)


def test_an_untrained_selection_leaves_the_order():
    rows = torch.from_numpy(numbers(3, DIM))
    torch.testing.assert_close(Selection(DIM, 4).eval()(rows), rows)


def test_a_selection_by_hand():
    # importances .1 .3 .2 and noise 0 .0 .5: .7, .3, .1 in the order 2, 1, 0
    module = Selection(3, 2)
    with torch.no_grad():
        module.importance.copy_(torch.tensor([0.1, 0.3, 0.2]))
    module._noise = torch.tensor([0.0, 0.0, 0.5])
    module.temperature = 0.5
    rows = torch.tensor([[10.0, 20.0, 30.0]])
    module.train()
    out = module(rows)
    torch.testing.assert_close(out, rows[:, [2, 1, 0]])
    # d out_0 = 30 dz_2 and d out_1 = 20 dz_1 with z = 2 softmax(a / .5); out_2 carries nothing
    (grad,) = torch.autograd.grad(out[0, 0], module.importance, retain_graph=True)
    soft = np.exp(np.array([0.1, 0.3, 0.7]) / 0.5)
    soft /= soft.sum()
    dz = 2 / 0.5 * soft[2] * (np.array([0, 0, 1]) - soft)
    np.testing.assert_allclose(grad.numpy(), 30 * dz, rtol=1e-4)
    (grad,) = torch.autograd.grad(out[0, 2], module.importance)
    assert grad.abs().max() == 0
    # afterwards the noise plays no part
    module.eval()
    assert module(rows).tolist() == [[20, 30, 10]]
    assert module.order().tolist() == [1, 2, 0]


def test_values_are_never_changed_by_a_selection():
    module = Selection(64, 48).train()
    rows = torch.from_numpy(numbers(20, 64))
    order = torch.argsort(module.importance + module._noise, descending=True)
    assert torch.equal(module(rows), rows[:, order])


def test_queries_and_documents_of_a_step_are_ordered_alike():
    module = Selection(DIM, 4).train()
    rows = torch.from_numpy(numbers(3, DIM))
    assert torch.equal(module(rows), module(rows))
    before = module(rows)
    module.draw()
    assert not torch.equal(module(rows), before)


def test_the_noise_is_gumbels_and_comes_again_by_seed():
    one, two, other = (Selection(2_000, 1, seed) for seed in (1, 1, 2))
    assert torch.equal(one._noise, two._noise)
    assert not torch.equal(one._noise, other._noise)
    # mean: Euler's constant; variance: pi^2 / 6
    assert one._noise.mean().item() == pytest.approx(0.577, abs=0.1)
    assert one._noise.var().item() == pytest.approx(math.pi**2 / 6, rel=0.15)


def test_a_temperature_falls_in_equal_ratios():
    # from 2 to .5 by way of 1: each half of the way is a half of the temperature
    assert [annealed(2.0, 0.5, t) for t in (0, 0.5, 1)] == pytest.approx([2, 1, 0.5])
    assert annealed(2.0, 0.5, 7) == pytest.approx(0.5)


def test_a_fixed_part_of_a_chain_is_written_too():
    chain = Chain(LinearMap(numbers(DIM, 4)), Selection(4, 2))
    assert [each.kind for each in chain.maps()] == ["linear", "select"]


def test_the_noise_goes_on_from_where_it_was_kept():
    one, two = Selection(DIM, 3), Selection(DIM, 3, seed=9)
    one.draw()
    two.load_state_dict(one.state_dict())
    one.draw()
    two.draw()
    assert torch.equal(one._noise, two._noise)
