"""What README and docs show is true: Python examples run, commands and their options exist.

A Python example runs in a folder that holds notes/ (three short texts), vectors.npy,
queries.npy and docs.jsonl; the examples of one page share their names, as a reader would
expect. An example that cannot run here stands below the line `<!-- not run: reason -->`.
"""

from __future__ import annotations

import importlib
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    page
    for page in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    )
    if page.exists() and page.read_text(encoding="utf-8").strip()
]
SHELLS = {"console", "bash", "sh", "shell"}
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; line: of its first line in the page, from 1."""

    page: Path
    language: str
    text: str
    line: int
    runs: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        before = text[: match.start()].rstrip().rpartition("\n")[2]
        line = text.count("\n", 0, match.start(2)) + 1
        runs = not before.startswith("<!-- not run:")
        found.append(Block(page, match[1].lower(), match[2], line, runs))
    return found


def commands_in(block: Block) -> Iterator[list[str]]:
    """The words of every command line that starts with nestvec or make."""
    lines = block.text.replace("\\\n", " ").splitlines()
    prompted = any(line.startswith("$ ") for line in lines)
    for line in lines:
        if prompted and not line.startswith("$ "):
            continue  # what the command prints
        words = shlex.split(line.removeprefix("$ "), comments=True)
        for i, word in enumerate(words):
            if word in ("nestvec", "make") and (i == 0 or words[i - 1] in ("|", "&&", ";")):
                rest = words[i:]
                ends = [j for j, w in enumerate(rest) if w in ("|", "&&", ";", ">", "<")]
                yield rest[: ends[0]] if ends else rest


def _no_pages_yet() -> None:
    if ROOT / "README.md" not in PAGES:
        pytest.skip("README.md is empty")


SHELL_BLOCKS = [block for page in PAGES for block in blocks_of(page) if block.language in SHELLS]
PYTHON_PAGES = [p for p in PAGES if any(b.language == "python" and b.runs for b in blocks_of(p))]


@pytest.fixture
def furnished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what examples name, as the current one."""
    texts = {
        "bread": "Mix flour, water, salt and yeast, let the dough rise overnight, bake it hot.",
        "bicycle": "A loose chain slips under load; tighten it until it gives a finger's width.",
        "garden": "Sow peas early in spring, as soon as the soil can be worked.",
    }
    (tmp_path / "notes").mkdir()
    with (tmp_path / "docs.jsonl").open("w", encoding="utf-8") as rows:
        for name, text in texts.items():
            (tmp_path / "notes" / f"{name}.md").write_text(text + "\n", encoding="utf-8")
            rows.write(json.dumps({"id": name, "title": name, "text": text}) + "\n")
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((40, 64))
    vectors = centres[rng.integers(0, 40, 2000)] + 0.7 * rng.standard_normal((2000, 64))
    np.save(tmp_path / "vectors.npy", vectors.astype(np.float32))
    np.save(tmp_path / "queries.npy", vectors[:100].astype(np.float32) + 0.1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_examples_run(page: Path, furnished: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.language == "python" and block.runs:
            # blank lines before, so that a fault names the page's own line
            code = "\n" * (block.line - 1) + block.text
            exec(compile(code, str(page), "exec"), names)


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=str)
def test_commands_shown_exist_with_their_options(block: Block) -> None:
    for words in commands_in(block):
        if words[0] == "make":
            _check_make(words, block)
        elif len(words) > 1 and not words[1].startswith("-"):
            _check_command(words, block)


def _check_make(words: list[str], block: Block) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for word in words[1:]:
        assert "=" in word or word in targets, f"{block}: make has no target {word}"


def _check_command(words: list[str], block: Block) -> None:
    main = importlib.import_module("nestvec.cli.main")
    name = words[1]
    assert name in main.COMMANDS, f"{block}: nestvec has no command {name}"
    command: click.Command = importlib.import_module(f"nestvec.cli.{name}").command
    if isinstance(command, click.Group):
        assert words[2] in command.commands, f"{block}: nestvec {name} has no {words[2]}"
        command = command.commands[words[2]]
    known = {text for p in command.params for text in (*p.opts, *p.secondary_opts)}
    for word in words[2:]:
        if word.startswith("-") and word not in ("-", "--help", "-h"):
            assert word.partition("=")[0] in known, f"{block}: nestvec {name} has no {word}"


def test_every_command_is_shown_somewhere() -> None:
    _no_pages_yet()
    shown = {words[1] for b in SHELL_BLOCKS for words in commands_in(b) if len(words) > 1}
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    shown |= set(re.findall(r"`nestvec (\w+)", text))
    missing = set(importlib.import_module("nestvec.cli.main").COMMANDS) - shown
    assert not missing, f"no page shows nestvec {', '.join(sorted(missing))}"


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not target.startswith("mailto:"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_blocks_and_commands_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Title\n\n```console\n"
        "$ nestvec build notes/ \\\n    --out a.nv  # comment\n"
        "nestvec prints\n"
        "$ make test && nestvec info a.nv > x\n```\n\n"
        "<!-- not run: slow -->\n```python\n1 / 0\n```\n"
    )
    shell, python = blocks_of(page)
    assert list(commands_in(shell)) == [
        ["nestvec", "build", "notes/", "--out", "a.nv"],
        ["make", "test"],
        ["nestvec", "info", "a.nv"],
    ]
    assert (shell.line, shell.runs) == (4, True)
    assert (python.language, python.runs) == ("python", False)
