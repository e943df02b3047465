"""The documentation strings of the running Python's standard library, as rows to try things on.

Sources are parsed, never imported, so that nothing runs; what is written in C is looked at in the
modules that hold it, which are safe to import.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

# Tests, editors, games, vendored code and tables of characters: nobody searches for these.
_LEFT_OUT = frozenset(
    {
        "__phello__",
        "_distutils_hack",
        "antigravity",
        "ensurepip",
        "distutils",
        "idlelib",
        "lib2to3",
        "pip",
        "pydoc_data",
        "setuptools",
        "site-packages",
        "dist-packages",
        "test",
        "tests",
        "this",
        "turtledemo",
    }
)
# readline changes the terminal when it is imported; posix and nt are told as parts of os.
_NOT_IMPORTED = frozenset({"readline", "posix", "nt"})
_SHORTEST = 25
_LONGEST_TITLE = 160

Record = tuple[str, dict[str, object]]


def demo_records() -> Iterator[Record]:
    """Yields (place, record) with `id`, `title`, `text` and `kind`, in the order of the modules.

    id: the qualified name (csv.DictReader.fieldnames); title: the name with its parameters;
    text: the documentation string, unindented; kind: module, class or function.
    A public class without a documentation string is told by its module's first line and its public
    methods, so that it can be found. Repeated names and repeated texts are left out. Order and rows
    depend on nothing but the installed Python. Memory: one module.
    """
    names: set[str] = set()
    texts: set[str] = set()
    for record in _all_records():
        name, text = str(record["id"]), str(record["text"])
        if name in names or text in texts or len(text) < _SHORTEST:
            continue
        names.add(name)
        texts.add(text)
        yield name, record


def _all_records() -> Iterator[dict[str, object]]:
    library = Path(sysconfig.get_path("stdlib"))
    yield from _live_records("builtins", "builtins")
    parsed = dict(_module_files(library))
    for module in sorted({*parsed, *_compiled_modules(parsed)}):
        if module in parsed:
            yield from _source_records(module, parsed[module])
        else:
            yield from _live_records(module, module)


def _module_files(library: Path) -> Iterator[tuple[str, Path]]:
    for path in library.rglob("*.py"):
        parts = path.relative_to(library).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        public = all(not part.startswith("_") and part.isidentifier() for part in parts)
        left_out = _LEFT_OUT.intersection(parts) or (parts[:1] == ("encodings",) and len(parts) > 1)
        if parts and public and not left_out and parts[0] in sys.stdlib_module_names:
            yield ".".join(parts), path


def _compiled_modules(parsed: dict[str, Path]) -> list[str]:
    """Public top-level modules written in C."""
    return [
        name
        for name in sys.stdlib_module_names
        if not name.startswith("_")
        and name not in parsed
        and name not in _LEFT_OUT
        and name not in _NOT_IMPORTED
    ]


def _source_records(module: str, path: Path) -> Iterator[dict[str, object]]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # a template or broken file beside the library
        return
    text = ast.get_docstring(tree) or ""
    if text:
        yield _record(module, module, text, "module")
    summary = text.strip().split("\n\n")[0]
    yield from _definitions(tree.body, module, summary)
    for statement in _flat(tree.body):
        if isinstance(statement, ast.ImportFrom):
            yield from _imported_from_c(module, statement)


def _definitions(body: list[ast.stmt], outer: str, summary: str) -> Iterator[dict[str, object]]:
    for node in _flat(body):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if node.name.startswith("_"):
            continue
        name = f"{outer}.{node.name}"
        text = ast.get_docstring(node) or ""
        if isinstance(node, ast.ClassDef):
            title = _title(name, _constructor(node))
            if text:
                yield _record(name, title, text, "class")
            elif summary:
                yield _record(name, title, _told(node, summary), "class")
            yield from _definitions(node.body, name, "")
        elif text:
            yield _record(name, _title(name, node.args), text, "function")


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements, and those that stand under if and try at the same level."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from _flat(node.body)
            yield from _flat(node.orelse)
        elif isinstance(node, ast.Try):
            yield from _flat(node.body)
            for handler in node.handlers:
                yield from _flat(handler.body)


def _told(node: ast.ClassDef, summary: str) -> str:
    methods = [
        member.name
        for member in node.body
        if isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef))
        and not member.name.startswith("_")
    ]
    told = f"Class {node.name}. {summary}"
    return f"{told} Methods: {', '.join(methods)}." if methods else told


def _constructor(node: ast.ClassDef) -> ast.arguments | None:
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            return member.args
    return None


def _title(name: str, arguments: ast.arguments | None) -> str:
    if arguments is None:
        return name
    everything = [*arguments.posonlyargs, *arguments.args]
    if everything and everything[0].arg in ("self", "cls"):
        place = arguments.posonlyargs or arguments.args
        place.pop(0)
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
        argument.annotation = None
    return _cut(f"{name}({ast.unparse(arguments)})")


def _imported_from_c(module: str, node: ast.ImportFrom) -> Iterator[dict[str, object]]:
    """What a module takes from its own part written in C: csv.reader from _csv."""
    source = node.module or ""
    private = source.startswith("_") and source in sys.stdlib_module_names
    if node.level or not (private or source in ("posix", "nt")):
        return
    if (Path(sysconfig.get_path("stdlib")) / f"{source}.py").exists():
        return
    inner = _import(source)
    if inner is None:
        return
    for alias in node.names:
        wanted = dir(inner) if alias.name == "*" else [alias.name]
        for name in sorted(wanted):
            public = name if alias.asname is None else alias.asname
            if not public.startswith("_"):
                yield from _object_records(getattr(inner, name, None), f"{module}.{public}")


def _live_records(module: str, name: str) -> Iterator[dict[str, object]]:
    found = _import(module)
    if found is None:
        return
    text = inspect.getdoc(found)
    if text:
        yield _record(name, name, text, "module")
    for member in sorted(vars(found)):
        if not member.startswith("_"):
            yield from _object_records(vars(found)[member], f"{name}.{member}")


def _import(name: str) -> ModuleType | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of these modules are deprecated
        try:
            return importlib.import_module(name)
        except Exception:  # not built on this machine
            return None


def _object_records(found: object, name: str) -> Iterator[dict[str, object]]:
    if not (inspect.isclass(found) or inspect.isroutine(found)):
        return
    text = inspect.getdoc(found) or ""
    kind = "class" if inspect.isclass(found) else "function"
    if text:
        yield _record(name, _live_title(found, name), text, kind)
    if not inspect.isclass(found) or issubclass(found, BaseException):
        return
    for member in sorted(vars(found)):
        value = getattr(found, member, None)
        if not member.startswith("_") and inspect.isroutine(value):
            own = getattr(value, "__doc__", None)
            if own:
                inner = f"{name}.{member}"
                yield _record(inner, _live_title(value, inner), inspect.cleandoc(own), "function")


def _live_title(found: object, name: str) -> str:
    # inspect.signature evaluates defaults and stumbles over some; the text it starts from will do
    signature = getattr(found, "__text_signature__", None)
    if not signature:
        return name
    return _cut(name + re.sub(r"^\(\$\w+(, /)?(, )?", "(", signature))


def _cut(title: str) -> str:
    return title if len(title) <= _LONGEST_TITLE else title[: _LONGEST_TITLE - 4] + "...)"


def _record(name: str, title: str, text: str, kind: str) -> dict[str, object]:
    return {"id": name, "title": title, "text": text.strip(), "kind": kind}
