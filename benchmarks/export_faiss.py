"""Codebooks in faiss's own scans: python benchmarks/export_faiss.py --data FOLDER [--rows N].

The first N abstracts of FOLDER/acl_abstracts, coded by 16xcb, go into a faiss folder with the
plan 8B:1000,16B:100,raw:10. Titles of the test split ask. Told: the share of our shortlist of 1,000
by 8 bytes that faiss's residual quantizer finds, by queries of the exported length, of length 1 and
of a great length (which is by inner product); and the share of the ten best of exact search among
the hits of the exported plan, and of the same plan here.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from search_vectors import K, exact, unit

from nestvec.bridge import faiss_export
from nestvec.bridge.export_folder import MARK
from nestvec.bridge.exported import Place, Source
from nestvec.bridge.faiss_library import require_faiss
from nestvec.codec.nested import Codec
from nestvec.data.rows import Row
from nestvec.index.creation import create
from nestvec.index.manifest import Manifest
from nestvec.index.plan import Plan
from nestvec.index.snapshot import Snapshot

QUERIES = 200
PLAN = "8B:1000,16B:100,raw:10"
KEPT = 1000


def main() -> None:
    """Export, ask, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/export_faiss.json"))
    options = parser.parse_args()
    folder = options.data / "acl_abstracts" / "minilm"
    rows = unit(np.load(folder / "docs.npy")[: options.rows].astype(np.float32))
    asked = unit(np.load(folder / "test_queries.npy").astype(np.float32))[:QUERIES]
    with tempfile.TemporaryDirectory(prefix="nestvec-export-") as work:
        source = stored(rows, Path(work) / "abstracts.nv")
        out = Path(work) / "abstracts.faiss"
        exported = faiss_export.write(source, Place(out=out), Plan.parse(PLAN))
        assert exported.search is not None
        seqs = np.concatenate([run.seqs for run in source.rows()])
        ours = [seqs[r.rows] for r in source.opened.rank(asked, f"8B:{KEPT}")]
        here = np.array([seqs[r.rows] for r in source.opened.rank(asked, PLAN)])
        truth = seqs[exact(source.opened.vectors().astype(np.float32), asked)]
        index = require_faiss().read_index(str(out / "8B.faiss"))
        length = json.loads((out / MARK).read_text())["query_length"]
        near = {
            name: _share(ours, index.search(np.float32(of) * asked, KEPT)[1])
            for name, of in (("exported", length), ("1", 1), ("inner product", 1e5))
        }
        result = {
            "command": f"python benchmarks/export_faiss.py --data folder --rows {options.rows}",
            "vectors": f"{len(rows):,} x {rows.shape[1]}, acl_abstracts",
            "queries": len(asked),
            "plan": PLAN,
            "length of a query": round(length, 3),
            "share of our shortlist, by the query's length": near,
            "share of the ten best, exported": _share(truth, exported.search(asked, K)),
            "share of the ten best, here": _share(truth, here),
        }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def stored(rows: np.ndarray, path: Path) -> Source:
    """A collection of the rows, coded by 16 codebooks."""
    codec = Codec("16xcb").fit(rows)
    codes = codec.encode(rows)
    create(
        path,
        [Row(str(i), f"abstract {i}") for i in range(len(rows))],
        codes=codes,
        facts=codec.facts(codes, rows),
        vectors=rows.astype(np.float16),
        codec=codec,
        manifest=Manifest(metric="cosine", dim=rows.shape[1], rows=0, spec="", plan=PLAN),
    )
    return Source(Snapshot.open(path))


def _share(wanted: np.ndarray | list[np.ndarray], found: np.ndarray) -> float:
    shares = [len(np.intersect1d(a, b)) / len(a) for a, b in zip(wanted, found, strict=True)]
    return round(float(np.mean(shares)), 4)


if __name__ == "__main__":
    main()
