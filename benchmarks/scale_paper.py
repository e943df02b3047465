"""What 1 and 100 thousand million vectors need, worked out: python benchmarks/scale_paper.py.

Nothing is measured here. Figures of one machine of two cores are read from files of this
repository and multiplied; docs/scale.md shows the table, and a test holds the two alike.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROWS = (10**9, 10**11)
WAIT_MS = 50
SHORTLIST = 4_000
DIM = 384
# positions and seqs in 8 bytes, sums and scores in 4
_ENTRY_BYTES = 24


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=None, help="not needed; for make bench")
    parser.parse_args()
    print("\n".join(origins()))
    print()
    print("\n".join(needs()))


def measured() -> dict[str, float]:
    """What one machine of two cores was measured to do: rows a second, ms or bytes a row."""
    scale = _read("benchmarks/results/scale.json")["built"]["10,000,000"]
    codec = _read("benchmarks/results/codec.json")
    signs = _read("benchmarks/results/scan.json")["signs, 8,400,000 rows"]["ms_a_query"]
    search = _read("docs/results/search/synthetic-1000000.json")["engines"]["nestvec sign256"]
    spread = _read("benchmarks/results/ray_build.json")["vectors"]
    stages = spread["two nodes"]["stages"]
    return {
        "texts encoded a second": _read("benchmarks/results/encode.json")["texts_per_second"][
            "nestvec"
        ],
        "rows coded a second, sign256": 1e7 / scale["coding"],
        "rows coded a second, 32xcb": codec["rows"] / codec["encode_s"]["ours"],
        "rows written a second": 1e7 / scale["writing"],
        "rows a second into the cache": 1e7 / scale["derived arrays"],
        "ms to scan a million rows' signs, one query": signs["ours in 4 bits, one"] / 8.4,
        "ms to scan a million rows' signs, of 64 queries": signs["ours in 4 bits, of 64"] / 8.4,
        "bytes of RAM a row, sign256": search["ram_bytes_a_vector"],
        "vectors dealt a second by the driver": spread["rows"]
        / (stages["dealing rows"] + stages["dealing vectors"]),
    }


def origins() -> list[str]:
    """The table of what was measured, with its files and commands."""
    found = measured()
    files = {
        "texts encoded a second": ("benchmarks/results/encode.json", "benchmarks/encode.py"),
        "rows coded a second, sign256": ("benchmarks/results/scale.json", "benchmarks/scale.py"),
        "rows coded a second, 32xcb": ("benchmarks/results/codec.json", "benchmarks/codec.py"),
        "rows written a second": ("benchmarks/results/scale.json", "benchmarks/scale.py"),
        "rows a second into the cache": ("benchmarks/results/scale.json", "benchmarks/scale.py"),
        "ms to scan a million rows' signs, one query": (
            "benchmarks/results/scan.json",
            "benchmarks/scan.py",
        ),
        "ms to scan a million rows' signs, of 64 queries": (
            "benchmarks/results/scan.json",
            "benchmarks/scan.py",
        ),
        "bytes of RAM a row, sign256": (
            "docs/results/search/synthetic-1000000.json",
            "benchmarks/search.py",
        ),
        "vectors dealt a second by the driver": (
            "benchmarks/results/ray_build.json",
            "benchmarks/ray_build.py",
        ),
    }
    lines = ["| one machine of two cores | measured | in | by |", "|---|---|---|---|"]
    for name, value in found.items():
        file, script = files[name]
        lines.append(f"| {name} | {_short(value)} | `{file}` | `python {script}` |")
    return lines


def needs() -> list[str]:
    """The table of what so many rows need."""
    found = measured()
    ram = found["bytes of RAM a row, sign256"]
    one_ms = found["ms to scan a million rows' signs, one query"]
    many_ms = found["ms to scan a million rows' signs, of 64 queries"]
    rows_ms = WAIT_MS / one_ms * 1e6
    # vectors in float16 twice, in rows.lance and in the cache; code, norm, seq; and the RAM's copy
    disk = 2 * 2 * DIM + 33 + 1 + 8 + ram
    lines = [
        "| | 10^9 rows | 10^11 rows | from |",
        "|---|---|---|---|",
        _line("RAM that a scan reads", [_bytes(n * ram) for n in ROWS], f"{ram:g} bytes a row"),
        _line(
            "disk, ids and texts apart",
            [_bytes(n * disk) for n in ROWS],
            f"{disk:g} bytes a row: float16 vectors twice, code, facts, seq, cache",
        ),
    ]
    for name, about in (
        ("texts encoded a second", "encoding, machine hours"),
        ("rows coded a second, sign256", "coding by sign256, machine hours"),
        ("rows coded a second, 32xcb", "coding by 32xcb, machine hours"),
        ("rows written a second", "writing, machine hours"),
        ("rows a second into the cache", "derived arrays, machine hours"),
    ):
        hours = [_short(n / found[name] / 3600) for n in ROWS]
        lines.append(_line(about, hours, f"{_short(found[name])} a second"))
    machines = [math.ceil(n / rows_ms) for n in ROWS]
    held = [n / count / 1e6 for n, count in zip(ROWS, machines, strict=True)]
    minutes = [_hours(n, found) / count * 60 for n, count in zip(ROWS, machines, strict=True)]
    lines += [
        _line(
            f"machines for a first stage of {WAIT_MS} ms",
            [f"{count:,}" for count in machines],
            f"{_short(rows_ms)} rows a machine scans in that time",
        ),
        _line(
            "RAM of each",
            [_bytes(each * 1e6 * ram) for each in held],
            "the rows above",
        ),
        _line(
            "minutes to code (sign256), write and derive on these",
            [_short(each) for each in minutes],
            "the hours above",
        ),
        _line(
            "queries a second, one at a time",
            [_short(1000 / (each * one_ms)) for each in held],
            f"{_short(one_ms)} ms a million rows",
        ),
        _line(
            "queries a second, 64 together",
            [_short(1000 / (each * many_ms)) for each in held],
            f"{_short(many_ms)} ms a million rows",
        ),
        _line(
            f"sent to the merging process a query, {SHORTLIST:,} of each machine",
            [_bytes(count * SHORTLIST * _ENTRY_BYTES) for count in machines],
            f"{_ENTRY_BYTES} bytes an entry",
        ),
        _line(
            "hours in which the driver deals vectors",
            [_short(n / found["vectors dealt a second by the driver"] / 3600) for n in ROWS],
            f"{_short(found['vectors dealt a second by the driver'])} a second",
        ),
    ]  # fmt: skip
    return lines


def _hours(rows: int, found: dict[str, float]) -> float:
    names = (
        "rows coded a second, sign256",
        "rows written a second",
        "rows a second into the cache",
    )
    return sum(rows / found[name] for name in names) / 3600


def _line(what: str, values: list[str], source: str) -> str:
    return f"| {what} | {' | '.join(values)} | {source} |"


def _short(value: float) -> str:
    """Three digits, thousands apart."""
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{round(value, 2 - math.floor(math.log10(abs(value)))):,.{digits}f}"


def _bytes(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{_short(value)} {unit}"
        value /= 1000
    raise AssertionError(value)


def _read(name: str) -> Any:
    return json.loads((ROOT / name).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
