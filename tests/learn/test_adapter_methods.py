"""Every method: what it gives, and what stays."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from nestvec.adapters.adapter import Adapter
from nestvec.learn.adapters import methods, running
from nestvec.learn.adapters.held_out import HeldOut
from nestvec.learn.adapters.methods import METHODS, AdapterSettings, fit_adapter
from nestvec.learn.adapters.running import HELD_OUT
from nestvec.learn.adapters.spectrum import spectral_weights
from nestvec.nesting import Nesting
from nestvec.vectors import normalize

pytestmark = pytest.mark.usefixtures("one_thread", "given_exponent")

DIM = 12
WIDTHS = (2, 4, 8)
TRAINED = [name for name in METHODS if name != "spectemp"]
UNLABELLED = [name for name, method in METHODS.items() if method.labels != "needed"]


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
def test_numpy_gives_what_torch_gives_at_every_width(
    planted, modules, tmp_path, method, labelled, quick
):
    examples = planted(labelled=labelled)
    adapter = fit_adapter(method, examples, quick())
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


def test_power_of_the_spectrum_needs_no_steps(planted, modules, quick):
    examples = planted()
    adapter = fit_adapter("spectemp", examples, quick())
    assert modules == []
    axes, weights = spectral_weights(examples.documents, 0)
    for width in (*WIDTHS, DIM):
        wanted = normalize((examples.documents @ axes * weights)[:, :width])
        np.testing.assert_allclose(adapter.transform(examples.documents, width), wanted, atol=1e-5)
    assert adapter.facts["pairs"] == 0


def untrained(method, examples, settings, monkeypatch):
    """The adapter of a method before its first step."""
    with monkeypatch.context() as patch:

        def none(module, objective, fitted, score, training, **kwargs):
            module.eval()
            return running.History([0.0], [None], [0.0])

        patch.setattr(running, "train", none)
        return fit_adapter(method, examples, settings)


@pytest.mark.parametrize("method", ["linear", "distilled", "reflections", "per-width"])
def test_before_training_it_is_svd_at_every_width(planted, monkeypatch, method, quick):
    examples = planted()
    adapter = untrained(method, examples, quick(), monkeypatch)
    rows = normalize(examples.documents)
    right = np.linalg.svd(rows.astype(np.float64), full_matrices=False)[2].T
    for width in (*WIDTHS, DIM):
        svd = normalize(rows @ right[:, :width])
        found = adapter.transform(rows, width)
        # alike but for signs of axes: the same inner products
        np.testing.assert_allclose(found @ found.T, svd @ svd.T, atol=2e-4)


@pytest.mark.parametrize("method", ["mrl", "smec", "matryoshka", "search"])
def test_before_training_it_is_the_plain_cut(planted, monkeypatch, method, quick):
    examples = planted()
    adapter = untrained(method, examples, quick(), monkeypatch)
    for width in (*WIDTHS, DIM):
        wanted = normalize(examples.documents[:, :width])
        np.testing.assert_allclose(adapter.transform(examples.documents, width), wanted, atol=1e-6)


@pytest.mark.parametrize("rate", [1e-2, 10.0])
@pytest.mark.parametrize("method", ["linear", "mrl", "reflections"])
def test_training_never_ends_below_its_start(planted, monkeypatch, method, rate, quick):
    examples = planted()
    adapter = fit_adapter(method, examples, quick(rate=rate))
    (history,) = adapter.facts["histories"]
    best = max(history["scores"])
    assert best >= history["scores"][0]
    # what came out has the best score, and the start's is the first entry
    _, held = examples.split(HELD_OUT, 0)
    score = HeldOut(held, Nesting((*WIDTHS, DIM)))

    def scored(which):
        return score(lambda rows: torch.from_numpy(which.transform(rows.numpy())))

    assert scored(adapter) == pytest.approx(best, abs=1e-4)
    start = untrained(method, examples, quick(), monkeypatch)
    assert scored(start) == pytest.approx(history["scores"][0], abs=1e-4)


@pytest.mark.parametrize(
    ("method", "least"), [("linear", 0.3), ("per-width", 0.3), ("smec", 0.5), ("mrl", 0.07)]
)
def test_a_cut_finds_what_queries_and_documents_share(planted, method, least, quick):
    # the first four coordinates hold one of the four that agree: 4 % are found by them
    agree = (7, 2, 10, 5)
    settings = quick(epochs=8, rate=2e-2, widths=(4, 8), alpha=0.01)
    adapter = fit_adapter(method, planted(n=256, agree=agree), settings)
    fresh = planted(n=128, agree=agree, seed=9)
    documents, queries = (adapter.transform(v, 4) for v in (fresh.documents, fresh.queries))
    right = (np.argmax(queries @ documents.T, axis=1) == np.arange(128)).mean()
    assert right > least


def test_reflections_leave_full_scores(planted, quick):
    examples = planted()
    adapter = fit_adapter("reflections", examples, quick(rate=0.05))
    assert adapter.facts["histories"][0]["scores"][-1] > 0
    rows = normalize(examples.documents)
    mapped = adapter.transform(rows)
    np.testing.assert_allclose(mapped @ mapped.T, rows @ rows.T, atol=1e-4)


def test_the_same_seed_gives_the_same_adapter(planted, each_method, quick):
    def fitted():
        return fit_adapter(each_method, planted(), quick(epochs=1))

    one, two = fitted(), fitted()
    for stage, again in zip(one.stages, two.stages, strict=True):
        for each, other in zip(stage.maps, again.maps, strict=True):
            for name, array in each.arrays().items():
                np.testing.assert_array_equal(array, other.arrays()[name])


def test_facts_say_how_it_was_trained(planted, quick):
    facts = fit_adapter("linear", planted(), quick()).facts
    assert (facts["documents"], facts["pairs"], facts["queue"]) == (96, 96, 40)
    assert facts["settings"]["widths"] == list(WIDTHS)
    assert facts["settings"]["training"]["rate"] == 1e-2
    (history,) = facts["histories"]
    assert len(history["epochs"]) == len(history["losses"]) == len(history["scores"]) == 4
    assert all(a < b for a, b in pairwise(history["epochs"]))


def test_facts_are_json_and_stay_what_they_are(planted, tmp_path, each_method, quick):
    adapter = fit_adapter(each_method, planted(), quick(epochs=1))
    assert json.loads(json.dumps(adapter.facts, allow_nan=False)) == adapter.facts
    adapter.save(tmp_path / "a.safetensors")
    assert Adapter.load(tmp_path / "a.safetensors").facts == adapter.facts
    assert all(history["losses"][0] is None for history in adapter.facts["histories"])


@pytest.mark.parametrize("method", UNLABELLED)
def test_two_documents_are_enough(planted, method, quick):
    examples = planted(n=2, labelled=False)
    found = fit_adapter(method, examples, quick()).transform(examples.documents)
    assert np.isfinite(found).all()


def test_the_number_of_threads_stays(planted, monkeypatch, quick):
    def changing(vectors, seed):
        torch.set_num_threads(3)
        return spectral_weights(vectors, seed)

    monkeypatch.setattr(methods, "spectral_weights", changing)
    fit_adapter("spectemp", planted(), quick())
    assert torch.get_num_threads() == 1


def test_widths_are_sorted_and_the_vectors_own_is_added():
    assert AdapterSettings(widths=(8, 2, 8)).nesting(12).widths == (2, 8, 12)
    assert AdapterSettings(widths=(8, 12)).nesting(12).widths == (8, 12)


def test_a_document_that_answers_all_queries_of_a_batch_is_no_end(planted, quick):
    # most queries have one document: a batch of distinct documents may be of one row
    examples = replace(
        planted(), pairs=np.array([[i, 0] for i in range(60)] + [[60 + i, 1 + i] for i in range(9)])
    )
    fit_adapter("matryoshka", examples, quick(batch=4))
