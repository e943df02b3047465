"""Folders of text files: one document a file, or one row a paragraph."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from nestvec.data.html import html_text
from nestvec.data.lines import plain_suffix, read_text
from nestvec.errors import UserError

DOCUMENT_SUFFIXES = (".txt", ".md", ".rst", ".html", ".htm")
SPLITS = ("none", "paragraphs")

# A paragraph shorter than this is joined to its neighbours: a heading alone finds nothing.
SHORTEST_CHUNK = 200
# A paragraph longer than this is cut at sentence ends; some 250 tokens of English.
LONGEST_CHUNK = 1200


def check_split(split: str) -> str:
    """The split, if it is one of SPLITS; UserError where not."""
    if split not in SPLITS:
        raise UserError(f"split must be one of {' or '.join(SPLITS)}, got {split!r}.")
    return split


def document_files(folder: Path) -> Iterator[Path]:
    """The document files in a folder and below, in the order of their paths; hidden ones apart."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and plain_suffix(path) in DOCUMENT_SUFFIXES and path.is_file():
            yield path


def read_documents(folder: Path, split: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Yields (place, record) with `id`, `title` and `text`; place is the file's path in the folder.

    The id is that path with forward slashes, and `path#3` for the third chunk where split is
    "paragraphs". The title is the page's own (HTML) or the first heading (Markdown, rst), else "".
    Memory: one file.
    """
    for path in document_files(folder):
        name = path.relative_to(folder).as_posix()
        title, text = document_text(path)
        if split == "none":
            yield name, {"id": name, "title": title, "text": text}
            continue
        for number, chunk in enumerate(paragraphs(text), 1):
            identity = passage_id(name, number)
            yield identity, {"id": identity, "title": title, "text": chunk}


def passage_id(document: str, number: int) -> str:
    """The id of a document's passage, numbered from 1: "notes/a.md#3"."""
    return f"{document}#{number}"


def passages(ids: Sequence[str]) -> tuple[list[int], list[int]]:
    """Which document every passage is of, and which of its passages it is: two lists.

    ids: of a source that was split. Documents are numbered from 0 as they come, passages from 1;
    0 stands for a row that was not split, for want of a text.
    """
    places: dict[str, int] = {}
    documents, numbers = [], []
    for identity in ids:
        name, mark, digits = identity.rpartition("#")
        split = bool(mark) and digits.isdecimal()
        documents.append(places.setdefault(name if split else identity, len(places)))
        numbers.append(int(digits) if split else 0)
    return documents, numbers


def document_text(path: Path) -> tuple[str, str]:
    """(title, text) of one file by its suffix."""
    page = read_text(path)
    if plain_suffix(path) in (".html", ".htm"):
        return html_text(page)
    return _heading(page, plain_suffix(path)), page.strip()


def paragraphs(text: str) -> Iterator[str]:
    """Chunks of a text: its paragraphs, short ones joined, long ones cut at sentence ends.

    Paragraphs end at empty lines. One shorter than SHORTEST_CHUNK characters is joined to the next
    (the last to the one before); one longer than LONGEST_CHUNK is cut. Joined by an empty line and
    cut at white space only, so no word is lost or broken, but for one longer than LONGEST_CHUNK.
    """
    held: list[str] = []
    for paragraph in re.split(r"\n[ \t\r]*\n\s*", text.strip()):
        for piece in _cut(paragraph.strip()):
            waiting = sum(map(len, held))
            if (held and waiting >= SHORTEST_CHUNK) or waiting + len(piece) > LONGEST_CHUNK:
                if held:
                    yield "\n\n".join(held)
                held = []
            if piece:
                held.append(piece)
    if held:
        yield "\n\n".join(held)


def _cut(paragraph: str) -> Iterator[str]:
    while len(paragraph) > LONGEST_CHUNK:
        window = paragraph[:LONGEST_CHUNK]
        ends = [match.end() for match in re.finditer(r"[.!?][\"')\]]*\s", window)]
        end = ends[-1] if ends and ends[-1] >= SHORTEST_CHUNK else window.rfind(" ")
        end = end if end > 0 else LONGEST_CHUNK
        yield paragraph[:end].strip()
        paragraph = paragraph[end:].strip()
    yield paragraph


def _heading(text: str, suffix: str) -> str:
    if suffix == ".md":
        match = re.search(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", text, re.MULTILINE)
        return match.group(1) if match else ""
    if suffix == ".rst":
        match = re.search(r"^(\S.*)\r?\n([=\-~^\"'#*+])\2{2,}[ \t]*\r?$", text, re.MULTILINE)
        return match.group(1).strip() if match else ""
    return ""
