from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nestvec.errors import UserError
from nestvec.vectors import (
    check_ids,
    check_vectors,
    load_vectors,
    normalize,
    prefix,
    row_blocks,
    save_vectors,
)

FORMATS = (".npy", ".npz", ".safetensors", ".parquet", ".arrow", ".feather")


def _vectors(n: int = 7, d: int = 5, dtype: Any = np.float32) -> NDArray[Any]:
    return np.random.default_rng(0).standard_normal((n, d)).astype(dtype)


def test_prefix_cuts_and_normalizes_by_hand() -> None:
    cut = prefix(np.array([[3.0, 4.0, 12.0], [0.0, 2.0, 1.0]]), 2)
    assert cut == pytest.approx(np.array([[0.6, 0.8], [0.0, 1.0]]))
    assert cut.dtype == np.float32
    assert prefix(np.array([3.0, 4.0, 12.0]), 2) == pytest.approx(np.array([0.6, 0.8]))


@pytest.mark.parametrize("width", [0, -1, 6])
def test_a_prefix_stays_within_the_vector(width: int) -> None:
    with pytest.raises(UserError, match=f"got {width}. Give a width of at most 5"):
        prefix(_vectors(), width)


@given(st.integers(0, 1000), st.integers(1, 8), st.integers(1, 8))
def test_prefixes_of_prefixes_are_prefixes(seed: int, a: int, b: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((4, 8)).astype(np.float32)
    narrow, wide = sorted((a, b))
    twice = prefix(prefix(vectors, wide), narrow)
    assert twice == pytest.approx(prefix(vectors, narrow), abs=1e-6)


def test_normalize_keeps_tiny_huge_and_zero_rows() -> None:
    rows = np.array([[3e38, 0], [1e-42, 0], [0, 0], [-5, 0]], dtype=np.float32)
    assert normalize(rows).tolist() == [[1, 0], [1, 0], [0, 0], [-1, 0]]
    half = np.full((2, 3000), 200, dtype=np.float16)
    assert np.linalg.norm(normalize(half), axis=1) == pytest.approx(1.0)


def test_normalize_by_blocks_equals_at_once() -> None:
    many = _vectors(5000, 900)
    expected = many / np.linalg.norm(many, axis=1, keepdims=True)
    assert len(list(row_blocks(many))) > 1
    assert np.allclose(normalize(many), expected, atol=1e-6)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_what_is_saved_is_loaded(tmp_path: Path, suffix: str, dtype: Any) -> None:
    path = tmp_path / f"docs{suffix}"
    vectors = _vectors(dtype=dtype)
    save_vectors(path, vectors)
    loaded = load_vectors(path)
    assert loaded.vectors.dtype == dtype
    assert np.array_equal(loaded.vectors, vectors)
    assert loaded.ids == [str(row) for row in range(7)]
    assert loaded.queries is None
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", FORMATS[1:])
def test_ids_are_kept(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"docs{suffix}"
    ids = ["a", "b/1", "ö", "", "7", "07", "x" * 200]
    save_vectors(path, _vectors(), ids)
    assert load_vectors(path).ids == ids


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".arrow"])
def test_big_files_are_mapped_and_not_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"docs{suffix}"
    save_vectors(path, _vectors())
    loaded = load_vectors(path).vectors
    assert not loaded.flags.owndata
    assert not loaded.flags.writeable
    assert loaded.flags.aligned
    if suffix != ".arrow":
        assert isinstance(loaded, np.memmap)


def test_save_writes_what_safetensors_reads(tmp_path: Path) -> None:
    path = tmp_path / "docs.safetensors"
    save_vectors(path, _vectors(), list("abcdefg"))
    assert np.array_equal(safetensors.numpy.load_file(path)["vectors"], _vectors())


def test_a_safetensors_file_byte_by_byte(tmp_path: Path) -> None:
    header = json.dumps({"x": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}}).encode()
    body = bytes.fromhex("803f") + bytes.fromhex("20c1")  # 1 and -10, upper halves of float32
    path = tmp_path / "docs.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + body)
    assert load_vectors(path).vectors.tolist() == [[1.0, -10.0]]


def test_float64_fortran_order_and_big_endian_become_float32(tmp_path: Path) -> None:
    vectors = _vectors()
    kinds = (vectors.astype(np.float64), np.asfortranarray(vectors), vectors.astype(">f4"))
    for i, array in enumerate(kinds):
        path = tmp_path / f"{i}.npy"
        np.save(path, array)
        loaded = load_vectors(path).vectors
        assert loaded.dtype == np.float32
        assert loaded.dtype.isnative
        assert loaded.flags.c_contiguous
        assert np.array_equal(loaded, vectors)


def test_numbers_beyond_float32_are_told(tmp_path: Path) -> None:
    path = tmp_path / "docs.npy"
    np.save(path, np.array([[1.0, 2.0], [1e200, 0.0]]))
    with pytest.raises(UserError, match=r"row 1 has a number beyond 3\.4e38"):
        load_vectors(path)


def test_an_archive_with_ids_and_queries(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez_compressed(path, vectors=_vectors(), ids=np.arange(7) * 10, queries=_vectors(2))
    loaded = load_vectors(path)
    assert loaded.ids == ["0", "10", "20", "30", "40", "50", "60"]
    assert loaded.queries is not None
    assert loaded.queries.shape == (2, 5)


def test_the_array_is_named_or_the_only_one(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, foo=_vectors())
    assert load_vectors(path).vectors.shape == (7, 5)
    np.savez(path, foo=_vectors(), bar=_vectors(3))
    assert load_vectors(path, "bar").vectors.shape == (3, 5)
    with pytest.raises(UserError, match=r"several candidates: foo, bar\. Name one"):
        load_vectors(path)
    with pytest.raises(UserError, match=r"no array 'baz'\. Its arrays are: foo, bar\."):
        load_vectors(path, "baz")
    np.savez(path, foo=_vectors(), embeddings=_vectors(3))
    assert load_vectors(path).vectors.shape == (3, 5)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_truncated_file_is_one_sentence(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"docs{suffix}"
    save_vectors(path, _vectors(300, 8))
    whole = path.read_bytes()
    for keep in (0, 5, 60, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:keep])
        with pytest.raises(UserError, match=r"docs\.") as error:
            load_vectors(path)
        assert "\n" not in str(error.value)
        assert str(error.value).endswith(".")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_of_another_kind_is_one_sentence(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"docs{suffix}"
    path.write_text("these are no vectors, but words\n" * 100)
    with pytest.raises(UserError, match=r"docs\.") as error:
        load_vectors(path)
    assert "\n" not in str(error.value)


def test_a_damaged_archive_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "docs.npz"
    save_vectors(path, _vectors(300, 8))
    damaged = bytearray(path.read_bytes())
    damaged[4000] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(UserError, match="cannot be read"):
        load_vectors(path)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, bool, np.complex64, "U3"])
def test_other_kinds_of_numbers_are_refused_with_the_remedy(tmp_path: Path, dtype: Any) -> None:
    path = tmp_path / "docs.npy"
    np.save(path, np.ones((3, 4)).astype(dtype))
    with pytest.raises(UserError, match=r"vectors must be float16.*astype\('float32'\)"):
        load_vectors(path)


def test_integers_in_safetensors_are_refused_by_their_kind(tmp_path: Path) -> None:
    path = tmp_path / "docs.safetensors"
    safetensors.numpy.save_file({"vectors": np.ones((3, 4), dtype=np.int8)}, path)
    with pytest.raises(UserError, match="holds int8"):
        load_vectors(path)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "docs.npy"
    np.save(path, np.array([[1], [2, 3]], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="Python objects, which are never loaded"):
        load_vectors(path)
    path = tmp_path / "docs.npz"
    np.savez(path, vectors=np.array([[1], [2, 3]], dtype=object))
    with pytest.raises(UserError, match="Python objects, which are never loaded"):
        load_vectors(path)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 4), (4, 0), ()])
def test_only_tables_of_rows(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "docs.npy"
    np.save(path, np.ones(shape, dtype=np.float32))
    with pytest.raises(UserError, match="has shape"):
        load_vectors(path)


def test_names_and_places(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a vector file ends in \.npy.*got docs\.txt"):
        load_vectors(tmp_path / "docs.txt")
    with pytest.raises(UserError, match="does not exist"):
        load_vectors(tmp_path / "docs.npy")
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        load_vectors(tmp_path / "folder.npy")
    with pytest.raises(UserError, match=r"got docs\.csv"):
        save_vectors(tmp_path / "docs.csv", _vectors())


def test_ids_must_fit_to_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "docs.npz"
    with pytest.raises(UserError, match="got 2 ids for 7 rows"):
        save_vectors(path, _vectors(), ["a", "b"])
    with pytest.raises(UserError, match="rows 0 and 6 are both 'a'"):
        save_vectors(path, _vectors(), list("abcdefa"))
    with pytest.raises(UserError, match="no place for ids"):
        save_vectors(tmp_path / "docs.npy", _vectors(), list("abcdefg"))
    assert list(tmp_path.iterdir()) == []


def test_duplicate_ids_in_a_file_are_told(tmp_path: Path) -> None:
    path = tmp_path / "docs.npz"
    np.savez(path, vectors=_vectors(3), ids=np.array(["a", "b", "a"]))
    with pytest.raises(UserError, match=r"docs\.npz: rows 0 and 2 are both 'a'"):
        load_vectors(path)
    np.savez(path, vectors=_vectors(3), ids=np.array(["a", "b"]))
    with pytest.raises(UserError, match="2 ids for 3 vectors"):
        load_vectors(path)
    check_ids(["a", "b"], "x")


def test_save_replaces_the_very_file_it_maps(tmp_path: Path) -> None:
    path = tmp_path / "docs.npy"
    save_vectors(path, _vectors())
    save_vectors(path, load_vectors(path).vectors)
    assert np.array_equal(load_vectors(path).vectors, _vectors())


def test_check_names_the_first_bad_row() -> None:
    good = _vectors(3000, 1000)
    check_vectors(good, "docs")
    for value, words in ((np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")):
        bad = good.copy()
        bad[2500, 3] = bad[2900, 0] = value
        with pytest.raises(UserError, match=f"docs: row 2500 has {words}"):
            check_vectors(bad, "docs")
    bad = good.astype(np.float16)
    bad[2999] = 0
    with pytest.raises(UserError, match="docs: row 2999 is all zero"):
        check_vectors(bad, "docs")
    with pytest.raises(UserError, match="docs holds int64"):
        check_vectors(np.ones((2, 2), dtype=np.int64), "docs")
