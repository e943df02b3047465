"""Pictures of studies as SVG files that need nothing else: heat maps and lines with intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from math import log2

import numpy as np
from numpy.typing import NDArray

from nestvec.report.scales import quality_ticks

_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1d2733}.s{font-size:11px;fill:#52606d}"
    ".t{font-size:15px;font-weight:600}.g{stroke:#e3e8ee}.a{stroke:#9aa5b1}"
)
_TITLE_CHARACTER = 9.4  # pixels of one, about
_SHORT_NAME = 26  # characters of a name that half a picture has room for
_COLOURS = ("#0a6b66", "#c2571a", "#5a74a8", "#8a6bab", "#a08a00", "#b03060", "#4c7a2f", "#6b6b6b")

Cells = Mapping[tuple[int, int], float]
Line = Mapping[float, tuple[float, float, float]]
"""{x: (value, low, high)}."""


def heat_maps(
    title: str,
    maps: Mapping[str, Cells],
    rows: Sequence[int],
    columns: Sequence[int],
    *,
    row_name: str,
    column_name: str,
    marked: Sequence[tuple[int, int]] = (),
    across: int = 3,
    floor: float | None = None,
) -> str:
    """One map beside another, cells by (row, column), one scale of colour; marked cells framed.

    across: maps a row; 1 can be read on a phone. floor: values from here down are palest, so that
    the colours tell the others apart.
    """
    values = [value for cells in maps.values() for value in cells.values()]
    least, most = min(values) if floor is None else floor, max(values)
    wide, tall = 46, 26
    width = 70 + len(columns) * wide
    height = 74 + len(rows) * tall
    down = -(-len(maps) // across)
    headings = _wrapped(title, across * width)
    begin = 24 + 20 * len(headings)
    found = [_open(across * width + 10, begin + down * height), *_titles(headings)]
    for number, (name, cells) in enumerate(maps.items()):
        left, top = 10 + (number % across) * width, begin + (number // across) * height
        found.append(f'<text x="{left + 40}" y="{top + 14}">{escape(name)}</text>')
        for i, row in enumerate(rows):
            y = top + 24 + i * tall
            found.append(f'<text class="s" x="{left + 34}" y="{y + 17}" text-anchor="end">{row}')
            found.append("</text>")
            for j, column in enumerate(columns):
                value = cells.get((row, column))
                if value is None:
                    continue
                share = max((value - least) / max(most - least, 1e-9), 0.0)
                at = left + 40 + j * wide
                frame = ' stroke="#1d2733" stroke-width="2"' if (row, column) in marked else ""
                found.append(
                    f'<rect x="{at + 1}" y="{y + 1}" width="{wide - 2}" height="{tall - 2}" '
                    f'fill="{_colour(share)}"{frame}/>'
                    f'<text class="s" x="{at + wide / 2}" y="{y + 17}" text-anchor="middle" '
                    f'style="fill:{"#fff" if share > 0.55 else "#1d2733"}">{value:.3f}</text>'
                )
        base = top + 24 + len(rows) * tall
        for j, column in enumerate(columns):
            x = left + 40 + (j + 0.5) * wide
            found.append(f'<text class="s" x="{x}" y="{base + 14}" text-anchor="middle">{column}')
            found.append("</text>")
        found.append(
            f'<text class="s" x="{left + 40}" y="{base + 30}">{escape(column_name)} across, '
            f"{escape(row_name)} down</text>"
        )
    return "\n".join([*found, "</svg>", ""])


def lines(
    title: str,
    series: Mapping[str, Line],
    *,
    x_name: str,
    y_name: str,
    log_x: bool = True,
    ticks: Sequence[float] | None = None,
) -> str:
    """Lines with their intervals as bars; the legend stands below. ticks: of x."""
    xs = sorted({x for line in series.values() for x in line})
    ends = [end for line in series.values() for point in line.values() for end in point[1:]]
    least, most = min(ends), max(ends)
    pad = 0.05 * (most - least or 1)
    least, most = least - pad, most + pad
    left, wide, tall, row = 52, 468, 300, 20
    headings = _wrapped(title, left + wide)
    top = 40 + 20 * len(headings)
    across = 2 if max(map(len, series)) <= _SHORT_NAME else 1
    below = top + tall + 66

    def place_x(x: float) -> float:
        a, b = (log2(xs[0]), log2(xs[-1])) if log_x else (xs[0], xs[-1])
        at = log2(x) if log_x else x
        return left + wide * ((at - a) / (b - a) if b > a else 0.5)

    def place_y(y: float) -> float:
        return top + tall * (1 - (y - least) / (most - least))

    found = [
        _open(left + wide + 20, below + row * -(-len(series) // across)),
        *_titles(headings),
    ]
    for y in quality_ticks(least, most, 6):
        at = place_y(y)
        found.append(
            f'<line class="g" x1="{left}" x2="{left + wide}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text class="s" x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{y:g}</text>'
        )
    found += [
        f'<text class="s" x="{place_x(x):.1f}" y="{top + tall + 18}" text-anchor="middle">'
        f"{x:g}</text>"
        for x in (xs if ticks is None else ticks)
    ]
    found.append(f'<text class="s" x="{left}" y="{top + tall + 38}">{escape(x_name)}</text>')
    found.append(f'<text class="s" x="10" y="{top - 10}">{escape(y_name)}</text>')
    for number, (name, line) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        dash = "" if number < len(_COLOURS) else ' stroke-dasharray="5 3"'
        points = " ".join(f"{place_x(x):.1f},{place_y(line[x][0]):.1f}" for x in sorted(line))
        found.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        )
        for x in sorted(line):
            value, low, high = line[x]
            at = place_x(x) + (number - len(series) / 2) * 1.5
            found.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{place_y(low):.1f}" '
                f'y2="{place_y(high):.1f}" stroke="{colour}" opacity=".45"/>'
                f'<circle cx="{place_x(x):.1f}" cy="{place_y(value):.1f}" r="3" fill="{colour}"/>'
            )
        x, y = left + (number % across) * wide // 2, below + row * (number // across)
        found.append(
            f'<line x1="{x}" x2="{x + 24}" y1="{y - 4}" y2="{y - 4}" '
            f'stroke="{colour}" stroke-width="2"{dash}/>'
            f'<text x="{x + 30}" y="{y}">{escape(name)}</text>'
        )
    return "\n".join([*found, "</svg>", ""])


def scatters(title: str, panels: Mapping[str, tuple[NDArray[np.float32], Sequence[int]]]) -> str:
    """Panels of points (n, 2) coloured by group, each on a scale of its own, two a row."""
    side, across = 300, 2
    down = -(-len(panels) // across)
    found = [
        _open(across * (side + 20) + 10, 44 + down * (side + 40)),
        f'<text class="t" x="10" y="24">{escape(title)}</text>',
    ]
    for number, (name, (points, groups)) in enumerate(panels.items()):
        left = 10 + (number % across) * (side + 20)
        top = 44 + (number // across) * (side + 40)
        low, high = points.min(axis=0), points.max(axis=0)
        placed = (points - low) / np.maximum(high - low, 1e-9) * (side - 12) + 6
        found.append(f'<text x="{left}" y="{top + 12}">{escape(name)}</text>')
        found.append(
            f'<rect class="g" x="{left}" y="{top + 20}" width="{side}" height="{side}" '
            'fill="none"/>'
        )
        found += [
            f'<circle cx="{left + x:.1f}" cy="{top + 20 + y:.1f}" r="2" '
            f'fill="{_COLOURS[group % len(_COLOURS)]}" opacity=".75"/>'
            for (x, y), group in zip(placed.tolist(), groups, strict=True)
        ]
    return "\n".join([*found, "</svg>", ""])


def _wrapped(title: str, width: float) -> list[str]:
    """A title in lines that are no wider than so many pixels."""
    return textwrap.wrap(title, max(int(width / _TITLE_CHARACTER), 20))


def _titles(headings: Sequence[str]) -> list[str]:
    return [
        f'<text class="t" x="10" y="{24 + 20 * i}">{escape(words)}</text>'
        for i, words in enumerate(headings)
    ]


def _open(width: float, height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img"><style>{_STYLE}</style>'
        '<rect width="100%" height="100%" fill="#fff"/>'
    )


def _colour(share: float) -> str:
    """From pale to deep green."""
    pale, deep = (0xE8, 0xF3, 0xF1), (0x06, 0x4F, 0x4B)
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(pale, deep, strict=True))
    return f"#{red:02x}{green:02x}{blue:02x}"
