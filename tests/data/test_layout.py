from __future__ import annotations

from pathlib import Path

import pytest

from nestvec.data.layout import find_corpus, find_ids, find_qrels, find_vectors, stem


@pytest.mark.parametrize(
    ("name", "expected"),
    [("corpus.jsonl.gz", "corpus"), ("a.b.npy", "a.b"), ("plain", "plain"), ("test.tsv", "test")],
)
def test_a_stem_has_neither_suffix_nor_gz(name: str, expected: str) -> None:
    assert stem(Path("x") / name) == expected


def test_files_are_found_by_their_names(tmp_path: Path) -> None:
    for name in ("other.npy", "queries.npy", "docs.ids.txt"):
        (tmp_path / name).touch()
    assert find_corpus(tmp_path) is None
    assert find_vectors(tmp_path) == tmp_path / "other.npy"
    (tmp_path / "docs.npy").touch()
    (tmp_path / "corpus.csv.gz").touch()
    assert find_vectors(tmp_path) == tmp_path / "docs.npy"
    assert find_corpus(tmp_path) == tmp_path / "corpus.csv.gz"
    assert find_ids(tmp_path / "docs.npy") == tmp_path / "docs.ids.txt"
    assert find_ids(tmp_path / "queries.npy") is None
    assert find_qrels(tmp_path) == {}


def test_two_vector_files_without_a_known_name_are_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / "a.npy").touch()
    (tmp_path / "b.npy").touch()
    assert find_vectors(tmp_path) is None
