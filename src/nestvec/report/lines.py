"""Lines and points with their intervals over a log scale, as SVG in the page's style.

Lines carry their own names; strong ones stand out, the others stay quiet. Values are in a table
beside the picture and in the points' tooltips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from nestvec.report.labels import MOST_COVERED, Box, Spot, place, text_width
from nestvec.report.scales import LinearScale, LogScale, quality_range, quality_ticks
from nestvec.report.style import COLORS, chart_style, number

#: marks that the name of a strong line may cover: it is looked for, and has a rim of paper
_STRONG_COVERED = 20.0
#: between two names of ticks
_TICK_GAP = 10.0


@dataclass(frozen=True)
class Canvas:
    """A picture's measures in pixels. ticks: most ticks of the horizontal axis."""

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


@dataclass(frozen=True)
class Mark:
    """A value at x with its interval, and what a pointer over it is told."""

    x: float
    value: float
    low: float
    high: float
    tip: str


@dataclass(frozen=True)
class Series:
    """Marks of one name, joined where there are several. tone: a colour of style.COLORS.

    strong: drawn wide and above the others, its intervals as a band.
    """

    name: str
    tone: str
    marks: tuple[Mark, ...]
    strong: bool = False


@dataclass(frozen=True)
class Level:
    """A line across the picture, such as the widest's accuracy."""

    value: float
    low: float
    high: float
    name: str


@dataclass(frozen=True)
class Ring:
    """A mark that stands out, what it is called, and the tone of its line."""

    x: float
    value: float
    name: str
    tone: str = "nested"


def lines(
    name: str,
    title: str,
    series: Sequence[Series],
    canvas: Canvas,
    *,
    x_name: str,
    y_name: str,
    ticks: Sequence[int],
    level: Level | None = None,
    ring: Ring | None = None,
    span: tuple[float, float] | None = None,
    told: str = "",
    before: str = "",
) -> str:
    """The picture as an <svg> element. name: its id. ticks: of x; those without room are left out.
    span: the ends of x, a little beyond the marks where None. told: the picture in words, for those
    who do not see it; by default its values. before: markup to put first.

    Series come in the order that they are drawn in; strong ones best last.
    """
    marks = [mark for each in series for mark in each.marks]
    ends = [] if level is None else [level.low, level.high]
    bottom, top = quality_range(
        [*(mark.low for mark in marks), *ends], [*(mark.high for mark in marks), *ends]
    )
    low, high = span or _beyond([mark.x for mark in marks])
    x = LogScale(low, high, canvas.left, canvas.width - canvas.right)
    y = LinearScale(bottom, top, canvas.height - canvas.bottom, canvas.top)
    parts = [
        f'<svg id="{name}" class="chart" role="img" aria-labelledby="{name}-t {name}-d" '
        f'viewBox="0 0 {canvas.width} {canvas.height}" xmlns="http://www.w3.org/2000/svg" '
        f'font-size="{canvas.font}">',
        f'<title id="{name}-t">{escape(title)}</title>',
        f'<desc id="{name}-d">{escape(told or _told(series, level))}</desc>',
        before,
        _axes(canvas, x, y, x_name, y_name, ticks),
    ]
    taken: list[Box] = []
    across: list[Sequence[Spot]] = []
    names = []
    if level is not None:
        parts.append(_level(canvas, y, level))
        markup, box = _level_name(canvas, y, level)
        names.append(markup)
        taken.append(box)
        at = y(level.value)
        across.append([(canvas.left, at), (canvas.width - canvas.right, at)])
    parts += [_series(each, x, y) for each in series]
    if ring is not None:
        markup, box = _ring(canvas, x, y, ring)
        parts.append(markup)
        taken.append(box)
    names += _names(series, canvas, x, y, taken, across)
    return "".join([*parts, *names, "</svg>"])


def alone(canvas: Canvas, style: str = "") -> str:
    """What a picture that is a file of its own puts first: colours, light or dark as its reader
    prefers, and the ground. style: rules beside the usual ones.
    """
    return (
        f"<style>{COLORS}{chart_style('svg')}{style}.ground{{fill:var(--paper)}}</style>"
        f'<rect class="ground" width="{canvas.width}" height="{canvas.height}" rx="8"/>'
    )


def _beyond(xs: Sequence[float]) -> tuple[float, float]:
    return min(xs) / 1.08, max(max(xs), 2 * min(xs)) * 1.08


def _told(series: Sequence[Series], level: Level | None) -> str:
    words = "" if level is None else f"{level.name}. "
    return words + " ".join(
        f"{each.name}: "
        + ", ".join(f"{mark.x:.4g} dims {number(mark.value)}" for mark in each.marks)
        + "."
        for each in series
    )  # fmt: skip


def _axes(
    canvas: Canvas, x: LogScale, y: LinearScale, x_name: str, y_name: str, ticks: Sequence[int]
) -> str:
    right, floor = canvas.width - canvas.right, canvas.height - canvas.bottom
    parts = []
    for value in quality_ticks(y.low, y.high, 6):
        at = y(value)
        parts.append(
            f'<line class="grid" x1="{canvas.left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text class="tick" x="{canvas.left - 8}" y="{at + 4:.1f}" text-anchor="end">'
            f"{value:g}</text>"
        )
    free = -1.0
    for count in ticks:
        at, half = x(count), text_width(f"{count:,}", canvas.font) / 2
        if not x.low <= count <= x.high or at - half < free:
            continue
        free = at + half + _TICK_GAP
        parts.append(
            f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{floor}" y2="{floor + 5}"/>'
            f'<text class="tick" x="{at:.1f}" y="{floor + 20}" text-anchor="middle">'
            f"{count:,}</text>"
        )
    parts.append(f'<line class="mark" x1="{canvas.left}" x2="{right}" y1="{floor}" y2="{floor}"/>')
    middle = (canvas.left + right) / 2
    parts.append(
        f'<text class="axis" x="{middle:.0f}" y="{canvas.height - 12}" text-anchor="middle">'
        f"{escape(x_name)}</text>"
        f'<text class="axis" x="8" y="{canvas.top - 12}">{escape(y_name)}</text>'
    )
    return "".join(parts)


def _level(canvas: Canvas, y: LinearScale, level: Level) -> str:
    right = canvas.width - canvas.right
    top, low, at = y(level.high), y(level.low), y(level.value)
    return (
        f'<rect class="full-band" x="{canvas.left}" y="{top:.1f}" '
        f'width="{right - canvas.left}" height="{max(low - top, 0):.1f}"/>'
        f'<line class="full" x1="{canvas.left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>'
    )


def _level_name(canvas: Canvas, y: LinearScale, level: Level) -> tuple[str, Box]:
    at = y(level.value)
    box = Box(
        canvas.left,
        at - 7 - canvas.font,
        canvas.left + 6 + text_width(level.name, canvas.font),
        at - 3,
    )
    return (
        f'<text class="name full-name" x="{canvas.left + 6}" y="{at - 7:.1f}">'
        f"{escape(level.name)}</text>"
    ), box


def _series(series: Series, x: LogScale, y: LinearScale) -> str:
    parts = [f'<g class="line {series.tone}" data-name="{escape(series.name)}">']
    marks = series.marks
    if len(marks) > 1:
        if series.strong:
            upper = [(x(mark.x), y(mark.high)) for mark in marks]
            lower = [(x(mark.x), y(mark.low)) for mark in reversed(marks)]
            parts.append(f'<polygon class="band" points="{_points(upper + lower)}"/>')
        path = _points([(x(mark.x), y(mark.value)) for mark in marks])
        parts.append(f'<polyline class="path" points="{path}"/>')
    radius = 3.4 if series.strong or len(marks) == 1 else 2.4
    for mark in marks:
        at, mid = x(mark.x), y(mark.value)
        parts.append(
            f"<g><title>{escape(mark.tip)}</title>"
            f'<line class="whisker" x1="{at:.1f}" x2="{at:.1f}" '
            f'y1="{y(mark.high):.1f}" y2="{y(mark.low):.1f}"/>'
            f'<circle class="point" cx="{at:.1f}" cy="{mid:.1f}" r="{radius}"/>'
            f'<circle class="touch" cx="{at:.1f}" cy="{mid:.1f}" r="8"/></g>'
        )
    parts.append("</g>")
    return "".join(parts)


def _points(spots: Sequence[Spot]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in spots)


def _ring(canvas: Canvas, x: LogScale, y: LinearScale, ring: Ring) -> tuple[str, Box]:
    at, mid = x(ring.x), y(ring.value)
    floor = canvas.height - canvas.bottom
    half = text_width(ring.name, canvas.font) / 2 + 6
    middle = min(max(at, canvas.left + half), canvas.width - canvas.right - half)
    level = floor - 12
    return (
        f'<g class="chosen {ring.tone}-chosen">'
        f'<line class="drop" x1="{at:.1f}" x2="{at:.1f}" y1="{mid + 8:.1f}" y2="{floor}"/>'
        f'<circle class="ring" cx="{at:.1f}" cy="{mid:.1f}" r="8"/>'
        f'<rect class="tag" x="{middle - half:.1f}" y="{level - 15}" width="{2 * half:.1f}" '
        'height="21" rx="10.5"/>'
        f'<text class="tag-text" x="{middle:.1f}" y="{level}" text-anchor="middle">'
        f"{escape(ring.name)}</text></g>"
    ), Box(middle - half, level - 15, middle + half, level + 6)


def _names(
    series: Sequence[Series],
    canvas: Canvas,
    x: LogScale,
    y: LinearScale,
    taken: list[Box],
    across: Sequence[Sequence[Spot]],
) -> list[str]:
    """The name of every series that has room for one, strong ones first."""
    frame = Box(canvas.left, canvas.top - 10, canvas.width - 2, canvas.height - canvas.bottom)
    spots = [[(x(mark.x), y(mark.value)) for mark in each.marks] for each in series]
    parts = []
    for i in sorted(range(len(series)), key=lambda i: (not series[i].strong, -len(spots[i]))):
        others = [line for j, line in enumerate(spots) if j != i]
        most = _STRONG_COVERED if series[i].strong else MOST_COVERED
        label = place(series[i].name, spots[i], [*others, *across], taken, frame, canvas.font, most)
        if label is None:
            continue
        taken.append(label.box)
        parts.append(
            f'<text class="name {series[i].tone}-name" x="{label.x:.1f}" y="{label.y:.1f}" '
            f'text-anchor="{label.anchor}">{escape(label.text)}</text>'
        )
    return parts
