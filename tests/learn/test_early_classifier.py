"""Labels from the first layer that is sure are those of the layers themselves."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import (
    check_estimator_cloneable,
    check_get_params_invariance,
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
)

import nestvec as nv
from nestvec.choose.labeller import heads_of_model
from nestvec.errors import UserError
from nestvec.jobs.train import train
from nestvec.learn import early_classifier
from nestvec.learn.layers import Layers, encode_layers
from nestvec.learn.losses.heads import layered_cross_entropy
from nestvec.nesting import Nesting


def tables(model, **changed):
    return {
        "model": {"name": str(model)},
        "nesting": {"widths": [8, 32]},
        "loss": {"kind": "cross_entropy"},
        "layers": {"kind": "heads", "at": [1, 2]},
        "train": {"epochs": 15, "batch": 16, "learning_rate": 3e-3, "save_every": 45},
        **changed,
    }


@pytest.fixture(scope="module")
def folder(small_model, label_file, tmp_path_factory):
    """A model folder with heads at layers 1, 2 and 3, by its recipe."""
    place = tmp_path_factory.mktemp("early") / "model"
    done = train(tables(small_model, data={"train": str(label_file)}), place)
    assert dict(done.layers) == {1: (8, 32), 2: (8, 32), 3: (8, 32)}
    return place


@pytest.fixture(scope="module")
def early(folder):
    return nv.EarlyClassifier.load(folder)


def cascade_with(early, thresholds):
    """A cascade over the layers with these thresholds."""
    logits = np.eye(len(early.classes_))
    made = nv.Cascade().fit(dict.fromkeys(early.layers_, logits), early.classes_, early.classes_)
    made.thresholds_ = np.array(thresholds)
    return made


def test_every_layer_and_width_learns_the_classes(early, texts):
    for width in (8, 32):
        early.width = width
        scores = early.score_by_layer(*texts)
        assert list(scores) == [1, 2, 3]
        assert min(scores.values()) > 0.9
    early.width = None


def test_logits_are_the_heads_of_the_layers_embeddings(early, texts):
    layers = Layers(early.model_)
    wanted = encode_layers(early.model_, layers, texts[0], (1, 2, 3))
    layers.close()
    for layer, found in early.logits_by_layer(texts[0]).items():
        head = early.early_heads_.get(layer, early.heads_)
        logits = head(torch.as_tensor(wanted[layer]))[32].detach().numpy()
        np.testing.assert_allclose(found, logits, atol=1e-4)
    last = early.predict_proba(texts[0])
    np.testing.assert_allclose(torch.softmax(torch.as_tensor(found), 1), last, atol=1e-5)


def test_texts_that_are_sure_go_no_deeper(early, texts, monkeypatch):
    readers = []
    real = early_classifier.LayerReader

    def watched(*args, **told):
        readers.append(real(*args, **told))
        return readers[-1]

    logits = early.logits_by_layer(texts[0])
    sure = torch.softmax(torch.as_tensor(logits[1]), 1).max(1).values.numpy()
    cascade = cascade_with(early, [float(np.median(sure)), 1.0])
    monkeypatch.setattr(early_classifier, "LayerReader", watched)
    monkeypatch.setattr(early_classifier, "_AT_ONCE", 15)
    labels, layers = early.run(cascade, texts[0])
    stopped = sure > np.median(sure)
    np.testing.assert_array_equal(layers, np.where(stopped, 1, 3))
    wanted = np.where(stopped[:, None], logits[1], logits[3]).argmax(axis=1)
    np.testing.assert_array_equal(labels, early.classes_[wanted])
    unsure = int((~stopped).sum())
    assert sum(each.rows_run for each in readers).tolist() == [40, unsure, unsure]


def test_thresholds_of_one_are_the_whole_model(early, texts):
    labels, layers = early.run(cascade_with(early, [1.0, 1.0]), texts[0])
    assert set(layers) == {3}
    np.testing.assert_array_equal(labels, early.predict(texts[0]))


def test_the_last_layers_heads_are_read_as_before(folder, early):
    heads, classes, tied = heads_of_model(folder)
    assert (sorted(heads), list(classes), tied) == ([8, 32], early.classes_.tolist(), False)


def test_one_that_is_fitted_is_one_that_was_loaded(small_model, texts, folder):
    made = nv.EarlyClassifier(
        str(small_model), layers=(1, 2, 3), widths=(8, 32), epochs=1, batch=16, head="tied"
    )
    fitted = made.fit(*texts)
    assert fitted.layers_ == (1, 2, 3)
    assert fitted.logits_by_layer(texts[0][:3])[1].shape == (3, 4)
    assert fitted.n_steps_ == 3
    assert clone(made).get_params() == made.get_params()


def test_deeper_layers_weigh_more():
    logits = {
        2: {4: torch.tensor([[0.0, 0.0]]), 8: torch.tensor([[0.0, 0.0]])},
        6: {4: torch.tensor([[100.0, 0.0]]), 8: torch.tensor([[0.0, 100.0]])},
    }
    parts = layered_cross_entropy(logits, torch.tensor([0]), Nesting((4, 8)))
    assert parts.total.item() == pytest.approx((2 * 2 * np.log(2) + 6 * 100) / 8)
    assert list(parts.parts) == ["layer 2:4", "layer 2:8", "layer 6:4", "layer 6:8"]


@pytest.mark.parametrize(
    "check",
    [
        check_estimator_cloneable,
        check_get_params_invariance,
        check_no_attributes_set_in_init,
        check_parameters_default_constructible,
    ],
    ids=lambda check: check.__name__,
)
def test_the_estimator_checks_that_need_no_numbers(check):
    check("EarlyClassifier", nv.EarlyClassifier())


def test_faults_are_told_first(early, texts, small_model, tmp_path):
    with pytest.raises(NotFittedError):
        nv.EarlyClassifier().logits_by_layer(texts[0])
    with pytest.raises(UserError, match=r"layers that have heads are 1, 2, 3; got 4"):
        early.reader(texts[0])(4, np.arange(3))
    with pytest.raises(UserError, match="must be strings"):
        early.logits_by_layer([""])
    with pytest.raises(UserError, match="has not"):
        nv.EarlyClassifier.load(small_model)
    made = nv.EarlyClassifier(str(small_model), widths=(8, 32))
    with pytest.raises(UserError, match="3 layers; got heads at 4"):
        made.fit(*texts)
    with pytest.raises(UserError, match=r"needs layers\.at"):
        clone(made).set_params(layers=()).fit(*texts)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"layers": {"kind": "heads"}}, "needs layers.at"),
        ({"layers": {"kind": "heads", "at": [2, 1]}}, "rising, got"),
        ({"layers": {"kind": "uniform", "at": [1]}}, "goes with layers.kind = 'heads'"),
        ({"layers": {"kind": "heads", "at": [1], "alignment": 2}}, "not for heads"),
        ({"loss": {"kind": "info_nce"}}, "loss.kind cross_entropy, not info_nce"),
        ({"layers": {"kind": "pairs", "pairs": [[1, 8]]}}, "by info_nce or cosent"),
    ],
)
def test_recipes_that_contradict_themselves(small_model, label_file, changed, said, tmp_path):
    with pytest.raises(UserError, match=said):
        train(tables(small_model, data={"train": str(label_file)}, **changed), tmp_path / "x")
