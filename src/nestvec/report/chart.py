"""The picture of quality against bytes, as SVG, for a page or alone."""

from __future__ import annotations

from collections.abc import Iterable

from nestvec.report.lines import WIDE, Canvas, Level, Mark, Ring, Series, alone, lines
from nestvec.report.scales import byte_range, byte_ticks
from nestvec.report.sheet import Cell, Sheet, family, is_nested, methods, title
from nestvec.report.style import number


def standalone(sheet: Sheet, canvas: Canvas = WIDE) -> str:
    """The picture as an SVG file with its own colours, light or dark as the reader prefers."""
    return draw(sheet, canvas, "chart", alone(canvas))


def draw(sheet: Sheet, canvas: Canvas, name: str, before: str = "") -> str:
    """The picture as an <svg> element. name: its id; before: markup to put first."""
    full = sheet.full
    low, high = byte_range([sheet.full_bytes, *(cell.bytes for cell in sheet.cells)])
    words = f"full vectors {number(full.value)} ({sheet.full_bytes:,.0f} bytes)"
    return lines(
        name,
        f"{sheet.measure} against bytes per vector",
        [_series(method, _sorted(sheet, method)) for method in methods(sheet)],
        canvas,
        x_name="bytes per vector (log scale)",
        y_name=sheet.measure,
        ticks=byte_ticks(low, high, canvas.ticks),
        level=Level(full.value, full.low, full.high, words),
        ring=_ring(sheet),
        span=(low, high),
        told=describe(sheet),
        before=before,
    )


def describe(sheet: Sheet) -> str:
    """The picture in words, for those who do not see it."""
    words = f"Full vectors, {sheet.full_bytes:,.0f} bytes: {number(sheet.full.value)}."
    for method in filter(is_nested, methods(sheet)):
        cells = _sorted(sheet, method)
        cuts = ", ".join(f"{cell.bytes:g} bytes {number(cell.value)}" for cell in cells)
        words += f" {title(method).capitalize()}: {cuts}."
    return words


def _sorted(sheet: Sheet, method: str) -> list[Cell]:
    """A method's cells as its line goes."""
    own = (cell for cell in sheet.cells if cell.method == method)
    return sorted(own, key=lambda cell: (cell.bytes, cell.value))


def _series(method: str, cells: Iterable[Cell]) -> Series:
    marks = tuple(
        Mark(cell.bytes, cell.value, cell.low, cell.high, _tooltip(cell)) for cell in cells
    )
    return Series(title(method), family(method), marks, strong=is_nested(method))


def _tooltip(cell: Cell) -> str:
    dims = f", {cell.dims} dims" if cell.dims else ""
    return (
        f"{title(cell.method)}{dims}, {cell.bytes:g} bytes: {number(cell.value)} "
        f"[{number(cell.low)}, {number(cell.high)}]"
    )


def _ring(sheet: Sheet) -> Ring | None:
    """Around the chosen cell, where it is one of those drawn."""
    if sheet.chosen is None:
        return None
    count = sheet.chosen.code_bytes + sheet.chosen.fact_bytes
    for cell in _sorted(sheet, sheet.chosen.method):
        if cell.bytes == count:
            tone = family(sheet.chosen.method)
            return Ring(cell.bytes, cell.value, f"chosen: {count} bytes", tone)
    return None
