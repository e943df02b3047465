"""The report of a classifier: figures of told rows, and rows that stopped early and late."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.cascade_curves import (
    MOST_TUNING,
    SUREST,
    Steps,
    class_gains,
    cost_points,
    trust,
)
from nestvec.choose.thresholds import I64, stops_at
from nestvec.errors import UserError
from nestvec.jobs.build_sheet import TRAINED_ON, short_command
from nestvec.jobs.sheets import KEPT_CHARACTERS, made_today, version
from nestvec.measure.intervals import Interval
from nestvec.progress import Progress
from nestvec.report.classifier_page import classifier_page, cost_picture
from nestvec.report.classifier_sheet import (
    ClassifierSheet,
    ClassRow,
    CostRow,
    Example,
    WidthRow,
)
from nestvec.report.markup import data_uri
from nestvec.report.sheet import Figure, Note

if TYPE_CHECKING:
    from nestvec.choose.cascade import Cascade
    from nestvec.data.images import Images
    from nestvec.jobs.classify import ClassifyResult
    from nestvec.jobs.labelled_rows import LabelledRows
    from nestvec.jobs.settings import ClassifySettings

SHEET_FILE = "report.json"
PICTURES, TEXTS = 8, 6
"""Examples that stopped early, and as many late."""
THUMBNAIL_PIXELS = 128


def classifier_sheet(
    result: ClassifyResult,
    cascade: Cascade,
    tuned: tuple[Mapping[int, NDArray[Any]], NDArray[Any]],
    told: tuple[Mapping[int, NDArray[Any]], NDArray[Any]],
    rows: LabelledRows,
    told_rows: I64,
    src: str,
    settings: ClassifySettings,
    progress: Progress,
) -> ClassifierSheet:
    """What the report shows.

    cascade: the one that the figures are of. tuned, told: logits {width: (n, classes)} and labels
    (n,). told_rows: places of the told in rows.
    """
    widths = cascade.widths_
    names = [str(name) for name in cascade.classes_]
    column = {name: i for i, name in enumerate(names)}
    truths = [np.array([column[str(x)] for x in labels], np.int64) for _, labels in (tuned, told)]
    heats = cascade.temperatures_.tolist()
    steps = Steps.of(told[0], truths[1], heats, cascade.confidence)
    # a margin is no probability, so what can be believed of it is asked of the largest softmax
    likely = Steps.of(told[0], truths[1], heats)
    stops = stops_at(cascade.thresholds_, steps.sure)
    points = cost_points(
        widths,
        tuned[0],
        truths[0],
        told[0],
        truths[1],
        (cascade.thresholds_, heats, cascade.confidence),
        settings.counted,
        settings.seed,
        progress,
    )
    shown = result.cascade
    model = settings.model or (None if rows.kind == "vectors" else settings.embedding.model)
    of_model = f", {model}" if model else ""
    found = np.array([told[0][widths[step]][i].argmax() for i, step in enumerate(stops)], np.int64)
    early, late = _examples(
        rows, told_rows, truths[1], found, stops, steps, widths, names, settings
    )
    return ClassifierSheet(
        name=Path(result.out).name,
        summary=(
            f"{result.classes:,} classes of {Path(src).name}, {result.dim} dimensions{of_model}; "
            f"figures of {result.told:,} rows that neither heads nor thresholds have seen"
        ),
        policy=settings.policy,
        counted=settings.counted,
        widths=tuple(
            WidthRow(
                each.width,
                _figure(each.accuracy),
                _figure(each.from_full),
                each.stopped,
                believed.error,
                believed.surest,
            )
            for each, believed in zip(result.widths, trust(widths, likely), strict=True)
        ),
        visited=cascade.visited_,
        accuracy=_figure(shown.accuracy),
        from_full=_figure(shown.from_full),
        last=shown.last,
        sum=shown.sum,
        microseconds=shown.microseconds,
        full_microseconds=shown.full_microseconds,
        surest=SUREST,
        points=tuple(
            CostRow(each.way, each.detail, each.last, each.sum, _figure(each.accuracy))
            for each in points
        ),
        classes=tuple(
            ClassRow(**{**asdict(each), "gain": _figure(each.gain)})
            for each in class_gains(widths, steps, stops, truths[1], names)
        ),
        early=early,
        late=late,
        notes=tuple(_notes(result, settings, model)),
        warnings=result.notes,
        command=short_command("classify fit", src, Path(result.out), settings),
        made=made_today(),
        version=version(),
    )


def report_files(sheet: ClassifierSheet, name: str) -> dict[str, str]:
    """The sheet and its page, name, as texts of files."""
    text = json.dumps(sheet.to_json(), ensure_ascii=False, allow_nan=False)
    return {SHEET_FILE: text + "\n", name: classifier_page(sheet)}


def page_of_classifier(folder: Path, picture: bool) -> str:
    """The page of the sheet in a classifier's folder, or its picture alone.

    Raises UserError where the folder has no sheet that can be read.
    """
    place = folder / SHEET_FILE
    if not place.is_file():
        raise UserError(
            f"a report needs the figures of the fit, and {folder} has no {SHEET_FILE}: fit it "
            "again with this nestvec."
        )
    try:
        sheet = ClassifierSheet.from_json(json.loads(place.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"the figures in {place} cannot be read ({error}): fit again.") from None
    return cost_picture(sheet) if picture else classifier_page(sheet)


def pictures_of(rows: LabelledRows, settings: ClassifySettings) -> Images | None:
    """The rows' pictures: their own, or those that --images names; None where there are none.

    Raises UserError where they are not as many.
    """
    if settings.images is None:
        return rows.images
    if rows.vectors is None:
        raise UserError(
            f"images are named for vectors alone; {rows.place} holds {rows.kind}. Leave it out."
        )
    from nestvec.data.images import open_images

    images = open_images(settings.images)
    if len(images) != len(rows):
        raise UserError(
            f"images are one a vector, in their order; {settings.images} has {len(images):,} for "
            f"the {len(rows):,} vectors of {rows.place}. Give the images that they were made of."
        )
    return images


def _examples(
    rows: LabelledRows,
    places: I64,
    truth: I64,
    found: I64,
    stops: I64,
    steps: Steps,
    widths: Sequence[int],
    names: Sequence[str],
    settings: ClassifySettings,
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Some told rows that stopped first, and some of those that read furthest."""
    images = pictures_of(rows, settings)
    if images is None and not rows.texts:
        return (), ()
    rng = np.random.default_rng(settings.seed)
    count = TEXTS if images is None else PICTURES
    groups: list[tuple[Example, ...]] = []
    for step in sorted({int(stops.min()), int(stops.max())}):
        drawn = np.sort(rng.permutation(np.flatnonzero(stops == step))[:count])
        groups.append(
            tuple(
                Example(
                    rows.ids[places[i]],
                    rows.texts[places[i]][:KEPT_CHARACTERS] if images is None else "",
                    "" if images is None else _thumbnail(images, int(places[i])),
                    names[truth[i]],
                    names[found[i]],
                    int(widths[step]),
                    float(steps.sure[step, i]),
                )
                for i in drawn
            )
        )
    return groups[0], groups[1] if len(groups) > 1 else ()


def _thumbnail(images: Images, row: int) -> str:
    return data_uri(images.thumbnail(row, THUMBNAIL_PIXELS))


def _figure(found: Interval) -> Figure:
    return Figure(found.value, found.low, found.high)


def _notes(result: ClassifyResult, settings: ClassifySettings, model: str | None) -> list[Note]:
    heads = (
        f"trained on {result.trained:,} rows"
        if result.trained
        else "the model's own, used as they are"
    )
    found = [
        Note("heads", heads),
        Note(
            "thresholds",
            f"policy {settings.policy}, counted by {settings.counted}, confidence "
            f"{settings.confidence}, set on {result.tuned:,} rows; those that were written by "
            f"these and the {result.told:,} told ones",
        ),
        Note(
            "intervals",
            "95 %, percentile bootstrap over rows; differences are paired, row by row",
        ),
        Note(
            "other cascades",
            "keep the said share of the widest's right labels on the rows that set thresholds "
            f"(at most {MOST_TUNING:,} of them, drawn by seed), at the least {settings.counted}; "
            "greedy is that of MRL (arXiv:2205.13147, app. D.1), calibrated after Guo et al. 2017 "
            "(arXiv:1706.04599)",
        ),
        Note(
            "time", "of vectors that are there: products of a matrix and heads, the least of runs"
        ),
        Note("seed", str(settings.seed)),
    ]
    if model is not None:
        trained = TRAINED_ON.get(model, "what it was trained on is for its card to say")
        found.append(Note("base model", f"{model}: {trained}"))
    return found
