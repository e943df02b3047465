"""Pictures as the rows of a collection: one an id, with its captions, its label and its columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nestvec import tables
from nestvec.data.image_places import LABEL
from nestvec.data.images import (
    LABEL_COLUMNS,
    NAME_COLUMNS,
    TEXT_COLUMNS,
    Images,
    open_images,
)
from nestvec.data.records import TITLE_COLUMN
from nestvec.data.rows import Row
from nestvec.errors import UserError
from nestvec.progress import Progress

_NAMED = 3


@dataclass(frozen=True, eq=False)
class Album:
    """Pictures, each once.

    images: n of them, ids unique. captions: those of each, none where it has none. columns: what
    else a table says of each, {name: n values}. notes: what was left out, in sentences.
    """

    images: Images
    captions: Sequence[tuple[str, ...]]
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def rows(self) -> Iterator[Row]:
        """A row a picture: its captions as the text, a line each, or its id where it has none.

        The column label holds the name of its class, where there are classes.
        """
        images, titles = self.images, self.columns.get(TITLE_COLUMN)
        for i, identity in enumerate(images.ids):
            columns = {
                name: values[i] for name, values in self.columns.items() if name != TITLE_COLUMN
            }
            if images.labels is not None:
                columns[LABEL] = images.classes[images.labels[i]]
            title = "" if titles is None else str(titles[i] or "")
            yield Row(identity, "\n".join(self.captions[i]) or identity, title, columns)

    def checked(self, skip_broken: bool, progress: Progress) -> Album:
        """Itself after every picture was read; without the broken ones where that is asked for.

        Raises UserError that counts and names broken pictures, see Images.check.
        """
        left = self.images.check(skip_broken, progress)
        if left is self.images:
            return self
        places = {identity: i for i, identity in enumerate(self.images.ids)}
        kept = [places[identity] for identity in left.ids]
        broken = sorted(set(range(len(self.images))) - set(kept))
        names = ", ".join(self.images.ids[i] for i in broken[:_NAMED])
        more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        note = (
            f"{len(broken)} of {len(self.images):,} images cannot be read and were left out: "
            f"{names}{more}."
        )
        return replace(self._take(kept), images=left, notes=(note,))

    def _take(self, rows: Sequence[int]) -> Album:
        return Album(
            self.images.take(rows),
            [self.captions[i] for i in rows],
            {name: [values[i] for i in rows] for name, values in self.columns.items()},
            self.notes,
        )


def open_album(place: Path, text_column: str | None = None) -> Album:
    """The pictures of a place, as open_images reads it; none is decoded yet.

    text_column: a table's captions. A picture that stands in several rows, as data of pairs have
    it, is taken once, with all its captions. Every line of a text is a caption.
    Memory: of a table, the bytes of its images and its other columns.
    Raises UserError for a place without images, and where an id stands for two pictures.
    """
    images = open_images(place, text_column=text_column)
    texts = images.texts or ("",) * len(images)
    captions = [tuple(filter(None, map(str.strip, text.splitlines()))) for text in texts]
    album = Album(images, captions, _columns(place, text_column))
    firsts: dict[str, int] = {}
    for i, identity in enumerate(images.ids):
        first = firsts.setdefault(identity, i)
        if first != i and images.content(first) != images.content(i):
            raise UserError(
                f"{place} has the id {identity!r} for two images (rows {first + 1} and {i + 1}): "
                "ids must be unique, so rename or remove one of them."
            )
    if len(firsts) == len(images):
        return album
    order = {identity: number for number, identity in enumerate(firsts)}
    gathered: list[list[str]] = [[] for _ in firsts]
    for identity, some in zip(images.ids, captions, strict=True):
        gathered[order[identity]] += some
    once = album._take(list(firsts.values()))
    return replace(once, captions=[tuple(dict.fromkeys(each)) for each in gathered])


def _columns(place: Path, text_column: str | None) -> dict[str, list[Any]]:
    """A table's columns of texts and numbers that are neither ids, labels nor captions."""
    if place.is_dir() or not tables.is_table(place):
        return {}
    kinds = tables.column_kinds(place)
    used = {text_column}
    for usual in (NAME_COLUMNS, LABEL_COLUMNS, TEXT_COLUMNS):
        used.add(next((name for name in usual if name in kinds), None))
    names = [name for name, kind in kinds.items() if kind in ("text", "number")]
    columns: dict[str, list[Any]] = {name: [] for name in names if name not in used}
    if columns:
        for batch in tables.read_batches(place, list(columns)):
            for name, values in batch.items():
                columns[name] += values
    return columns
