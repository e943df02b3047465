"""Everything a measurement needs, made from SRC or from a collection: vectors, queries, rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from nestvec.adapters.adapter import Adapter
from nestvec.data.encoder import image_encoder
from nestvec.data.rows import Row
from nestvec.data.source import Source
from nestvec.errors import UserError
from nestvec.index.collection import Collection
from nestvec.jobs.asking import ask_collection, ask_images, ask_texts, ask_vectors
from nestvec.jobs.encoders import make_encoder, trained_widths, width_notes
from nestvec.jobs.questions import Questions, hold_out
from nestvec.jobs.settings import EvaluateSettings
from nestvec.nesting import Nesting
from nestvec.progress import Progress
from nestvec.vectors import check_vectors

if TYPE_CHECKING:
    from nestvec.data.encode import Encoded
    from nestvec.data.encoder import Encoder

    Number = Literal["float16", "float32"]
    Encode = Callable[[Source, Encoder, Path, Progress, bool, Number], Encoded]

#: rows between two marks of an interrupted run; a model on a CPU takes some seconds for them
BLOCK_ROWS = 1024
#: the longer side of a picture in a report
THUMBNAIL_PIXELS = 128


@dataclass(frozen=True, eq=False)
class Material:
    """What is measured and built from.

    rows: iterable again and again. vectors: (n, d) float, row i of rows[i]. questions: what it is
    measured by, None where there are too few rows. encoder: None for vectors.
    titled: whether documents were encoded with their titles. widths: those that the model says it
    was trained for, none where it says nothing.
    truncated: documents the model cut, None where unknown. encode_seconds: 0 for vectors.
    thumbnail: of a row that is an image, a small JPEG file; None for other kinds.
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
    thumbnail: Callable[[int], bytes] | None = None
    adapter: Adapter | None = None
    collection: Collection | None = None


@dataclass(frozen=True)
class RowsAgain:
    """The source's rows, read anew at each pass."""

    source: Source

    def __iter__(self) -> Iterator[Row]:
        return self.source.rows()


@dataclass(frozen=True)
class _NoRows:
    def __iter__(self) -> Iterator[Row]:
        return iter(())


def gather(
    source: Source,
    settings: EvaluateSettings,
    work: Path,
    progress: Progress,
    encode: Encode | None = None,
) -> Material:
    """Read, check and (but for vectors) encode a source; blocks of vectors are kept in `work`.

    All of the source is read once and checked before the model is loaded. encode: another way to
    do what encode_source does, for a source that was surveyed before.
    """
    if encode is None:
        source.survey(progress)
    name = "the running Python's documentation" if settings.demo else source.path.name
    if source.kind == "vectors":
        similarity = settings.similarity or "cosine"
        questions = ask_vectors(source, settings, similarity, progress)
        return Material(
            name, "vectors", RowsAgain(source), source.ids, source.vectors, similarity, questions,
            warnings=left_out(source),
        )  # fmt: skip
    asking = (ask_images if source.kind == "images" else ask_texts)(source, settings)
    encoder = make_encoder(settings)
    similarity = settings.similarity or encoder.metric
    begun = time.monotonic()
    dtype: Literal["float16", "float32"] = "float16" if similarity == "cosine" else "float32"
    encoded = (encode or encode_source)(source, encoder, work, progress, asking.titled, dtype)
    seconds = time.monotonic() - begun
    questions = asking.finish(encoder, encoded.vectors, source.ids, similarity, progress)
    return Material(
        name,
        source.kind,
        RowsAgain(source),
        source.ids,
        encoded.vectors,
        similarity,
        questions,
        encoder,
        encoded.truncated,
        seconds,
        (
            *left_out(source),
            *asking.notes,
            *width_notes(settings),
            *truncation(encoded.truncated, source.tally.rows, encoder),
        ),
        encoder.name,
        asking.titled,
        trained_widths(settings),
        _thumbnails(source),
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


def _thumbnails(source: Source) -> Callable[[int], bytes] | None:
    if source.kind != "images":
        return None
    images = source.album.images
    return lambda row: images.thumbnail(row, THUMBNAIL_PIXELS)


def encode_source(
    source: Source,
    encoder: Encoder,
    work: Path,
    progress: Progress,
    titled: bool = True,
    dtype: Literal["float16", "float32"] = "float32",
) -> Encoded:
    """The vectors of a surveyed source of texts or images, by blocks that a rerun keeps in `work`.

    titled: texts are encoded with their titles. Raises UserError where images are given to a model
    that reads none.
    """
    from nestvec.data.encode import encode_images, encode_texts

    place = work / "vectors.npy"
    if source.kind == "images":
        return encode_images(
            source.album.images, image_encoder(encoder), place, progress=progress, dtype=dtype
        )
    return encode_texts(
        (row.titled_text if titled else row.text for row in source.rows()),
        encoder,
        place,
        total=source.tally.rows,
        progress=progress,
        dtype=dtype,
        block_rows=BLOCK_ROWS,
    )


def left_out(source: Source) -> tuple[str, ...]:
    """A sentence where a surveyed source has rows that are not used, else none."""
    if source.kind == "images":
        return source.album.notes
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
