"""Which task a source's rows set, by their columns: graded pairs, labelled texts, or retrieval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nestvec import tables
from nestvec.data import layout
from nestvec.data.image_places import image_column
from nestvec.data.tabular import is_records, read_records
from nestvec.data.training import Examples, read_examples
from nestvec.errors import UserError

Kind = Literal["retrieval", "sts", "clustering", "classification"]

KINDS: tuple[Kind, ...] = ("retrieval", "sts", "clustering", "classification")

_PAIRS = (("sentence1", "sentence2"), ("text1", "text2"))
_GRADES = ("score", "similarity", "grade", "label")
LABEL_COLUMNS = ("label", "category", "class", "intent", "topic")
_TEXTS = ("text", "sentence", "query", "question")
#: a table with one of these is a collection, whatever labels its rows bear
_OF_A_COLLECTION = ("_id", "id", "title")
_SPLIT = "split"


@dataclass(frozen=True)
class TaskRows:
    """The texts of a task. train: what is learned from, None where nothing is.

    about: one sentence on where they come from.
    """

    kind: Kind
    test: Examples
    train: Examples | None
    about: str


def task_kind(place: str | Path, wanted: str | None) -> Kind:
    """The task that the rows of a place set, or the wanted one; reads the first rows only.

    Raises UserError for a kind that there is not.
    """
    if wanted is not None:
        for kind in KINDS:
            if wanted == kind:
                return kind
        raise UserError(f"a task is one of {', '.join(KINDS)}; got {wanted!r}.")
    path = Path(place)
    if _halves(path) is not None:
        return "classification"
    if not path.is_file() or not is_records(path):
        return "retrieval"
    kinds = tables.column_kinds(path) if tables.is_table(path) else {}
    if "vector" in kinds.values() or image_column(kinds) is not None:
        return "retrieval"
    columns = _first(path)
    if any(a in columns and b in columns for a, b in _PAIRS) and _any(_GRADES, columns):
        return "sts"
    labelled = _any(LABEL_COLUMNS, columns) and _any(_TEXTS, columns)
    if _any(_OF_A_COLLECTION, columns) or not labelled:
        return "retrieval"
    return "classification" if _SPLIT in columns else "clustering"


def read_task(place: str | Path, kind: Kind) -> TaskRows:
    """The rows of a task other than retrieval.

    Graded pairs and labelled texts of a table with a column `split`: those of `test`, the classes
    being learned from `train`. Raises UserError where rows or a split are missing.
    """
    path = Path(place)
    if kind == "sts":
        test = _of_split(path, "scored")
        return TaskRows(kind, test, None, f"{len(test):,} graded pairs of {test.source}")
    if kind == "clustering":
        test = _of_split(path, "labelled")
        return TaskRows(kind, test, None, f"{len(test):,} labelled texts of {test.source}")
    halves = _halves(path)
    if halves is not None:
        train, test = (read_examples(str(half), "labelled") for half in halves)
    elif path.is_file() and is_records(path) and _SPLIT in _first(path):
        train = read_examples(str(path), "labelled", split="train")
        test = read_examples(str(path), "labelled", split="test")
    else:
        raise UserError(
            f"classes are learned from train rows and told of test rows; {place} has neither "
            "train and test files nor a column 'split': add one, or take --task clustering."
        )
    about = f"{len(test):,} test texts by {len(train):,} train texts of {path.name}"
    return TaskRows(kind, test, train, about)


def _of_split(path: Path, shape: Literal["scored", "labelled"]) -> Examples:
    if path.is_dir() or not is_records(path):
        raise UserError(
            f"this task takes a table of rows (.jsonl, .csv, .tsv, .parquet); got {path}: name one."
        )
    return read_examples(str(path), shape, split="test")


def _halves(path: Path) -> tuple[Path, Path] | None:
    """The train and the test file of a folder of labelled texts that is no corpus."""
    if not path.is_dir() or layout.find_corpus(path) or layout.find_vectors(path):
        return None
    train, test = (layout.find_records(path, name) for name in ("train", "test"))
    if train is None or test is None:
        return None
    columns = _first(train)
    return (train, test) if _any(LABEL_COLUMNS, columns) and _any(_TEXTS, columns) else None


def _first(path: Path) -> Mapping[str, Any]:
    return next((record for _, record in read_records(path)), {})


def _any(names: tuple[str, ...], columns: Mapping[str, Any]) -> bool:
    return any(name in columns for name in names)
