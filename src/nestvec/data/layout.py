"""Which files of a folder hold documents, queries and judgements."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nestvec import vectors
from nestvec.data.lines import plain_suffix
from nestvec.data.tabular import RECORD_SUFFIXES
from nestvec.errors import UserError

VECTOR_SUFFIXES = tuple(dict.fromkeys(vectors.SUFFIXES))

_DOCUMENT_STEMS = ("docs", "documents", "corpus", "vectors", "embeddings")
_QUERY_STEMS = ("queries", "query")
_QRELS_SUFFIXES = (".tsv", ".txt", ".qrels")


def stem(path: Path) -> str:
    """The name without its suffix, a final .gz set aside.

    >>> stem(Path("a/corpus.jsonl.gz"))
    'corpus'
    """
    name = path.name.removesuffix(".gz")
    return name[: -len(plain_suffix(path))] if plain_suffix(path) else name


def find_corpus(folder: Path) -> Path | None:
    """corpus.jsonl[.gz], corpus.parquet and so on: the mark of the BEIR layout."""
    return _first(folder, ("corpus",), RECORD_SUFFIXES)


def find_queries(folder: Path, suffixes: tuple[str, ...]) -> Path | None:
    """The file named queries (or query) with one of these suffixes."""
    return _first(folder, _QUERY_STEMS, suffixes)


def find_records(folder: Path, name: str) -> Path | None:
    """The table of rows of this name, such as train.csv.gz."""
    return _first(folder, (name,), RECORD_SUFFIXES)


def find_vectors(folder: Path) -> Path | None:
    """The vectors of a folder: docs.npy and the like, else its only vector file but the queries."""
    named = _first(folder, _DOCUMENT_STEMS, VECTOR_SUFFIXES)
    if named is not None:
        return named
    others = [
        path
        for path in _files(folder)
        if plain_suffix(path) in VECTOR_SUFFIXES and stem(path) not in _QUERY_STEMS
    ]
    return others[0] if len(others) == 1 else None


def is_named_for_documents(path: Path) -> bool:
    """Whether a file's name says that it holds documents: docs.npy, vectors.npy and the like."""
    return stem(path) in _DOCUMENT_STEMS


def find_ids(vector_file: Path) -> Path | None:
    """Ids beside a vector file, one a line: docs.ids, docs.ids.txt, docs_ids.txt or ids.txt."""
    own = stem(vector_file)
    names = [f"{own}.ids", f"{own}.ids.txt", f"{own}_ids.txt"]
    if own not in _QUERY_STEMS:
        names.append("ids.txt")
    for name in names:
        for path in (vector_file.parent / name, vector_file.parent / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def find_qrels(folder: Path) -> dict[str, Path]:
    """{split: file} of a folder's qrels/ (or {"qrels": file} for a qrels.tsv in the folder)."""
    splits = folder / "qrels"
    if splits.is_dir():
        return {
            stem(path): path for path in _files(splits) if plain_suffix(path) in _QRELS_SUFFIXES
        }
    single = _first(folder, ("qrels",), _QRELS_SUFFIXES)
    return {} if single is None else {"qrels": single}


def choose_qrels(folder: Path, wanted: str | None) -> Path | None:
    """The judgements to use: a file, or the split of that name; where None, test or the only one.

    Raises UserError where wanted is neither a file nor a split, or several splits leave a choice.
    """
    splits = find_qrels(folder)
    if wanted is not None:
        path = Path(wanted)
        if path.is_file():
            return path
        if wanted in splits:
            return splits[wanted]
        have = ", ".join(splits) or "none"
        raise UserError(
            f"qrels {wanted!r} is neither a file nor a split of {folder} (splits: {have}): "
            "name one of them."
        )
    if "test" in splits:
        return splits["test"]
    if len(splits) > 1:
        raise UserError(
            f"{folder} has judgements for {', '.join(splits)} and none for test: "
            "choose a split with --qrels."
        )
    return next(iter(splits.values()), None)


def _files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")
    )


def _first(folder: Path, stems: Iterable[str], suffixes: tuple[str, ...]) -> Path | None:
    files = _files(folder)
    for wanted in stems:
        for suffix in suffixes:
            for path in files:
                if plain_suffix(path) == suffix and stem(path) == wanted:
                    return path
    return None
