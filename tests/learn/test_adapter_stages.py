"""Methods that train in stages: SMEC's, its parts, and Matryoshka-Adaptor's two."""

import numpy as np
import pytest
import torch

from nestvec.learn.adapters import running
from nestvec.learn.adapters.methods import Parts, fit_adapter

pytestmark = pytest.mark.usefixtures("one_thread")

DIM = 12


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("parts", [Parts(), Parts(selecting=False), Parts(remembering=False)])
def test_a_frozen_stage_does_not_move(planted, modules, labelled, parts, quick):
    steps = []

    def watch(step, module):
        for earlier, state in modules:
            assert earlier is not module
            for name, value in earlier.state_dict().items():
                assert torch.equal(value, state[name])
            assert not any(weight.requires_grad for weight in earlier.parameters())
        steps.append(len(modules))

    settings = quick(parts=parts)
    adapter = fit_adapter("smec", planted(labelled=labelled), settings, watch=watch)
    assert sorted(set(steps)) == [0, 1, 2]
    assert [stage.width for stage in adapter.stages] == [12, 8, 4]
    assert [stage.source for stage in adapter.stages] == [-1, 0, 1]
    for stage, (module, state) in zip(adapter.stages, modules, strict=True):
        for name, value in module.state_dict().items():
            assert torch.equal(value, state[name])
        linear = module.parts[0] if parts.selecting else module
        np.testing.assert_array_equal(stage.maps[0].weight, linear.weight.detach().numpy())


def test_the_parts_of_smec_can_be_left_out_one_by_one(planted, quick):
    examples = planted()

    def kinds(**parts):
        adapter = fit_adapter("smec", examples, quick(parts=Parts(**parts)))
        return [tuple(each.kind for each in stage.maps) for stage in adapter.stages]

    assert kinds() == [("linear", "select")] * 3
    assert kinds(selecting=False) == [("linear",)] * 3
    assert kinds(remembering=False) == [("linear", "select")] * 3
    assert kinds(sequential=False) == [("linear", "select")]
    assert kinds(sequential=False, selecting=False, remembering=False) == [("linear",)]


def test_smec_without_its_parts_is_the_plain_adapter(planted, quick):
    examples = planted()
    settings = quick(parts=Parts(False, False, False))
    one = fit_adapter("smec", examples, settings).transform(examples.documents)
    plain = fit_adapter("mrl", examples, quick()).transform(examples.documents)
    np.testing.assert_array_equal(one, plain)


def test_smec_of_the_full_width_alone_has_a_stage(planted, quick):
    adapter = fit_adapter("smec", planted(), quick(widths=()))
    assert adapter.widths == (DIM,)
    assert [stage.width for stage in adapter.stages] == [DIM]


def test_matryoshka_learns_without_labels_first(planted, monkeypatch, quick):
    shown = []

    def none(module, objective, given, score, training, **kwargs):
        shown.append((given.labelled, len(objective.parts), kwargs["checkpoint"]))
        return running.History([0.0], [None], [0.0])

    monkeypatch.setattr(running, "train", none)
    fit_adapter("matryoshka", planted(), quick())
    assert shown == [(False, 3, None), (True, 4, None)]
    shown.clear()
    fit_adapter("matryoshka", planted(labelled=False), quick())
    assert shown == [(False, 3, None)]
