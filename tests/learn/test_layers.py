"""Layers that are read are those that a cut model serves, on every architecture we name."""

import json
import warnings

import numpy as np
import pytest
import torch

from nestvec.errors import UserError
from nestvec.jobs.truncate import truncate
from nestvec.learn.layers import Layers, encoder_of, final_norm, keep_dims, keep_layers, stack_of

ARCHITECTURES = ("bert", "roberta", "mpnet", "modernbert", "qwen3")
TEXTS = ["word1 word2 word3", "word4", "word5 word6 word7 word8 word9"]


def load(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(folder), device="cpu").eval()


def encode(model, texts=TEXTS):
    return model.encode(texts, show_progress_bar=False)


@pytest.fixture(params=ARCHITECTURES)
def folder(request, models):
    return models(request.param)


def test_a_layer_read_is_what_a_model_cut_there_serves(folder):
    model = load(folder)
    layers = Layers(model)
    features = model.preprocess(TEXTS)
    with torch.no_grad():
        found = layers.read(model, features, model(dict(features)))
    assert len(found) == 3
    for layer in (1, 2, 3):
        cut = load(folder)
        keep_layers(cut, layer)
        np.testing.assert_allclose(found[layer - 1].numpy(), encode(cut), atol=1e-5)


def test_a_cut_model_reloads_as_small_as_it_is(folder, tmp_path):
    result = truncate(str(folder), tmp_path / "cut", layers=2, dims=8)
    assert (result.layers, result.dims) == (2, 8)
    assert result.parameters < result.parameters_before
    wanted = load(folder)
    keep_layers(wanted, 2)
    again = load(tmp_path / "cut")
    assert len(stack_of(encoder_of(again))[2]) == 2
    vectors = encode(wanted)[:, :8]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(encode(again), vectors, atol=1e-5)


def test_pre_norm_encoders_have_a_final_norm(models):
    found = {name: final_norm(load(models(name))) for name in ARCHITECTURES}
    assert {name for name, norm in found.items() if norm is not None} == {"modernbert", "qwen3"}


def test_hidden_states_are_handed_out_only_while_layers_are_read(small_model):
    model = load(small_model)
    layers = Layers(model)
    assert encoder_of(model).config.output_hidden_states
    layers.close()
    assert not encoder_of(model).config.output_hidden_states


def test_gradients_reach_every_layer_below(small_model):
    model = load(small_model)
    layers = Layers(model)
    features = model.preprocess(TEXTS)
    layers.read(model, features, model(dict(features)))[0].sum().backward()
    stack = stack_of(encoder_of(model))[2]
    touched = [any(p.grad is not None for p in layer.parameters()) for layer in stack]
    assert touched == [True, False, False]


def test_cutting_more_than_there_is_names_what_there_is(small_model):
    model = load(small_model)
    with pytest.raises(UserError, match="3 layers; got 4"):
        keep_layers(model, 4)
    with pytest.raises(UserError, match="32 dimensions; got 33"):
        keep_dims(model, 33)


def test_the_untrained_is_refused_with_what_was_trained(small_model, tmp_path):
    folder = tmp_path / "trained"
    folder.mkdir()
    for file in small_model.rglob("*"):
        if file.is_file():
            place = folder / file.relative_to(small_model)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["nestvec"] = {"widths": [8, 32], "layers": {"2": [8]}, "temperatures": []}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"not trained for 1 layers \(it was for: 2\)"):
        truncate(str(folder), tmp_path / "a", layers=1)
    with pytest.raises(UserError, match=r"not trained for 4 dimensions \(it was for: 8, 32\)"):
        truncate(str(folder), tmp_path / "a", dims=4)
    between = truncate(str(folder), tmp_path / "a", dims=16)
    assert "between those" in between.notes[0]
    forced = truncate(str(folder), tmp_path / "b", layers=1, dims=4, force=True)
    assert len(forced.notes) == 2


def test_widths_outside_of_the_trained_ones_are_refused_and_between_them_warned_of():
    from nestvec.data.model_nesting import TrainedNesting, check_cut

    trained = TrainedNesting((96, 192), {})
    assert check_cut(trained, dims=192) == []
    (note,) = check_cut(trained, dims=128)
    assert "lie between those the model was trained for (96, 192)" in note
    for dims in (64, 384):
        with pytest.raises(UserError, match=rf"not trained for {dims} dimensions"):
            check_cut(trained, dims=dims)
        (note,) = check_cut(trained, dims=dims, force=True)
        assert "not trained" in note
