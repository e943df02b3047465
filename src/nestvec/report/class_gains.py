"""Which classes need width: a line a class from its narrow to its full accuracy, and a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from nestvec.report.classifier_sheet import ClassifierSheet, ClassRow
from nestvec.report.lines import Canvas
from nestvec.report.markup import signed, signed_figure, table
from nestvec.report.style import number

WIDE = Canvas(960, 420, left=56, right=24, top=34, bottom=54, font=13, ticks=12)
NARROW = Canvas(380, 360, left=42, right=10, top=30, bottom=50, font=12, ticks=6)
#: classes in the picture
DRAWN_CLASSES = 12


def class_section(sheet: ClassifierSheet) -> str:
    """The classes that gain most as a picture, and all of them as a table."""
    if not sheet.classes:
        return ""
    narrow, full = sheet.widths[0].width, sheet.widths[-1].width
    first = sheet.classes[:DRAWN_CLASSES]
    least = min(each.rows for each in sheet.classes)
    most = max(each.rows for each in sheet.classes)
    n = f"{least}" if least == most else f"{least} to {most}"
    rows = [([*_class_cells(each)], "") for each in sheet.classes]
    caption = (
        f"Accuracy at {narrow} dimensions, by the cascade and at {full}, the gain from {narrow} to "
        f"{full} with its 95 % interval, and the mean width at which the cascade stops"
    )
    headings = ("class", "rows", f"at {narrow}", "cascade", f"at {full}", "gain", "mean width")
    which = f"The {len(first)} of {len(sheet.classes)} classes that gain most."
    if len(first) == len(sheet.classes):
        which = "All classes, those that gain most first."
    few = (
        f" Each class has {n} told rows: the order of classes is partly luck, as the intervals say."
    )
    picture = "".join(
        _dumbbells(first, canvas, place)
        for place, canvas in (("wide", WIDE), ("narrow", NARROW))
    )  # fmt: skip
    parts = [
        "<section class='classes'><h2>Which classes need width</h2>",
        f"<figure><ul class='key'><li><b class='open'></b>{narrow} dimensions</li>"
        f"<li><b></b>{full} dimensions</li></ul>{picture}<figcaption>"
        f"{which}{few}</figcaption></figure>",
        f"<details><summary>All {len(sheet.classes)} classes</summary>",
        table(caption, headings, rows),
        "</details></section>",
    ]
    return "".join(parts)


def _class_cells(each: ClassRow) -> Iterable[str]:
    yield escape(each.name)
    yield str(each.rows)
    yield number(each.narrow)
    yield number(each.cascade)
    yield number(each.full)
    yield signed_figure(each.gain.value, each.gain.low, each.gain.high)
    yield f"{each.mean_width:,.1f}"


def _dumbbells(classes: Sequence[ClassRow], canvas: Canvas, which: str) -> str:
    """A line a class from its narrow to its full accuracy; its name before it, or above."""
    wide = which == "wide"
    left, right, row, top = (250, 70, 26, 14) if wide else (10, 44, 42, 8)
    span = canvas.width - left - right
    height = top + row * len(classes) + 26
    parts = [
        f'<svg class="chart {which}" role="img" aria-label="accuracy of classes, narrow and full" '
        f'viewBox="0 0 {canvas.width} {height}" xmlns="http://www.w3.org/2000/svg" '
        f'font-size="{canvas.font}">'
    ]
    for i, each in enumerate(classes):
        y = top + row * i + (row / 2 if wide else 30)
        a, b = left + span * each.narrow, left + span * each.full
        name = each.name if len(each.name) <= 34 else each.name[:33] + "…"
        at = (left - 12, y + 4, "end") if wide else (left, y - 14, "start")
        parts.append(
            f"<g><title>{escape(each.name)}: {number(each.narrow)} to {number(each.full)}</title>"
            f'<line class="rail" x1="{left}" x2="{left + span}" y1="{y}" y2="{y}"/>'
            f'<line class="{"gain" if b >= a else "loss"}" x1="{a:.1f}" x2="{b:.1f}" y1="{y}" '
            f'y2="{y}"/><circle class="narrow" cx="{a:.1f}" cy="{y}" r="4.5"/>'
            f'<circle class="full" cx="{b:.1f}" cy="{y}" r="5"/>'
            f'<text class="name full-name" x="{at[0]}" y="{at[1]}" text-anchor="{at[2]}">'
            f"{escape(name)}</text>"
            f'<text class="tick" x="{canvas.width - 4}" y="{y + 4}" text-anchor="end">'
            f"{signed(each.full - each.narrow)}</text></g>"
        )
    parts += [
        f'<text class="tick" x="{left + span * share:.1f}" y="{height - 6}" '
        f'text-anchor="{anchor}">{share:g}</text>'
        for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end"))
    ]
    parts.append("</svg>")
    return "".join(parts)
