"""A sheet as one self-contained HTML page: no script, no font, no network."""

from __future__ import annotations

from html import escape

from nestvec.report.chart import draw
from nestvec.report.lines import NARROW, WIDE
from nestvec.report.markup import (
    beginning,
    command_section,
    document,
    figure_of,
    image,
    notes_section,
    table,
    tiles,
    warnings_box,
)
from nestvec.report.sheet import (
    Cell,
    Chosen,
    Question,
    Reading,
    Sheet,
    family,
    is_nested,
    methods,
    title,
)
from nestvec.report.style import number


def page(sheet: Sheet) -> str:
    """The whole HTML document."""
    body = "".join(
        [
            _head(sheet),
            _picture(sheet),
            _tables(sheet),
            _costs(sheet),
            _questions(sheet),
            notes_section(sheet.notes),
            command_section(sheet.command),
        ]
    )
    return document(
        f"{sheet.name}: quality against bytes",
        body,
        version=sheet.version,
        made=sheet.made,
        accent=_accent(sheet),
    )


def _accent(sheet: Sheet) -> str:
    """The class that gives what was chosen the colour of its line."""
    return "" if sheet.chosen is None else f"{family(sheet.chosen.method)}-chosen"


def _head(sheet: Sheet) -> str:
    parts = [f"<h1>{escape(sheet.name)}</h1>", f'<p class="lead">{escape(sheet.summary)}</p>']
    if sheet.chosen is not None:
        parts.append(f'<p class="verdict">{_strong(sheet.chosen)}</p>')
        parts.append(_tiles(sheet, sheet.chosen))
    parts.append(warnings_box(sheet.warnings))
    return "<header>" + "".join(parts) + "</header>"


def _strong(chosen: Chosen) -> str:
    """The verdict, its byte count made strong where the sentence names it."""
    count = f"{chosen.code_bytes + chosen.fact_bytes} bytes"
    text = escape(chosen.sentence).replace(" %", "\u00a0%")
    return text.replace(count, f"<strong>{count}</strong>", 1)


def _tiles(sheet: Sheet, chosen: Chosen) -> str:
    kept = chosen.kept
    facts = "byte" if chosen.fact_bytes == 1 else "bytes"
    return tiles(
        [
            (
                "bytes per vector",
                f"{chosen.code_bytes + chosen.fact_bytes}",
                f"{chosen.code_bytes} code + {chosen.fact_bytes} {facts} of norm",
            ),
            (
                f"{sheet.measure} kept",
                f"{100 * kept.value:.1f}\u00a0%",
                f"95 % interval {100 * kept.low:.1f} to {100 * kept.high:.1f}\u00a0%",
            ),
            (
                f"full vectors, {sheet.measure}",
                number(sheet.full.value),
                f"{number(sheet.full.low)} to {number(sheet.full.high)}",
            ),
            ("plan", escape(chosen.plan), f"{_kind(chosen)} {escape(chosen.spec)}"),
        ]
    )


def _kind(chosen: Chosen) -> str:
    return "adapted code" if family(chosen.method) == "adapted" else "code"


KEY = {
    "nested": "nested code, cut anywhere",
    "adapted": "adapted nested code, cut anywhere",
    "float": "float32, fewer dimensions",
    "int8": "int8, fewer dimensions",
    "quantizer": "other codes",
}


def _picture(sheet: Sheet) -> str:
    wide = draw(sheet, WIDE, "wide").replace('class="chart"', 'class="chart wide"', 1)
    narrow = draw(sheet, NARROW, "narrow").replace('class="chart"', 'class="chart narrow"', 1)
    present = {family(method) for method in methods(sheet)}
    key = "".join(
        f'<li><i style="background:var(--{name})"></i>{text}</li>'
        for name, text in KEY.items()
        if name in present
    )
    return (
        "<section><h2>Quality against bytes</h2><figure>"
        f'<ul class="key">{key}</ul>{wide}{narrow}'
        "<figcaption>Shaded and thin vertical lines: 95 % intervals over the queries. Bytes count "
        "what a search reads of a vector, norms included. Every value is in the tables below."
        "</figcaption></figure></section>"
    )


def _tables(sheet: Sheet) -> str:
    """A table of each nested code, that of the choice first, and one of all methods."""
    chosen = None if sheet.chosen is None else sheet.chosen.method
    nested = sorted(filter(is_nested, methods(sheet)), key=lambda method: method != chosen)
    parts = ["<section><h2>What each byte count costs</h2>"]
    parts += [_nested_table(sheet, method) for method in nested]
    parts.append(
        f"<details><summary>All methods, {len(sheet.cells)} cells</summary>"
        + table(
            f"{sheet.measure} of every method at every byte count",
            ("method", "dims", "bytes = code + norm", "value", "difference"),
            (
                (
                    [
                        escape(title(cell.method)),
                        "" if cell.dims is None else str(cell.dims),
                        _count(cell),
                        *_figures(cell),
                    ],
                    "",
                )
                for cell in sheet.cells
            ),
        )
        + "</details></section>"
    )
    return "".join(parts)


def _nested_table(sheet: Sheet, method: str) -> str:
    chosen = None
    if sheet.chosen is not None and sheet.chosen.method == method:
        chosen = sheet.chosen.code_bytes + sheet.chosen.fact_bytes
    return table(
        f"The {title(method)}: {sheet.measure} and its paired difference from the full "
        f"vectors ({number(sheet.full.value)}), each with its 95 % interval",
        ("bytes = code + norm", "value", "difference"),
        (
            ([_count(cell), *_figures(cell)], "is-chosen" if cell.bytes == chosen else "")
            for cell in sheet.cells
            if cell.method == method
        ),
    )


def _count(cell: Cell) -> str:
    """Bytes read, and small how many of them are facts."""
    if not cell.fact_bytes:
        return f"{cell.bytes:,g}"
    return f"{cell.bytes:,g} <small>= {cell.bytes - cell.fact_bytes:g} + {cell.fact_bytes}</small>"


def _figures(cell: Cell) -> list[str]:
    return [
        figure_of(cell.value, cell.low, cell.high),
        figure_of(cell.delta, cell.delta_low, cell.delta_high),
    ]


def _costs(sheet: Sheet) -> str:
    if not sheet.costs:
        return ""
    rows = (
        ([escape(cost.what), escape(cost.full), escape(cost.chosen)], "") for cost in sheet.costs
    )
    return (
        "<section><h2>What the choice costs and saves</h2>"
        + table("Full vectors and the choice, side by side", ("", "full vectors", "chosen"), rows)
        + "</section>"
    )


def _questions(sheet: Sheet) -> str:
    if not sheet.questions:
        return ""
    judged = any(
        hit.relevant
        for question in sheet.questions
        for reading in question.readings
        for hit in reading.hits
    )
    explain = "Hits that the full vectors do not have in their list are grey and marked “new”."
    if judged:
        explain += " “Relevant” are those that the measurement looks for, as told below."
    return (
        f"<section><h2>Real queries</h2><p class='soft'>{explain}</p>"
        + "".join(_question(question) for question in sheet.questions)
        + "</section>"
    )


def _question(question: Question) -> str:
    readings = "".join(_reading(reading) for reading in question.readings)
    text = escape(beginning(question.text))
    return (
        f'<div class="question"><h3>{image(question.picture)}{text}</h3>'
        f'<div class="readings">{readings}</div></div>'
    )


def _reading(reading: Reading) -> str:
    items = []
    for hit in reading.hits:
        badge = '<span class="badge relevant">relevant</span>' if hit.relevant else ""
        badge += "" if hit.agrees else '<span class="badge">new</span>'
        marks = [*(() if hit.agrees else ("differs",)), *(("pictured",) if hit.picture else ())]
        mark = f' class="{" ".join(marks)}"' if marks else ""
        words = f"<div>{badge}{escape(beginning(hit.text or hit.id))}</div>"
        items.append(f"<li{mark}>{image(hit.picture)}{words}</li>")
    return (
        f'<div class="reading"><h4>{escape(reading.name)} '
        f"<span>{reading.bytes:,g} bytes</span></h4><ol>{''.join(items)}</ol></div>"
    )
