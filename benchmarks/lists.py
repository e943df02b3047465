"""What lists are best sorted by: python benchmarks/lists.py --data FOLDER.

Rows of FOLDER/acl_abstracts are sorted into as many lists as the square root of the rows, by
k-means over what a list may be sorted by: the first coordinates, all of them, codes of 8 bytes,
signs of 256 rotated coordinates. Titles of its test split ask. Told for several numbers of lists
read: the share of the ten best of exact search that these lists hold, and the share of the rows.
Nothing is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from search_vectors import F32, exact, unit

from nestvec.codec.centers import Centers
from nestvec.codec.nested import Codec

PROBES = (4, 8, 16, 32, 64)


def main() -> None:
    """Sort the rows by each, and write what the nearest lists hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/lists.json"))
    options = parser.parse_args()
    source = options.data / "acl_abstracts" / "minilm"
    rows = unit(np.load(source / "docs.npy").astype(np.float32))
    queries = unit(np.load(source / "test_queries.npy").astype(np.float32))
    truth = exact(rows, queries)
    lists = round(len(rows) ** 0.5)
    width = rows.shape[1]
    sorted_by = {
        "64d": (unit(rows[:, :64]), unit(queries[:, :64])),
        f"{width}d": (rows, queries),
        "8B of 8xcb": (decoded("8xcb", rows), queries),
        "33B of sign256": (decoded("sign256", rows), queries),
    }
    result = {
        "command": "python benchmarks/lists.py --data folder",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "vectors": f"{len(rows):,} x {width}, acl_abstracts",
        "queries": len(queries),
        "lists": lists,
        "by": {name: held(*each, truth, lists) for name, each in sorted_by.items()},
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def decoded(spec: str, rows: F32) -> F32:
    """Directions (n, d) that codes stand for."""
    codec = Codec(spec).fit(rows)
    codes = codec.encode(rows)
    return unit(codec.decode(codes, codes.shape[1]))


def held(rows: F32, queries: F32, truth: NDArray[Any], lists: int) -> dict[int, Any]:
    """{lists read: the share of the best, and of the rows, that they hold}."""
    centers = Centers.fit("dims", rows.shape[1], rows, lists, seed=0)
    of_row = centers.assign(rows)
    sizes = np.bincount(of_row, minlength=lists)
    found = {}
    for probe in PROBES:
        nearest = centers.nearest(queries, probe)
        best = (of_row[truth][:, :, None] == nearest[:, None, :]).any(axis=2)
        share = sizes[nearest].sum(axis=1).mean() / len(rows)
        found[probe] = {"best": round(float(best.mean()), 4), "rows": round(float(share), 4)}
    return found


if __name__ == "__main__":
    main()
