"""Encoders of images give what transformers gives, whatever their family."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from nestvec.data.encoder import image_encoder, load_encoder, reads_texts
from nestvec.data.model_files import find_model, may_read_images
from nestvec.errors import UserError


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    sizes = [(20, 30), (16, 16), (40, 17)] * 7
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)) for size in sizes]


def expected(folder, pictures):
    """Pooled states, a picture at a time, by transformers alone."""
    import torch
    from transformers import AutoImageProcessor, AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    rows = []
    with torch.inference_mode():
        for picture in pictures:
            pixels = processor(images=picture, return_tensors="pt")["pixel_values"]
            if folder.name in ("clip", "siglip"):
                found = model.get_image_features(pixel_values=pixels)
                found = found if isinstance(found, torch.Tensor) else found.pooler_output
            elif folder.name == "resnet":
                found = model(pixels).pooler_output.flatten(1)
            else:
                # where a folder says nothing, sentence-transformers takes the mean of all tokens
                found = model(pixels).last_hidden_state.mean(dim=1)
            rows.append(found[0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize(
    ("name", "dim"), [("resnet", 16), ("vit", 16), ("dinov2", 16), ("clip", 12), ("siglip", 16)]
)
def test_vectors_are_those_of_transformers(image_models, pictures, name, dim):
    encoder = image_encoder(load_encoder(str(image_models / name), device="cpu"))
    found = encoder.encode_images(pictures)
    assert found.shape == (21, dim)
    assert encoder.dim == dim
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(image_models / name, pictures), atol=1e-5)
    assert encoder.encode_images([]).shape == (0, dim)


def test_a_model_of_two_towers_reads_texts_too(image_models):
    encoder = load_encoder(str(image_models / "clip"), device="cpu")
    assert reads_texts(encoder)
    assert encoder.describe()["reads"] == ["text", "image"]
    assert encoder.max_tokens == 32
    found = encoder.encode(["a dog", "a cat on a mat " * 9], "query")
    assert found.shape == (2, 12)
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_texts_of_siglip_are_padded_as_it_was_trained(image_models):
    import torch
    from transformers import AutoModel, AutoTokenizer

    texts = ["a dog", "a rather long text"]
    folder = image_models / "siglip"
    model, tokenizer = (
        AutoModel.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    tokens = tokenizer(texts, padding="max_length", max_length=24, return_tensors="pt")
    with torch.inference_mode():
        expected = model.get_text_features(input_ids=tokens["input_ids"])
        expected = getattr(expected, "pooler_output", expected).numpy()
    encoder = load_encoder(str(folder), device="cpu")
    np.testing.assert_allclose(encoder.encode(texts, "query"), expected, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(texts[:1], "query"), expected[:1], atol=1e-5)


def test_a_tokenizer_without_a_length_is_bound_by_the_places(image_models, tmp_path):
    model = shutil.copytree(image_models / "clip", tmp_path / "clip")
    path = model / "tokenizer_config.json"
    said = json.loads(path.read_text())
    del said["model_max_length"]
    path.write_text(json.dumps(said))
    encoder = load_encoder(str(model), device="cpu")
    assert encoder.max_tokens == 32
    usual = load_encoder(str(image_models / "clip"), device="cpu")
    text = ["a cat on a mat " * 9]
    np.testing.assert_allclose(
        encoder.encode(text, "query"), usual.encode(text, "query"), atol=1e-5
    )


def test_what_a_model_does_not_read_is_said_in_a_sentence(image_models, tiny_model, pictures):
    encoder = load_encoder(str(image_models / "vit"), device="cpu")
    assert not reads_texts(encoder)
    with pytest.raises(UserError, match="vit reads images alone, and has no tower for texts"):
        encoder.encode(["a dog"], "query")
    text = load_encoder(str(tiny_model), device="cpu")
    with pytest.raises(UserError, match="reads texts alone: name one with --model"):
        image_encoder(text)
    with pytest.raises(UserError, match="reads texts alone"):
        text.encode_images(pictures)
    assert may_read_images(find_model(str(image_models / "clip")))
    assert not may_read_images(find_model(str(tiny_model)))


def test_vectors_can_be_cut(image_models, pictures):
    whole = load_encoder(str(image_models / "vit"), device="cpu").encode_images(pictures[:3])
    cut = load_encoder(str(image_models / "vit"), width=4, device="cpu").encode_images(pictures[:3])
    lengths = np.linalg.norm(whole[:, :4], axis=1, keepdims=True)
    np.testing.assert_allclose(cut, whole[:, :4] / lengths, atol=1e-5)
    with pytest.raises(UserError, match="gives 16 dimensions at most"):
        load_encoder(str(image_models / "vit"), width=17, device="cpu")
