"""What SRC is: the one door for texts, images, vectors, queries and judgements."""

from __future__ import annotations

import os
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from nestvec import tables
from nestvec.data import image_places, layout
from nestvec.data.demo import demo_records
from nestvec.data.documents import (
    DOCUMENT_SUFFIXES,
    check_split,
    document_files,
    document_text,
    paragraphs,
    passage_id,
    read_documents,
)
from nestvec.data.judged import Source, read_queries
from nestvec.data.lines import plain_suffix
from nestvec.data.records import TEXT_COLUMN, Records, rows_of
from nestvec.data.rows import KINDS, Kind
from nestvec.data.tabular import RECORD_SUFFIXES, is_records, read_records
from nestvec.errors import UserError

if TYPE_CHECKING:
    from nestvec.data.album import Album

__all__ = ["Source", "open_demo", "open_source", "read_queries"]

_FIRST_ROWS = 10


def open_source(
    src: str | os.PathLike[str],
    *,
    text_column: str | None = None,
    vector_column: str | None = None,
    split: str = "none",
    queries: str | os.PathLike[str] | None = None,
    qrels: str | os.PathLike[str] | None = None,
    ids: str | os.PathLike[str] | None = None,
    kind: str | None = None,
    skip_broken: bool = False,
) -> Source:
    """Decides what src is and checks what is cheap: that it is there, its kind, its first rows.

    src: a folder in the BEIR layout; a .jsonl, .csv, .tsv, .parquet or .arrow file of texts (plain
    or gzipped); a folder of .txt, .md, .rst, .html; a vector file or a folder with one; images, as
    data.images.open_images reads them. kind: one of rows.KINDS, what src says where None.
    A table with a column of images is taken as images, text_column then naming their captions; one
    that has a vector column as vectors unless text_column is given.
    skip_broken: images that cannot be read are left out, not refused.
    split: "none" or "paragraphs", how texts are chunked (chunks get ids such as path#3).
    queries: a file of texts (vectors, where src is vectors); qrels: a file, or a split's name.
    ids: a file of the vectors' ids, one a line, or a table with a column `_id` or `id`.
    Raises UserError for everything that cannot be used.
    """
    path = Path(src)
    check_split(split)
    wanted_kind = _known_kind(kind)
    _check_exists(path, "SRC")
    for given, name in ((queries, "queries"), (ids, "ids")):
        if given is not None:
            _check_exists(Path(given), name)
    source = _decide(path, text_column, vector_column, split, wanted_kind)
    if wanted_kind not in (None, source.kind):
        raise UserError(
            f"{path} holds {source.kind}, not {wanted_kind}: leave --kind out, or name another SRC."
        )
    source.skip_broken = skip_broken
    beside = path if path.is_dir() else path.parent
    if queries is not None:
        source.queries_path = Path(queries)
    if qrels is not None or path.is_dir():
        wanted = None if qrels is None else os.fspath(qrels)
        source.qrels_path = layout.choose_qrels(beside, wanted)
    if source.queries_path is None and (path.is_dir() or source.qrels_path is not None):
        source.queries_path = layout.find_queries(beside, _query_suffixes(source.kind))
    source.ids_path = None if ids is None else Path(ids)
    _check_first(source)
    return source


def open_demo() -> Source:
    """The documentation strings of the running Python's standard library, as texts with titles."""
    return Source(Path("demo"), "texts", Path("demo"), records=demo_records)


def _known_kind(kind: str | None) -> Kind | None:
    for known in KINDS:
        if kind == known:
            return known
    if kind is None:
        return None
    raise UserError(f"a source holds {', '.join(KINDS)}; got {kind!r}.")


def _decide(
    path: Path, text_column: str | None, vector_column: str | None, split: str, kind: Kind | None
) -> Source:
    if path.is_dir():
        return _decide_folder(path, text_column, vector_column, split, kind)
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty: give a file with at least one row.")
    if tables.is_table(path):
        return _decide_table(path, text_column, vector_column, split, kind)
    if kind == "images" or (kind is None and image_places.holds_images(path)):
        return _images(path, text_column)
    if plain_suffix(path) in layout.VECTOR_SUFFIXES:
        return Source(path, "vectors", path, vector_column=vector_column)
    if is_records(path):
        return _texts(path, path, text_column, split)
    if plain_suffix(path) in DOCUMENT_SUFFIXES:
        return Source(path, "texts", path, records=lambda: _one_document(path, split), split=split)
    raise UserError(
        f"{path} is of no kind that can be read: give a folder, or a file that ends in "
        f"{' '.join(dict.fromkeys((*RECORD_SUFFIXES, *layout.VECTOR_SUFFIXES)))}."
    )


def _decide_folder(
    path: Path, text_column: str | None, vector_column: str | None, split: str, kind: Kind | None
) -> Source:
    if kind == "images":
        return _images(path, text_column)
    corpus = layout.find_corpus(path)
    if corpus is not None:
        inner = _decide(corpus, text_column, vector_column, split, kind)
        inner.path = path
        return inner
    vectors = None if kind == "texts" else layout.find_vectors(path)
    if vectors is not None:
        if kind is None and not layout.is_named_for_documents(vectors):
            _check_alone(path, vectors.name, "vectors")
        inner = _decide(vectors, text_column, vector_column, split, kind)
        inner.path = path
        return inner
    documents = sum(1 for _ in document_files(path))
    if documents:
        if kind is None:
            _check_alone(path, f"{documents:,} documents", "texts")
        return Source(path, "texts", path, records=lambda: read_documents(path, split), split=split)
    if image_places.holds_images(path):
        return _images(path, text_column)
    if not any(path.iterdir()):
        raise UserError(f"{path} is an empty folder: give one with documents, images or vectors.")
    idx = next((found for found in sorted(path.iterdir()) if image_places.is_idx(found)), None)
    if idx is not None:
        raise UserError(f"{path} holds files in IDX: name the one of images, such as {idx}.")
    raise UserError(
        f"{path} holds neither a corpus file (corpus.jsonl, corpus.parquet) nor vectors (docs.npy) "
        f"nor documents ({' '.join(DOCUMENT_SUFFIXES)}) nor images: name the file that is meant."
    )


def _check_alone(folder: Path, found: str, kind: Kind) -> None:
    """Raise UserError where a folder holds images beside what was found, of another kind."""
    images = sum(1 for _ in image_places.image_files(folder))
    if images:
        plural = "images" if images > 1 else "image"
        raise UserError(
            f"{folder} holds {found} and {images:,} {plural}: say which are meant, with --kind "
            f"{kind} or --kind images."
        )


def _decide_table(
    path: Path, text_column: str | None, vector_column: str | None, split: str, kind: Kind | None
) -> Source:
    kinds = tables.column_kinds(path)
    if kind is None:
        if vector_column is not None or (text_column is None and "vector" in kinds.values()):
            kind = "vectors"
        elif image_places.image_column(kinds) is not None:
            kind = "images"
    if kind == "vectors":
        return Source(path, "vectors", path, vector_column=vector_column)
    if kind == "images":
        return _images(path, text_column)
    return _texts(path, path, text_column, split)


def _images(path: Path, captions: str | None) -> Source:
    def album() -> Album:
        # Pillow is loaded where images are read, and nowhere else
        from nestvec.data.album import open_album

        return open_album(path, captions)

    return Source(path, "images", path, open_album=album)


def _texts(path: Path, file: Path, text_column: str | None, split: str) -> Source:
    def records() -> Records:
        found = read_records(file)
        return found if split == "none" else _split_records(found, text_column or TEXT_COLUMN)

    return Source(path, "texts", file, records=records, text_column=text_column, split=split)


def _split_records(records: Records, column: str) -> Records:
    """Every record once for each of its paragraphs, with ids such as 17#3."""
    for number, (place, record) in enumerate(records):
        text = record.get(column)
        if not isinstance(text, str):
            yield place, record
            continue
        identity = record.get("_id", record.get("id", number))
        rest = {name: value for name, value in record.items() if name not in ("_id", "id")}
        for chunk_number, chunk in enumerate(paragraphs(text), 1):
            yield place, {**rest, "id": passage_id(str(identity), chunk_number), column: chunk}


def _one_document(path: Path, split: str) -> Records:
    title, text = document_text(path)
    if split == "none":
        yield path.name, {"id": path.name, "title": title, "text": text}
        return
    for number, chunk in enumerate(paragraphs(text), 1):
        name = passage_id(path.name, number)
        yield name, {"id": name, "title": title, "text": chunk}


def _check_exists(path: Path, name: str) -> None:
    if not path.exists():
        raise UserError(f"{name} {path} does not exist: give the path of a file or folder.")


def _check_first(source: Source) -> None:
    """Reads the first rows, so that a wrong column or broken file is told at once."""
    if source.kind == "images":
        if source.path.is_dir() and not image_places.holds_images(source.path):
            raise UserError(f"{source.path} holds no image: give a folder with at least one.")
        return
    if source.kind == "vectors":
        if source.queries_path is not None and plain_suffix(source.queries_path) not in (
            layout.VECTOR_SUFFIXES
        ):
            raise UserError(
                f"{source.path} holds vectors, so its queries must be vectors too, got "
                f"{source.queries_path}: encode them with the same model."
            )
        if not len(source.vectors):
            raise UserError(f"{source.documents_path} holds no vectors: give at least one row.")
        return
    assert source.records is not None
    records = source.records()
    first = next(records, None)
    if first is None:
        raise UserError(f"{source.documents_path} holds no rows: give a source with at least one.")
    head = chain([first], islice(records, _FIRST_ROWS - 1))
    for _ in rows_of(iter(head), source.documents_path, text_column=source.text_column):
        pass


def _query_suffixes(kind: Kind) -> tuple[str, ...]:
    return layout.VECTOR_SUFFIXES if kind == "vectors" else (*RECORD_SUFFIXES, ".txt")
