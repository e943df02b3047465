"""Where a line's name goes: beside the line, off the others, or nowhere.

A greedy placement is enough for a dozen lines: names are placed in order of weight, each at
the spot that covers least, and a name without a clear spot is left to the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Anchor = Literal["start", "middle", "end"]
Spot = tuple[float, float]

#: width of an average character, in parts of the font size
CHARACTER = 0.6
#: a name that covers more marks than this is left out
MOST_COVERED = 3.0


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """Shared area, in square pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies inside."""
        return self.left <= x <= self.right and self.top <= y <= self.bottom


@dataclass(frozen=True)
class Label:
    """A name at its place; (x, y) is the baseline's anchor."""

    text: str
    x: float
    y: float
    anchor: Anchor
    box: Box


def place(
    text: str,
    line: Sequence[Spot],
    others: Sequence[Sequence[Spot]],
    taken: Sequence[Box],
    frame: Box,
    font: float,
    most_covered: float = MOST_COVERED,
) -> Label | None:
    """The best label of a line, or None where every spot covers too much.

    line: the line's points in pixels; others: all other lines; taken: boxes to keep clear of.
    most_covered: marks of lines that it may cover.
    """
    marks = [spot for other in others for spot in _dense(other)]
    own = _dense(line)
    best: Label | None = None
    least = most_covered
    for rank, label in enumerate(_candidates(text, line, font)):
        box = label.box
        if box.left < frame.left or box.right > frame.right:
            continue
        if box.top < frame.top or box.bottom > frame.bottom:
            continue
        if any(box.overlap(other) > 0 for other in taken):
            continue
        covered: float = sum(box.holds(x, y) for x, y in marks)
        covered += 0.5 * sum(box.holds(x, y) for x, y in own)
        cost = covered + 0.05 * rank
        if cost < least:
            best, least = label, cost
    return best


def _candidates(text: str, line: Sequence[Spot], font: float) -> list[Label]:
    """Spots from best to worst: after the end, before the start, above and below points."""
    gap = 0.7 * font
    (first_x, first_y), (last_x, last_y) = line[0], line[-1]
    third = 0.34 * font
    spots: list[tuple[float, float, Anchor]] = [
        (last_x + gap, last_y + third, "start"),
        (last_x, last_y - gap, "middle"),
        (last_x, last_y + gap + 2 * third, "middle"),
        (last_x, last_y - gap, "end"),
        (last_x, last_y + gap + 2 * third, "end"),
        (first_x - gap, first_y + third, "end"),
        (first_x, first_y + gap + 2 * third, "middle"),
        (first_x, first_y + gap + 2 * third, "start"),
    ]
    for x, y in line[1:-1]:
        spots += [
            (x - 0.5 * gap, y - gap, "end"),
            (x + 0.5 * gap, y + gap + 2 * third, "start"),
        ]
    return [Label(text, x, y, anchor, _box(text, x, y, anchor, font)) for x, y, anchor in spots]


def text_width(text: str, font: float) -> float:
    """About how wide a text is, in pixels."""
    return CHARACTER * font * len(text)


def _box(text: str, x: float, y: float, anchor: Anchor, font: float) -> Box:
    width = text_width(text, font)
    left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
    return Box(left - 2, y - 0.85 * font, left + width + 2, y + 0.3 * font)


def _dense(line: Sequence[Spot], step: float = 6.0) -> list[Spot]:
    """Points along a line, at most `step` pixels apart."""
    dense = list(line[:1])
    for (x0, y0), (x1, y1) in pairwise(line):
        n = max(1, int(max(abs(x1 - x0), abs(y1 - y0)) / step))
        dense += [(x0 + (x1 - x0) * i / n, y0 + (y1 - y0) * i / n) for i in range(1, n + 1)]
    return dense
