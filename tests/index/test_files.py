from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from nestvec.errors import UserError
from nestvec.index.files import adopt, put_bytes, sync_tree, tree_bytes, verified


def test_a_file_is_named_by_its_sha256(tmp_path: Path) -> None:
    name = put_bytes(b"seven", tmp_path, ".json")
    assert name == hashlib.sha256(b"seven").hexdigest()[:32] + ".json"
    assert verified(tmp_path, name).read_bytes() == b"seven"
    assert put_bytes(b"seven", tmp_path, ".json") == name
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_adopt_keeps_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "codec.safetensors"
    path.write_bytes(b"x")
    assert adopt(path, tmp_path) == hashlib.sha256(b"x").hexdigest()[:32] + ".safetensors"
    assert not path.exists()


def test_a_changed_or_missing_file_is_told(tmp_path: Path) -> None:
    name = put_bytes(b"seven", tmp_path, ".json")
    (tmp_path / name).write_bytes(b"seve")
    with pytest.raises(UserError, match=r"\(4 bytes\) is truncated or changed"):
        verified(tmp_path, name)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match="is missing"):
        verified(tmp_path, name)


def test_tree_bytes_counts_files_below(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"123")
    (tmp_path / "y").write_bytes(b"45")
    sync_tree(tmp_path)
    assert tree_bytes(tmp_path) == 5
    assert tree_bytes(tmp_path / "nowhere") == 0
