"""The parts that every page is made of: the document, tables, notes, pictures, the command."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape

from nestvec.report.sheet import Note
from nestvec.report.style import PAGE, number

#: characters of a text that are shown
TEXT_CHARACTERS = 150

_NUM = ' class="num"'


def document(
    title: str, body: str, *, version: str, made: str, style: str = "", accent: str = ""
) -> str:
    """The whole HTML document. style: rules beside PAGE; accent: the class of all of it."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n"
        f'<style>{PAGE}{style}</style>\n</head>\n<body>\n<main class="{accent}">\n{body}\n'
        f"<footer>nestvec {escape(version)}, {escape(made)}</footer>\n"
        "</main>\n</body>\n</html>\n"
    )


def table(caption: str, headings: tuple[str, ...], rows: Iterable[tuple[list[str], str]]) -> str:
    """A table of numbers; a first column of words is aligned as words.

    rows: (cells, class of the row); cells are markup.
    """
    words = headings[0] in ("method", "class", "")
    head = "".join(
        f'<th scope="col"{"" if words and i == 0 else _NUM}>{heading}</th>'
        for i, heading in enumerate(headings)
    )
    body = []
    for cells, mark in rows:
        first = f'<th scope="row"{"" if words else _NUM}>{cells[0]}</th>'
        rest = "".join(f"<td{_NUM}>{cell}</td>" for cell in cells[1:])
        body.append(f'<tr class="{mark}">{first}{rest}</tr>' if mark else f"<tr>{first}{rest}</tr>")
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="table">'
        f"<table><caption>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def tiles(found: Iterable[tuple[str, str, str]]) -> str:
    """A row of figures: (name, value, what stands small below it); the last two are markup."""
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{value}<small>{note}</small></dd></div>"
        for name, value, note in found
    )
    return f'<dl class="tiles">{items}</dl>'


def warnings_box(found: Iterable[str]) -> str:
    """What is to be told at once, none where there is nothing."""
    items = "".join(f"<li>{escape(text[:1].upper() + text[1:])}</li>" for text in found)
    return f'<div class="warn" role="note"><ul>{items}</ul></div>' if items else ""


def figure_of(value: float, low: float, high: float) -> str:
    """A value, and its interval small beside it (below it where there is little room)."""
    return f"{number(value)} <small>{number(low)} to {number(high)}</small>"


def signed(value: float) -> str:
    """A difference: +.012, -.004."""
    found = number(value)
    return found if found.startswith("-") else f"+{found}"


def signed_figure(value: float, low: float, high: float) -> str:
    """A difference, and its interval small beside it."""
    return f"{signed(value)} <small>{signed(low)} to {signed(high)}</small>"


def image(picture: str) -> str:
    """The element of a picture; what it shows is said beside it."""
    return f'<img src="{escape(picture)}" alt="">' if picture else ""


def data_uri(jpeg: bytes) -> str:
    """A JPEG file as a page holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def beginning(text: str) -> str:
    """The text's beginning, cut at a word."""
    text = " ".join(text.split())
    if len(text) <= TEXT_CHARACTERS:
        return text
    return text[:TEXT_CHARACTERS].rsplit(" ", 1)[0] + " …"


def notes_section(notes: Iterable[Note]) -> str:
    """How it was measured."""
    items = "".join(f"<dt>{escape(note.term)}</dt><dd>{escape(note.text)}</dd>" for note in notes)
    return f'<section><h2>How it was measured</h2><dl class="notes">{items}</dl></section>'


def command_section(command: str) -> str:
    """The command that does the same."""
    return f"<section><h2>The command</h2><pre>{escape(command)}</pre></section>"
