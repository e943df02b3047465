from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nestvec.codec.nested import Codec
from nestvec.index.collection import Collection
from nestvec.index.creation import create
from nestvec.index.manifest import Manifest

DIM = 16


@dataclass(frozen=True)
class Row:
    id: str
    text: str = ""
    title: str = ""
    columns: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Material:
    """All that a collection is made of, and the plain scores of its codes."""

    rows: list[Row]
    vectors: NDArray[np.float32]
    codec: Codec
    codes: NDArray[np.uint8]
    facts: dict[str, NDArray[Any]]

    def shuffled(self, order: NDArray[np.int64]) -> Material:
        return replace(
            self,
            rows=[self.rows[i] for i in order],
            vectors=self.vectors[order],
            codes=self.codes[order],
            facts={name: fact[order] for name, fact in self.facts.items()},
        )

    def cut(self, part: slice) -> Material:
        return replace(
            self,
            rows=self.rows[part],
            vectors=self.vectors[part],
            codes=self.codes[part],
            facts={name: fact[part] for name, fact in self.facts.items()},
        )

    def create(self, path: Path, plan: str = "4B:50,raw:10", **more: Any) -> None:
        manifest = Manifest(metric="", dim=0, rows=0, spec="", plan=plan, model="plain")
        arguments = {"vectors": self.vectors, "evidence": {"cells": [1]}} | more
        create(
            path,
            self.rows,
            codes=self.codes,
            facts=self.facts,
            codec=self.codec,
            manifest=manifest,
            **arguments,
        )

    def collection(self, path: Path, plan: str = "4B:50,raw:10", **more: Any) -> Collection:
        self.create(path, plan, **more)
        return Collection.open(path)

    def code_scores(self, queries: NDArray[np.float32], cut: int) -> NDArray[np.float64]:
        """Scores by decoding alone: no tables, no raw sums."""
        decoded = self.codec.decode(self.codes, cut).astype(np.float64)
        if cut in self.codec.cuts:
            norms = self.codec.unpack_norms(self.facts[f"norm_{cut}"], cut).astype(np.float64)
        else:
            norms = np.linalg.norm(decoded, axis=1)
        along = queries.astype(np.float64) @ decoded.T / norms
        lengths = np.linalg.norm(self.vectors.astype(np.float64), axis=1)
        return measured(self.codec.metric, along, queries, lengths)


def measured(
    metric: str,
    along: NDArray[np.float64],
    queries: NDArray[np.float32],
    lengths: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Scores from the queries' (q, d) components along the rows' directions (q, n)."""
    query_lengths = np.linalg.norm(queries.astype(np.float64), axis=1)[:, None]
    if metric == "cosine":
        return along / query_lengths
    if metric == "dot":
        return along * lengths
    return -(lengths**2 + query_lengths**2 - 2 * lengths * along)


def points(n: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((8, DIM))
    found = centers[rng.integers(0, 8, n)] + 0.5 * rng.standard_normal((n, DIM))
    return (found * rng.uniform(0.5, 2, (n, 1))).astype(np.float32)


@cache
def fitted(spec: str, metric: str) -> Codec:
    return Codec(spec, metric=metric, beam=2, power=0.0, seed=0).fit(points(600, 99))


@cache
def made(n: int, metric: str = "cosine", spec: str = "12xcb16", seed: int = 0) -> Material:
    codec = fitted(spec, metric)
    vectors = points(n, seed)
    codes = codec.encode(vectors)
    rows = [
        Row(f"r{i}", f"text {i}", f"title {i}" if i % 2 else "", {"year": 2000 + i})
        for i in range(n)
    ]
    return Material(rows, vectors, codec, codes, codec.facts(codes, vectors))


@pytest.fixture(scope="session")
def make() -> Callable[..., Material]:
    return made


@pytest.fixture
def make_of() -> Callable[[NDArray[np.float32], str], Material]:
    """A collection's material of given vectors."""

    def make(vectors: NDArray[np.float32], spec: str) -> Material:
        codec = Codec(spec, beam=1, power=0.0, seed=0, sample_rows=2_000).fit(vectors)
        codes = codec.encode(vectors)
        rows = [Row(f"r{i}") for i in range(len(vectors))]
        return Material(rows, vectors, codec, codes, codec.facts(codes, vectors))

    return make


@pytest.fixture
def queries() -> NDArray[np.float32]:
    return points(5, 7)


@pytest.fixture(name="row")
def row_class() -> type[Row]:
    return Row


@pytest.fixture(name="measured")
def measured_scores() -> Callable[..., NDArray[np.float64]]:
    return measured
