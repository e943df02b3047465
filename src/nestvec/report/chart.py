"""The picture of quality against bytes, as SVG, for a page or alone.

Lines carry their own names; the nested codes stand out, the others stay quiet. Values are
in a table beside the picture and in the points' tooltips.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from nestvec.report.labels import MOST_COVERED, Box, Spot, place, text_width
from nestvec.report.scales import (
    LinearScale,
    LogScale,
    byte_range,
    byte_ticks,
    quality_range,
    quality_ticks,
)
from nestvec.report.sheet import Cell, Sheet, family, is_nested, methods, title
from nestvec.report.style import COLORS, chart_style, number

#: marks that the name of a nested code may cover: it is looked for, and has a rim of paper
NESTED_COVERED = 20.0


@dataclass(frozen=True)
class Canvas:
    """A picture's measures in pixels. ticks: most ticks of the byte axis."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    font: float
    ticks: int


WIDE = Canvas(960, 500, left=56, right=24, top=34, bottom=54, font=13, ticks=12)
NARROW = Canvas(380, 400, left=42, right=10, top=30, bottom=50, font=12, ticks=6)


def standalone(sheet: Sheet, canvas: Canvas = WIDE) -> str:
    """The picture as an SVG file with its own colours, light or dark as the reader prefers."""
    style = f"<style>{COLORS}{chart_style('svg')}.ground{{fill:var(--paper)}}</style>"
    ground = f'<rect class="ground" width="{canvas.width}" height="{canvas.height}" rx="8"/>'
    return draw(sheet, canvas, "chart", style + ground)


def draw(sheet: Sheet, canvas: Canvas, name: str, before: str = "") -> str:
    """The picture as an <svg> element. name: its id; before: markup to put first."""
    x, y = _scales(sheet, canvas)
    lines = {
        method: _sorted(cell for cell in sheet.cells if cell.method == method)
        for method in methods(sheet)
    }
    spots = {
        method: [(x(cell.bytes), y(cell.value)) for cell in cells]
        for method, cells in lines.items()
    }
    full_y = y(sheet.full.value)
    parts = [
        f'<svg id="{name}" class="chart" role="img" aria-labelledby="{name}-t {name}-d" '
        f'viewBox="0 0 {canvas.width} {canvas.height}" xmlns="http://www.w3.org/2000/svg" '
        f'font-size="{canvas.font}">',
        f'<title id="{name}-t">{escape(sheet.measure)} against bytes per vector</title>',
        f'<desc id="{name}-d">{escape(describe(sheet))}</desc>',
        before,
        _axes(sheet, canvas, x, y),
        _full_band(sheet, canvas, y),
    ]
    for method, cells in lines.items():
        parts.append(_line(method, cells, x, y))
    chosen_line = lines.get(sheet.chosen.method, []) if sheet.chosen else []
    marker, marker_box = _chosen(sheet, chosen_line, canvas, x, y)
    parts.append(marker)
    parts.append(_names(spots, canvas, full_y, sheet, marker_box))
    parts.append("</svg>")
    return "".join(parts)


def describe(sheet: Sheet) -> str:
    """The picture in words, for those who do not see it."""
    words = f"Full vectors, {sheet.full_bytes:,.0f} bytes: {number(sheet.full.value)}."
    for method in filter(is_nested, methods(sheet)):
        cells = _sorted(cell for cell in sheet.cells if cell.method == method)
        cuts = ", ".join(f"{cell.bytes:g} bytes {number(cell.value)}" for cell in cells)
        words += f" {title(method).capitalize()}: {cuts}."
    return words


def _sorted(cells: Iterable[Cell]) -> list[Cell]:
    return sorted(cells, key=lambda cell: (cell.bytes, cell.value))


def _scales(sheet: Sheet, canvas: Canvas) -> tuple[LogScale, LinearScale]:
    low, high = byte_range([sheet.full_bytes, *(cell.bytes for cell in sheet.cells)])
    bottom, top = quality_range(
        [sheet.full.low, *(cell.low for cell in sheet.cells)],
        [sheet.full.high, *(cell.high for cell in sheet.cells)],
    )
    return (
        LogScale(low, high, canvas.left, canvas.width - canvas.right),
        LinearScale(bottom, top, canvas.height - canvas.bottom, canvas.top),
    )


def _axes(sheet: Sheet, canvas: Canvas, x: LogScale, y: LinearScale) -> str:
    right, floor = canvas.width - canvas.right, canvas.height - canvas.bottom
    parts = []
    for value in quality_ticks(y.low, y.high, 6):
        at = y(value)
        parts.append(
            f'<line class="grid" x1="{canvas.left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        parts.append(
            f'<text class="tick" x="{canvas.left - 8}" y="{at + 4:.1f}" text-anchor="end">'
            f"{value:g}</text>"
        )
    for count in byte_ticks(x.low, x.high, canvas.ticks):
        at = x(count)
        parts.append(
            f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{floor}" y2="{floor + 5}"/>'
        )
        parts.append(
            f'<text class="tick" x="{at:.1f}" y="{floor + 20}" text-anchor="middle">'
            f"{count:,}</text>"
        )
    parts.append(_rule("mark", canvas.left, right, floor, floor))
    middle = (canvas.left + right) / 2
    parts.append(
        f'<text class="axis" x="{middle:.0f}" y="{canvas.height - 12}" text-anchor="middle">'
        "bytes per vector (log scale)</text>"
    )
    parts.append(f'<text class="axis" x="8" y="{canvas.top - 12}">{escape(sheet.measure)}</text>')
    return "".join(parts)


def _rule(kind: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def _full_band(sheet: Sheet, canvas: Canvas, y: LinearScale) -> str:
    right = canvas.width - canvas.right
    top, low, at = y(sheet.full.high), y(sheet.full.low), y(sheet.full.value)
    return (
        f'<rect class="full-band" x="{canvas.left}" y="{top:.1f}" '
        f'width="{right - canvas.left}" height="{max(low - top, 0):.1f}"/>'
        f'<line class="full" x1="{canvas.left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>'
    )


def _line(method: str, cells: Sequence[Cell], x: LogScale, y: LinearScale) -> str:
    parts = [f'<g class="line {family(method)}" data-method="{escape(method)}">']
    if len(cells) > 1:
        if is_nested(method):
            upper = [(x(cell.bytes), y(cell.high)) for cell in cells]
            lower = [(x(cell.bytes), y(cell.low)) for cell in reversed(cells)]
            parts.append(f'<polygon class="band" points="{_points(upper + lower)}"/>')
        path = _points([(x(cell.bytes), y(cell.value)) for cell in cells])
        parts.append(f'<polyline class="path" points="{path}"/>')
    radius = 3.4 if is_nested(method) else 2.4
    for cell in cells:
        at, mid = x(cell.bytes), y(cell.value)
        parts.append("<g>")
        parts.append(f"<title>{escape(_tooltip(cell))}</title>")
        parts.append(
            f'<line class="whisker" x1="{at:.1f}" x2="{at:.1f}" '
            f'y1="{y(cell.high):.1f}" y2="{y(cell.low):.1f}"/>'
        )
        parts.append(f'<circle class="point" cx="{at:.1f}" cy="{mid:.1f}" r="{radius}"/>')
        parts.append(f'<circle class="touch" cx="{at:.1f}" cy="{mid:.1f}" r="8"/></g>')
    parts.append("</g>")
    return "".join(parts)


def _tooltip(cell: Cell) -> str:
    dims = f", {cell.dims} dims" if cell.dims else ""
    return (
        f"{title(cell.method)}{dims}, {cell.bytes:g} bytes: {number(cell.value)} "
        f"[{number(cell.low)}, {number(cell.high)}]"
    )


def _points(spots: Sequence[Spot]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in spots)


def _chosen(
    sheet: Sheet, line: Sequence[Cell], canvas: Canvas, x: LogScale, y: LinearScale
) -> tuple[str, Box | None]:
    """A ring around the chosen cell, with a line down to its byte count."""
    if sheet.chosen is None:
        return "", None
    count = sheet.chosen.code_bytes + sheet.chosen.fact_bytes
    found = next((cell for cell in line if cell.bytes == count), None)
    if found is None:
        return "", None
    at, mid = x(found.bytes), y(found.value)
    floor = canvas.height - canvas.bottom
    text = f"chosen: {count} bytes"
    half = text_width(text, canvas.font) / 2 + 6
    middle = min(max(at, canvas.left + half), canvas.width - canvas.right - half)
    level = floor - 12
    markup = (
        f'<g class="chosen {family(sheet.chosen.method)}-chosen">'
        f'<line class="drop" x1="{at:.1f}" x2="{at:.1f}" y1="{mid + 8:.1f}" y2="{floor}"/>'
        f'<circle class="ring" cx="{at:.1f}" cy="{mid:.1f}" r="8"/>'
        f'<rect class="tag" x="{middle - half:.1f}" y="{level - 15}" width="{2 * half:.1f}" '
        'height="21" rx="10.5"/>'
        f'<text class="tag-text" x="{middle:.1f}" y="{level}" text-anchor="middle">{text}</text>'
        "</g>"
    )
    return markup, Box(middle - half, level - 15, middle + half, level + 6)


def _names(
    spots: dict[str, list[Spot]],
    canvas: Canvas,
    full_y: float,
    sheet: Sheet,
    marker: Box | None,
) -> str:
    """The names of the full line and of every line that has room for one."""
    frame = Box(canvas.left, canvas.top - 10, canvas.width - 2, canvas.height - canvas.bottom)
    full_text = f"full vectors {number(sheet.full.value)} ({sheet.full_bytes:,.0f} bytes)"
    full_box = Box(
        canvas.left,
        full_y - 7 - canvas.font,
        canvas.left + 6 + text_width(full_text, canvas.font),
        full_y - 3,
    )
    parts = [
        f'<text class="name full-name" x="{canvas.left + 6}" y="{full_y - 7:.1f}">'
        f"{escape(full_text)}</text>"
    ]
    taken = [full_box, *([marker] if marker else [])]
    # the nested codes first, then the longest lines: they are looked for first
    order = sorted(spots, key=lambda name: (not is_nested(name), -len(spots[name])))
    for method in order:
        others = [line for name, line in spots.items() if name != method]
        others.append([(canvas.left, full_y), (canvas.width - canvas.right, full_y)])
        most = NESTED_COVERED if is_nested(method) else MOST_COVERED
        label = place(title(method), spots[method], others, taken, frame, canvas.font, most)
        if label is None:
            continue
        taken.append(label.box)
        parts.append(
            f'<text class="name {family(method)}-name" x="{label.x:.1f}" y="{label.y:.1f}" '
            f'text-anchor="{label.anchor}">{escape(label.text)}</text>'
        )
    return "".join(parts)
