from __future__ import annotations

import json
import subprocess
import sys

import pytest

import nestvec

HEAVY = {
    "torch", "lance", "pyarrow", "numba", "faiss", "pandas", "sklearn", "scipy",
    "sentence_transformers", "transformers",
}  # fmt: skip


def _loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize(
    "statement",
    [
        "import nestvec",
        "import nestvec.vectors, nestvec.tables, nestvec.nesting",
        "import nestvec.measure.metrics, nestvec.measure.intervals",
        "import nestvec.measure.similarity, nestvec.measure.clusters",
        "import nestvec.cli.main",
    ],
)
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert not _loaded_by(statement) & HEAVY


def test_every_public_name_resolves() -> None:
    for name in getattr(nestvec, "__all__", ()):
        assert getattr(nestvec, name) is not None
        assert name in dir(nestvec)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = nestvec.nonsense  # type: ignore[attr-defined]
