"""What a certified exact search reads: make study NAME=exact DATA=folder.

A collection of each set's all-MiniLM-L6-v2 vectors (float16) is searched for every judged query by
plan exact:10 and by raw:10, which reads all vectors. Hits and scores must be the same; told is what
exact read, bounds included, in ratio to the bytes of the stored vectors, and the time of a query
beside raw's, both asked one by one. DATA has acl_abstracts, scifact, wikiqa and quora_dup in the
BEIR layout (ACL Anthology, allenai/scifact, WikiQA, Quora duplicates).
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from studies.bytes import load_set
from studies.trained import command_of, machine, parser_of

from nestvec.codec.kernels import thread_count
from nestvec.codec.nested import Codec
from nestvec.data.rows import Row
from nestvec.index.collection import Collection
from nestvec.index.creation import create
from nestvec.index.manifest import Manifest
from nestvec.measure.intervals import bootstrap_mean

SETS = ("scifact", "quora_dup", "wikiqa", "acl_abstracts")
HITS = 10
TIMED = 100


def main() -> None:
    """Search, compare and write exact.json and exact.md."""
    parser = parser_of("exact", __doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.set_defaults(out=Path("docs/results/search"))
    options = parser.parse_args()
    found = [measured(options.data / name, options.work / name) for name in options.sets]
    result = {
        "command": command_of("exact", sets=options.sets),
        "machine": machine(),
        "threads": thread_count(),
        "hits": HITS,
        "sets": found,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "exact.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "exact.md").write_text(as_markdown(result))
    print(as_markdown(result))


def measured(folder: Path, work: Path) -> dict[str, Any]:
    """One set: how many queries have the same hits, what was read, and how long it took."""
    splits = sorted(path.stem for path in (folder / "qrels").glob("*.tsv"))
    ready = folder / "minilm"
    if ready.is_dir():
        splits = [split for split in splits if (ready / f"{split}_queries.npy").exists()]
    loaded = [load_set(folder, split, work) for split in splits]
    queries = np.concatenate([task.vectors for _, task, _ in loaded]).astype(np.float32)
    vectors = np.asarray(loaded[0][0], np.float16)
    with tempfile.TemporaryDirectory() as place:
        collection = collection_of(vectors, Path(place) / "c.nv")
        collection.rank(queries[:1], f"exact:{HITS}")
        collection.rank(queries[:1], f"raw:{HITS}")
        exact = collection.rank(queries, f"exact:{HITS}")
        raw = collection.rank(queries, f"raw:{HITS}")
        times = {
            plan: one_by_one(collection, queries[:TIMED], f"{plan}:{HITS}")
            for plan in ("exact", "raw")
        }
    equal = [
        a.rows.tolist() == b.rows.tolist() and a.scores.tolist() == b.scores.tolist()
        for a, b in zip(exact, raw, strict=True)
    ]
    shares = np.array([ranking.stages[0].share for ranking in exact])
    return {
        "set": folder.name,
        "rows": len(vectors),
        "queries": len(queries),
        "equal": sum(equal),
        "share": asdict(bootstrap_mean(shares)),
        "share_95": float(np.quantile(shares, 0.95)),
        "share_most": float(shares.max()),
        "ms": times,
    }


def collection_of(vectors: NDArray[Any], place: Path) -> Collection:
    """A collection of vectors (n, d); its code is small, and not used here."""
    codec = Codec("4xcb16", power=0.0, beam=1, sample_rows=5_000).fit(vectors)
    codes = codec.encode(vectors)
    create(
        place,
        [Row(str(row), "-") for row in range(len(vectors))],
        codes=codes,
        facts=codec.facts(codes, vectors),
        vectors=vectors,
        codec=codec,
        manifest=Manifest(metric="", dim=0, rows=0, spec="", plan="4B:10"),
    )
    return Collection.open(place)


def one_by_one(collection: Collection, queries: NDArray[np.float32], plan: str) -> float:
    """Median milliseconds of a query asked alone."""
    times = []
    for i in range(len(queries)):
        begun = time.perf_counter()
        collection.rank(queries[i : i + 1], plan)
        times.append((time.perf_counter() - begun) * 1e3)
    return round(statistics.median(times), 2)


def as_markdown(result: dict[str, Any]) -> str:
    """The table."""
    lines = [
        "# What a certified exact search reads",
        "",
        f"The {result['hits']} best by all-MiniLM-L6-v2's vectors in float16, for every judged "
        "query. Read: bytes of bounds and of vectors in ratio to the bytes of all vectors; mean "
        "over queries [95 % interval], 95th percentile, largest. Milliseconds: median of a query "
        f"asked alone, {result['threads']} threads.",
        "",
        "| set | rows | queries | same hits and scores as reading all | read | 95 % of queries at "
        "most | at most | exact, ms | all vectors, ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in result["sets"]:
        share = each["share"]
        lines.append(
            f"| {each['set']} | {each['rows']:,} | {each['queries']:,} | {each['equal']:,} | "
            f"{share['value']:.3f} [{share['low']:.3f}, {share['high']:.3f}] | "
            f"{each['share_95']:.3f} | {each['share_most']:.3f} | {each['ms']['exact']:.1f} | "
            f"{each['ms']['raw']:.1f} |"
        )
    lines += ["", f"`{result['command']}`, {result['machine']}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
