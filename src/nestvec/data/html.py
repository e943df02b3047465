"""Text and title of an HTML page, by the standard library's parser."""

from __future__ import annotations

from html.parser import HTMLParser

_SILENT = frozenset({"script", "style", "template", "noscript", "svg", "head", "title"})
# fmt: off
_BLOCKS = frozenset([
    "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr",
    "li", "main", "nav", "ol", "p", "pre", "section", "table", "td", "th", "tr", "ul",
])
# fmt: on


def html_text(page: str) -> tuple[str, str]:
    """(title, text) of a page: scripts, styles and head left out, entities resolved.

    Block elements end a paragraph: paragraphs are separated by one empty line, and white space
    inside a paragraph is folded to one space, except within <pre>.
    """
    reader = _PageReader()
    reader.feed(page)
    reader.close()
    reader.end_block()
    return " ".join("".join(reader.title).split()), "\n\n".join(reader.blocks)


class _PageReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.blocks: list[str] = []
        self._parts: list[str] = []
        self._silent: list[str] = []
        self._pre = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "body":  # a page may leave its head open
            self._silent.clear()
        elif tag in _SILENT:
            self._silent.append(tag)
        if tag in _BLOCKS:
            self.end_block()
        self._pre += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if tag in self._silent:
            while self._silent.pop() != tag:
                pass
        if tag in _BLOCKS:
            self.end_block()
        if tag == "pre":
            self._pre = max(0, self._pre - 1)

    def handle_data(self, data: str) -> None:
        if self._silent:
            if self._silent[-1] == "title" and "svg" not in self._silent:
                self.title.append(data)
        else:
            self._parts.append(data)

    def end_block(self) -> None:
        """Closes the paragraph that is being read."""
        joined = "".join(self._parts)
        text = joined.strip("\n") if self._pre else " ".join(joined.split())
        if text.strip():
            self.blocks.append(text)
        self._parts.clear()
