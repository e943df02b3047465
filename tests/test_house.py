"""The house's rules that no other gate holds: sizes, names, and where outside libraries live."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "nestvec"
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 450
SHAPELESS_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base"}

#: an outside library -> the files that may import it, relative to the package
SEAMS: dict[str, tuple[str, ...]] = {
    "torch": ("data/encoder_*.py", "learn/*.py"),
    "transformers": ("data/encoder_*.py", "learn/*.py"),
    "sentence_transformers": (
        "data/encoder_sentence_transformers.py",
        "learn/sentence_model.py",
        "learn/trainer.py",
    ),
    "datasets": ("data/training.py", "learn/trainer.py"),
    "accelerate": ("learn/trainer.py",),
    "threadpoolctl": ("codec/kmeans.py",),
    "numba": ("compiled.py", "codec/kernels.py", "index/kernels*.py"),
    "llvmlite": ("codec/kernels.py", "index/kernels*.py"),
    "lance": (
        "index/store.py",
        "index/store_changes.py",
        "index/store_parts.py",
        "index/store_recoding.py",
        "index/store_records.py",
        "index/store_versions.py",
    ),
    "pyarrow": (
        "bridge/lancedb.py",
        "tables.py",
        "index/places.py",
        "index/store_changes.py",
        "index/store_parts.py",
        "index/store_recoding.py",
    ),
    "ray": ("bridge/ray.py",),
    "faiss": ("bridge/faiss_library.py",),
    "lancedb": ("bridge/lancedb.py",),
    "onnx": ("bridge/onnx.py",),
    "onnxruntime": ("bridge/onnx.py",),
    "onnxscript": ("bridge/onnx.py",),
    "qdrant_client": ("bridge/qdrant.py",),
    "langchain_core": ("bridge/langchain.py",),
    "mteb": ("bridge/mteb.py",),
    "usearch": ("index/graph.py",),
    "sqlite_vec": ("bridge/sqlite_library.py",),
    "psycopg": ("bridge/postgres.py",),
    "safetensors": (
        "adapters/adapter.py",
        "choose/labeller.py",
        "codec/*.py",
        "learn/models.py",
        "learn/sentence_model.py",
        "learn/trainer.py",
    ),
    "click": ("cli/*.py",),
    "rich": ("cli/*.py",),
    "scipy": (),
    "sklearn": (
        "choose/cascade.py",
        "choose/router.py",
        "learn/adapters/estimator.py",
        "learn/classifier.py",
        "learn/early_classifier.py",
        "learn/vector_classifier.py",
        "measure/probes.py",
    ),
    "pandas": (),
    "fastapi": ("serve/app.py",),
    "starlette": ("serve/app.py",),
    "uvicorn": ("serve/server.py",),
    "h11": ("serve/server.py",),
    "PIL": ("data/corruptions.py", "data/images.py"),
}


def _place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every absolute import of a file, importlib.import_module("...") among them, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            first = node.args[0]
            if called == "import_module" and isinstance(first, ast.Constant):
                yield str(first.value), node.lineno


@pytest.mark.parametrize("path", MODULES, ids=_place)
def test_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{_place(path)} has {lines} lines; split it by what it holds"


@pytest.mark.parametrize("path", MODULES, ids=_place)
def test_a_module_is_named_for_what_it_holds(path: Path) -> None:
    assert path.stem.strip("_") not in SHAPELESS_NAMES


@pytest.mark.parametrize("path", MODULES, ids=_place)
def test_an_outside_library_lives_behind_its_seam(path: Path) -> None:
    for name, line in _imported(ast.parse(path.read_text(encoding="utf-8"))):
        library = name.partition(".")[0]
        allowed = SEAMS.get(library)
        assert allowed is None or any(fnmatch(_place(path), seam) for seam in allowed), (
            f"{_place(path)}:{line} imports {library}; only {', '.join(allowed) or 'nothing'} may"
        )


@pytest.mark.parametrize("path", MODULES, ids=_place)
def test_public_names_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    bare = [
        node.name
        for node in tree.body
        if isinstance(node, kinds)
        and not node.name.startswith("_")
        and ast.get_docstring(node) is None
    ]
    assert not bare, f"{_place(path)}: no docstring on {', '.join(bare)}"


@pytest.mark.parametrize("path", [p for p in MODULES if p.name == "__init__.py"], ids=_place)
def test_a_room_has_an_empty_door(path: Path) -> None:
    if path.parent != PACKAGE:
        body = ast.parse(path.read_text(encoding="utf-8")).body
        # a docstring may stand there, and nothing else
        assert all(isinstance(node, ast.Expr) for node in body)


def test_a_test_file_is_named_for_a_module() -> None:
    for test in sorted((ROOT / "tests").glob("*/test_*.py")):
        room = PACKAGE / test.parent.name
        assert room.is_dir(), f"{test.parent.name} is no room of the house"
