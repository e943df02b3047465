from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nestvec.data.documents import (
    LONGEST_CHUNK,
    SHORTEST_CHUNK,
    check_split,
    paragraphs,
    passages,
    read_documents,
)
from nestvec.errors import UserError


def notes(folder: Path) -> Path:
    (folder / "deep").mkdir()
    (folder / "b.md").write_text("intro\n\n# The Title #\n\nbody\n", encoding="utf-8")
    (folder / "a.txt").write_text("x" * 250 + "\n\n" + "y" * 250 + "\n", encoding="utf-8")
    (folder / "deep" / "c.html").write_text("<title>H</title><p>page</p>", encoding="utf-8")
    (folder / "d.rst").write_text("Chapter\n=======\n\nwords\n", encoding="utf-8")
    (folder / ".hidden.txt").write_text("no", encoding="utf-8")
    (folder / "e.py").write_text("no", encoding="utf-8")
    return folder


def test_one_document_a_file_in_the_order_of_paths(tmp_path: Path) -> None:
    found = [record for _, record in read_documents(notes(tmp_path), "none")]
    assert [record["id"] for record in found] == ["a.txt", "b.md", "d.rst", "deep/c.html"]
    assert [record["title"] for record in found] == ["", "The Title", "Chapter", "H"]
    assert found[3]["text"] == "page"


def test_chunks_are_numbered_from_one(tmp_path: Path) -> None:
    found = [record for _, record in read_documents(notes(tmp_path), "paragraphs")]
    assert [record["id"] for record in found][:2] == ["a.txt#1", "a.txt#2"]
    assert found[1]["text"] == "y" * 250


def test_ids_of_chunks_tell_document_and_number(tmp_path: Path) -> None:
    ids = [str(record["id"]) for _, record in read_documents(notes(tmp_path), "paragraphs")]
    documents, numbers = passages(ids)
    assert documents == [0, 0, 1, 2, 3]
    assert numbers == [1, 2, 1, 1, 1]


def test_marks_in_names_of_documents_do_not_confuse() -> None:
    documents, numbers = passages(["a#1#1", "a#1#2", "a#2", "whole", "c#sharp"])
    assert documents == [0, 0, 1, 2, 3]
    assert numbers == [1, 2, 2, 0, 0]


def test_an_unknown_split_is_told() -> None:
    assert check_split("none") == "none"
    with pytest.raises(UserError, match="split must be one of none or paragraphs, got 'words'"):
        check_split("words")


def test_short_paragraphs_are_joined_and_long_ones_cut_at_sentences() -> None:
    assert list(paragraphs("Head\n\n" + "a " * 150)) == ["Head\n\n" + ("a " * 150).strip()]
    sentence = "This is a sentence of some length. "
    chunks = list(paragraphs(sentence * 60))
    assert len(chunks) == 2
    assert all(chunk.endswith("length.") for chunk in chunks)


@given(st.text(st.sampled_from("ab. \n"), max_size=4000))
def test_chunks_keep_every_word_in_order(text: str) -> None:
    chunks = list(paragraphs(text))
    assert "".join("".join(chunks).split()) == "".join(text.split())
    assert all(
        chunk.strip() and len(chunk) <= LONGEST_CHUNK + 2 * SHORTEST_CHUNK for chunk in chunks
    )
    if "  " not in text and len(max(text.split(), default="")) < 50:
        assert " ".join(chunks).split() == text.split()
