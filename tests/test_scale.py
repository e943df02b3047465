"""docs/scale.md shows what benchmarks/scale_paper.py works out of the files of results."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_shows_the_tables_that_the_script_prints() -> None:
    spec = importlib.util.spec_from_file_location(
        "scale_paper", ROOT / "benchmarks" / "scale_paper.py"
    )
    assert spec is not None
    assert spec.loader is not None
    paper = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(paper)
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    for table in (paper.origins(), paper.needs()):
        assert "\n".join(table) in page, "print it again: python benchmarks/scale_paper.py"


def test_every_file_that_the_page_names_is_there() -> None:
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    named = [word for word in page.split("`") if word.startswith(("benchmarks/", "docs/"))]
    assert named
    for name in named:
        assert (ROOT / name).is_file(), name
