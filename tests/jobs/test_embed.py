import numpy as np
import pytest

import nestvec as nv
from nestvec.vectors import load_vectors


def test_texts_become_vectors_with_their_ids(corpus, tmp_path, hashed):
    result = nv.embed(corpus, tmp_path / "v.safetensors")
    found = load_vectors(tmp_path / "v.safetensors")
    assert (result.items, result.dim, result.model) == (48, 16, "hash")
    assert found.ids[:2] == ["rivers0", "rivers1"]
    assert found.vectors.shape == (48, 16)
    assert found.vectors.dtype == np.float32
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.safetensors"]


def test_npy_has_no_place_for_ids(corpus, tmp_path, hashed):
    nv.embed(corpus, tmp_path / "v.npy")
    assert np.load(tmp_path / "v.npy").shape == (48, 16)


def test_vectors_are_not_embedded_and_nothing_is_overwritten(vectors_file, corpus, tmp_path):
    with pytest.raises(nv.UserError, match="holds vectors already"):
        nv.embed(vectors_file, tmp_path / "v.npy")
    with pytest.raises(nv.UserError, match="exists already"):
        nv.embed(corpus, vectors_file)
    with pytest.raises(nv.UserError, match="vector file ends in"):
        nv.embed(corpus, tmp_path / "v.txt")


def test_widths_below_those_a_model_was_trained_for_are_refused(tmp_path):
    from nestvec.jobs.encoders import check_encoder, width_notes
    from nestvec.jobs.settings import EmbedSettings

    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"matryoshka_dimensions": [64, 32, 128]}')
    asked = {"model": str(model)}
    with pytest.raises(
        nv.UserError, match=r"for 16 dimensions \(it was for: 32, 64, 128\).*--any-dim"
    ):
        check_encoder(EmbedSettings(dimensions=16, **asked))
    assert (
        "not trained for 16"
        in width_notes(EmbedSettings(dimensions=16, any_dimensions=True, **asked))[0]
    )
    assert "lie between" in width_notes(EmbedSettings(dimensions=48, **asked))[0]
    assert width_notes(EmbedSettings(dimensions=64, **asked)) == ()
    assert width_notes(EmbedSettings(**asked)) == ()
