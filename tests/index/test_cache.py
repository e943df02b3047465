from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nestvec.index.cache import Cache
from nestvec.index.columns import survey
from nestvec.index.store import RowStore
from nestvec.index.store_changes import Arrays, write_rows

N = 2500


@pytest.fixture(scope="module")
def data() -> Arrays:
    rng = np.random.default_rng(0)
    return Arrays(
        codes=rng.integers(0, 256, (N, 12)).astype(np.uint8),
        facts={"norm_4": rng.integers(0, 256, N).astype(np.uint8)},
        vectors=rng.standard_normal((N, 3)).astype(np.float32),
        level_ends=tuple(range(1, 13)),
    )


@pytest.fixture
def store(tmp_path: Path, data: Arrays, row: Any) -> RowStore:
    rows = [row(str(i)) for i in range(N)]
    write_rows(tmp_path / "r", rows, survey(rows), data, "m", fragment_rows=1500)
    return RowStore.open(tmp_path / "r")


def test_planes_are_blocks_of_1024_rows_byte_major(
    tmp_path: Path, store: RowStore, data: Arrays
) -> None:
    planes = Cache(store, tmp_path / "cache").planes(store.fragments[1], ((8, 12),))
    assert planes.shape == (1, 4, 1024)
    for byte in range(4):
        np.testing.assert_array_equal(planes[0, byte, :1000], data.codes[1500:, 8 + byte])
    assert not planes[0, :, 1000:].any()
    planes = Cache(store, tmp_path / "cache").planes(store.fragments[0], ((0, 8), (8, 12)))
    assert planes.shape == (2, 12, 1024)
    np.testing.assert_array_equal(planes[1, 3, :476], data.codes[1024:1500, 3])
    np.testing.assert_array_equal(planes[1, 9, :476], data.codes[1024:1500, 9])


def test_row_major_columns_and_the_whole(tmp_path: Path, store: RowStore, data: Arrays) -> None:
    cache = Cache(store, tmp_path / "cache")
    rows = cache.rows(store.fragments[0], ((0, 8), (8, 12)))
    np.testing.assert_array_equal(rows, data.codes[:1500])
    np.testing.assert_array_equal(cache.whole("vector"), data.vectors)
    norms = cache.column(store.fragments[1], "norm_4")
    np.testing.assert_array_equal(norms, data.facts["norm_4"][1500:])
    assert isinstance(norms.base, np.memmap)


@pytest.mark.parametrize("damage", ["missing", "short", "garbage", "shape"])
def test_a_bad_file_is_written_again(
    tmp_path: Path, store: RowStore, data: Arrays, damage: str
) -> None:
    Cache(store, tmp_path / "cache").rows(store.fragments[0], ((0, 8),))
    (path,) = (tmp_path / "cache").iterdir()
    before = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "short":
        path.write_bytes(before[:-1])
    elif damage == "garbage":
        path.write_bytes(b"no array")
    else:
        np.save(path, np.zeros((3, 8), np.uint8))
    rows = Cache(store, tmp_path / "cache").rows(store.fragments[0], ((0, 8),))
    np.testing.assert_array_equal(rows, data.codes[:1500, :8])
    assert path.read_bytes() == before
    assert list((tmp_path / "cache").iterdir()) == [path]


def test_what_cannot_be_written_is_kept_in_memory(
    tmp_path: Path, store: RowStore, data: Arrays
) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    cache = Cache(store, tmp_path / "cache")
    rows = cache.rows(store.fragments[0], ((0, 8),))
    np.testing.assert_array_equal(rows, data.codes[:1500, :8])
    assert cache.rows(store.fragments[0], ((0, 8),)) is rows


def test_a_derived_array_is_computed_once(tmp_path: Path, store: RowStore) -> None:
    calls = []

    def parts() -> Iterator[NDArray[np.float32]]:
        calls.append(1)
        yield np.ones(1000, np.float32)
        yield np.zeros(500, np.float32)

    for _ in range(2):
        found = Cache(store, tmp_path / "cache").derived(
            store.fragments[0], "ones", (1500,), np.float32, parts
        )
        assert found.sum() == 1000
    assert calls == [1]


def test_single_rows_are_read_from_a_map_of_their_own(
    tmp_path: Path, store: RowStore, data: Arrays
) -> None:
    cache = Cache(store, tmp_path / "cache")
    vectors = cache.column(store.fragments[0], "vector")
    single = cache.scattered(vectors)
    assert not np.shares_memory(vectors, single)
    np.testing.assert_array_equal(single, data.vectors[:1500])
    assert cache.scattered(vectors) is single
    # what is in memory, or lies on no disk any more, is itself
    assert cache.scattered(data.vectors) is data.vectors
    other = cache.column(store.fragments[1], "vector")
    for path in (tmp_path / "cache").iterdir():
        path.unlink()
    assert cache.scattered(other) is other
