"""Small models and files that the tests of this room share."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

WORDS = ("alpha", "beta", "gamma", "delta", "wing", "flow", "paper", "text", "short", "the", "of")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test asks the network, and none finds what this machine has cached."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


@pytest.fixture
def write_jsonl() -> Callable[[Path, Iterable[object]], Path]:
    def write(path: Path, records: Iterable[object]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(record) + "\n" for record in records)
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress(text.encode()))
        else:
            path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of 32 dims, 32 tokens, 2 layers, saved as sentence-transformers saves it."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


def save_tiny_model(folder: Path, **options: Any) -> Path:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, as they are imported and as they save
        import torch
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Normalize, Pooling, Transformer
        from transformers import BertConfig, BertModel, BertTokenizerFast

        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "query", "passage", ":"]
        (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
        )
        BertModel(config).save_pretrained(folder / "bert")
        BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder / "bert")
        transformer = Transformer(str(folder / "bert"), max_seq_length=32)
        modules = [transformer, Pooling(32, "mean"), Normalize()]
        model = SentenceTransformer(modules=modules, device="cpu", **options)
        model.save(str(folder / "model"))
    return folder / "model"
