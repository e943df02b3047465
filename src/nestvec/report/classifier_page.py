"""A classifier's sheet as one self-contained HTML page: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from nestvec.report.class_gains import NARROW, WIDE, class_section
from nestvec.report.classifier_sheet import ClassifierSheet, CostRow, Example
from nestvec.report.lines import Level, Mark, Ring, Series, alone, lines
from nestvec.report.markup import (
    beginning,
    command_section,
    document,
    figure_of,
    image,
    notes_section,
    signed,
    signed_figure,
    table,
    tiles,
    warnings_box,
)
from nestvec.report.style import number

#: ways of the sheet's points -> their tone, in the order they are drawn
TONES = {
    "one width": "float",
    "stops at random": "quantizer",
    "greedy": "int8",
    "greedy, calibrated": "int8",
    "full accuracy": "adapted",
    "oracle": "oracle",
    "this cascade": "nested",
    "keeps more or less": "nested",
}
NAMES = {
    "one width": "one width for all",
    "stops at random": "as many stop, at random",
    "greedy": "greedy (MRL)",
    "full accuracy": "held-out accuracy kept",
    "keeps more or less": "cascades that keep more or less",
    "this cascade": "this cascade",
}
COUNTS = {
    "sum": ("All dimensions that a row reads", "every width that a row reads is counted"),
    "last": ("The last width alone", "as MRL counts: widths before the last are free"),
}
_TITLE = "Accuracy against dimensions: {}"
_STYLE = (
    ".oracle .point,.oracle-name{fill:var(--ink)}.oracle .whisker{stroke:var(--ink)}"
    ".chart .adapted.line .whisker{opacity:.3}"
    ".gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(104px,1fr));gap:18px 16px;"
    "margin:0 0 8px;padding:0;list-style:none;font-size:14px;line-height:1.35}"
    ".gallery.texts{grid-template-columns:repeat(auto-fill,minmax(260px,1fr))}"
    ".gallery li{border-top:1px solid var(--rule);padding-top:8px;overflow-wrap:anywhere}"
    ".gallery img{display:block;width:96px;height:96px;object-fit:cover;border-radius:6px;"
    "background:var(--panel);margin-bottom:6px;image-rendering:auto}"
    ".gallery p{margin:0 0 4px}.gallery small{display:block;color:var(--soft);font-size:13px}"
    ".gallery .wrong{color:var(--warn)}"
    ".classes .rail{stroke:var(--grid)}.classes .gain{stroke:var(--nested);stroke-width:2.4}"
    ".classes .loss{stroke:var(--warn);stroke-width:2.4}"
    ".classes circle.narrow{fill:var(--paper);stroke:var(--float);stroke-width:2}"
    ".classes circle.full{fill:var(--nested);stroke:none}"
    ".key b{display:inline-block;width:10px;height:10px;border-radius:50%;margin-right:7px;"
    "background:var(--nested)}.key b.open{background:var(--paper);border:2px solid var(--float)}"
    ".quiet{color:var(--soft);font-size:14px}"
)


def classifier_page(sheet: ClassifierSheet) -> str:
    """The whole HTML document."""
    body = "".join(
        [
            _head(sheet),
            _widths(sheet),
            _costs(sheet),
            class_section(sheet),
            _examples(sheet),
            _trust(sheet),
            notes_section(sheet.notes),
            command_section(sheet.command),
        ]
    )
    return document(
        f"{sheet.name}: accuracy against width",
        body,
        version=sheet.version,
        made=sheet.made,
        style=_STYLE,
    )


def _head(sheet: ClassifierSheet) -> str:
    widest = sheet.widths[-1]
    own, lost = sheet.accuracy, sheet.from_full
    count = sheet.sum if sheet.counted == "sum" else sheet.last
    sentence = (
        f"Rows read <strong>{count:,.1f} of {widest.width:,} dimensions</strong> on average "
        f"{'in all' if sheet.counted == 'sum' else 'at the last width'}; accuracy is "
        f"{number(own.value)}, by the widest alone {number(widest.accuracy.value)}."
    )
    found = tiles(
        [
            ("accuracy of the cascade", number(own.value), _range(own.low, own.high)),
            (
                "from the widest",
                signed(lost.value),
                f"{signed(lost.low)} to {signed(lost.high)}",
            ),
            (
                "dimensions, all that is read",
                f"{sheet.sum:,.1f}",
                f"last width alone {sheet.last:,.1f}",
            ),
            (
                "time a row",
                f"{sheet.microseconds:,.1f}\u00a0µs",
                f"by the widest alone {sheet.full_microseconds:,.1f}\u00a0µs",
            ),
        ]
    )
    return (
        f"<header><h1>{escape(sheet.name)}</h1><p class='lead'>{escape(sheet.summary)}</p>"
        f"<p class='verdict'>{sentence}</p>{found}{warnings_box(sheet.warnings)}</header>"
    )


def _widths(sheet: ClassifierSheet) -> str:
    widest = sheet.widths[-1]
    series = Series(
        "one width for all",
        "nested",
        tuple(
            Mark(
                each.width,
                each.accuracy.value,
                each.accuracy.low,
                each.accuracy.high,
                f"{each.width} dims: {number(each.accuracy.value)} "
                f"[{number(each.accuracy.low)}, {number(each.accuracy.high)}]",
            )
            for each in sheet.widths
        ),
        strong=True,
    )
    full = widest.accuracy
    level = Level(full.value, full.low, full.high, f"widest {number(full.value)}")
    chart = _twice(
        "widths",
        "Accuracy against width",
        [series],
        x_name="dimensions (log scale)",
        ticks=[each.width for each in sheet.widths],
        level=level,
    )
    rows = (
        (
            [
                f"{each.width:,}",
                figure_of(each.accuracy.value, each.accuracy.low, each.accuracy.high),
                signed_figure(each.from_full.value, each.from_full.low, each.from_full.high),
                f"{each.stopped:.1%}" if each.width in sheet.visited else "not read",
            ],
            "",
        )
        for each in sheet.widths
    )  # fmt: skip
    return (
        f"<section><h2>Accuracy against width</h2><figure>{chart}<figcaption>Every width labels "
        "all rows by itself. Shaded: 95 % intervals over the told rows.</figcaption></figure><br>"
        + table(
            "Accuracy of each width and its paired difference from the widest, each with its 95 % "
            "interval, and the share of rows that the cascade stops there",
            ("width", "accuracy", "from widest", "stops here"),
            rows,
        )
        + "</section>"
    )


def _costs(sheet: ClassifierSheet) -> str:
    if not sheet.points:
        return ""
    charts = []
    for count, (heading, text) in COUNTS.items():
        series, options = _cost_chart(sheet, count)
        picture = _twice(f"cost-{count}", _TITLE.format(text), series, **options)
        charts.append(
            f"<h3>{heading}</h3><figure>{_key(series)}{picture}<figcaption>{text[:1].upper()}{text[1:]}."
            "</figcaption></figure>"
        )
    rows = (
        (
            [
                escape(NAMES.get(each.way, each.way)) + _detail(each),
                f"{each.sum:,.1f}",
                f"{each.last:,.1f}",
                figure_of(each.accuracy.value, each.accuracy.low, each.accuracy.high),
            ],
            "is-chosen" if each.way == "this cascade" else "",
        )
        for each in sheet.points
    )
    return (
        "<section><h2>Accuracy against cost</h2><p class='soft'>A cascade pays where it lies above "
        "the single widths at the same cost. The oracle stops at the first width that is right, "
        "which nobody can know; “at random” stops as many rows at each width as a cascade does, "
        "but whichever.</p>"
        + "".join(charts)
        + f"<details><summary>All {len(sheet.points)} points</summary>"
        + table(
            "Expected dimensions a row by either count, and accuracy with its 95 % interval",
            ("method", "all read", "last", "accuracy"),
            rows,
        )
        + "</details></section>"
    )


def _key(series: Sequence[Series]) -> str:
    """The colours of the series; those of one colour share an entry."""
    names: dict[str, list[str]] = {}
    for each in series:
        names.setdefault(each.tone, []).append(each.name)
    items = "".join(
        f'<li><i style="background:var(--{"ink" if tone == "oracle" else tone})"></i>'
        f"{escape('; '.join(found))}</li>"
        for tone, found in reversed(names.items())
    )
    return f'<ul class="key">{items}</ul>'


def cost_picture(sheet: ClassifierSheet) -> str:
    """Accuracy against cost, as the cascade counts it, as an SVG file of its own."""
    series, options = _cost_chart(sheet, sheet.counted)
    title = _TITLE.format(COUNTS[sheet.counted][1])
    before = alone(WIDE, _STYLE)
    return lines("chart", title, series, WIDE, y_name="accuracy", before=before, **options)


def _cost_chart(sheet: ClassifierSheet, count: str) -> tuple[list[Series], dict[str, Any]]:
    """The series of a picture of cost, and what else it shows."""
    (chosen,) = (each for each in sheet.points if each.way == "this cascade")
    full = sheet.widths[-1].accuracy
    return list(_ways(sheet.points, count)), {
        "x_name": "expected dimensions a row (log scale)",
        "ticks": [each.width for each in sheet.widths],
        "level": Level(full.value, full.low, full.high, f"widest {number(full.value)}"),
        "ring": Ring(getattr(chosen, count), chosen.accuracy.value, "this cascade"),
    }


def _detail(each: CostRow) -> str:
    if not each.detail:
        return ""
    return f" <small>{'keeps ' if each.way != 'one width' else ''}{escape(each.detail)}</small>"


def _ways(points: Sequence[CostRow], count: str) -> Iterable[Series]:
    for way, tone in TONES.items():
        if way == "this cascade":
            continue
        found = [
            Mark(
                getattr(each, count),
                each.accuracy.value,
                each.accuracy.low,
                each.accuracy.high,
                f"{NAMES.get(way, way)} {each.detail}: {getattr(each, count):.1f} dims, "
                f"{number(each.accuracy.value)} [{number(each.accuracy.low)}, "
                f"{number(each.accuracy.high)}]",
            )
            for each in points
            if each.way == way
        ]
        if found:
            marks = tuple(sorted(found, key=lambda mark: (mark.x, mark.value)))
            yield Series(NAMES.get(way, way), tone, marks, strong=way == "keeps more or less")


def _twice(name: str, title: str, series: Sequence[Series], **options: Any) -> str:
    """The picture for a desk and for a phone; the style shows one of them."""
    return "".join(
        lines(
            f"{name}-{which}", title, series, canvas, y_name="accuracy", **options
        ).replace('class="chart"', f'class="chart {which}"', 1)
        for which, canvas in (("wide", WIDE), ("narrow", NARROW))
    )  # fmt: skip


def _examples(sheet: ClassifierSheet) -> str:
    if not sheet.early and not sheet.late:
        return ""
    parts = ["<section><h2>Rows that stopped early, and rows that read on</h2>"]
    for heading, found in (("Stopped first", sheet.early), ("Read furthest", sheet.late)):
        if not found:
            continue
        pictured = any(each.picture for each in found)
        items = "".join(_example(each) for each in found)
        at = sorted({each.width for each in found})
        places = f"at {at[0]:,}" if len(at) == 1 else f"at {at[0]:,} to {at[-1]:,}"
        parts.append(
            f"<h3>{heading}, {places} dimensions</h3>"
            f'<ul class="gallery{"" if pictured else " texts"}">{items}</ul>'
        )
    parts.append("<p class='quiet'>Drawn by seed from the told rows.</p></section>")
    return "".join(parts)


def _example(each: Example) -> str:
    words = f"<p>{escape(beginning(each.text))}</p>" if each.text else ""
    if each.found == each.label:
        told = escape(each.label)
    else:
        told = f'{escape(each.label)} <span class="wrong">labelled {escape(each.found)}</span>'
    return (
        f"<li>{image(each.picture)}{words}{told}"
        f"<small>{each.confidence:.0%} sure</small></li>"
    )  # fmt: skip


def _trust(sheet: ClassifierSheet) -> str:
    shown = [i for i, share in enumerate(sheet.surest) if round(share, 2) in (0.2, 0.5, 0.8, 1.0)]
    headings = (
        "width",
        "calibration error",
        *(f"surest {sheet.surest[i]:.0%}" if sheet.surest[i] < 1 else "all" for i in shown),
    )
    rows = (
        (
            [
                f"{each.width:,}",
                number(each.calibration_error),
                *(number(each.surest[i]) for i in shown),
            ],
            "",
        )
        for each in sheet.widths
    )
    return (
        "<section><h2>Can confidence be believed?</h2>"
        + table(
            "Expected calibration error (how far confidence is from accuracy), and the accuracy of "
            "the surest share of rows at each width",
            headings,
            rows,
        )
        + "</section>"
    )


def _range(low: float, high: float) -> str:
    return f"95 % interval {number(low)} to {number(high)}"
