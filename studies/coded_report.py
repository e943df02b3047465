"""The table and the picture of the study of codes over trained maps."""

from __future__ import annotations

from typing import Any

from studies.pictures import lines


def as_markdown(result: dict[str, Any]) -> str:
    """Everything as one page."""
    full = result["full"]
    cuts, widths = result["bytes"], result["widths"]
    out = [
        "# Codes over trained maps\n",
        f"nDCG@10 of title -> abstract on {result['queries']:,} {result['split']} queries among "
        f"{result['documents']:,} documents, trained on {result['pairs']:,} titles of earlier "
        f"years; full untouched vectors (1,536 bytes) {full['value']:.3f} "
        f"[{full['low']:.3f}, {full['high']:.3f}]. Codebooks fitted on {result['fit_rows']:,} "
        f"documents without the relevant ones, mean of {len(result['seeds'])} seed(s); a norm byte "
        "comes on top of each count.\n",
        *_table("code bytes", cuts),
    ]
    for name, cells in result["codes"].items():
        out.append(f"| {name} | " + " | ".join(f"{c['value']:.3f}" for c in cells) + " |")
    out += [
        "",
        "The trial: a linear map at T .05 and batches of 512, then FAISS's residual codebooks at "
        "beam 5. Linear: the nested code over such a map, T .03 and batches of 4,096; coded: over "
        "the same, trained on through the code; coded-wide: over its leading 256 coordinates, by a "
        "codec that is fitted on the titles trained on as well and encodes with a beam of 32.",
    ]
    out += ["", "Paired differences from the trial, with 95 % intervals:\n", *_table("", cuts)]
    for name, cells in result["over_trial"].items():
        row = " | ".join(f"{c['value']:+.3f} [{c['low']:+.3f}, {c['high']:+.3f}]" for c in cells)
        out.append(f"| {name} | {row} |")
    out += [
        "",
        "Among the documents that no codebook was fitted on, relevant or not:\n",
        *_table("code bytes", cuts),
    ]
    for name, values in result["fair"].items():
        out.append(f"| {name} | " + " | ".join(f"{v:.3f}" for v in values) + " |")
    out += ["", "Uncompressed, cut to each width:\n", *_table("dimensions", widths)]
    for name, cells in result["floats"].items():
        out.append(f"| {name} | " + " | ".join(f"{c['value']:.3f}" for c in cells) + " |")
    out += ["", f"`{result['command']}` ({result['machine']})\n"]
    return "\n".join(out)


def _table(first: str, columns: list[int]) -> list[str]:
    return [
        f"| {first} | " + " | ".join(map(str, columns)) + " |",
        "|---|" + "---|" * len(columns),
    ]


def picture(result: dict[str, Any]) -> str:
    """Quality against code bytes, a line an arm."""
    drawn = {
        name: {
            cut: (cell["value"], cell["low"], cell["high"])
            for cut, cell in zip(result["bytes"], cells, strict=True)
        }
        for name, cells in result["codes"].items()
    }
    title = "Title to abstract: nDCG@10 by code bytes"
    return lines(title, drawn, x_name="code bytes", y_name="nDCG@10")
