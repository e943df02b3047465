"""Rows that go on from a layer end where those that went all the way do."""

import warnings

import numpy as np
import pytest
import torch

from nestvec.errors import UserError
from nestvec.learn.layer_reader import LayerReader
from nestvec.learn.layers import Layers, encode_layers, encoder_of, stack_of

ARCHITECTURES = ("bert", "roberta", "mpnet", "modernbert", "qwen3")
TEXTS = [" ".join(f"word{(i * 7 + j) % 40}" for j in range(1 + i * 5 % 9)) for i in range(11)]
EVERY = np.arange(len(TEXTS))


def load(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(folder), device="cpu")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def whole(request, models):
    """A model, and the embeddings of its layers from whole passes."""
    model = load(models(request.param)).eval()
    layers = Layers(model)
    found = encode_layers(model, layers, TEXTS, (1, 2, 3), batch=4)
    layers.close()
    return model, found


def same(found, wanted):
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)


def test_fewer_rows_a_layer_end_as_in_a_whole_pass(whole):
    model, wanted = whole
    reader = LayerReader(model, TEXTS, batch=4)
    same(reader.read(1, EVERY), wanted[1])
    some = np.array([9, 0, 3, 4, 10, 7, 1])
    same(reader.read(2, some), wanted[2][some])
    few = np.array([10, 3, 0])
    same(reader.read(3, few), wanted[3][few])
    assert reader.rows_run.tolist() == [11, 7, 3]


def test_layers_may_be_left_out(whole):
    model, wanted = whole
    reader = LayerReader(model, TEXTS, batch=3)
    same(reader.read(1, EVERY), wanted[1])
    same(reader.read(3, EVERY[::2]), wanted[3][::2])
    assert reader.rows_run.tolist() == [11, 6, 6]


def test_rows_that_were_not_read_last_start_anew(small_model):
    model = load(small_model)
    wanted = model.encode(TEXTS, show_progress_bar=False)
    reader = LayerReader(model, TEXTS)
    reader.read(2, EVERY[:4])
    same(reader.read(3, EVERY[2:6]), wanted[2:6])
    same(reader.read(3, EVERY[2:6]), wanted[2:6])
    assert reader.rows_run.tolist() == [12, 12, 8]


def test_the_layers_themselves_run_no_more_rows(small_model):
    model = load(small_model)
    stack = stack_of(encoder_of(model))[2]
    ran = [0] * len(stack)
    for at, layer in enumerate(stack):

        def count(_module, args, told, _output, at=at):
            ran[at] += len(args[0] if args else told["hidden_states"])

        layer.register_forward_hook(count, with_kwargs=True)
    reader = LayerReader(model, TEXTS, batch=4)
    ran[:] = [0] * len(stack)  # the probe of the norm is not counted
    reader.read(1, EVERY)
    reader.read(2, EVERY[:5])
    reader.read(3, EVERY[:0])
    assert ran == [11, 5, 0]
    assert reader.rows_run.tolist() == ran


def test_the_model_is_left_as_it_was(small_model):
    model = load(small_model).train()
    before = model.state_dict()
    reader = LayerReader(model, TEXTS)
    reader.read(1, EVERY)
    with pytest.raises(UserError, match="3 layers; got 4"):
        reader.read(4, EVERY)
    with pytest.raises(IndexError):
        reader.read(2, np.array([99]))
    assert model.training
    assert model.state_dict().keys() == before.keys()
    assert not any(layer._forward_hooks for layer in stack_of(encoder_of(model))[2])


def test_layers_that_are_no_list_are_refused(models):
    with pytest.raises(UserError, match="layers must be a list"):
        LayerReader(load(models("albert")), TEXTS)


def test_no_gradients_are_kept(small_model):
    found = LayerReader(load(small_model), TEXTS).read(2, EVERY)
    assert not found.requires_grad
    assert found.dtype == torch.float32
