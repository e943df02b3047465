"""Every method: what it gives, what stays, and what it refuses."""

import copy
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from nestvec.adapters.adapter import Adapter
from nestvec.errors import UserError
from nestvec.learn.adapters import methods, spectrum
from nestvec.learn.adapters.examples import Examples
from nestvec.learn.adapters.held_out import HeldOut
from nestvec.learn.adapters.methods import (
    HELD_OUT,
    METHODS,
    AdapterSettings,
    Parts,
    fit_adapter,
)
from nestvec.learn.adapters.spectrum import spectral_weights
from nestvec.learn.adapters.training import Training
from nestvec.nesting import Nesting
from nestvec.vectors import normalize

pytestmark = pytest.mark.usefixtures("one_thread", "given_exponent")

DIM = 12
WIDTHS = (2, 4, 8)
SETTINGS = AdapterSettings(
    widths=WIDTHS,
    training=Training(batch=16, rate=1e-2, epochs=3),
    queue=40,
    neighbours=3,
    hidden=6,
    reflections=4,
)
TRAINED = [name for name in METHODS if name != "spectemp"]


def scaled(settings, **training):
    """The settings with other values of their training."""
    return replace(settings, training=replace(settings.training, **training))


# What is trained through the code takes seconds, however small.
SLOW = {"coded": pytest.mark.slow}
EACH = [pytest.param(name, marks=SLOW.get(name, ())) for name in METHODS]
EACH_TRAINED = [pytest.param(name, marks=SLOW.get(name, ())) for name in TRAINED]
UNLABELLED = [name for name, method in METHODS.items() if method.labels != "needed"]


@pytest.fixture
def given_exponent(monkeypatch):
    """No seconds for the search of an exponent; test_adapter_spectrum.py has the real one."""
    monkeypatch.setattr(spectrum, "fit_exponent", lambda rows, moment, seed: -0.125)


@pytest.fixture
def modules(monkeypatch):
    """The modules that were trained, in turn, and what they were right after it."""
    seen = []

    def watched(module, *args, **kwargs):
        history = real(module, *args, **kwargs)
        seen.append((module, copy.deepcopy(module.state_dict())))
        return history

    real = methods.train
    monkeypatch.setattr(methods, "train", watched)
    return seen


def through(module, rows):
    with torch.no_grad():
        return module(rows)


def by_torch(method, trained, rows):
    """{width: unit rows} of the modules themselves."""
    rows = torch.from_numpy(rows)
    widths = (*WIDTHS, DIM)
    if method == "per-width":
        outputs = {w: through(m, rows) for w, m in zip(widths[::-1], trained, strict=True)}
    elif method == "smec":
        # stages of 12, 8 and 4, of which the last serves 2 as well
        outputs, here = {}, rows
        for width, module in zip((12, 8, 4), trained, strict=True):
            here = outputs[width] = through(module, here)
        outputs[2] = outputs[4]
    else:
        outputs = dict.fromkeys(widths, through(trained[-1], rows))
    return {w: torch.nn.functional.normalize(outputs[w][:, :w], dim=1).numpy() for w in widths}


@pytest.mark.parametrize(
    ("method", "labelled"),
    [(n, labelled) for n in TRAINED for labelled in (True, False) if labelled or n in UNLABELLED],
)
def test_numpy_gives_what_torch_gives_at_every_width(planted, modules, tmp_path, method, labelled):
    examples = planted(labelled=labelled)
    adapter = fit_adapter(method, examples, SETTINGS)
    assert (adapter.method, adapter.dim, adapter.widths) == (method, DIM, (*WIDTHS, DIM))
    rows = planted(seed=5).documents
    wanted = by_torch(method, [module for module, _ in modules], normalize(rows))
    adapter.save(tmp_path / "a.safetensors")
    again = Adapter.load(tmp_path / "a.safetensors")
    for width, unit in wanted.items():
        found = adapter.transform(rows, width)
        np.testing.assert_allclose(found, unit, atol=1e-5)
        np.testing.assert_array_equal(again.transform(rows, width), found)
        np.testing.assert_allclose(adapter.cut(width).transform(rows), found, atol=1e-5)


def test_power_of_the_spectrum_needs_no_steps(planted, modules):
    examples = planted()
    adapter = fit_adapter("spectemp", examples, SETTINGS)
    assert modules == []
    axes, weights = spectral_weights(examples.documents, 0)
    for width in (*WIDTHS, DIM):
        wanted = normalize((examples.documents @ axes * weights)[:, :width])
        np.testing.assert_allclose(adapter.transform(examples.documents, width), wanted, atol=1e-5)
    assert adapter.facts["pairs"] == 0


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("parts", [Parts(), Parts(selecting=False), Parts(remembering=False)])
def test_a_frozen_stage_does_not_move(planted, modules, labelled, parts):
    steps = []

    def watch(step, module):
        for earlier, state in modules:
            assert earlier is not module
            for name, value in earlier.state_dict().items():
                assert torch.equal(value, state[name])
            assert not any(weight.requires_grad for weight in earlier.parameters())
        steps.append(len(modules))

    settings = replace(SETTINGS, parts=parts)
    adapter = fit_adapter("smec", planted(labelled=labelled), settings, watch=watch)
    assert sorted(set(steps)) == [0, 1, 2]
    assert [stage.width for stage in adapter.stages] == [12, 8, 4]
    assert [stage.source for stage in adapter.stages] == [-1, 0, 1]
    for stage, (module, state) in zip(adapter.stages, modules, strict=True):
        for name, value in module.state_dict().items():
            assert torch.equal(value, state[name])
        linear = module.parts[0] if parts.selecting else module
        np.testing.assert_array_equal(stage.maps[0].weight, linear.weight.detach().numpy())


def test_the_parts_of_smec_can_be_left_out_one_by_one(planted):
    examples = planted()

    def kinds(**parts):
        adapter = fit_adapter("smec", examples, replace(SETTINGS, parts=Parts(**parts)))
        return [tuple(each.kind for each in stage.maps) for stage in adapter.stages]

    assert kinds() == [("linear", "select")] * 3
    assert kinds(selecting=False) == [("linear",)] * 3
    assert kinds(remembering=False) == [("linear", "select")] * 3
    assert kinds(sequential=False) == [("linear", "select")]
    assert kinds(sequential=False, selecting=False, remembering=False) == [("linear",)]


def test_smec_without_its_parts_is_the_plain_adapter(planted):
    examples = planted()
    settings = replace(SETTINGS, parts=Parts(False, False, False))
    one = fit_adapter("smec", examples, settings).transform(examples.documents)
    plain = fit_adapter("mrl", examples, SETTINGS).transform(examples.documents)
    np.testing.assert_array_equal(one, plain)


def test_smec_of_the_full_width_alone_has_a_stage(planted):
    adapter = fit_adapter("smec", planted(), replace(SETTINGS, widths=()))
    assert adapter.widths == (DIM,)
    assert [stage.width for stage in adapter.stages] == [DIM]


def untrained(method, examples, monkeypatch):
    """The adapter of a method before its first step."""
    with monkeypatch.context() as patch:

        def none(module, objective, fitted, score, training, **kwargs):
            module.eval()
            return methods.History([0.0], [None], [0.0])

        patch.setattr(methods, "train", none)
        return fit_adapter(method, examples, SETTINGS)


@pytest.mark.parametrize("method", ["linear", "reflections", "per-width"])
def test_before_training_it_is_svd_at_every_width(planted, monkeypatch, method):
    examples = planted()
    adapter = untrained(method, examples, monkeypatch)
    rows = normalize(examples.documents)
    right = np.linalg.svd(rows.astype(np.float64), full_matrices=False)[2].T
    for width in (*WIDTHS, DIM):
        svd = normalize(rows @ right[:, :width])
        found = adapter.transform(rows, width)
        # alike but for signs of axes: the same inner products
        np.testing.assert_allclose(found @ found.T, svd @ svd.T, atol=2e-4)


@pytest.mark.parametrize("method", ["mrl", "smec", "matryoshka", "search"])
def test_before_training_it_is_the_plain_cut(planted, monkeypatch, method):
    examples = planted()
    adapter = untrained(method, examples, monkeypatch)
    for width in (*WIDTHS, DIM):
        wanted = normalize(examples.documents[:, :width])
        np.testing.assert_allclose(adapter.transform(examples.documents, width), wanted, atol=1e-6)


@pytest.mark.parametrize("rate", [1e-2, 10.0])
@pytest.mark.parametrize("method", ["linear", "mrl", "reflections"])
def test_training_never_ends_below_its_start(planted, monkeypatch, method, rate):
    examples = planted()
    adapter = fit_adapter(method, examples, scaled(SETTINGS, rate=rate))
    (history,) = adapter.facts["histories"]
    best = max(history["scores"])
    assert best >= history["scores"][0]
    # what came out has the best score, and the start's is the first entry
    _, held = examples.split(HELD_OUT, 0)
    score = HeldOut(held, Nesting((*WIDTHS, DIM)))

    def scored(which):
        return score(lambda rows: torch.from_numpy(which.transform(rows.numpy())))

    assert scored(adapter) == pytest.approx(best, abs=1e-4)
    start = untrained(method, examples, monkeypatch)
    assert scored(start) == pytest.approx(history["scores"][0], abs=1e-4)


@pytest.mark.parametrize(
    ("method", "least"), [("linear", 0.3), ("per-width", 0.3), ("smec", 0.5), ("mrl", 0.07)]
)
def test_a_cut_finds_what_queries_and_documents_share(planted, method, least):
    # the first four coordinates hold one of the four that agree: 4 % are found by them
    agree = (7, 2, 10, 5)
    settings = replace(scaled(SETTINGS, epochs=8, rate=2e-2), widths=(4, 8), alpha=0.01)
    adapter = fit_adapter(method, planted(n=256, agree=agree), settings)
    fresh = planted(n=128, agree=agree, seed=9)
    documents, queries = (adapter.transform(v, 4) for v in (fresh.documents, fresh.queries))
    right = (np.argmax(queries @ documents.T, axis=1) == np.arange(128)).mean()
    assert right > least


def test_reflections_leave_full_scores(planted):
    examples = planted()
    adapter = fit_adapter("reflections", examples, scaled(SETTINGS, rate=0.05))
    assert adapter.facts["histories"][0]["scores"][-1] > 0
    rows = normalize(examples.documents)
    mapped = adapter.transform(rows)
    np.testing.assert_allclose(mapped @ mapped.T, rows @ rows.T, atol=1e-4)


def test_the_held_out_pairs_are_not_trained_on(planted, monkeypatch):
    examples = planted()
    fitted, held = examples.split(HELD_OUT, 0)
    shown = []

    def none(module, objective, given, score, training, **kwargs):
        shown.append(given.pairs)
        return methods.History([0.0], [None], [0.0])

    monkeypatch.setattr(methods, "train", none)
    fit_adapter("mrl", examples, SETTINGS)
    np.testing.assert_array_equal(shown[0], fitted.pairs)
    assert not set(shown[0][:, 1]) & set(held.pairs[:, 1])


def test_matryoshka_learns_without_labels_first(planted, monkeypatch):
    shown = []

    def none(module, objective, given, score, training, **kwargs):
        shown.append((given.labelled, len(objective.parts), kwargs["checkpoint"]))
        return methods.History([0.0], [None], [0.0])

    monkeypatch.setattr(methods, "train", none)
    fit_adapter("matryoshka", planted(), SETTINGS)
    assert shown == [(False, 3, None), (True, 4, None)]
    shown.clear()
    fit_adapter("matryoshka", planted(labelled=False), SETTINGS)
    assert shown == [(False, 3, None)]


@pytest.mark.parametrize("method", EACH)
def test_the_same_seed_gives_the_same_adapter(planted, method):
    def fitted():
        return fit_adapter(method, planted(), scaled(SETTINGS, epochs=1))

    one, two = fitted(), fitted()
    for stage, again in zip(one.stages, two.stages, strict=True):
        for each, other in zip(stage.maps, again.maps, strict=True):
            for name, array in each.arrays().items():
                np.testing.assert_array_equal(array, other.arrays()[name])


class Interrupted(Exception):
    """A power cut."""


@pytest.mark.parametrize("method", EACH_TRAINED)
def test_a_rerun_in_the_same_folder_goes_on(planted, tmp_path, method):
    examples = planted()
    settings = scaled(SETTINGS, patience=9)
    whole = fit_adapter(method, examples, settings)
    steps = []

    def count(step, module):
        steps.append(step)

    fit_adapter(method, examples, settings, watch=count)
    left = [len(steps) - 3]  # in the last epoch of the last training

    def cut(step, module):
        if not left[0]:
            raise Interrupted
        left[0] -= 1

    with pytest.raises(Interrupted):
        fit_adapter(method, examples, settings, folder=tmp_path / "new", watch=cut)
    steps.clear()
    again = fit_adapter(method, examples, settings, folder=tmp_path / "new", watch=count)
    assert 3 <= len(steps) <= 6  # what is done is not done again
    for history, wanted in zip(again.facts["histories"], whole.facts["histories"], strict=True):
        assert history["scores"] == wanted["scores"]
        assert history["losses"][1:] == wanted["losses"][1:]
    for stage, wanted in zip(again.stages, whole.stages, strict=True):
        for each, other in zip(stage.maps, wanted.maps, strict=True):
            for name, array in each.arrays().items():
                np.testing.assert_array_equal(array, other.arrays()[name])


@pytest.mark.parametrize(
    ("method", "settings"), [("mrl", SETTINGS), ("linear", scaled(SETTINGS, seed=1))]
)
def test_a_folder_of_another_training_is_not_gone_on_from(planted, tmp_path, method, settings):
    fit_adapter("linear", planted(), SETTINGS, folder=tmp_path)
    with pytest.raises(UserError, match=r"of another method, .*Remove the folder"):
        fit_adapter(method, planted(), settings, folder=tmp_path)
    with pytest.raises(UserError, match=r"or other examples. Remove the folder"):
        fit_adapter("linear", planted(seed=1), SETTINGS, folder=tmp_path)


def test_facts_say_how_it_was_trained(planted):
    facts = fit_adapter("linear", planted(), SETTINGS).facts
    assert (facts["documents"], facts["pairs"], facts["queue"]) == (96, 96, 40)
    assert facts["settings"]["widths"] == list(WIDTHS)
    assert facts["settings"]["training"]["rate"] == 1e-2
    (history,) = facts["histories"]
    assert len(history["epochs"]) == len(history["losses"]) == len(history["scores"]) == 4
    assert all(a < b for a, b in pairwise(history["epochs"]))


@pytest.mark.parametrize("method", EACH)
def test_facts_are_json_and_stay_what_they_are(planted, tmp_path, method):
    adapter = fit_adapter(method, planted(), scaled(SETTINGS, epochs=1))
    assert json.loads(json.dumps(adapter.facts, allow_nan=False)) == adapter.facts
    adapter.save(tmp_path / "a.safetensors")
    assert Adapter.load(tmp_path / "a.safetensors").facts == adapter.facts
    assert all(history["losses"][0] is None for history in adapter.facts["histories"])


class Notes:
    """What is to be known."""

    def __init__(self):
        self.told = []

    def start(self, what, total):
        pass

    def advance(self, n):
        pass

    def note(self, sentence):
        self.told.append(sentence)

    def finish(self):
        pass


def test_pairs_that_documents_tie_together_are_held_out_by_query(planted):
    notes, examples = Notes(), planted()
    tied = pairs_of(examples, [[i, row] for i in range(60) for row in (i, 95)])
    fit_adapter("smec", tied, SETTINGS, progress=notes)
    (said,) = notes.told  # once, not once a stage
    assert "whole queries are held out" in said
    fit_adapter("linear", examples, SETTINGS, progress=notes)
    assert len(notes.told) == 1
    with pytest.raises(UserError, match="all 20 pairs are of one"):
        fit_adapter("linear", pairs_of(examples, [[0, i] for i in range(20)]), SETTINGS)


def test_without_labels_a_tenth_of_the_documents_is_not_trained_on(planted, monkeypatch):
    shown = []

    def none(module, objective, fitted, score, training, **kwargs):
        shown.append((fitted, score))
        return methods.History([0.0], [None], [0.0])

    monkeypatch.setattr(methods, "train", none)
    examples = planted(labelled=False)
    fit_adapter("mrl", examples, SETTINGS)
    (fitted, score) = shown[0]
    assert len(fitted.rows) == 86
    asked = []
    score(lambda rows: asked.append(rows.numpy()) or torch.from_numpy(rows.numpy()))
    documents, queries = asked
    assert len(documents) == 96
    trained = normalize(examples.documents[fitted.rows])
    assert len(queries) == 10
    assert (queries @ trained.T).max() < 0.9999


@pytest.mark.parametrize("method", UNLABELLED)
def test_two_documents_are_enough(planted, method):
    examples = planted(n=2, labelled=False)
    found = fit_adapter(method, examples, SETTINGS).transform(examples.documents)
    assert np.isfinite(found).all()


def test_the_number_of_threads_stays(planted, monkeypatch):
    def changing(vectors, seed):
        torch.set_num_threads(3)
        return spectral_weights(vectors, seed)

    monkeypatch.setattr(methods, "spectral_weights", changing)
    fit_adapter("spectemp", planted(), SETTINGS)
    assert torch.get_num_threads() == 1


def test_widths_are_sorted_and_the_vectors_own_is_added():
    assert AdapterSettings(widths=(8, 2, 8)).nesting(12).widths == (2, 8, 12)
    assert AdapterSettings(widths=(8, 12)).nesting(12).widths == (8, 12)


def pairs_of(examples, pairs):
    return replace(examples, pairs=np.array(pairs))


@pytest.mark.parametrize("method", EACH)
def test_widths_above_the_vectors_are_refused(planted, method):
    with pytest.raises(UserError, match=r"up to the vectors' own, 12; got 16, 20. Leave them out"):
        fit_adapter(method, planted(), replace(SETTINGS, widths=(4, 16, 20)))


def test_an_unknown_method_is_refused(planted):
    with pytest.raises(UserError, match=r"one of linear, .*; got 'pca'. Choose one"):
        fit_adapter("pca", planted(), SETTINGS)


def test_a_method_that_needs_labels_says_so(planted):
    with pytest.raises(UserError, match=r"search learns from pairs .*got none.*choose linear, "):
        fit_adapter("search", planted(labelled=False), SETTINGS)


def test_too_few_pairs_are_refused_unless_they_are_not_used(planted):
    few = pairs_of(planted(), [[i, i] for i in range(9)])
    for method in TRAINED:
        with pytest.raises(UserError, match=r"at least 10 pairs.*got 9. Give more, or none"):
            fit_adapter(method, few, SETTINGS)
    assert fit_adapter("spectemp", few, SETTINGS).facts["pairs"] == 0


@pytest.mark.parametrize("method", UNLABELLED)
@pytest.mark.parametrize(
    ("value", "said"), [(1.0, "vectors that differ"), (np.nan, "row 0 has NaN"), (0.0, "all zero")]
)
def test_vectors_that_teach_nothing_are_refused(method, value, said):
    with pytest.raises(UserError, match=said):
        fit_adapter(method, Examples(np.full((40, DIM), value, np.float32)), SETTINGS)


def test_errors_are_sentences_on_one_line(planted):
    examples, raised = planted(), []
    for method, given, settings in (
        ("pca", examples, SETTINGS),
        ("search", replace(examples, pairs=None), SETTINGS),
        ("linear", examples, replace(SETTINGS, widths=(99,))),
        ("linear", examples, replace(SETTINGS, widths=(0,))),
        ("linear", pairs_of(examples, [[0, 0]]), SETTINGS),
        ("reflections", examples, replace(SETTINGS, reflections=3)),
    ):
        with pytest.raises(UserError) as error:
            fit_adapter(method, given, settings)
        raised.append(str(error.value))
    for said in raised:
        assert "\n" not in said
        assert said.endswith(".")


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"device": "nosuch"}, "a device is one that torch finds here.*got 'nosuch'"),
        ({"rate": 1e29}, "a loss must stay a number"),
    ],
)
def test_trainings_that_cannot_be_are_refused(planted, training, said):
    with pytest.raises(UserError, match=said):
        fit_adapter("smec", planted(), scaled(SETTINGS, **training))


def test_a_document_that_answers_all_queries_of_a_batch_is_no_end(planted):
    # most queries have one document: a batch of distinct documents may be of one row
    examples = pairs_of(
        planted(), [[i, 0] for i in range(60)] + [[60 + i, 1 + i] for i in range(9)]
    )
    fit_adapter("matryoshka", examples, scaled(SETTINGS, batch=4))
