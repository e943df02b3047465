from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nestvec.adapters.adapter import Adapter, Stage
from nestvec.adapters.maps import Linear
from nestvec.bridge.exported import Rows, Source
from nestvec.codec.nested import Codec
from nestvec.data.rows import Row
from nestvec.index.collection import Collection
from nestvec.index.creation import create
from nestvec.index.manifest import Manifest

ROWS, DIM = 600, 48


def embeddings(rows: int, dim: int, seed: int = 0) -> NDArray[np.float16]:
    """Vectors around a few centres, of many lengths, every tenth twice: ties of every kind."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((9, dim))
    found = centres[rng.integers(0, 9, rows)] + 0.7 * rng.standard_normal((rows, dim))
    found *= rng.uniform(0.5, 2, (rows, 1)) / np.sqrt(dim)
    found[::10] = found[1::10]
    return found.astype(np.float16)


def store(
    path: Path, metric: str = "cosine", spec: str = "sign48", adapter: Adapter | None = None
) -> Path:
    """A collection with columns of all kinds, the first and some other rows deleted."""
    vectors = embeddings(ROWS, DIM)
    mapped = vectors.astype(np.float32) if adapter is None else adapter.transform(vectors)
    codec = Codec(spec, metric=metric).fit(mapped)
    codes = codec.encode(mapped)
    rows = [
        Row(
            f"id-{i}",
            f"the text of row {i}, naïve “quotes” \\ \t and\na second line",
            f"title {i}" if i % 3 else "",
            {
                "year": 1900 + i if i % 7 else None,
                "share": i / 7,
                "good": i % 2 == 0,
                "Lang": "en" if i % 4 else None,
                "tags": ["a", f"b{i}"] if i % 5 else [],
                "more": {"n": i, "of": [1, None]},
            },
        )
        for i in range(ROWS)
    ]
    create(
        path,
        rows,
        codes=codes,
        facts=codec.facts(codes, mapped),
        vectors=vectors,
        codec=codec,
        adapter=adapter,
        manifest=Manifest(
            metric=metric,
            dim=DIM,
            rows=ROWS,
            spec=codec.spec,
            plan=f"{codec.bytes}B:60,raw:10",
            nesting="16,48",
        ),
    )
    Collection.open(path).delete(["id-0", "id-7", "id-300"])
    return path


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Collections by metric and spec, each written once."""
    made: dict[tuple[str, str], Path] = {}

    def get(metric: str = "cosine", spec: str = "sign48") -> Path:
        if (metric, spec) not in made:
            folder = tmp_path_factory.mktemp("stored")
            made[metric, spec] = store(folder / "Some Papers.nv", metric, spec)
        return made[metric, spec]

    return get


@pytest.fixture(scope="session")
def source_of(stored: Callable[..., Path]) -> Callable[..., Source]:
    """The same, open for an export."""

    def get(metric: str = "cosine", spec: str = "sign48") -> Source:
        return Source(Collection.open(stored(metric, spec)))

    return get


@pytest.fixture
def broken_source(source_of: Callable[..., Source]) -> Source:
    """The same, but that the disk goes away after three runs of a hundred rows."""
    whole = source_of()

    class Broken(Source):
        def rows(self, batch_rows: int = 100) -> Iterator[Rows]:
            yield from itertools.islice(whole.rows(100), 3)
            raise OSError("the disk went away")

    return Broken(whole.opened)


@pytest.fixture
def adapted(tmp_path: Path) -> Source:
    """A collection whose vectors go through a map to 32 coordinates."""
    turned = np.linalg.qr(np.random.default_rng(2).standard_normal((DIM, DIM)))[0][:, :32]
    maps = (Linear(turned.astype(np.float32)),)
    adapter = Adapter("linear", DIM, (16, 32), (Stage(32, maps),))
    return Source(Collection.open(store(tmp_path / "a.nv", spec="sign32", adapter=adapter)))


@pytest.fixture
def queries() -> NDArray[np.float32]:
    """Rows and their like: some stand in the collection twice."""
    some = embeddings(ROWS, DIM)[[1, 11, 30, 77, 120, 599]].astype(np.float32)
    rng = np.random.default_rng(5)
    near = some + 0.05 * rng.standard_normal(some.shape)
    return np.concatenate([some, near]).astype(np.float32)
