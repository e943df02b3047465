"""How sure a choice should be on its own half: the margin of `choose`, on queries for development.

    python studies/margin.py --data DATA --sets scifact:train wikiqa:train

DATA holds one folder a set in the BEIR layout. Documents are encoded by all-MiniLM-L6-v2, the
candidates for so many rows are fitted once, and the queries are halved anew for every draw: one
half chooses, the other tells whether the wish was kept. The halves of two draws overlap, so
shares of draws have no interval.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
from studies.bytes import load_set

from nestvec.choose.cheapest import Wish, choose
from nestvec.choose.grid import evaluate_grid
from nestvec.choose.specs import candidate_specs, nested_methods

MARGINS = (0.0, 0.5, 1.0)


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["scifact:train"], help="SET:SPLIT")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--keep", type=float, default=0.99)
    parser.add_argument("--work", type=Path, default=Path(".study-work"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/margin.json"))
    options = parser.parse_args()
    results = {
        "command": f"python studies/margin.py --data DATA --sets {' '.join(options.sets)} "
        f"--draws {options.draws} --keep {options.keep}",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "keep": options.keep,
        "draws": options.draws,
        "sets": {each: outcomes(each, options) for each in options.sets},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


def outcomes(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """For each margin: how often the other half keeps the wish, and what was chosen."""
    folder, split = name.split(":")
    documents, task, _others = load_set(options.data / folder, split, options.work / folder)
    rows = np.asarray(documents, np.float32)
    evidence = evaluate_grid(rows, task, nested_methods(candidate_specs(len(rows)), len(rows)))
    found: dict[str, Any] = {"documents": len(rows), "queries": len(task.ids)}
    for margin in MARGINS:
        choices = [
            choose(evidence, task, Wish(options.keep), seed=seed, margin=margin)
            for seed in range(options.draws)
        ]
        shares = [choice.comparison.share for choice in choices]
        kept = np.array([share.value for share in shares if share is not None])
        names = [choice.option.describe() for choice in choices]
        found[f"margin {margin:g}"] = {
            "kept_the_wish": round(float((kept >= options.keep).mean()), 3),
            "mean_share": round(float(kept.mean()), 4),
            "tenth_percentile_share": round(float(np.quantile(kept, 0.1)), 4),
            "mean_total_bytes": round(float(np.mean([c.option.total_bytes for c in choices]))),
            "chosen": {each: names.count(each) for each in sorted(set(names), key=names.count)},
        }
    return found


if __name__ == "__main__":
    main()
