"""Tables and pictures of the study of adapters."""

from __future__ import annotations

import itertools
from statistics import mean, stdev
from typing import Any

from studies.pictures import lines
from studies.smec_behaviour import behaviour, learning_curve, quality_by_epoch

SHOWN = (
    "smec", "smec from SVD", "matryoshka", "search", "mrl", "mrl from SVD", "linear", "coded",
    "linear, sentences", "distilled", "distilled, sentences", "smec, sentences", "per-width",
    "reflections", "spectemp", "svd-float", "pca-float", "variance-float", "prefix-float",
    "random-float",
)  # fmt: skip
DRAWN = (
    "linear", "linear, sentences", "distilled", "spectemp", "smec", "matryoshka", "search",
    "svd-float", "prefix-float",
)  # fmt: skip
PARTS = ("smec: none", "smec: SMRL", "smec: SMRL, ADS", "smec")
ORDER = ("smec", "matryoshka", "search", "svd-float", "prefix-float")


def as_markdown(result: dict[str, Any]) -> str:
    """Everything as one page."""
    out = [
        "# Adapters over frozen vectors\n",
        "Values are nDCG@10 on test queries, of vectors cut to each width; differences are paired, "
        "with 95 % intervals.\n",
    ]
    for cell in result["cells"]:
        out += _section(cell, result["widths"])
    if result["looked_into"]:
        out += behaviour(result["looked_into"])
    if result["not_run"]:
        out.append(f"Not run: {'; '.join(result['not_run'])}.\n")
    if result["not_coded"]:
        out.append(f"Codes were not measured on {', '.join(result['not_coded'])}.\n")
    took = f"; {result['minutes']} minutes, from nothing" if result.get("minutes") else ""
    out.append(f"`{result['command']}` ({result['machine']}{took})\n")
    return "\n".join(out)


def _section(cell: dict[str, Any], widths: list[int]) -> list[str]:
    grid = cell["grid"]
    full = grid["full"]
    value = {(c["method"], c["dims"]): c["value"] for c in grid["cells"]}
    trained_on = f"{cell['pairs']:,} pairs" if cell["pairs"] else "no pairs"
    out = [
        f"\n## {cell['set']}, {cell['supervision']} ({trained_on}, seed {cell['seed']})\n",
        f"{cell['documents']:,} documents, {cell['queries']:,} test queries; full vectors "
        f"{full['value']:.3f} [{full['low']:.3f}, {full['high']:.3f}].\n",
        "| method | " + " | ".join(map(str, widths)) + " | verdict |",
        "|---|" + "---|" * (len(widths) + 1),
    ]
    for name in [*SHOWN, *PARTS[:-1]]:
        if (name, widths[0]) not in value:
            continue
        verdict = cell["verdicts"].get(name)
        word = "" if verdict is None else ("used" if verdict["used"] else "refused")
        row = " | ".join(f"{value[name, width]:.3f}" for width in widths)
        out.append(f"| {name} | {row} | {word} |")
    out += ["", f"![quality by width](smec-{cell['set']}-{cell['supervision']}.svg)\n"]
    out += [*_order(cell, widths), *_parts(cell, widths), *_seen(grid, widths)]
    out += _codes(cell)
    out += _seeds(cell, widths)
    out += _near_end(cell)
    if cell["seeds"]:
        out.append("![held-out score by passes](smec-epochs.svg)\n")
    return out


def _order(cell: dict[str, Any], widths: list[int]) -> list[str]:
    """The papers' order, neighbour by neighbour."""
    rows = []
    for one, other in itertools.pairwise(ORDER):
        found = [_difference(cell, one, other, width) for width in widths if width <= 128]
        if all(found):
            rows.append(f"| {one} - {other} | " + " | ".join(map(_marked, found)) + " |")
    if not rows:
        return []
    shown = [width for width in widths if width <= 128]
    head = "| the papers' order | " + " | ".join(map(str, shown)) + " |"
    return [head, "|---|" + "---|" * len(shown), *rows, ""]


def _parts(cell: dict[str, Any], widths: list[int]) -> list[str]:
    """What each of SMEC's parts adds to those before it."""
    rows = []
    for before, after in itertools.pairwise(PARTS):
        found = [_difference(cell, after, before, width) for width in widths]
        if all(found):
            added = after.removeprefix("smec: ").split(", ")[-1].replace("smec", "S-XBM")
            rows.append(f"| + {added} | " + " | ".join(map(_marked, found)) + " |")
    if not rows:
        return []
    head = "| SMEC's parts | " + " | ".join(map(str, widths)) + " |"
    return [head, "|---|" + "---|" * len(widths), *rows, ""]


def _difference(
    cell: dict[str, Any], one: str, other: str, width: int
) -> tuple[float, float, float] | None:
    for each in cell["differences"]:
        if each["width"] != width:
            continue
        if (each["a"], each["b"]) == (one, other):
            return each["value"], each["low"], each["high"]
        if (each["a"], each["b"]) == (other, one):
            return -each["value"], -each["high"], -each["low"]
    return None


def _marked(found: tuple[float, float, float] | None) -> str:
    """The difference with its interval; + where it is proven above 0, - below."""
    assert found is not None
    value, low, high = found
    mark = " +" if low > 0 else (" -" if high < 0 else "")
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]{mark}"


def _seen(grid: dict[str, Any], widths: list[int]) -> list[str]:
    """Queries whose documents were trained on, and the others, apart."""
    out = []
    for part in grid["parts"]:
        value = {(c["method"], c["dims"]): c["value"] for c in part["cells"]}
        shown = [n for n in ("smec", "linear", "matryoshka", "svd-float") if (n, 64) in value]
        rows = "; ".join(
            f"{name} " + " ".join(f"{value[name, w]:.3f}" for w in widths) for name in shown
        )
        out.append(f"{part['name']} ({part['queries']} queries), the same widths: {rows}.\n")
    return out


def _codes(cell: dict[str, Any]) -> list[str]:
    grid = cell["codes"]
    if grid is None:
        return []
    cuts = sorted({c["bytes"] for c in grid["cells"]})
    out = [
        "| nested code, bytes | " + " | ".join(map(str, cuts)) + " |",
        "|---|" + "---|" * len(cuts),
    ]
    for name in dict.fromkeys(c["method"] for c in grid["cells"]):
        value = {c["bytes"]: c["value"] for c in grid["cells"] if c["method"] == name}
        out.append(f"| {name} | " + " | ".join(f"{value[cut]:.3f}" for cut in cuts) + " |")
    return [*out, ""]


def _seeds(cell: dict[str, Any], widths: list[int]) -> list[str]:
    """The headline rows over seeds: mean and standard deviation."""
    if not cell["seeds"]:
        return []
    count = len(next(iter(cell["seeds"].values())))
    out = [
        f"| mean of {count} seeds (standard deviation) | " + " | ".join(map(str, widths)) + " |",
        "|---|" + "---|" * len(widths),
    ]
    for name, values in cell["seeds"].items():
        columns = list(zip(*values, strict=True))
        row = " | ".join(f"{mean(c):.3f} ({stdev(c):.3f})" for c in columns)
        out.append(f"| {name} | {row} |")
    return [*out, ""]


def _near_end(cell: dict[str, Any]) -> list[str]:
    """Passes until the held-out score is within half a percent of its best, stage by stage."""
    said = [
        f"{name} {' '.join(f'{passes:g}' for passes in facts['near_end'])} "
        f"({facts['seconds']:.0f} s for {len(facts['tried'])} rates)"
        for name, facts in cell["facts"].items()
        if facts["near_end"]
    ]
    return [f"Passes until within half a percent of the best held-out score: {'; '.join(said)}.\n"]


def pictures(result: dict[str, Any]) -> dict[str, str]:
    """{file: SVG} one a set and supervision."""
    found = {}
    for cell in result["cells"]:
        drawn: dict[str, Any] = {}
        for each in cell["grid"]["cells"]:
            if each["method"] in DRAWN and each["dims"] in result["widths"]:
                point = (each["value"], each["low"], each["high"])
                drawn.setdefault(each["method"], {})[each["dims"]] = point
        title = f"{cell['set']}, {cell['supervision']}: nDCG@10 by dimensions"
        name = f"smec-{cell['set']}-{cell['supervision']}.svg"
        found[name] = lines(title, drawn, x_name="dimensions", y_name="nDCG@10")
        if cell["seeds"]:
            found["smec-epochs.svg"] = quality_by_epoch(cell)
    if "few_labels" in result["looked_into"]:
        found["smec-few-labels.svg"] = learning_curve(result["looked_into"])
    return found
