"""Labels of new rows by a fitted classifier, each from the narrowest width that is sure."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.labeller import Labelled, Labeller
from nestvec.errors import UserError
from nestvec.jobs.checks import check_free
from nestvec.jobs.encoders import encoder_of
from nestvec.jobs.labelled_rows import LabelledRows, embed_rows, read_rows
from nestvec.jobs.machine import peak_rss_mb
from nestvec.measure.intervals import Interval, bootstrap_mean
from nestvec.progress import Progress, quiet
from nestvec.vectors import check_vectors

SUFFIXES = (".jsonl", ".csv", ".tsv")
COLUMNS = ("id", "label", "width", "confidence")


@dataclass(frozen=True, eq=False)
class Predicted:
    """ids (n,), found: labels, widths and confidence (n,). accuracy: where labels were there.

    shares: {width: share of rows that stopped there}. last, sum: mean dimensions a row.
    """

    ids: list[str]
    found: Labelled
    accuracy: Interval | None
    shares: dict[int, float]
    last: float
    sum: float
    out: str | None
    notes: tuple[str, ...]
    seconds: float
    peak_rss_mb: float

    def rows(self) -> Iterator[tuple[str, str, int, float]]:
        """(id, label, width, confidence) of each."""
        columns = (self.found.labels, self.found.widths, self.found.confidence.round(6))
        yield from zip(self.ids, *(each.tolist() for each in columns), strict=True)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the rows are in it where they were not written to a file."""
        found: dict[str, Any] = {
            "rows": len(self.ids),
            "accuracy": None if self.accuracy is None else self.accuracy.__dict__,
            "shares": {str(width): share for width, share in self.shares.items()},
            "last": self.last,
            "sum": self.sum,
            "out": self.out,
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
            "peak_rss_mb": self.peak_rss_mb,
        }
        if self.out is None:
            found["labels"] = [dict(zip(COLUMNS, row, strict=True)) for row in self.rows()]
        return found


def classify_predict(
    folder: str | os.PathLike[str],
    src: str | os.PathLike[str],
    *,
    width: int | None = None,
    out: str | os.PathLike[str] | None = None,
    labels: str | None = None,
    label_column: str | None = None,
    text_column: str | None = None,
    vector_column: str | None = None,
    trust_remote_code: bool = False,
    api: str | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Predicted:
    """Label the rows of a source by what classify_fit wrote to a folder.

    Texts are encoded by the model of the fit. width: this one for all rows, not the cascade.
    out: a .jsonl, .csv or .tsv file to write. labels, label_column: known labels to compare with.
    text_column: by default that of the fit. Raises UserError for what does not fit.
    """
    begun = time.monotonic()
    place = None if out is None else _place(Path(out))
    labeller = Labeller.load(folder)
    if width is not None and width not in labeller.widths:
        raise UserError(
            f"a width is one that has a head, {', '.join(map(str, labeller.widths))}; got {width}."
        )
    rows = read_rows(
        src,
        labels=labels,
        label_column=label_column,
        text_column=text_column or labeller.facts.get("text_column"),
        vector_column=vector_column,
        progress=progress,
    )
    vectors, notes = _vectors(labeller, rows, folder, trust_remote_code, api, device, progress)
    found = labeller.label(vectors, width)
    accuracy = None
    if rows.labels is not None:
        right = found.labels == np.asarray(rows.labels)
        accuracy = bootstrap_mean(right.astype(np.float64))
        unknown = sorted(set(rows.labels) - set(labeller.classes))
        if unknown:
            listed = ", ".join(map(repr, unknown[:3])) + (", ..." if len(unknown) > 3 else "")
            notes = (*notes, f"{listed} was not among the classes learned: those rows count wrong.")
    shares = {each: float((found.widths == each).mean()) for each in labeller.widths}
    summed = float(width) if width is not None else _summed(labeller, found)
    result = Predicted(
        rows.ids,
        found,
        accuracy,
        shares,
        float(found.widths.mean()),
        summed,
        None if place is None else str(place),
        (*rows.notes, *notes),
        time.monotonic() - begun,
        peak_rss_mb(),
    )
    if place is not None:
        _write(place, result)
    return result


def _vectors(
    labeller: Labeller,
    rows: LabelledRows,
    folder: str | os.PathLike[str],
    trust_remote_code: bool,
    api: str | None,
    device: str,
    progress: Progress | None,
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Vectors of the rows, those of texts by the encoder of the fit."""
    if rows.vectors is not None:
        if rows.vectors.shape[1] == labeller.dim:
            check_vectors(rows.vectors, rows.place)
        return rows.vectors, ()
    if labeller.encoder is None:
        raise UserError(
            f"{folder} was fitted on vectors, and {rows.place} holds {rows.kind}. Give vectors of "
            "the same model, or fit again with --model, which says what made them."
        )
    encoder = encoder_of(
        labeller.encoder, trust_remote_code=trust_remote_code, api=api, device=device
    )
    return embed_rows(rows, encoder, progress or quiet())


def _summed(labeller: Labeller, found: Labelled) -> float:
    """Mean dimensions of all widths that rows read."""
    limits = (*labeller.thresholds.tolist(), 0.0)
    read = [w if limit < 1.0 else 0 for w, limit in zip(labeller.widths, limits, strict=True)]
    return float(np.cumsum(read)[np.searchsorted(labeller.widths, found.widths)].mean())


def _place(path: Path) -> Path:
    if path.suffix not in SUFFIXES:
        raise UserError(f"labels are written as {', '.join(SUFFIXES)}; got {path.name}.")
    check_free(path)
    return path


def _write(path: Path, result: Predicted) -> None:
    """The file, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as out:
            if path.suffix == ".jsonl":
                for row in result.rows():
                    record = dict(zip(COLUMNS, row, strict=True))
                    out.write(json.dumps(record, ensure_ascii=False) + "\n")
            else:
                tabs = "\t" if path.suffix == ".tsv" else ","
                writer = csv.writer(out, delimiter=tabs, lineterminator="\n")
                writer.writerow(COLUMNS)
                writer.writerows(result.rows())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
