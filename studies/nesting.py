"""Which widths to train, and how to weigh them: make study NAME=nesting DATA=folder.

all-MiniLM-L6-v2 is fine-tuned on titles and abstracts of ACL papers up to 2022 by InfoNCE at nested
widths: spaced in equal ratios (log) or evenly (uniform), from a small or a large smallest width,
and with all weights one, the smallest width's doubled, or learned. All start from the model's own
axes. Told: nDCG@10 of 2024's abstracts by titles, at trained widths and between them, with paired
differences from log. DATA has acl_abstracts in the BEIR layout (ACL Anthology). By default 4,000
pairs, 8,000 abstracts, 64 tokens, one seed; FULL=1 takes all pairs and abstracts and 128 tokens.
Models and vectors are kept in --work; a rerun goes on.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from studies.pictures import lines
from studies.trained import (
    F64,
    acl_facts,
    acl_of,
    acl_parser_of,
    trained,
    values_at,
    vectors_of,
)

from nestvec.choose.axes import Axes
from nestvec.measure.intervals import bootstrap_mean, non_inferior, paired_difference

WIDTHS = (6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 320, 384)
LOG = [12, 24, 48, 96, 192, 384]
ARMS: dict[str, dict[str, Any]] = {
    "log": {"widths": LOG},
    "uniform": {"widths": [64, 128, 192, 256, 320, 384]},
    "log from 6": {"widths": [6, *LOG]},
    "log from 48": {"widths": LOG[2:]},
    "smallest doubled": {"widths": LOG, "weights": [2.0, 1.0, 1.0, 1.0, 1.0, 1.0]},
    "learned weights": {"widths": LOG, "learned": True},
}
SETTINGS = {"batch": 64, "learning_rate": 5e-5, "bfloat16": True}


def main() -> None:
    """Train, measure and write nesting.json, nesting.md and nesting.svg."""
    options = acl_parser_of("nesting", __doc__).parse_args()
    whole = os.environ.get("FULL") == "1"
    began = time.perf_counter()
    pairs, task = acl_of(options, whole)
    found: dict[str, dict[int, F64]] = {}
    for arm, nesting in ARMS.items():
        one = recipe(pairs, nesting, options.seed, 128 if whole else 64)
        model = trained(arm.replace(" ", "-"), one, options.work)
        queries, documents = vectors_of(model, task, options.work)
        found[arm] = values_at(queries, documents, task.relevance, WIDTHS, Axes())
    result = {
        **acl_facts("nesting", options, pairs, task),
        "settings": SETTINGS,
        "nestings": ARMS,
        "seconds": round(time.perf_counter() - began, 1),
        "values": {
            arm: {width: asdict(bootstrap_mean(v)) for width, v in by.items()}
            for arm, by in found.items()
        },
        "from_log": {
            arm: {width: _difference(v, found["log"][width]) for width, v in by.items()}
            for arm, by in found.items()
            if arm != "log"
        },
    }
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / "nesting"
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    stem.with_suffix(".md").write_text(as_markdown(result))
    stem.with_suffix(".svg").write_text(picture(result))
    print(as_markdown(result))


def recipe(pairs: Path, nesting: dict[str, Any], seed: int, tokens: int) -> dict[str, Any]:
    """InfoNCE by a nesting, from the model's own axes, of so many tokens of a text."""
    return {
        "model": {"name": "minilm", "rotate": True, "dropout": 0.0, "max_tokens": tokens},
        "data": {"train": str(pairs)},
        "nesting": nesting,
        "train": {**SETTINGS, "seed": seed},
    }


def _difference(values: F64, rival: F64) -> dict[str, Any]:
    difference = paired_difference(values, rival)
    return {**asdict(difference), "non_inferior": non_inferior(difference)}


def picture(result: dict[str, Any]) -> str:
    """nDCG@10 by width, an arm a line."""
    series = {
        arm: {float(w): (x["value"], x["low"], x["high"]) for w, x in by.items()}
        for arm, by in result["values"].items()
    }
    return lines("Nestings: nDCG@10 by width", series, x_name="dimensions", y_name="nDCG@10")


def as_markdown(result: dict[str, Any]) -> str:
    """Values by width, trained widths in bold, and differences from log."""
    out = ["# Nestings", "", "![nDCG@10 by width](nesting.svg)", ""]
    out.append(
        f"{result['pairs']:,} pairs, {result['documents']:,} abstracts, {result['queries']:,} "
        "titles. Bold: a width that was trained."
    )
    head = "| arm | " + " | ".join(map(str, WIDTHS)) + " |"
    out += ["", head, "|---|" + "---:|" * len(WIDTHS)]
    for arm, by in result["values"].items():
        taught = result["nestings"][arm]["widths"]
        cells = [
            f"**{by[w]['value']:.3f}**" if w in taught else f"{by[w]['value']:.3f}" for w in WIDTHS
        ]
        out.append(f"| {arm} | " + " | ".join(cells) + " |")
    half = np.mean([x["high"] - x["low"] for x in result["values"]["log"].values()]) / 2
    out += ["", f"Intervals of values reach about {half:.3f} to either side (in the JSON).", ""]
    out += ["Difference from log (paired, 95 %):", "", head, "|---|" + "---|" * len(WIDTHS)]
    for arm, by in result["from_log"].items():
        cells = [
            f"{x['value']:+.3f} [{x['low']:+.3f}, {x['high']:+.3f}]"
            for x in (by[w] for w in WIDTHS)
        ]
        out.append(f"| {arm} | " + " | ".join(cells) + " |")
    out += ["", f"`{result['command']}` ({result['machine']}, {result['seconds']:.0f} s)", ""]
    return "\n".join(out)


if __name__ == "__main__":
    main()
