"""A linear map at every width, beside the first trial's: make study NAME=widths DATA=folder.

All start from SVD and are trained on all titles of 2022 and earlier (acl_abstracts, from the ACL
Anthology, in the BEIR layout, with all-MiniLM-L6-v2 vectors) by InfoNCE at every width; titles of
2024 find their abstracts. "ours" differs from the trial in temperature, batch and rate; "blended"
is ours, drawn back towards SVD as far as held-out pairs rank better by it. Both were chosen on the
dev split (--split dev --arms trial ours ours-warm blended). Nothing is coded; see the study `coded`
for bytes. What was measured is kept in --work, and a rerun adds what is missing.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from studies.bytes import load_set
from studies.coded import OURS, SET, TRIAL, WIDTHS
from studies.pictures import lines
from studies.smec_examples import drawn_of
from studies.trained import command_of, machine, parser_of

from nestvec.adapters.adapter import Adapter, Stage
from nestvec.adapters.maps import Select
from nestvec.choose.adapted import AdaptedFloat
from nestvec.choose.grid import evaluate_grid
from nestvec.choose.relevance import QueryTask
from nestvec.learn.adapters.examples import Examples
from nestvec.learn.adapters.methods import fit_adapter
from nestvec.measure.intervals import bootstrap_means, paired_difference

F64 = NDArray[np.float64]

_WIDE = replace(OURS, widths=WIDTHS[:-1])
ARMS = {
    "trial": TRIAL,
    "ours": _WIDE,
    "ours-warm": replace(_WIDE, temperature=0.05),
    "blended": replace(_WIDE, blend=True),
}


def main() -> None:
    """Train, measure, and write widths.json, widths.md and widths.svg."""
    parser = parser_of("widths", __doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the trainings")
    parser.add_argument("--split", default="test")
    parser.add_argument("--arms", nargs="+", default=["trial", "ours", "blended"])
    parser.set_defaults(pairs=None, documents=None)
    options = parser.parse_args()
    documents, task, _ = load_set(options.data / SET, options.split, options.work / SET)
    dim = documents.shape[1]
    same = Adapter("same", dim, WIDTHS, (Stage(dim, (Select(np.arange(dim)),)),))
    untouched, full = values_of(same, documents, task)
    tables = {"untouched, cut": [untouched]}
    told = []
    for name in options.arms:
        maps = [trained(name, seed, options) for seed in options.seeds]
        tables[name] = [values_of(each, documents, task)[0] for each in maps]
        told.append(maps[0].facts)
    means = {name: np.mean(each, axis=0) for name, each in tables.items()}
    first = options.arms[0]
    result = {
        "command": command_of(
            "widths", seeds=options.seeds, split=options.split, arms=options.arms
        ),
        "machine": machine(),
        "split": options.split,
        "seeds": options.seeds,
        "documents": len(documents),
        "queries": len(task.ids),
        "full": asdict(bootstrap_means(full[:, None])[0]),
        "widths": WIDTHS,
        "values": {
            name: [asdict(each) for each in bootstrap_means(table.T)]
            for name, table in means.items()
        },
        "seeds_apart": {
            name: [table.mean(axis=1).round(4).tolist() for table in each]
            for name, each in tables.items()
        },
        "shares_of_start": {
            name: facts["shares_of_start"]
            for name, facts in zip(options.arms, told, strict=True)
            if "shares_of_start" in facts
        },
        "over": first,
        "differences": {
            name: [
                asdict(paired_difference(a, b)) for a, b in zip(table, means[first], strict=True)
            ]
            for name, table in means.items()
            if name != first
        },
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "widths.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "widths.md").write_text(as_markdown(result))
    (options.out / "widths.svg").write_text(picture(result))
    print(as_markdown(result))


def values_of(adapter: Adapter, documents: NDArray[Any], task: QueryTask) -> tuple[F64, F64]:
    """Values (widths, q) of adapted vectors, and of the full untouched ones (q,)."""
    return evaluate_grid(documents, task, [AdaptedFloat("", adapter, WIDTHS)]).query_values()


def trained(name: str, seed: int, options: argparse.Namespace) -> Adapter:
    """The map of that name and seed, from --work where it is."""
    place = options.work / f"{name}-{seed}.safetensors"
    if not place.exists():
        begun = time.perf_counter()
        settings = ARMS[name]
        settings = replace(settings, training=replace(settings.training, seed=seed))
        adapter = fit_adapter("linear", examples_of(options), settings)
        place.parent.mkdir(parents=True, exist_ok=True)
        adapter.save(place)
        print(f"trained {name}, seed {seed}: {time.perf_counter() - begun:.0f} s", flush=True)
    return Adapter.load(place)


def examples_of(options: argparse.Namespace) -> Examples:
    """All titles of earlier years, with their abstracts."""
    documents, task, _ = load_set(options.data / SET, options.split, options.work / SET)
    drawn = drawn_of(options, SET, documents, task, "labels", options.seed)
    assert drawn is not None
    return drawn.examples


def as_markdown(result: dict[str, Any]) -> str:
    """Everything as one page."""
    full, widths = result["full"], result["widths"]
    head = [
        "| dimensions | " + " | ".join(map(str, widths)) + " |",
        "|---|" + "---|" * len(widths),
    ]
    out = [
        "# A linear map at every width\n",
        f"nDCG@10 of title -> abstract on {result['queries']:,} {result['split']} queries among "
        f"{result['documents']:,} documents; full untouched vectors {full['value']:.3f} "
        f"[{full['low']:.3f}, {full['high']:.3f}]. Trained on all titles of earlier years; mean of "
        f"{len(result['seeds'])} training(s).\n",
        *head,
    ]
    for name, cells in result["values"].items():
        out.append(f"| {name} | " + " | ".join(f"{c['value']:.3f}" for c in cells) + " |")
    out += ["", f"Paired differences from {result['over']}, with 95 % intervals:\n", *head]
    for name, cells in result["differences"].items():
        row = " | ".join(f"{c['value']:+.3f} [{c['low']:+.3f}, {c['high']:+.3f}]" for c in cells)
        out.append(f"| {name} | {row} |")
    out += ["", "Single trainings:\n", *head]
    for name, rows in result["seeds_apart"].items():
        for row in rows:
            out.append(f"| {name} | " + " | ".join(f"{value:.4f}" for value in row) + " |")
    trial = "T .05, batches of 512, rate .001, 8 epochs"
    ours = "T .03, batches of 4,096, rate .004, up to 25 epochs, stopped by held-out pairs"
    out += ["", f"trial: {trial}; ours: {ours}; all at widths of 16 to 384.", ""]
    for name, shares in result["shares_of_start"].items():
        told = ", ".join(f"{share:.0%}" for share in shares)
        out += [f"{name}: shares of SVD up to each width {told}, chosen on held-out pairs.", ""]
    out += [f"`{result['command']}` ({result['machine']})\n"]
    return "\n".join(out)


def picture(result: dict[str, Any]) -> str:
    """Quality against width, a line an arm."""
    drawn = {
        name: {
            width: (cell["value"], cell["low"], cell["high"])
            for width, cell in zip(result["widths"], cells, strict=True)
        }
        for name, cells in result["values"].items()
    }
    title = "Title to abstract: nDCG@10 by dimensions"
    return lines(title, drawn, x_name="dimensions", y_name="nDCG@10")


if __name__ == "__main__":
    main()
