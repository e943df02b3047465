"""The scripts in examples/ run, and end with what they promise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.slow
def test_classes():
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / "classes.py"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    for width in (8, 16, 32, 64, 128, 256, 384):
        assert sum(line.startswith(f"  nearest at {width}: ") for line in lines) == 2
        assert sum(line.startswith(f"  {width:>3} dimensions: ") for line in lines) == 2
