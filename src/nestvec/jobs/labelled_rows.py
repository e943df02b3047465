"""Rows to classify: vectors or texts of a source, with their ids and the labels that are known."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nestvec import tables
from nestvec.data.encoder import image_encoder
from nestvec.data.lines import plain_suffix, read_lines
from nestvec.data.rows import Row
from nestvec.data.source import Source, open_source
from nestvec.data.tasks import LABEL_COLUMNS
from nestvec.errors import UserError
from nestvec.jobs.material import BLOCK_ROWS
from nestvec.progress import Progress, quiet
from nestvec.vector_formats import read_npy

if TYPE_CHECKING:
    from nestvec.data.encoder import Encoder
    from nestvec.data.images import Images

_SPLIT = "split"


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Of n rows: vectors (n, d), texts or images, ids, labels where they are known.

    images: None for other rows. notes: to be said.
    """

    place: str
    ids: list[str]
    vectors: NDArray[Any] | None
    texts: list[str]
    labels: list[str] | None
    notes: tuple[str, ...] = ()
    images: Images | None = None

    @property
    def kind(self) -> str:
        """vectors, images or texts."""
        if self.vectors is not None:
            return "vectors"
        return "texts" if self.images is None else "images"

    def __len__(self) -> int:
        return len(self.ids)


def read_rows(
    src: str | os.PathLike[str],
    *,
    labels: str | None = None,
    label_column: str | None = None,
    text_column: str | None = None,
    vector_column: str | None = None,
    split: str | None = None,
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> LabelledRows:
    """Everything of a source but the vectors of its texts or images.

    labels: a file of them, for vectors. Of images, labels are their classes. label_column: by
    default the first there is of label, category, class, intent and topic. split: of a table with
    a column `split`, these rows alone.
    Raises UserError for what cannot be read, and for labels that are not one a row.
    """
    source = open_source(
        src, text_column=text_column, vector_column=vector_column, skip_broken=skip_broken
    )
    place = os.fspath(src)
    if labels is not None and source.kind != "vectors":
        own = "stand in a column of theirs" if source.kind == "texts" else "are their classes"
        raise UserError(
            f"the labels of {source.kind} {own}; got the file {labels}. Leave it out, or name "
            "the column with --label-column."
        )
    if source.kind == "images":
        source.survey(progress or quiet())
        return _images(source, place, label_column, split)
    if source.kind == "vectors":
        return _vectors(source, place, labels, label_column)
    rows = list(source.rows())
    notes = []
    if split is not None and any(_SPLIT in row.columns for row in rows):
        whole = len(rows)
        rows = [row for row in rows if row.columns.get(_SPLIT) == split]
        if not rows:
            raise UserError(f"{place} has no row of the split {split!r}: give rows of that split.")
        notes.append(f"{len(rows):,} of {whole:,} rows, those of the split {split!r}, are used.")
    if source.tally.empty:
        notes.append(f"{source.tally.empty:,} rows without a text were left out.")
    column = _label_column(rows[0], label_column, place)
    found = None if column is None else list(_column(rows, column, place))
    return LabelledRows(
        place, [row.id for row in rows], None, [row.text for row in rows], found, tuple(notes)
    )


def _images(
    source: Source, place: str, label_column: str | None, split: str | None
) -> LabelledRows:
    """Images and their classes: those of folders, or of a table's column."""
    from nestvec.data.images import LABEL_COLUMNS as USUAL

    album = source.album
    images, columns = album.images, dict(album.columns)
    labels: list[str] | None = None
    if images.labels is not None:
        labels = [images.classes[i] for i in images.labels.tolist()]
    if label_column in columns:
        labels = [str(value) for value in columns[label_column]]
    elif label_column is not None and (labels is None or label_column not in USUAL):
        listed = ", ".join(map(repr, columns)) or "no other columns"
        raise UserError(
            f"{place} has no label column {label_column!r} (it has {listed}): name another."
        )
    notes = list(album.notes)
    kept = list(range(len(images)))
    if split is not None and _SPLIT in columns:
        kept = [i for i, value in enumerate(columns[_SPLIT]) if value == split]
        if not kept:
            raise UserError(f"{place} has no row of the split {split!r}: give rows of that split.")
        notes.append(
            f"{len(kept):,} of {len(images):,} rows, those of the split {split!r}, are used."
        )
    own = images.take(kept)
    return LabelledRows(
        place,
        list(own.ids),
        None,
        [],
        None if labels is None else [labels[i] for i in kept],
        tuple(notes),
        own,
    )


def embed_rows(
    rows: LabelledRows, encoder: Encoder, progress: Progress, work: Path | None = None
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Vectors (n, d) of the rows' texts or images, and what to say of them.

    work: a folder where an interrupted run goes on; None for a temporary one.
    """
    from nestvec.data.encode import encode_images, encode_texts

    with tempfile.TemporaryDirectory(prefix="nestvec-") as folder:
        place = (work or Path(folder)) / "vectors.npy"
        if rows.images is not None:
            found = encode_images(rows.images, image_encoder(encoder), place, progress=progress)
            return np.array(found.vectors, np.float32), ()
        encoded = encode_texts(
            iter(rows.texts),
            encoder,
            place,
            total=len(rows),
            progress=progress,
            block_rows=BLOCK_ROWS,
        )
        vectors = np.array(encoded.vectors, np.float32)
    if not encoded.truncated:
        return vectors, ()
    return vectors, (
        f"{encoded.truncated:,} of {len(rows):,} texts are longer than the {encoder.max_tokens} "
        f"tokens that {encoder.name} reads, and were cut.",
    )


def _vectors(
    source: Source, place: str, labels: str | None, label_column: str | None
) -> LabelledRows:
    source.survey()
    found: list[str] | None = None
    if labels is not None:
        found = read_labels(Path(labels))
        if len(found) != len(source.ids):
            raise UserError(
                f"labels are one a row; {labels} has {len(found):,} for the {len(source.ids):,} "
                f"vectors of {place}. Give as many."
            )
    elif tables.is_table(source.documents_path):
        rows = list(source.rows())
        column = _label_column(rows[0], label_column, place)
        found = None if column is None else list(_column(rows, column, place))
    elif label_column is not None:
        raise UserError(f"{place} has no columns; got --label-column. Give a file with --labels.")
    return LabelledRows(place, source.ids, source.vectors, [], found)


def read_labels(path: Path) -> list[str]:
    """The labels in a file: a .npy array of names or whole numbers, else one a line.

    Raises UserError for a file that is not there, labels of another kind, and empty ones.
    """
    if not path.is_file():
        raise UserError(f"labels {path} do not exist: give a file with one label a line, or .npy.")
    if plain_suffix(path) != ".npy":
        found = [line.strip() for _, line in read_lines(path)]
        if "" in found:
            raise UserError(
                f"{path} line {found.index('') + 1} is empty: give every row a label, a line each."
            )
        return found
    array = read_npy(path)
    if array.ndim != 1 or array.dtype.kind not in "iubU":
        raise UserError(
            f"labels are names or whole numbers, one a row; {path} holds {array.dtype} of shape "
            f"{array.shape}. Write them so."
        )
    return [str(label) for label in array.tolist()]


def _label_column(row: Row, wanted: str | None, place: str) -> str | None:
    have = row.columns
    if wanted is None:
        return next((name for name in LABEL_COLUMNS if name in have), None)
    if wanted not in have:
        listed = ", ".join(map(repr, have)) or "none but those of ids and texts"
        raise UserError(f"{place} has no label column {wanted!r} (it has {listed}): name another.")
    return wanted


def _column(rows: Sequence[Row], name: str, place: str) -> Iterator[str]:
    for row in rows:
        value = row.columns.get(name)
        if value is None or isinstance(value, (list, dict, float)) or not str(value).strip():
            raise UserError(
                f"{place} row {row.id}: the label in {name!r} must be a name or a whole number; "
                f"got {value!r}. Mend the row or remove it."
            )
        yield str(value).strip()
