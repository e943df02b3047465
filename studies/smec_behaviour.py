"""Tables and pictures of how adapters behave: gradients, selections, memory, few labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from studies.pictures import lines

PICTURED_WIDTH = 64
EPOCHS_OF = ("linear", "mrl", "search", "matryoshka", "reflections")


def behaviour(found: dict[str, Any]) -> list[str]:
    """Everything that was looked into on the headline set."""
    tables: dict[str, Callable[[Any], list[str]]] = {
        "gradients": _gradients,
        "norms": _norms,
        "achievements": _achievements,
        "memories": _memories,
        "few_labels": _few_labels,
    }
    out = ["\n## How they behave (acl_abstracts, labels)\n"]
    for name, table in tables.items():
        if name in found:
            out += table(found[name])
    return out


def _gradients(rows: list[dict[str, Any]]) -> list[str]:
    epochs = sorted({row["epoch"] for row in rows})
    out = [
        "Variance of a step's gradient, mean over coordinates (and noise: summed variance over "
        "the squared length of the mean gradient), at every pass:\n",
        "| trained | " + " | ".join(str(epoch + 1) for epoch in epochs) + " |",
        "|---|" + "---|" * len(epochs),
    ]
    stages = dict.fromkeys((row["trained"], row["stage"], row["width"]) for row in rows)
    for trained, stage, width in stages:
        mine = {
            row["epoch"]: row for row in rows if (row["trained"], row["stage"]) == (trained, stage)
        }
        cells = [
            f"{mine[epoch]['variance']:.2e} ({mine[epoch]['noise']:.1f})" if epoch in mine else ""
            for epoch in epochs
        ]
        name = trained if trained == "MRL" else f"{trained}, stage {stage + 1} ({width} wide)"
        out.append(f"| {name} | " + " | ".join(cells) + " |")
    out += [
        "",
        "The same variance by blocks of coordinates, first pass:\n",
    ]
    firsts = [row for row in rows if row["epoch"] == 0]
    ends = [high for high, _, _ in max((row["blocks"] for row in firsts), key=len)]
    out += [
        "| trained | " + " | ".join(f"to {end}" for end in ends) + " |",
        "|---|" + "---|" * len(ends),
    ]
    for row in firsts:
        value = {high: variance for high, _, variance in row["blocks"]}
        cells = [f"{value[end]:.2e}" if end in value else "" for end in ends]
        name = row["trained"] if row["trained"] == "MRL" else f"SMRL, stage {row['stage'] + 1}"
        out.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*out, ""]


def _norms(found: dict[str, Any]) -> list[str]:
    rows = found["widths"]
    return [
        "Norm of L_rank's gradient of each width alone (shared coordinates, untouched vectors) "
        "and norm of the prefix; slope of one over the other in logarithms "
        f"{found['slope']:.2f}, where the paper says -2:\n",
        "| width | " + " | ".join(str(width) for width, _, _ in rows) + " |",
        "|---|" + "---|" * len(rows),
        "| gradient | " + " | ".join(f"{norm:.2e}" for _, norm, _ in rows) + " |",
        "| prefix | " + " | ".join(f"{prefix:.3f}" for _, _, prefix in rows) + " |",
        "",
    ]


def _achievements(rows: list[dict[str, Any]]) -> list[str]:
    names = ("ADS", "prefix", "variance", "random")
    out = [
        "Achievement rate: share of the kept coordinates among the most important by WARE, of "
        "those that each stage of SMEC without memory gives:\n",
        "| kept | " + " | ".join(f"{row['width']} of {row['of']}" for row in rows) + " |",
        "|---|" + "---|" * len(rows),
    ]
    cells = {name: " | ".join(f"{row[name]:.3f}" for row in rows) for name in names}
    return [*out, *(f"| {name} | {cells[name]} |" for name in names), ""]


def _memories(rows: list[dict[str, Any]]) -> list[str]:
    widths = list(rows[0]["values"])
    out = [
        "SMEC by the size of its memory (0: without S-XBM), one seed:\n",
        "| queue | seconds | held out | " + " | ".join(map(str, widths)) + " |",
        "|---|---|---|" + "---|" * len(widths),
    ]
    for row in rows:
        values = " | ".join(f"{value:.3f}" for value in row["values"].values())
        out.append(
            f"| {row['queue']:,} | {row['seconds']:.0f} | {row['held_out']:.3f} | {values} |"
        )
    return [*out, ""]


def _few_labels(rows: list[dict[str, Any]]) -> list[str]:
    widths = [each["width"] for each in rows[0]["widths"]]
    out = [
        "Few labels: what the judge chooses by the dev queries of another year, and its paired "
        "difference on test queries from the baseline that is best on these very queries:\n",
        "| pairs | chosen | " + " | ".join(map(str, widths)) + " |",
        "|---|---|" + "---|" * len(widths),
    ]
    for row in rows:
        cells = [
            f"{each['value']:+.3f} [{each['low']:+.3f}, {each['high']:+.3f}]"
            for each in row["widths"]
        ]
        out.append(f"| {row['pairs']:,} | {row['chosen']} | " + " | ".join(cells) + " |")
    at = widths.index(PICTURED_WIDTH)
    names = list(rows[0]["widths"][at]["values"])
    out += [
        "",
        f"Values at {PICTURED_WIDTH} dimensions:\n",
        "| pairs | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for row in rows:
        values = row["widths"][at]["values"]
        shown = " | ".join(f"{values[name]:.3f}" for name in names)
        out.append(f"| {row['pairs']:,} | {shown} |")
    return [*out, "", "![quality by pairs](smec-few-labels.svg)\n"]


def learning_curve(found: dict[str, Any]) -> str:
    """Quality at one width against the number of pairs."""
    rows = found["few_labels"]
    at = [each["width"] for each in rows[0]["widths"]].index(PICTURED_WIDTH)
    drawn: dict[str, Any] = {}
    for row in rows:
        cell = row["widths"][at]
        shown = {name: v for name, v in cell["values"].items() if not name.endswith("-float")}
        shown["best baseline"] = cell["values"][cell["best"]]
        for name, value in shown.items():
            drawn.setdefault(name, {})[row["pairs"]] = (value, value, value)
    title = f"acl_abstracts: nDCG@10 at {PICTURED_WIDTH} dimensions by pairs trained on"
    return lines(title, drawn, x_name="pairs", y_name="nDCG@10")


def quality_by_epoch(cell: dict[str, Any]) -> str:
    """Held-out score against passes, of methods of one training."""
    drawn: dict[str, Any] = {}
    for name in EPOCHS_OF:
        if name in cell["facts"]:
            last = cell["facts"][name]["history"][-1]
            drawn[name] = {epoch: (s, s, s) for epoch, s in last}
    title = f"{cell['set']}, {cell['supervision']}: held-out nDCG@10 by passes"
    return lines(title, drawn, x_name="passes", y_name="nDCG@10", log_x=False)
