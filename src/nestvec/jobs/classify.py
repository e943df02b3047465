"""A classifier of every width with its cascade: fitted on labelled rows, and told of others."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.labeller import Labeller, has_heads, heads_of_model
from nestvec.choose.thresholds import oracle
from nestvec.data.model_files import find_model
from nestvec.data.model_nesting import read_width
from nestvec.errors import UserError
from nestvec.jobs.checks import check_free
from nestvec.jobs.classify_sheet import classifier_sheet, pictures_of, report_files
from nestvec.jobs.embed import work_folder
from nestvec.jobs.encoders import (
    check_encoder,
    check_image_encoder,
    kept_settings,
    make_encoder,
    width_of,
)
from nestvec.jobs.labelled_rows import LabelledRows, embed_rows, read_rows
from nestvec.jobs.machine import peak_rss_mb
from nestvec.jobs.settings import ClassifyOptions, ClassifySettings
from nestvec.measure.intervals import Interval, bootstrap_mean, paired_difference
from nestvec.progress import Progress, quiet

if TYPE_CHECKING:
    from nestvec.choose.cascade import Cascade

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

EPOCHS, STEPS = 15, 500
"""Passes, and as many more as make so many steps: where rows are few, a pass is a step or two."""
MARGIN = 0.005
"""A loss of accuracy that counts as none."""
FEW = 100
_TIMES = 9
_LABELS_OF = {
    "vectors": "--labels FILE",
    "texts": "a column label, or --label-column",
    "images": "a folder a class, or a column label",
}
REPORT_NAME = "report.html"
_PLACES = ("out", "report")
"""Fields that a folder does not keep: it may be moved."""


@dataclass(frozen=True)
class WidthTold:
    """One width on the rows that are told: of itself, and where the cascade stopped there."""

    width: int
    accuracy: Interval
    from_full: Interval
    stopped: float


@dataclass(frozen=True)
class CascadeTold:
    """The cascade on the rows that are told; last and sum: expected dimensions."""

    accuracy: Interval
    from_full: Interval
    last: float
    sum: float
    oracle_accuracy: float
    oracle_last: float
    oracle_sum: float
    microseconds: float
    full_microseconds: float


@dataclass(frozen=True, eq=False)
class ClassifyResult:
    """trained, tuned, told: rows that heads, thresholds and figures come from; tuned and told
    together set the thresholds that were written.

    visited: the widths that those read. notes: sentences to be said. report: its page.
    """

    out: str
    kind: str
    trained: int
    tuned: int
    told: int
    classes: int
    dim: int
    policy: str
    counted: str
    widths: tuple[WidthTold, ...]
    cascade: CascadeTold
    visited: tuple[int, ...]
    thresholds: tuple[float, ...]
    notes: tuple[str, ...]
    seconds: float
    peak_rss_mb: float
    labeller: Labeller
    report: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        found = {name: value for name, value in self.__dict__.items() if name != "labeller"}
        found["widths"] = [asdict(each) for each in self.widths]
        found["cascade"] = asdict(self.cascade)
        return found


def classify_fit(
    src: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    **options: Unpack[ClassifyOptions],
) -> ClassifyResult:
    """Fit a classifier of every width and its cascade on labelled rows, and write a folder.

    options: the fields of ClassifySettings, such as labels="labels.txt" and policy="keep".
    """
    return classify_fit_with(src, out, ClassifySettings(**options), progress)


def classify_fit_with(
    src: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: ClassifySettings,
    progress: Progress | None = None,
) -> ClassifyResult:
    """As classify_fit, the options in one record.

    Heads are trained on the rows that are not held out. Half of the held-out rows set the
    thresholds that the figures of the other half are of; those written are set by all of them.
    Raises UserError for rows, labels and options that do not fit.
    """
    begun = time.monotonic()
    listener = progress or quiet()
    place = Path(out)
    check_free(place)
    rows = read_rows(
        src,
        labels=settings.labels,
        label_column=settings.label_column,
        text_column=settings.text_column,
        vector_column=settings.vector_column,
        split="train",
        skip_broken=settings.skip_broken,
        progress=listener,
    )
    model = _model_with_heads(settings)
    _check(rows, settings, model)
    labels = np.asarray(rows.labels)
    trained, tuned, told = drawn(labels, 0.0 if model is not None else settings.held, settings.seed)
    work = work_folder(place)
    vectors, encoder, notes = _vectors_of(rows, settings, listener, work)
    if model is None:
        labeller = _trained(vectors[trained], labels[trained], settings, listener)
    else:
        labeller = _given(model, vectors.shape[1], settings)
    labeller = replace(labeller, encoder=encoder)

    own = {width: labeller.logits(vectors[tuned], width) for width in labeller.widths}
    other = {width: labeller.logits(vectors[told], width) for width in labeller.widths}
    half = _cascade(settings).fit(own, labels[tuned], labeller.classes)
    figures, cascade_told = _told(half, other, labels[told])
    times = _timed(labeller.widening(half), vectors[told])
    cascade_told = replace(cascade_told, microseconds=times[0], full_microseconds=times[1])
    both = {width: np.concatenate([own[width], other[width]]) for width in own}
    final = _cascade(settings).fit(
        both, np.concatenate([labels[tuned], labels[told]]), labeller.classes
    )
    result = ClassifyResult(
        str(place),
        rows.kind,
        len(trained),
        len(tuned),
        len(told),
        len(labeller.classes),
        labeller.dim,
        settings.policy,
        settings.counted,
        figures,
        cascade_told,
        final.visited_,
        tuple(final.thresholds_.tolist()),
        (*rows.notes, *notes, *_remarks(final, cascade_told)),
        time.monotonic() - begun,
        peak_rss_mb(),
        labeller.widening(final),
        str(place / REPORT_NAME),
    )
    facts = {name: each for name, each in result.to_json().items() if name not in _PLACES}
    facts["text_column"] = settings.text_column
    sheet = classifier_sheet(
        result, half, (own, labels[tuned]), (other, labels[told]), rows, told, os.fspath(src),
        settings, listener,
    )  # fmt: skip
    replace(result.labeller, facts=facts).save(place, report_files(sheet, REPORT_NAME))
    shutil.rmtree(work, ignore_errors=True)
    return result


def drawn(labels: NDArray[Any], held: float, seed: int) -> tuple[I64, I64, I64]:
    """Rows to learn from, to set thresholds by and to tell of, each class in all three.

    held: share of each class's rows for the two last, at least one for each; where 0, all rows
    are theirs. Raises UserError where a class has too few rows.
    """
    rng = np.random.default_rng(seed)
    names, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    least = 3 if held else 1
    rare = [f"{str(names[i])!r} has {counts[i]}" for i in np.flatnonzero(counts < least)]
    if rare:
        more = f" (and {len(rare) - 3} more)" if len(rare) > 3 else ""
        raise UserError(
            "every class needs 3 rows or more, one to learn from and two held out; "
            f"{', '.join(rare[:3])}{more}. Give more rows of it, or leave it out."
        )
    parts: tuple[list[I64], list[I64], list[I64]] = ([], [], [])
    first = 0  # which half is given a class's odd row: each in turn
    for number, count in enumerate(counts.tolist()):
        own = rng.permutation(np.flatnonzero(numbers == number))
        share = min(max(2, round(held * count)), count - 1) if held else count
        parts[0].append(own[share:])
        parts[1 + first].append(own[:share:2])
        parts[2 - first].append(own[1:share:2])
        first ^= share % 2
    trained, tuned, told = (np.sort(np.concatenate(each)) for each in parts)
    return trained, tuned, told


def _check(rows: LabelledRows, settings: ClassifySettings, model: Path | None) -> None:
    """Raise UserError for labels and options that cannot be, before anything is encoded."""
    if rows.labels is None:
        how = _LABELS_OF[rows.kind]
        raise UserError(f"a classifier learns from labels; {rows.place} has none. Give {how}.")
    classes = sorted(set(rows.labels))
    if len(classes) < 2:
        raise UserError(
            f"a classifier needs 2 classes or more; got 1 class, {classes[0]!r}, in {rows.place}."
        )
    if model is not None:
        for name in ("head", "epochs"):
            if getattr(settings, name) is not None:
                raise UserError(
                    f"{settings.model} has heads that are used as they are; {name} is for heads to "
                    "be trained. Leave it out."
                )
        if len(rows) < 4:
            raise UserError(f"thresholds are set by 4 rows at least; got {len(rows)}. Give more.")
    pictures_of(rows, settings)
    if rows.images is not None:
        check_image_encoder(settings.embedding)
    if rows.vectors is None:
        check_encoder(settings.embedding)
    dim = width_of(settings.embedding) if rows.vectors is None else rows.vectors.shape[1]
    above = [width for width in settings.widths or () if dim is not None and width > dim]
    if above:
        raise UserError(
            f"widths go up to the vectors' own, {dim}; got {', '.join(map(str, above))}. Leave "
            "them out."
        )
    if rows.vectors is not None and settings.model is not None:
        files = find_model(settings.model)
        width = None if files.downloads else read_width(Path(files.location))
        if width not in (None, dim):
            raise UserError(
                f"--model is what made the vectors; got vectors of {dim} dimensions and "
                f"{settings.model}, of {width}. Name that model."
            )


def _model_with_heads(settings: ClassifySettings) -> Path | None:
    """The folder of the model where it has class heads."""
    if settings.model is None or settings.api is not None:
        return None
    folder = Path(find_model(settings.model).location)
    return folder if has_heads(folder) else None


def _vectors_of(
    rows: LabelledRows, settings: ClassifySettings, progress: Progress, work: Path
) -> tuple[NDArray[Any], dict[str, Any] | None, tuple[str, ...]]:
    """Vectors, what makes them of texts (None where that was not said), and notes."""
    if rows.vectors is not None:
        known = settings.model is not None
        return rows.vectors, kept_settings(settings.embedding) if known else None, ()
    vectors, notes = embed_rows(rows, make_encoder(settings.embedding), progress, work)
    return vectors, kept_settings(settings.embedding), notes


def _trained(
    vectors: NDArray[Any], labels: NDArray[Any], settings: ClassifySettings, progress: Progress
) -> Labeller:
    from nestvec.learn.vector_classifier import VectorClassifier

    head = settings.head or "separate"
    classifier = VectorClassifier(settings.widths, head=head, random_state=settings.seed)
    steps = -(-len(vectors) // classifier.batch)
    classifier.epochs = settings.epochs or max(EPOCHS, -(-STEPS // steps))
    classifier.fit(vectors, labels, progress)
    widths = classifier.widths_
    if len(widths) < 2:
        raise UserError(
            f"a cascade takes two widths or more; got {list(widths)}. Give --widths within the "
            f"vectors' {vectors.shape[1]} dimensions."
        )
    (linear,) = classifier.map_.stages[0].maps
    return Labeller(
        tuple(classifier.classes_.tolist()),
        vectors.shape[1],
        classifier.heads(),
        np.ones(len(widths) - 1),
        np.ones(len(widths)),
        matrix=linear.arrays()["weight"],
        tied=head == "tied",
    )


def _given(folder: Path, dim: int, settings: ClassifySettings) -> Labeller:
    """The heads of a trained model, over its vectors as they are."""
    heads, classes, tied = heads_of_model(folder)
    missing = [width for width in settings.widths or () if width not in heads]
    if missing or max(heads) > dim:
        raise UserError(
            f"the heads of {settings.model} are of {', '.join(map(str, heads))} dimensions; got "
            + (f"{', '.join(map(str, missing))}." if missing else f"vectors of {dim}.")
        )
    if settings.widths is not None:
        heads = {width: heads[width] for width in settings.widths}
    if len(heads) < 2:
        raise UserError(
            f"a cascade takes two widths or more; {settings.model} has a head of {list(heads)}."
        )
    return Labeller(classes, dim, heads, np.ones(len(heads) - 1), np.ones(len(heads)), tied=tied)


def _cascade(settings: ClassifySettings) -> Cascade:
    from nestvec.choose.cascade import Cascade

    return Cascade(
        settings.policy,
        target=settings.target,
        counted=settings.counted,
        calibrate=settings.calibrate,
        confidence=settings.confidence,
    )


def _told(
    cascade: Cascade, logits: dict[int, F32], labels: NDArray[Any]
) -> tuple[tuple[WidthTold, ...], CascadeTold]:
    """Figures on rows that set no thresholds; their times are not yet in."""
    widths = np.asarray(cascade.widths_)
    names = np.asarray(cascade.classes_)
    right = np.stack([names[logits[w].argmax(axis=1)] == labels for w in cascade.widths_])
    stopped = cascade.run(logits)
    own = stopped.labels == labels
    shares = [float((stopped.widths == width).mean()) for width in widths]
    figures = tuple(
        WidthTold(int(w), bootstrap_mean(each), paired_difference(each, right[-1]), share)
        for w, each, share in zip(widths, right.astype(np.float64), shares, strict=True)
    )
    best = oracle(~right)
    cascade_told = CascadeTold(
        bootstrap_mean(own.astype(np.float64)),
        paired_difference(own.astype(np.float64), right[-1].astype(np.float64)),
        float(stopped.widths.mean()),
        float(cascade.cost(stopped, "sum").mean()),
        float(right.any(axis=0).mean()),
        float(widths[best].mean()),
        float(np.cumsum(widths)[best].mean()),
        0.0,
        0.0,
    )
    return figures, cascade_told


def _timed(labeller: Labeller, vectors: NDArray[Any]) -> tuple[float, float]:
    """Microseconds a row by the cascade and by the widest alone, each the least of runs in turn."""
    rows = np.asarray(vectors)
    least = [np.inf, np.inf]
    for _ in range(_TIMES):
        for i, width in enumerate((None, labeller.widths[-1])):
            begun = time.perf_counter()
            labeller.label(rows, width)
            least[i] = min(least[i], time.perf_counter() - begun)
    return least[0] / len(rows) * 1e6, least[1] / len(rows) * 1e6


def _remarks(final: Cascade, told: CascadeTold) -> tuple[str, ...]:
    found = []
    if told.accuracy.n < FEW:
        found.append(f"{told.accuracy.n} rows prove little: read the intervals.")
    if len(final.visited_) == 1:
        found.append(f"all rows read {final.visited_[0]} dimensions: no other width pays.")
    if told.from_full.low <= -MARGIN:
        found.append(
            f"on {told.accuracy.n:,} rows it is not proven that the cascade loses less than "
            f"{MARGIN:g} of the widest's accuracy."
        )
    return tuple(found)
