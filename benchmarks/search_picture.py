"""The picture of benchmarks/search.py: recall against queries a second, a line an engine."""

from __future__ import annotations

from html import escape
from math import log10
from typing import Any

# nestvec's, from dark to light
_OURS = ("#0a6b66", "#12968f", "#4cbdb5", "#86d4cd")
_OTHERS = (
    *("#c2571a", "#5a74a8", "#8a6bab", "#a08a00"),
    *("#b03060", "#4c7a2f", "#6b6b6b", "#1d2733"),
)
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1d2733}.s{font-size:11px;fill:#52606d}"
    ".t{font-size:15px;font-weight:600}.g{stroke:#e3e8ee}"
)
_RECALLS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
_LEFT, _TOP, _WIDE, _TALL, _NAMES = 64, 48, 560, 380, 270


def picture(results: dict[str, Any]) -> str:
    """SVG; engines that failed, and points below the first recall drawn, are left out."""
    engines = {
        name: [p for p in found["points"] if p["recall"] >= _RECALLS[0]]
        for name, found in results["engines"].items()
        if "points" in found
    }
    speeds = [1000 / p["ms"] for points in engines.values() for p in points]
    low, high = log10(min(speeds)), log10(max(speeds))
    low, high = low - 0.05, high + 0.05

    def x(recall: float) -> float:
        return _LEFT + _WIDE * (_apart(recall) - _apart(_RECALLS[0])) / (
            _apart(1.0) - _apart(_RECALLS[0])
        )

    def y(speed: float) -> float:
        return _TOP + _TALL * (high - log10(speed)) / (high - low)

    title = f"One query at a time, {results['threads']} threads: {results['vectors']}"
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDE + _NAMES} '
        f'{_TOP + _TALL + 60}" role="img"><style>{_STYLE}</style>'
        '<rect width="100%" height="100%" fill="#fff"/>'
        f'<text class="t" x="10" y="24">{escape(title)}</text>',
        f'<text class="s" x="{_LEFT}" y="{_TOP - 6}">queries a second</text>',
        f'<text class="s" x="{_LEFT}" y="{_TOP + _TALL + 42}">recall@10 of exact search</text>',
    ]
    for recall in _RECALLS:
        at = x(recall)
        out.append(
            f'<line class="g" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_TOP + _TALL}"/>'
            f'<text class="s" x="{at:.1f}" y="{_TOP + _TALL + 18}" text-anchor="middle">{recall:g}'
            "</text>"
        )
    for speed in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000):
        if low <= log10(speed) <= high:
            at = y(speed)
            out.append(
                f'<line class="g" x1="{_LEFT}" x2="{_LEFT + _WIDE}" y1="{at:.1f}" y2="{at:.1f}"/>'
                f'<text class="s" x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{speed:,}'
                "</text>"
            )
    ours = other = 0
    for number, (name, points) in enumerate(engines.items()):
        if name.startswith("nestvec"):
            colour, ours = _OURS[ours % len(_OURS)], ours + 1
        else:
            colour, other = _OTHERS[other % len(_OTHERS)], other + 1
        dash = ' stroke-dasharray="5 3"' if other > len(_OTHERS) else ""
        placed = [(x(p["recall"]), y(1000 / p["ms"])) for p in _best(points)]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in placed)
        out.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        )
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"/>' for a, b in placed]
        at, start = _TOP + 14 + number * 21, _LEFT + _WIDE + 16
        out.append(
            f'<line x1="{start}" x2="{start + 24}" y1="{at - 4}" y2="{at - 4}" '
            f'stroke="{colour}" stroke-width="2"{dash}/>'
            f'<text x="{start + 30}" y="{at}">{escape(name)}</text>'
        )
    return "\n".join([*out, "</svg>", ""])


def _apart(recall: float) -> float:
    """A scale on which .99 and .999 stand apart."""
    return -log10(1 - recall + 0.0005)


def _best(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that no other beats in both recall and speed, by rising recall."""
    kept: list[dict[str, Any]] = []
    for point in sorted(points, key=lambda p: (-p["recall"], p["ms"])):
        if not kept or point["ms"] < kept[-1]["ms"]:
            kept.append(point)
    return kept[::-1]
