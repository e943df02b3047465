"""Documents with their queries and judgements, opened but not yet read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from nestvec import tables
from nestvec.data import layout
from nestvec.data.lines import plain_suffix, read_lines
from nestvec.data.qrels import Qrels, check_known, read_qrels
from nestvec.data.records import TEXT_COLUMN, Records, Tally, queries_of, rows_of, unique_rows
from nestvec.data.rows import Kind, Query, Row
from nestvec.data.tabular import RECORD_SUFFIXES, is_records, read_id_list, read_records
from nestvec.errors import UserError
from nestvec.progress import Progress, quiet
from nestvec.vectors import VectorFile, check_ids, check_vectors, load_vectors

if TYPE_CHECKING:
    from nestvec.data.album import Album


@dataclass
class Source:
    """Documents with their queries and judgements, opened but not yet read.

    path: what was asked for (a label, "demo", for the demonstration); kind: "texts" or "images" to
    encode, or "vectors" as they are; documents_path: the file or folder that holds the documents.
    open_album: of images. skip_broken: those that cannot be read are left out, not refused.
    queries_path and qrels_path: None where there are none. split: "paragraphs" where a row is a
    passage of a longer text, its id then as documents.passage_id makes it. Made by
    source.open_source.
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
    split: str = "none"
    open_album: Callable[[], Album] | None = None
    skip_broken: bool = False
    tally: Tally = field(default_factory=Tally)
    _read_ids: list[str] | None = None
    _album: Album | None = None

    def rows(self) -> Iterator[Row]:
        """The documents, streaming and in order; every pass starts anew and refreshes tally.

        Of vectors: rows with their ids, and text, title and columns where the table has them. Of
        images: as Album.rows gives them.
        Raises UserError at the first fault, ids that come twice among them.
        """
        if self.kind == "vectors":
            yield from self._vector_rows()
            return
        if self.kind == "images":
            yield from self.album.rows()
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

    def survey(self, progress: Progress | None = None) -> Tally:
        """Reads everything once and counts it: rows, titles, characters, empty rows.

        So every fault of the documents, queries and judgements is told before a model is loaded.
        Of vectors, all numbers are checked too (finite, no row all zero, queries of equal width);
        images are decoded, and broken ones refused or, with skip_broken, left out from here on.
        Memory: the ids, queries and judgements.
        """
        if self.kind == "images":
            self._album = self.album.checked(self.skip_broken, progress or quiet())
            self.tally = Tally(rows=len(self.ids))
            if self.queries_path is not None:
                self.queries()
        elif self.kind == "vectors":
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
        if self.kind == "images":
            return list(self.album.images.ids)
        if self._read_ids is None:
            for _ in self.rows():
                pass
        assert self._read_ids is not None
        return self._read_ids

    @property
    def album(self) -> Album:
        """The images, opened once; those that survey left, once it was asked."""
        assert self.open_album is not None
        if self._album is None:
            self._album = self.open_album()
        return self._album

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
            raise UserError(f"{self.path} holds {self.kind}, not vectors: encode them first.")
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
