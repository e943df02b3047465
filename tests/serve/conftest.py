"""A collection of words, an encoder that needs no model, and a server of both on a free port."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nestvec.codec.nested import Codec
from nestvec.data.model_nesting import TrainedNesting
from nestvec.errors import UserError
from nestvec.index.creation import create
from nestvec.index.manifest import Manifest
from nestvec.serve.settings import Limits, ServeSettings

DIM = 32
WIDTHS = (8, 16, 32)
ROWS = 300


class WordEncoder:
    """A text's vector is the sum of its words', drawn by their hash; 'broken' has none.

    seen: the batches it was given. Where `hold` is set, it sets `held` and waits for `go`
    first.
    """

    name, revision, dim, metric, max_tokens = "words", "1", DIM, "cosine", None

    def __init__(self):
        self.seen = []
        self.hold = False
        self.held = threading.Event()
        self.go = threading.Event()

    def prepare(self, sample):
        pass

    def encode(self, texts, kind):
        if self.hold:
            self.held.set()
            assert self.go.wait(30)
        self.seen.append((kind, list(texts)))
        if any("broken" in text for text in texts):
            raise UserError("a vector must be finite, and that of 'broken' is not: mend the text.")
        found = np.stack([self.vector(text) for text in texts])
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)

    def count_tokens(self, texts, kind):
        return [len(text.split()) for text in texts]

    def vector(self, text):
        words = text.lower().split() or [""]
        return np.sum([self._word(word) for word in words], axis=0)

    def _word(self, word):
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "little")
        return np.random.default_rng(seed).standard_normal(DIM)


@dataclass(frozen=True)
class Row:
    id: str
    text: str
    title: str = ""
    columns: dict[str, Any] = field(default_factory=dict)


def rows_of_words(count=ROWS):
    return [
        Row(f"r{i}", f"row number {i} of what is {'odd' if i % 2 else 'even'}", f"title {i}")
        for i in range(count)
    ]


def make_collection(
    path: Path, rows, vectors, *, plan="8B:50,raw:10", texts=True, api=None, **more
) -> None:
    codec = Codec("8xcb16", beam=1, power=0.0, seed=0).fit(vectors)
    codes = codec.encode(vectors)
    settings = {"model": "words", "api": api} if api else {"model": "words"}
    described = {"settings": settings, "documents": "texts"} if texts else {}
    manifest = Manifest(
        metric="", dim=0, rows=0, spec="", plan=plan, model="words", encoder=described
    )
    arguments = {"vectors": vectors, "evidence": None} | more
    create(
        path,
        rows,
        codes=codes,
        facts=codec.facts(codes, vectors),
        codec=codec,
        manifest=manifest,
        **arguments,
    )


def quality(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


@pytest.fixture(scope="session")
def words_nv(tmp_path_factory):
    """Three hundred rows with their vectors; do not change it."""
    path = tmp_path_factory.mktemp("serve") / "words.nv"
    rows = rows_of_words()
    vectors = WordEncoder().encode([row.text for row in rows], "document")
    grid = {
        "measure": "nDCG@10",
        "full": quality(0.9),
        "cells": [
            {"method": method, "bytes": size, "fact_bytes": 1, **quality(value)}
            for method, size, value in (("nested", 8, 0.7), ("nested", 4, 0.5), ("int8", 32, 0.9))
        ],
    }
    make_collection(path, rows, vectors, evidence={"grid": grid, "result": {"spec": "8xcb16"}})
    return path


@contextmanager
def running(served, settings=None, page=None) -> Iterator[SimpleNamespace]:
    """A server in a thread: address, port, server, ask(method, path, body, headers)."""
    from nestvec.serve.app import make_app
    from nestvec.serve.server import Server

    settings = settings or ServeSettings(port=0)
    server = Server(make_app(served, settings, page or {}), settings)
    started = threading.Event()
    thread = threading.Thread(target=server.run, args=(started.set,), daemon=True)
    thread.start()
    assert started.wait(20)
    port = int(server.address.rpartition(":")[2])
    try:
        yield SimpleNamespace(
            address=server.address,
            port=port,
            server=server,
            thread=thread,
            ask=lambda *args, **options: ask(port, *args, **options),
        )
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json["error"]["message"])


def ask(port, method, path, body=None, headers=None) -> Answer:
    """One request; a body that is not bytes is sent as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        given = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, body, {**given, **(headers or {})})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


@pytest.fixture(scope="session")
def serving(words_nv) -> Callable[..., Any]:
    """serving(limits...) is what is served: WordEncoder over words_nv; and its encoder."""
    from nestvec.serve.model import Model
    from nestvec.serve.opening import Served
    from nestvec.serve.searching import Searched

    def make(path=words_nv, any_dimensions=False, hits=1000):
        encoder = WordEncoder()
        model = Model(encoder, TrainedNesting(WIDTHS, {}), any_dimensions)
        searched = Searched(path, any_dimensions, hits)
        searched.widths = WIDTHS
        return Served(path.name, model, searched), encoder

    return make


def settings_with(**limits) -> ServeSettings:
    return replace(ServeSettings(port=0), limits=replace(Limits(), **limits))
