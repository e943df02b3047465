"""Labelled images, texts or vectors at every width: probes, neighbours, few shots, shifts."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec import tables
from nestvec.choose import axes
from nestvec.choose.baselines import FloatAxes
from nestvec.choose.class_measures import LabelledVectors, head_and_tail
from nestvec.choose.tasks import evaluate_task
from nestvec.data.class_map import mapped, read_class_map
from nestvec.data.encoder import Encoder
from nestvec.data.tabular import is_records, read_records
from nestvec.errors import UserError
from nestvec.jobs.classify import drawn
from nestvec.jobs.encoders import check_encoder, check_image_encoder, make_encoder, trained_widths
from nestvec.jobs.evaluation import Evaluation
from nestvec.jobs.labelled_rows import LabelledRows, embed_rows, read_rows
from nestvec.jobs.machine import peak_rss_mb
from nestvec.jobs.settings import EvaluateSettings
from nestvec.measure.shots import long_tail
from nestvec.progress import Progress, quiet

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

MOST_TRAIN, MOST_TEST = 10_000, 5_000
"""Rows at most; more are drawn from by seed."""
_TEST_SHARE = 0.2
_NARROWEST = 8
_SEVERITY = 3


@dataclass(frozen=True)
class ClassesSettings:
    """What of labelled rows is told.

    labels: a file of them, for vectors; label_column: of a table. test: another source, told of;
    None takes rows of the split `test`, the folders test or val beside train, or a fifth of each
    class. coarse: a map of classes to groups. shifted: further sources, asked of the same train
    rows; class_map: of their class names to SRC's. corrupt: KIND or KIND:SEVERITY of
    data/corruptions.py, or "all". long_tail: cut train rows so that the last class keeps such a
    share. widths: None takes the model's, else powers of two from 8.
    """

    labels: str | None = None
    label_column: str | None = None
    test: str | None = None
    coarse: str | None = None
    shifted: tuple[str, ...] = ()
    class_map: str | None = None
    corrupt: tuple[str, ...] = ()
    long_tail: float | None = None
    widths: tuple[int, ...] | None = None

    @property
    def given(self) -> bool:
        """Whether anything is asked for."""
        return self != ClassesSettings()


def evaluate_classes(
    src: str | os.PathLike[str],
    settings: EvaluateSettings,
    classes: ClassesSettings,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure prefixes, SVD and random coordinates at every width by the labels of rows.

    Raises UserError for rows, labels and options that do not fit.
    """
    begun = time.monotonic()
    listener = progress or quiet()
    train, test = _train_and_test(src, settings, classes, listener)
    others = _others(test, settings, classes, listener)
    notes = [*train.notes, *test.notes]
    parts = [train, test, *others.values()]
    if train.images is not None:
        check_image_encoder(settings)
    if train.vectors is None:
        check_encoder(settings)
    names, numbers = _numbers(parts)
    if classes.long_tail is not None:
        kept = long_tail(numbers[0], classes.long_tail, settings.seed)
        train, numbers[0] = _take(train, kept), numbers[0][kept]
        parts[0] = train
        notes.append(f"{len(kept):,} train rows are left, of classes that fall off exponentially.")
    coarse = None
    if classes.coarse is not None:
        groups = mapped(names, read_class_map(Path(classes.coarse)), classes.coarse)
        coarse = np.unique(groups, return_inverse=True)[1]
    encoder = make_encoder(settings) if train.vectors is None else None
    vectors = np.concatenate([_vectors(each, encoder, listener) for each in parts])
    ends = np.cumsum([0, *(len(each) for each in parts)])
    rows = [np.arange(a, b) for a, b in pairwise(ends.tolist())]
    task = LabelledVectors(
        np.concatenate(numbers),
        rows[0],
        rows[1],
        dict(zip(others, rows[2:], strict=True)),
        head_and_tail(numbers[0], numbers[1]),
        coarse,
        settings.seed,
    )
    widths = _widths(classes, settings, vectors.shape[1], encoder)
    methods = [
        FloatAxes("prefix-float", axes.leading, widths),
        FloatAxes("svd-float", axes.svd, widths),
        FloatAxes("random-float", axes.random, widths),
    ]
    found = evaluate_task(
        vectors, task, methods, fit_on=rows[0], seed=settings.seed, progress=listener
    )
    if len(test) < 100:
        notes.append(f"{len(test)} rows prove little: read the intervals.")
    about = (
        f"{len(test):,} test rows by {len(train):,} train rows of {train.place}, "
        f"{len(names):,} classes"
    )
    return Evaluation(
        found[0],
        about,
        tuple(dict.fromkeys(notes)),
        time.monotonic() - begun,
        peak_rss_mb(),
        tuple(found[1:]),
    )


def _train_and_test(
    src: str | os.PathLike[str],
    settings: EvaluateSettings,
    classes: ClassesSettings,
    progress: Progress,
) -> tuple[LabelledRows, LabelledRows]:
    """The rows that are learned from and those that are told, of which both have labels."""

    def read(place: str | os.PathLike[str], split: str | None = None) -> LabelledRows:
        rows = read_rows(
            place,
            labels=classes.labels,
            label_column=classes.label_column,
            text_column=settings.text_column,
            vector_column=settings.vector_column,
            split=split,
            skip_broken=settings.skip_broken,
            progress=progress,
        )
        return _labelled(rows)

    path = Path(src)
    told = next((path / name for name in ("test", "val") if (path / name).is_dir()), None)
    if classes.test is not None:
        if classes.labels is not None:
            raise UserError(
                f"--labels are of one source; got a test source, {classes.test}, beside them. Give "
                "both as tables with columns of vectors and labels, or one source alone."
            )
        train, test = read(src), read(classes.test)
    elif (path / "train").is_dir() and told is not None:
        train, test = read(path / "train"), read(told)
    elif _has_split(path):
        train, test = read(src, "train"), read(src, "test")
    else:
        rows = read(src)
        learned, *held = drawn(np.asarray(rows.labels), _TEST_SHARE, settings.seed)
        train, test = _take(rows, learned), _take(rows, np.sort(np.concatenate(held)))
    if train.kind != test.kind:
        raise UserError(
            f"train and test rows are of one kind; got {train.kind} in {train.place} and "
            f"{test.kind} in {test.place}."
        )
    return _drawn(train, MOST_TRAIN, settings.seed), _drawn(test, MOST_TEST, settings.seed)


def _others(
    test: LabelledRows, settings: EvaluateSettings, classes: ClassesSettings, progress: Progress
) -> dict[str, LabelledRows]:
    """Groups of rows that are asked of the same train rows."""
    found: dict[str, LabelledRows] = {}
    by = None if classes.class_map is None else read_class_map(Path(classes.class_map))
    for place in classes.shifted:
        rows = _labelled(read_rows(place, skip_broken=settings.skip_broken, progress=progress))
        if rows.kind != test.kind:
            raise UserError(f"shifted rows are {test.kind}, as SRC's; {place} holds {rows.kind}.")
        if by is not None:
            assert rows.labels is not None
            rows = replace(rows, labels=mapped(rows.labels, by, str(classes.class_map)))
        found[Path(place).name] = _drawn(rows, MOST_TEST, settings.seed)
    if classes.corrupt and test.images is None:
        raise UserError(f"corruptions change images; {test.place} holds {test.kind}.")
    for kind, severity in _corruptions(classes.corrupt):
        from nestvec.data.corruptions import corrupted_images

        assert test.images is not None
        changed = corrupted_images(test.images, kind, severity, settings.seed)
        found[f"{kind} {severity}"] = replace(test, images=changed)
    return found


def _corruptions(wanted: tuple[str, ...]) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for each in wanted:
        kind, colon, severity = each.partition(":")
        if colon and not severity.isdigit():
            raise UserError(
                f"a corruption is KIND or KIND:SEVERITY, such as noise:3; got {each!r}."
            )
        kinds = [kind]
        if kind == "all":
            from nestvec.data.corruptions import KINDS

            kinds = list(KINDS)
        found += [(one, int(severity) if colon else _SEVERITY) for one in kinds]
    return found


def _has_split(path: Path) -> bool:
    if not path.is_file() or not (tables.is_table(path) or is_records(path)):
        return False
    if tables.is_table(path):
        return "split" in tables.column_kinds(path)
    return "split" in next((record for _, record in read_records(path)), {})


def _labelled(rows: LabelledRows) -> LabelledRows:
    if rows.labels is None:
        raise UserError(
            f"classes are told by labels; {rows.place} has none. Give a folder a class, a column "
            "label, or --labels FILE for vectors."
        )
    return rows


def _take(rows: LabelledRows, places: I64) -> LabelledRows:
    some = places.tolist()
    assert rows.labels is not None
    return replace(
        rows,
        ids=[rows.ids[i] for i in some],
        vectors=None if rows.vectors is None else rows.vectors[places],
        texts=[rows.texts[i] for i in some] if rows.texts else [],
        labels=[rows.labels[i] for i in some],
        images=None if rows.images is None else rows.images.take(some),
    )


def _drawn(rows: LabelledRows, most: int, seed: int) -> LabelledRows:
    if len(rows) <= most:
        return rows
    kept = np.sort(np.random.default_rng(seed).permutation(len(rows))[:most])
    note = f"{most:,} of {len(rows):,} rows of {rows.place} were drawn by seed."
    return replace(_take(rows, kept), notes=(*rows.notes, note))


def _numbers(parts: list[LabelledRows]) -> tuple[list[str], list[I64]]:
    """The classes of the train rows, and each part's labels by their number.

    Raises UserError where a class is not among those of the train rows, or there is one alone.
    """
    names = sorted(set(parts[0].labels or ()))
    if len(names) < 2:
        raise UserError(
            f"classes are told apart; {parts[0].place} has {len(names)}. Give two at least."
        )
    place = {name: i for i, name in enumerate(names)}
    for part in parts[1:]:
        strange = sorted(set(part.labels or ()) - set(names))
        if strange:
            listed = ", ".join(map(repr, strange[:3])) + (", ..." if len(strange) > 3 else "")
            raise UserError(
                f"classes are those of {parts[0].place}; {part.place} has {listed}, too. Map them "
                "with --class-map FILE, or leave those rows out."
            )
    return names, [np.array([place[x] for x in part.labels or ()], np.int64) for part in parts]


def _vectors(rows: LabelledRows, encoder: Encoder | None, progress: Progress) -> F32:
    if rows.vectors is not None or encoder is None:
        return np.asarray(rows.vectors, np.float32)
    return embed_rows(rows, encoder, progress)[0]


def _widths(
    classes: ClassesSettings, settings: EvaluateSettings, dim: int, encoder: Encoder | None
) -> tuple[int, ...]:
    if classes.widths is not None:
        above = [width for width in classes.widths if not 0 < width <= dim]
        if above:
            raise UserError(f"widths are from 1 to the vectors' {dim}; got {above[0]}.")
        return tuple(sorted(set(classes.widths)))
    trained = () if encoder is None else trained_widths(settings)
    powers = tuple(2**i for i in range(20) if _NARROWEST <= 2**i < dim)
    found: tuple[Any, ...] = tuple(width for width in trained if width < dim) or powers
    return found or (dim,)
