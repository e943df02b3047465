"""The heads that a training leaves label by numpy as they do by torch."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from nestvec.choose.labeller import Labeller
from nestvec.data.training import read_examples
from nestvec.jobs.classify import classify_fit
from nestvec.jobs.classify_predict import classify_predict
from nestvec.jobs.train import train
from nestvec.learn.losses.heads import SeparateHeads, TiedHead
from nestvec.nesting import Nesting

WIDTHS = (4, 16, 32)


@pytest.mark.parametrize("head", ["separate", "tied"])
def test_a_trained_model_with_heads_labels_texts(head, small_model, label_file, tmp_path):
    train(
        {
            "model": {"name": str(small_model)},
            "data": {"train": str(label_file)},
            "nesting": {"widths": list(WIDTHS)},
            "loss": {"kind": "cross_entropy", "head": head},
            "train": {"batch": 20, "epochs": 1, "learning_rate": 1e-3},
        },
        tmp_path / "model",
    )
    found = classify_fit(label_file, tmp_path / "c", model=str(tmp_path / "model"))
    assert (found.trained, found.tuned, found.told) == (0, 20, 20)
    assert tuple(each.width for each in found.widths) == WIDTHS
    heads = {"separate": SeparateHeads, "tied": TiedHead}[head](Nesting(WIDTHS), 4)
    heads.load_state_dict(load_file(tmp_path / "model" / "heads.safetensors"))
    texts = read_examples(str(label_file), "labelled").columns["text"]
    model = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    vectors = model.encode(texts, convert_to_numpy=True)
    labeller = Labeller.load(tmp_path / "c")
    with torch.no_grad():
        expected = heads(torch.from_numpy(vectors))
    for width, logits in expected.items():
        np.testing.assert_allclose(
            labeller.logits(vectors, width), logits.numpy(), rtol=1e-5, atol=1e-5
        )
    asked = classify_predict(tmp_path / "c", label_file, width=16)
    names = np.array(labeller.classes)
    assert asked.found.labels.tolist() == names[expected[16].argmax(dim=1).numpy()].tolist()
