"""What SRC is: the one door through which texts, vectors, queries and judgements come in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from nestvec import tables
from nestvec.data import layout
from nestvec.data.demo import demo_records
from nestvec.data.documents import (
    DOCUMENT_SUFFIXES,
    check_split,
    document_files,
    document_text,
    paragraphs,
    read_documents,
)
from nestvec.data.lines import plain_suffix, read_lines
from nestvec.data.qrels import Qrels, check_known, read_qrels
from nestvec.data.records import TEXT_COLUMN, Records, Tally, queries_of, rows_of, unique_rows
from nestvec.data.rows import Query, Row
from nestvec.data.tabular import RECORD_SUFFIXES, is_records, read_id_list, read_records
from nestvec.errors import UserError
from nestvec.vectors import VectorFile, check_ids, check_vectors, load_vectors

Kind = Literal["texts", "vectors"]

_FIRST_ROWS = 10


@dataclass
class Source:
    """Documents with their queries and judgements, opened but not yet read.

    path: what was asked for (a label, "demo", for the demonstration); kind: "texts" to encode or
    "vectors" as they are; documents_path: the file or folder that holds the documents.
    queries_path and qrels_path: None where there are none. Make one with open_source.
    """

    path: Path
    kind: Kind
    documents_path: Path
    queries_path: Path | None = None
    qrels_path: Path | None = None
    records: Callable[[], Records] | None = None
    text_column: str | None = None
    vector_column: str | None = None
    ids_path: Path | None = None
    tally: Tally = field(default_factory=Tally)
    _read_ids: list[str] | None = None

    def rows(self) -> Iterator[Row]:
        """The documents, streaming and in order; every pass starts anew and refreshes tally.

        Of vectors: rows with their ids, and text, title and columns where the table has them.
        Raises UserError at the first fault, ids that come twice among them.
        """
        if self.kind == "vectors":
            yield from self._vector_rows()
            return
        assert self.records is not None
        ids: list[str] = []
        tally = Tally()
        rows = rows_of(
            self.records(), self.documents_path, text_column=self.text_column, tally=tally
        )
        yield from unique_rows(rows, self.documents_path, ids)
        if not ids:
            raise UserError(
                f"{self.documents_path} holds no row with a text: give a source with at least one."
            )
        self.tally, self._read_ids = tally, ids

    def survey(self) -> Tally:
        """Reads everything once and counts it: rows, titles, characters, empty rows.

        So every fault of the documents, queries and judgements is told before a model is loaded.
        Of vectors, all numbers are checked too (finite, no row all zero, queries of equal width).
        Memory: the ids, queries and judgements.
        """
        if self.kind == "vectors":
            check_vectors(self.vectors, str(self.documents_path))
            self.tally = Tally(rows=len(self.ids))
            queries = self.query_vectors
            if queries is not None:
                check_vectors(queries, str(self.queries_path or self.documents_path))
        else:
            for _ in self.rows():
                pass
            if self.queries_path is not None:
                self.queries()
        if self.qrels_path is not None:
            self.qrels()
        return self.tally

    @property
    def ids(self) -> list[str]:
        """The documents' ids in order; for texts, reads the rows once if no pass was completed."""
        if self.kind == "vectors":
            return self._file.ids
        if self._read_ids is None:
            for _ in self.rows():
                pass
        assert self._read_ids is not None
        return self._read_ids

    @property
    def vectors(self) -> NDArray[Any]:
        """(n, d) vectors, memory-mapped where the format allows; UserError for texts."""
        return self._file.vectors

    @property
    def has_queries(self) -> bool:
        """Whether queries were given, as texts or vectors like the documents."""
        if self.kind == "vectors" and self.queries_path is None:
            return self._file.queries is not None
        return self.queries_path is not None

    def queries(self) -> list[Query]:
        """The queries, in the order of their file; those of vectors have ids but no text."""
        if self.kind == "vectors":
            return [Query(identity, "") for identity in self._query_ids]
        return list(self._text_queries)

    @property
    def query_vectors(self) -> NDArray[Any] | None:
        """(q, d) vectors of the queries in the order of queries(), None where there are none.

        Raises UserError where their width is not the documents'.
        """
        if self.kind != "vectors" or not self.has_queries:
            return None
        found = self._query_file.vectors
        if found.shape[1] != self.vectors.shape[1]:
            raise UserError(
                f"queries must be as wide as the documents: {self.queries_path} has "
                f"{found.shape[1]} dims and {self.documents_path} has {self.vectors.shape[1]}: "
                "encode both with one model."
            )
        return found

    def qrels(self) -> Qrels:
        """{query id: {document id: score}}, empty where there are none.

        Raises UserError where they name unknown queries or documents.
        """
        if self.qrels_path is None:
            return {}
        if not self.has_queries:
            raise UserError(
                f"{self.qrels_path} judges queries, but none were given: name their file with "
                "--queries."
            )
        known = {query.id for query in self.queries()}
        check_known(self._judgements, self.qrels_path, set(self.ids), known)
        return self._judgements

    @cached_property
    def _judgements(self) -> Qrels:
        assert self.qrels_path is not None
        return read_qrels(self.qrels_path)

    @cached_property
    def _text_queries(self) -> list[Query]:
        if self.queries_path is None:
            return []
        return read_queries(self.queries_path)

    @cached_property
    def _file(self) -> VectorFile:
        if self.kind != "vectors":
            raise UserError(f"{self.path} holds texts, not vectors: encode them first.")
        return _with_ids(load_vectors(self.documents_path, self.vector_column), self)

    @cached_property
    def _query_file(self) -> VectorFile:
        if self.queries_path is None:
            assert self._file.queries is not None
            found = self._file.queries
            return VectorFile(found, [str(row) for row in range(len(found))])
        found_file = load_vectors(self.queries_path)
        beside = layout.find_ids(self.queries_path)
        if beside is None:
            return found_file
        return _replace_ids(found_file, read_id_list(beside), self.queries_path, beside)

    @cached_property
    def _query_ids(self) -> list[str]:
        if not self.has_queries:
            return []
        ids = self._query_file.ids
        # Query vectors rarely carry ids; their usual order is that of the judgements.
        if self.qrels_path is not None and _are_row_numbers(ids):
            judged = list(self._judgements)
            if len(judged) == len(ids) and not set(judged) <= set(ids):
                return judged
        return ids

    def _vector_rows(self) -> Iterator[Row]:
        ids = self.ids
        self.tally = Tally(rows=len(ids))
        if not tables.is_table(self.documents_path):
            for identity in ids:
                yield Row(identity, "")
            return
        kinds = tables.column_kinds(self.documents_path)
        text_column = self.text_column or TEXT_COLUMN
        columns = [name for name, kind in kinds.items() if kind != "vector"]
        if not columns:
            for identity in ids:
                yield Row(identity, "")
            return
        for batch_ids, batch in _zip_batches(ids, self.documents_path, columns):
            for number, identity in enumerate(batch_ids):
                record = {name: batch[name][number] for name in columns}
                text, title = record.pop(text_column, None), record.pop("title", None)
                rest = {
                    name: value
                    for name, value in record.items()
                    if name not in ("_id", "id") and not isinstance(value, bytes)
                }
                yield Row(identity, str(text or ""), str(title or ""), rest)


def open_source(
    src: str | os.PathLike[str],
    *,
    text_column: str | None = None,
    vector_column: str | None = None,
    split: str = "none",
    queries: str | os.PathLike[str] | None = None,
    qrels: str | os.PathLike[str] | None = None,
    ids: str | os.PathLike[str] | None = None,
) -> Source:
    """Decides what src is and checks what is cheap: that it is there, its kind, its first rows.

    src: a folder in the BEIR layout; a .jsonl, .csv, .tsv, .parquet or .arrow file of texts (plain
    or gzipped); a folder of .txt, .md, .rst, .html; a vector file or a folder with one.
    A table that has a vector column is taken as vectors unless text_column is given.
    split: "none" or "paragraphs", how texts are chunked (chunks get ids such as path#3).
    queries: a file of texts (vectors, where src is vectors); qrels: a file, or a split's name.
    ids: a file of the vectors' ids, one a line, or a table with a column `_id` or `id`.
    Raises UserError for everything that cannot be used.
    """
    path = Path(src)
    check_split(split)
    _check_exists(path, "SRC")
    for given, name in ((queries, "queries"), (ids, "ids")):
        if given is not None:
            _check_exists(Path(given), name)
    source = _decide(path, text_column, vector_column, split)
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


def read_queries(path: Path) -> list[Query]:
    """Queries of a table of rows, or of a .txt file with one a line (their ids then from 0)."""
    if is_records(path):
        return queries_of(read_records(path), path)
    if plain_suffix(path) == ".txt":
        lines = ((number, line) for number, line in read_lines(path) if line.strip())
        return queries_of(((f"line {n}", {"text": line}) for n, line in lines), path)
    raise UserError(
        f"queries must be a file of texts, one of .txt {' '.join(RECORD_SUFFIXES)}, got {path}."
    )


def _decide(path: Path, text_column: str | None, vector_column: str | None, split: str) -> Source:
    if path.is_dir():
        return _decide_folder(path, text_column, vector_column, split)
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty: give a file with at least one row.")
    if layout.is_image(path):
        raise _images(path)
    if plain_suffix(path) in layout.VECTOR_SUFFIXES and not tables.is_table(path):
        return Source(path, "vectors", path, vector_column=vector_column)
    if tables.is_table(path):
        return _decide_table(path, text_column, vector_column, split)
    if is_records(path):
        return _texts(path, path, text_column, split)
    if plain_suffix(path) in DOCUMENT_SUFFIXES:
        return Source(path, "texts", path, records=lambda: _one_document(path, split))
    raise UserError(
        f"{path} is of no kind that can be read: give a folder, or a file that ends in "
        f"{' '.join(dict.fromkeys((*RECORD_SUFFIXES, *layout.VECTOR_SUFFIXES)))}."
    )


def _decide_folder(
    path: Path, text_column: str | None, vector_column: str | None, split: str
) -> Source:
    corpus = layout.find_corpus(path)
    if corpus is not None:
        inner = _decide(corpus, text_column, vector_column, split)
        inner.path = path
        return inner
    vectors = layout.find_vectors(path)
    if vectors is not None:
        inner = _decide(vectors, text_column, vector_column, split)
        inner.path = path
        return inner
    if next(document_files(path), None) is not None:
        return Source(path, "texts", path, records=lambda: read_documents(path, split))
    if any(layout.is_image(found) for found in path.rglob("*")):
        raise _images(path)
    if not any(path.iterdir()):
        raise UserError(f"{path} is an empty folder: give one with documents or vectors.")
    raise UserError(
        f"{path} holds neither a corpus file (corpus.jsonl, corpus.parquet) nor vectors (docs.npy) "
        f"nor documents ({' '.join(DOCUMENT_SUFFIXES)}): name the file that is meant."
    )


def _decide_table(
    path: Path, text_column: str | None, vector_column: str | None, split: str
) -> Source:
    kinds = tables.column_kinds(path)
    if vector_column is not None or (text_column is None and "vector" in kinds.values()):
        return Source(path, "vectors", path, vector_column=vector_column)
    if (
        text_column is None
        and TEXT_COLUMN not in kinds
        and not set(kinds).isdisjoint(("jpeg", "jpg", "png", "image", "img"))
    ):
        raise _images(path)
    return _texts(path, path, text_column, split)


def _texts(path: Path, file: Path, text_column: str | None, split: str) -> Source:
    def records() -> Records:
        found = read_records(file)
        return found if split == "none" else _split_records(found, text_column or TEXT_COLUMN)

    return Source(path, "texts", file, records=records, text_column=text_column)


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
            yield place, {**rest, "id": f"{identity}#{chunk_number}", column: chunk}


def _one_document(path: Path, split: str) -> Records:
    title, text = document_text(path)
    if split == "none":
        yield path.name, {"id": path.name, "title": title, "text": text}
        return
    for number, chunk in enumerate(paragraphs(text), 1):
        name = f"{path.name}#{number}"
        yield name, {"id": name, "title": title, "text": chunk}


def _check_exists(path: Path, name: str) -> None:
    if not path.exists():
        raise UserError(f"{name} {path} does not exist: give the path of a file or folder.")


def _check_first(source: Source) -> None:
    """Reads the first rows, so that a wrong column or broken file is told at once."""
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


def _with_ids(file: VectorFile, source: Source) -> VectorFile:
    beside = source.ids_path or layout.find_ids(source.documents_path)
    if beside is None:
        return file
    return _replace_ids(file, read_id_list(beside), source.documents_path, beside)


def _replace_ids(file: VectorFile, ids: list[str], path: Path, ids_path: Path) -> VectorFile:
    if len(ids) != len(file.vectors):
        raise UserError(
            f"{ids_path} holds {len(ids):,} ids for the {len(file.vectors):,} vectors of {path}: "
            "give one id a row."
        )
    check_ids(ids, str(ids_path))
    return VectorFile(file.vectors, ids, file.queries)


def _are_row_numbers(ids: Sequence[str]) -> bool:
    return all(identity == str(row) for row, identity in enumerate(ids))


def _zip_batches(
    ids: Sequence[str], path: Path, columns: Sequence[str]
) -> Iterator[tuple[Sequence[str], dict[str, list[Any]]]]:
    start = 0
    for batch in tables.read_batches(path, columns):
        count = len(next(iter(batch.values())))
        yield ids[start : start + count], batch
        start += count


def _images(path: Path) -> UserError:
    return UserError(
        f"{path} holds images, which are not supported yet: give texts, or vectors of the images."
    )
