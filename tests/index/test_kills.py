"""A writer that is killed loses nothing that it reported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kills.py"


@pytest.mark.slow
def test_killed_writers_lose_nothing(tmp_path: Path) -> None:
    out = tmp_path / "kills.json"
    subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "20", "--seed", "7", "--out", str(out)], check=True
    )
    found = json.loads(out.read_text())
    assert found["reported"] > 0
    for wrong in ("crashed", "not_opened", "commits_lost", "duplicates", "damaged", "strange"):
        assert found[wrong] == 0, found
