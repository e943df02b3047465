from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from nestvec.data.lines import plain_suffix, read_lines, read_text
from nestvec.errors import UserError


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.jsonl", ".jsonl"), ("a.b.JSONL.GZ", ".jsonl"), ("a.gz", ""), ("a", ""), ("x.npy", ".npy")],
)
def test_the_suffix_says_the_kind_and_gz_is_set_aside(name: str, suffix: str) -> None:
    assert plain_suffix(Path(name)) == suffix


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_lines_are_numbered_and_a_byte_order_mark_is_dropped(tmp_path: Path, name: str) -> None:
    raw = b"\xef\xbb\xbfone\r\ntwo\xe2\x80\xa8still two\n\nfour"
    path = tmp_path / name
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    found = list(read_lines(path))
    assert found == [(1, "one\r\n"), (2, "two\u2028still two\n"), (3, "\n"), (4, "four")]
    assert read_text(path) == "one\r\ntwo\u2028still two\n\nfour"


def test_bytes_that_are_not_utf8_name_file_line_and_position(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"fine\ncaf\xe9\n")
    with pytest.raises(UserError, match=r"latin\.txt line 2: byte 0xe9 at position 4 is not UTF-8"):
        list(read_lines(path))


def test_utf16_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "wide.txt"
    path.write_bytes("text".encode("utf-16"))
    with pytest.raises(UserError, match="is UTF-16"):
        list(read_lines(path))


def test_a_cut_gzip_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "cut.txt.gz"
    whole = gzip.compress(b"".join(b"line %d\n" % n for n in range(5000)))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not a whole gzip file"):
        list(read_lines(path))


def test_a_plain_file_named_gz_is_told(tmp_path: Path) -> None:
    path = tmp_path / "plain.txt.gz"
    path.write_text("hello")
    with pytest.raises(UserError, match="not a whole gzip file"):
        list(read_lines(path))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        list(read_lines(tmp_path / "none.txt"))
