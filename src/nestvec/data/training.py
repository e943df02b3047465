"""Examples to train on: pairs, triplets, scored pairs, labelled texts, from files or folders."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nestvec.data import layout
from nestvec.data.qrels import check_known, read_qrels
from nestvec.data.records import is_whole
from nestvec.data.source import open_source
from nestvec.data.tabular import RECORD_SUFFIXES, is_records, read_records
from nestvec.errors import MissingExtra, UserError

Shape = Literal["pairs", "scored", "labelled", "texts"]

HUB = "datasets:"

#: what each column of a shape is usually called, the first name is ours
_USUAL: dict[Shape, tuple[tuple[str, ...], ...]] = {
    "pairs": (
        ("anchor", "query", "question", "title", "sentence1", "text1"),
        ("positive", "document", "answer", "passage", "abstract", "text", "sentence2", "text2"),
    ),
    "scored": (
        ("sentence1", "text1", "anchor", "query"),
        ("sentence2", "text2", "positive", "document"),
        ("score", "similarity", "grade", "label"),
    ),
    "labelled": (
        ("text", "sentence", "query", "question"),
        ("label", "category", "class", "intent", "topic"),
    ),
    "texts": (("text", "sentence", "abstract", "document"),),
}
_NEGATIVE = "negative"
_SPLIT = "split"


@dataclass(frozen=True)
class Examples:
    """columns: {name: values}, equally long, in the order a loss takes them; at least one row.

    Texts are strings, scores floats, labels strings. source: where they come from. images: of
    pictures, whose places in it are the first column.
    """

    shape: Shape
    columns: dict[str, list[Any]]
    source: str
    images: Any = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def drawn(self, rows: int | None, seed: int) -> Examples:
        """At most so many rows, drawn by seed, in order."""
        if rows is None or rows >= len(self):
            return self
        picks = sorted(random.Random(seed).sample(range(len(self)), rows))
        columns = {name: [values[i] for i in picks] for name, values in self.columns.items()}
        return Examples(self.shape, columns, self.source, self.images)


def read_examples(
    place: str, shape: Shape, *, columns: Sequence[str] = (), split: str = "train"
) -> Examples:
    """The examples of a table of rows, a folder in the BEIR layout, or "datasets:NAME[:CONFIG]".

    columns: names in the order of the shape, further ones of pairs being hard negatives; where
    none are given they are found by their usual names. split: judgements of a folder, a split of
    a dataset; of a table, the rows whose column `split` says so, where it has that column.
    Raises UserError, with file and place, where a column is missing or a value does not fit.
    """
    if place.startswith(HUB):
        return _from_records(_hub_records(place, split), place, shape, columns, None)
    path = Path(place)
    if path.is_dir():
        return _from_folder(path, shape, split)
    if not path.is_file():
        raise UserError(f"{place} does not exist: give a table of rows or a BEIR folder.")
    if not is_records(path):
        raise UserError(
            f"{place} is no table of rows: give one of {', '.join(RECORD_SUFFIXES)}, plain or "
            "gzipped, or a folder in the BEIR layout."
        )
    return _from_records(read_records(path), place, shape, columns, split)


def _from_records(
    records: Iterable[tuple[str, Mapping[str, object]]],
    place: str,
    shape: Shape,
    columns: Sequence[str],
    split: str | None,
) -> Examples:
    names: list[str] = []
    values: dict[str, list[Any]] = {}
    seen_splits: dict[str, None] = {}
    for where, record in records:
        if not names:
            names = _columns_of(record, shape, columns, place)
            values = {name: [] for name in names}
        if split is not None and _SPLIT in record and _SPLIT not in names:
            seen_splits[str(record[_SPLIT])] = None
            if record[_SPLIT] != split:
                continue
        if not columns and shape == "pairs":
            late = [x for x in record if x.startswith(_NEGATIVE) and x not in names]
            if late:
                raise UserError(
                    f"{place} {where} has {late[0]!r}, which the first row lacks: give every row "
                    "the same columns."
                )
        for i, name in enumerate(names):
            kind = _kind(shape, i)
            values[name].append(_value(record.get(name), kind, f"{place} {where}", name))
    if seen_splits and not any(values.values()):
        raise UserError(
            f"{place} has no row of the split {split!r} (it has {', '.join(seen_splits)}): give "
            "rows of that split, or name another."
        )
    if not values or not values[names[0]]:
        raise UserError(f"{place} holds no examples: give a file with at least one row.")
    return Examples(shape, values, place)


def _columns_of(
    record: Mapping[str, object], shape: Shape, wanted: Sequence[str], place: str
) -> list[str]:
    have = ", ".join(map(repr, record)) or "none"
    least = len(_USUAL[shape])
    if wanted:
        if len(set(wanted)) < len(wanted):
            raise UserError(f"columns differ from one another; got {list(wanted)}: name each once.")
        missing = [name for name in wanted if name not in record]
        if missing:
            raise UserError(f"{place} has no column {missing[0]!r} (it has {have}): name another.")
        if len(wanted) < least or (len(wanted) > least and shape != "pairs"):
            raise UserError(
                f"{_described(shape)} take {least} columns; got {len(wanted)}: {list(wanted)}."
            )
        return list(wanted)
    names: list[str] = []
    for usual in _USUAL[shape]:
        found = next((name for name in usual if name in record and name not in names), None)
        if found is None:
            raise UserError(
                f"{place} has no column for {usual[0]!r} of {_described(shape)} (it has {have}): "
                f"name its columns so, {', '.join(u[0] for u in _USUAL[shape])}, or list them in a "
                "recipe's data.columns."
            )
        names.append(found)
    if shape == "pairs":
        names.extend(name for name in record if name.startswith(_NEGATIVE))
    return names


def _described(shape: Shape) -> str:
    return {"pairs": "pairs", "scored": "scored pairs", "labelled": "labelled texts"}.get(
        shape, shape
    )


def _kind(shape: Shape, column: int) -> str:
    if shape == "scored" and column == 2:
        return "score"
    return "label" if shape == "labelled" and column == 1 else "text"


def _value(value: object, kind: str, where: str, name: str) -> Any:
    if kind == "score":
        return _score(value, where, name)
    if kind == "label":
        if value is None or isinstance(value, (list, dict, float)) or str(value).strip() == "":
            raise UserError(
                f"{where}: the label in {name!r} must be a name or a whole number; got {value!r}."
            )
        return str(value).strip()
    if not isinstance(value, str) or not value.strip():
        raise UserError(
            f"{where}: the column {name!r} must hold a text; got {str(value)[:40]!r}: mend the "
            "row or remove it."
        )
    if not is_whole(value):
        raise UserError(f"{where}: the column {name!r} holds half of a character: mend the row.")
    return value.strip()


def _score(value: object, where: str, name: str) -> float:
    try:
        score = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        score = float("nan")
    if isinstance(value, bool) or score != score or abs(score) == float("inf"):
        raise UserError(f"{where}: the score in {name!r} must be a number; got {value!r}.")
    return score


def _from_folder(folder: Path, shape: Shape, split: str) -> Examples:
    """(query, relevant document) of every judgement above 0."""
    if shape not in ("pairs", "texts"):
        raise UserError(
            f"{folder} is a folder, which holds pairs; {_described(shape)} come from a table of "
            "rows: give such a file."
        )
    source = open_source(folder, qrels=split if layout.find_qrels(folder) else None)
    if source.kind != "texts":
        raise UserError(
            f"{folder} holds {source.kind}, and training reads texts: give their folder."
        )
    if shape == "texts":
        return Examples(shape, {"text": [row.text for row in source.rows()]}, str(folder))
    if source.qrels_path is None or source.queries_path is None:
        raise UserError(f"{folder} has no queries with judgements: give a folder that has both.")
    qrels = read_qrels(source.qrels_path)
    queries = {query.id: query.text for query in source.queries()}
    wanted = {document for judged in qrels.values() for document in judged}
    texts = {row.id: row.text for row in source.rows() if row.id in wanted}
    check_known(qrels, source.qrels_path, texts, queries)
    pairs = [
        (queries[query], texts[document])
        for query, judged in qrels.items()
        for document, score in judged.items()
        if score > 0
    ]
    if not pairs:
        raise UserError(f"{source.qrels_path} judges nothing above 0: give one that does.")
    anchors, positives = zip(*pairs, strict=True)
    columns = {"anchor": list(anchors), "positive": list(positives)}
    return Examples("pairs", columns, f"{folder} ({split})")


def load_dataset(place: str, split: str) -> Any:
    """A split of the dataset, of the hub or a folder, that "datasets:NAME[:CONFIG]" names.

    Raises UserError where it cannot be had.
    """
    try:
        import datasets
        from datasets.exceptions import DatasetsError
    except ImportError:
        raise MissingExtra("reading a dataset by name", "train") from None
    name, _, configuration = place.removeprefix(HUB).partition(":")
    if not name:
        raise UserError(f"{HUB}NAME names a dataset; got no name: give one.")
    folder = Path(name)
    try:
        if (folder / "dataset_info.json").is_file() or (folder / "dataset_dict.json").is_file():
            loaded = datasets.load_from_disk(name)
            loaded = loaded[split] if isinstance(loaded, datasets.DatasetDict) else loaded
        else:
            loaded = datasets.load_dataset(name, configuration or None, split=split)
    except (OSError, ValueError, KeyError, RuntimeError, DatasetsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"the dataset {name!r} ({split}) cannot be had: {reason.rstrip('.')}; give another "
            "name, split or configuration, or a file."
        ) from None
    return loaded


def _hub_records(place: str, split: str) -> Iterator[tuple[str, dict[str, object]]]:
    loaded = load_dataset(place, split)
    labels = {
        column: feature.names
        for column, feature in loaded.features.items()
        if hasattr(feature, "names")
    }
    for number, record in enumerate(loaded):
        for column, known in labels.items():
            if isinstance(record[column], int) and record[column] >= 0:
                record[column] = known[record[column]]
        yield f"row {number}", record
