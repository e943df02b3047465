"""Turned models compare as they did, and their prefixes are the best subspaces of the sample."""

import warnings

import numpy as np
import pytest
import torch

from nestvec.errors import UserError
from nestvec.jobs.train import train
from nestvec.learn.rotation import rotate
from nestvec.learn.sentence_model import set_dropout

TEXTS = [f"word{i % 40} word{(7 * i) % 40} word{(3 * i + 1) % 40}" for i in range(120)]


def load(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(folder), device="cpu").eval()


def encode(model):
    return model.encode(TEXTS, show_progress_bar=False)


def test_cosines_stay_and_prefixes_are_those_of_svd(small_model):
    model = load(small_model)
    before = encode(model)
    rotate(model, TEXTS)
    after = encode(model)
    np.testing.assert_allclose(after @ after.T, before @ before.T, atol=1e-5)
    _, _, axes = np.linalg.svd(before.astype(np.float64), full_matrices=False)
    for width in (1, 4, 16):
        kept = before @ axes[:width].T
        found = after[:, :width]
        np.testing.assert_allclose(found @ found.T, kept @ kept.T, atol=1e-4)


def test_a_turned_model_is_saved_and_trained_with_its_turn(small_model, pair_file, tmp_path):
    recipe = {
        "model": {"name": str(small_model), "rotate": True, "dropout": 0.0},
        "data": {"train": str(pair_file)},
        "nesting": {"widths": [4, 32]},
        "train": {"steps": 2, "batch": 8},
    }
    train(recipe, tmp_path / "out")
    model = load(tmp_path / "out")
    assert [type(part).__name__ for part in model][-2:] == ["Dense", "Normalize"]
    turn = model[-2].linear.weight.detach()
    torch.testing.assert_close(turn @ turn.T, torch.eye(32), atol=1e-2, rtol=0)


def test_too_few_texts_are_told(small_model):
    with pytest.raises(UserError, match="at least as many texts as dimensions, 32; got 3"):
        rotate(load(small_model), TEXTS[:3])


def test_dropout_reaches_attention(models):
    for architecture in ("bert", "modernbert", "qwen3"):
        model = load(models(architecture))
        set_dropout(model, 0.25)
        shares = {part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)}
        held = {getattr(part, "attention_dropout", 0.25) for part in model.modules()}
        assert shares <= {0.25}
        assert held == {0.25}
