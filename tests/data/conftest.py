"""Small models and files that the tests of this room share."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

WORDS = (
    "alpha",
    "beta",
    "gamma",
    "delta",
    "wing",
    "flow",
    "paper",
    "text",
    "short",
    "the",
    "of",
    "query",
    "passage",
    ":",
)


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
def tiny_model(
    tmp_path_factory: pytest.TempPathFactory, save_text_model: Callable[..., Path]
) -> Path:
    """A random BERT of 32 dims, 32 tokens, 2 layers, saved as sentence-transformers saves it."""
    return save_text_model(tmp_path_factory.mktemp("tiny"), WORDS, dim=32)
