"""Folders that an export writes, whole or not at all, and its query as Python that runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec import __version__
from nestvec.bridge.exported import Rows, Source
from nestvec.errors import UserError
from nestvec.index.files import sync_folder, sync_tree
from nestvec.index.plan import Plan

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

MARK = "nestvec_export.json"
"""What the folder says of itself; by this file a rerun knows it as ours."""


def check_folder(out: Path) -> None:
    """Raise UserError where out is something that nestvec did not export, or has no place."""
    if not out.absolute().parent.is_dir():
        raise UserError(f"the folder {out.parent} is not there: make it first, or choose another.")
    if out.exists() and not (out / MARK).is_file():
        raise UserError(
            f"an export replaces only what nestvec exported, and {out} is something else: name "
            "another folder."
        )


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """An empty folder beside out, which takes its place once all is written and on disk.

    A folder of ours that stands there stands until then, and makes way.
    Raises UserError where the disk is full.
    """
    partial, older = (out.with_name(f"{out.name}.{end}") for end in ("partial", "replaced"))
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with told_disk(out):
            partial.mkdir()
            yield partial
            sync_tree(partial)
            if out.exists():
                shutil.rmtree(older, ignore_errors=True)
                out.rename(older)
            partial.rename(out)
            sync_folder(out.absolute().parent)
            shutil.rmtree(older, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def told_disk(out: Path) -> Iterator[None]:
    """Faults of the disk as a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{out} cannot be written ({error.strerror or error}): free some space, or choose "
            "another place."
        ) from error


def said_of(source: Source, plan: Plan, target: str, **facts: Any) -> dict[str, Any]:
    """What an export says of itself."""
    return {
        "nestvec": __version__,
        "target": target,
        "rows": source.count,
        "version": source.opened.version,
        "metric": source.metric,
        "dim": source.dim,
        "plan": str(plan),
        **facts,
    }


def write_mark(folder: Path, said: dict[str, Any]) -> None:
    """Write what an export says of itself into its folder."""
    (folder / MARK).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


def records(rows: Rows) -> Iterator[dict[str, Any]]:
    """A run's rows as JSON objects: seq, id, title, text and the user's columns."""
    for i, seq in enumerate(rows.seqs.tolist()):
        own = {"seq": seq, "id": rows.ids[i], "title": rows.titles[i], "text": rows.texts[i]}
        yield own | {name: values[i] for name, values in rows.columns.items()}


def search_of(query: str, file: Path, **given: Any) -> Callable[[F32, int], I64]:
    """Exported.search of a query whose text defines search(query (d,), k) -> (seqs, scores).

    file: where the text stands, or would. given: names that it finds defined.
    """
    names: dict[str, Any] = {"__name__": "staged", "__file__": str(file), **given}
    exec(compile(query, str(file), "exec"), names)

    def search(queries: F32, k: int) -> I64:
        found = np.full((len(queries), k), -1, np.int64)
        for row, each in zip(found, queries, strict=True):
            seqs = names["search"](each, k)[0]
            row[: len(seqs)] = seqs
        return found

    return search
