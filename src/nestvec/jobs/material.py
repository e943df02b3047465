"""Everything a measurement needs, made from SRC or from a collection: vectors, queries, rows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from nestvec.adapters.adapter import Adapter
from nestvec.data.rows import Row
from nestvec.data.source import Source
from nestvec.errors import UserError
from nestvec.index.collection import Collection
from nestvec.jobs.asking import ask_collection, ask_texts, ask_vectors
from nestvec.jobs.encoders import make_encoder, trained_widths, width_notes
from nestvec.jobs.questions import Questions, hold_out
from nestvec.jobs.settings import EvaluateSettings
from nestvec.nesting import Nesting
from nestvec.progress import Progress
from nestvec.vectors import check_vectors

if TYPE_CHECKING:
    from nestvec.data.encoder import Encoder

#: rows between two marks of an interrupted run; a model on a CPU takes some seconds for them
BLOCK_ROWS = 1024


@dataclass(frozen=True, eq=False)
class Material:
    """What is measured and built from.

    rows: iterable again and again. vectors: (n, d) float, row i of rows[i]. questions: what it is
    measured by, None where there are too few rows. encoder: None for vectors.
    titled: whether documents were encoded with their titles. widths: those that the model says it
    was trained for, none where it says nothing.
    truncated: documents the model cut, None where unknown. encode_seconds: 0 for vectors.
    adapter: the collection's; vectors are those before it. collection: that they are of, or None.
    """

    name: str
    kind: str
    rows: Iterable[Row]
    ids: Sequence[str]
    vectors: NDArray[Any]
    similarity: str
    questions: Questions | None
    encoder: Encoder | None = None
    truncated: int | None = 0
    encode_seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    model: str | None = None
    titled: bool = True
    widths: tuple[int, ...] = ()
    adapter: Adapter | None = None
    collection: Collection | None = None


@dataclass(frozen=True)
class _Rows:
    """The source's rows, read anew at each pass."""

    source: Source

    def __iter__(self) -> Iterator[Row]:
        return self.source.rows()


@dataclass(frozen=True)
class _NoRows:
    def __iter__(self) -> Iterator[Row]:
        return iter(())


def gather(source: Source, settings: EvaluateSettings, work: Path, progress: Progress) -> Material:
    """Read, check and (for texts) encode a source; blocks of vectors are kept in `work`.

    All of the source is read once and checked before the model is loaded.
    """
    source.survey()
    name = "the running Python's documentation" if settings.demo else source.path.name
    if source.kind == "vectors":
        similarity = settings.similarity or "cosine"
        questions = ask_vectors(source, settings, similarity, progress)
        return Material(
            name, "vectors", _Rows(source), source.ids, source.vectors, similarity, questions,
            warnings=_empty_rows(source),
        )  # fmt: skip
    return _gather_texts(source, settings, work, name, progress)


def _gather_texts(
    source: Source, settings: EvaluateSettings, work: Path, name: str, progress: Progress
) -> Material:
    from nestvec.data.encode import encode_texts

    asking = ask_texts(source, settings)
    encoder = make_encoder(settings)
    similarity = settings.similarity or encoder.metric
    begun = time.monotonic()
    encoded = encode_texts(
        (row.titled_text if asking.titled else row.text for row in source.rows()),
        encoder,
        work / "vectors.npy",
        total=source.tally.rows,
        progress=progress,
        dtype="float16" if similarity == "cosine" else "float32",
        block_rows=BLOCK_ROWS,
    )
    seconds = time.monotonic() - begun
    questions = asking.finish(encoder, encoded.vectors, source.ids, similarity, progress)
    return Material(
        name,
        "texts",
        _Rows(source),
        source.ids,
        encoded.vectors,
        similarity,
        questions,
        encoder,
        encoded.truncated,
        seconds,
        (
            *_empty_rows(source),
            *asking.notes,
            *width_notes(settings),
            *truncation(encoded.truncated, source.tally.rows, encoder),
        ),
        encoder.name,
        asking.titled,
        trained_widths(settings),
    )


def gather_array(vectors: NDArray[Any], settings: EvaluateSettings, progress: Progress) -> Material:
    """Vectors (n, d) at hand, measured by agreement with exact search."""
    check_vectors(vectors, "the array")
    similarity = settings.similarity or "cosine"
    ids = [str(row) for row in range(len(vectors))]
    questions = hold_out(vectors, settings, similarity, progress)
    return Material("the array", "vectors", _NoRows(), ids, vectors, similarity, questions)


def gather_collection(path: Path, settings: EvaluateSettings, progress: Progress) -> Material:
    """The rows of a collection that keeps its vectors, and what it was measured by.

    Raises UserError where it keeps codes only.
    """
    opened = Collection.open(path)
    nesting = opened.manifest.nesting
    vectors = opened.vectors()
    similarity = opened.manifest.metric
    if settings.similarity not in (None, similarity):
        raise UserError(
            f"{path} compares by {similarity}; got similarity {settings.similarity}. "
            "Build it again to change that."
        )
    ids = [str(identity) for batch in opened.batches(("id",)) for identity in batch["id"]]
    questions = ask_collection(opened, ids, vectors, settings, progress)
    return Material(
        path.name,
        "collection",
        _NoRows(),
        ids,
        vectors,
        similarity,
        questions,
        model=opened.manifest.model,
        widths=() if nesting is None else Nesting.parse(nesting).widths,
        adapter=opened.adapter,
        collection=opened,
    )


def _empty_rows(source: Source) -> tuple[str, ...]:
    if not source.tally.empty:
        return ()
    return (
        f"{source.tally.empty:,} empty rows were left out, the first at "
        f"{source.tally.first_empty}.",
    )


def truncation(truncated: int | None, rows: int, encoder: Encoder) -> tuple[str, ...]:
    """A sentence where the model cut texts, else none."""
    if not truncated:
        return ()
    return (
        f"{truncated:,} of {rows:,} texts are longer than the {encoder.max_tokens} tokens that "
        f"{encoder.name} reads, and were cut; --split paragraphs keeps all of them.",
    )
