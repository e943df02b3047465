"""The page's files: all there, served with their types, and nothing from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest

from nestvec.report.style import COLORS
from nestvec.serve.page import HEADERS, POLICY, assets

FILES = assets()
TEXTS = {path: asset.content.decode() for path, asset in FILES.items()}
SCRIPTS = {path: text for path, text in TEXTS.items() if path.endswith(".js")}


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def elements() -> list[tuple[str, dict[str, str | None]]]:
    parser = _Elements()
    parser.feed(TEXTS["/"])
    return parser.found


def imports() -> Iterator[tuple[str, str]]:
    for path, text in SCRIPTS.items():
        for name in re.findall(r'from "([^"]+)"', text):
            yield path, name


def test_every_file_has_its_type() -> None:
    kinds = {path.rpartition(".")[2]: asset.content_type for path, asset in FILES.items()}
    assert kinds["/"] == "text/html; charset=utf-8"
    assert kinds["css"] == "text/css; charset=utf-8"
    assert kinds["js"] == "text/javascript; charset=utf-8"
    assert kinds["svg"] == "image/svg+xml"
    assert all(asset.content for asset in FILES.values())


def test_what_the_page_loads_is_there() -> None:
    for tag, attributes in elements():
        place = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
        if place is not None:
            assert f"/{place}" in FILES, place
    for path, name in imports():
        assert name.startswith("./"), f"{path} imports {name}"
        assert f"/page/{name[2:]}" in FILES, f"{path} imports {name}"


def test_what_a_script_imports_is_exported_and_used() -> None:
    for path, text in SCRIPTS.items():
        for names, source in re.findall(r'import \{([^}]+)\} from "\./([^"]+)"', text):
            exports = re.findall(r"^export (?:async )?(?:const|function|class) (\w+)",
                                 TEXTS[f"/page/{source}"], re.MULTILINE)  # fmt: skip
            for name in re.findall(r"\w+", names):
                assert name in exports, f"{path} imports {name} of {source}"
                assert len(re.findall(rf"\b{name}\b", text)) > 1, f"{path} does not use {name}"


def test_every_script_is_loaded() -> None:
    used = {f"/page/{name[2:]}" for _, name in imports()} | {"/page/main.js"}
    assert used == set(SCRIPTS)


@pytest.mark.parametrize("path", sorted(TEXTS))
def test_nothing_comes_from_outside(path: str) -> None:
    text = TEXTS[path].replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//[a-z]+\.[a-z]|@import|url\(", text)


def test_the_policy_allows_nothing_from_outside_and_nothing_inline() -> None:
    rules = dict(rule.partition(" ")[::2] for rule in POLICY.split("; "))
    assert rules["default-src"] == "'none'"
    assert set(rules.values()) <= {"'none'", "'self'", "'script'"}
    assert HEADERS["content-security-policy"] == POLICY
    for tag, attributes in elements():
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert tag != "style"
        assert tag != "script" or attributes.get("src")
    # what would make markup of a text, which may be anybody's
    for text in SCRIPTS.values():
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text
        )


def test_colours_are_those_of_the_report() -> None:
    assert TEXTS["/page/style.css"].startswith(COLORS)
    own = TEXTS["/page/style.css"].partition("*{box-sizing")[2]
    assert own
    assert not re.search(r"#[0-9a-fA-F]{3,8}[;}]|rgb", own)


def test_ids_are_unique_and_those_that_are_named_exist() -> None:
    ids = [a["id"] for _, a in elements() if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in elements():
        for name in ("for", "aria-labelledby", "aria-describedby"):
            for each in (attributes.get(name) or "").split():
                assert each in ids
    for path, text in SCRIPTS.items():
        for each in re.findall(r'byId\("([^"]+)"\)', text):
            assert each in ids, f"{path} asks for {each}"


def test_every_field_has_a_label() -> None:
    labels = {a.get("for") for tag, a in elements() if tag == "label"}
    for tag, attributes in elements():
        if attributes.get("type") == "radio" or "hidden" in attributes:
            continue
        if tag in ("input", "select"):
            assert attributes["id"] in labels
