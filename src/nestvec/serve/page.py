"""The page at `/`: its files as bytes, each with its type, and the headers they are sent with.

It needs nothing from outside: no font, no script and no picture of another host, and the policy
sent with it allows none.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from nestvec.report.style import COLORS, FONT, chart_style

TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "no-cache",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Sent with every file of the page."""


@dataclass(frozen=True)
class Asset:
    """A file of the page: its bytes, and the value of its content-type header."""

    content: bytes
    content_type: str


def assets() -> dict[str, Asset]:
    """The page and all that it loads, by path: "/" is the page, the others are "/page/...".

    "/page/style.css" begins with the colours and the picture's rules of the report, so that
    both look alike.
    """
    found = {}
    for file in sorted(files("nestvec.serve").joinpath("page").iterdir(), key=lambda f: f.name):
        kind = TYPES.get(file.name.rpartition(".")[2])
        if kind is None:
            continue
        content = file.read_bytes()
        if file.name == "index.html":
            found["/"] = Asset(content, kind)
        elif file.name == "page.css":
            style = f"{COLORS}:root{{--font:{FONT}}}{chart_style('.chart')}\n"
            found["/page/style.css"] = Asset(style.encode() + content, kind)
        else:
            found[f"/page/{file.name}"] = Asset(content, kind)
    return found
