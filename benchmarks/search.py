"""Whole searches at equal recall: python benchmarks/search.py --data FOLDER [--rows N].

Which engine finds 99 % of the ten best of exact search, how fast, and in how much memory: nested
codes and signs by plans that nestvec chooses, with lists and without; FAISS (flat, HNSW, IVF-PQ
fast scan and RaBitQ fast scan, both refined, binary signs refined), usearch (HNSW and all rows of
int8, all rows of signs refined), turbovec refined, LanceDB (IVF_PQ and IVF_RQ, refined) and numpy.
Each engine runs in a process of its own on the same vectors, with --threads threads, one
query at a time and 64 together; each is swept over its own settings on the same queries, and told
at the cheapest one that reaches the recall.

Vectors: with --rows 0 those of FOLDER/acl_abstracts (titles of its test split ask); otherwise
synthetic ones: 256 clusters of the real vectors, each real center plus noise with the real spectrum
about the centers, and the same real queries. Without FOLDER the centers and the spectrum are drawn,
and queries are rows moved by noise. memory: what an index holds in RAM by its own account, in bytes
a vector; vectors that are read from disk for the last few rows are told apart.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scan import gigabytes_a_second
from search_engines import ENGINES, RECALL, Bench
from search_picture import picture
from search_vectors import DIM, QUERIES, make


def main() -> None:
    """Make the vectors, run every engine, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--rows", type=int, default=1_000_000, help="0 for the real ones")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--work", type=Path, default=Path(".study-work/search"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/search"), help="a folder")
    parser.add_argument("--one", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    work = options.work / f"{options.rows}-{'real' if options.data else 'drawn'}"
    if options.one is not None:
        print(json.dumps(measured(options.one, work, options.threads)))
        return
    if not (work / "truth.npy").exists():
        make(work, options.data, options.rows)
    rows = len(np.load(work / "vectors.npy", mmap_mode="r"))
    options.out.mkdir(parents=True, exist_ok=True)
    out = options.out / f"{'synthetic' if options.rows else 'acl'}-{rows}.json"
    results: dict[str, Any] = {
        "command": f"python benchmarks/search.py --rows {options.rows}"
        + (" --data folder" if options.data else "")
        + ("" if options.engines == list(ENGINES) else f" --engines {_quoted(options.engines)}"),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "vectors": f"{rows:,} x {DIM}, " + ("synthetic" if options.rows else "acl_abstracts"),
        "queries": QUERIES,
        "threads": options.threads,
        "memory_gigabytes_a_second": gigabytes_a_second(),
        "engines": {},
    }
    for engine in options.engines:
        command = [sys.executable, *sys.argv, "--one", engine]
        threads = dict.fromkeys(
            ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(options.threads)
        )
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=os.environ | threads
        )
        if done.returncode:
            results["engines"][engine] = {"failed": done.stderr.strip().splitlines()[-1:]}
        else:
            results["engines"][engine] = json.loads(done.stdout.splitlines()[-1])
        print(engine, json.dumps(results["engines"][engine].get("taken", "failed")), flush=True)
        out.write_text(json.dumps(results, indent=1) + "\n")
    out.with_suffix(".svg").write_text(picture(results))
    out.with_suffix(".md").write_text(table(results, out.with_suffix(".svg").name))
    print(table(results, out.with_suffix(".svg").name))


def _quoted(names: list[str]) -> str:
    return " ".join(f'"{name}"' for name in names)


def measured(engine: str, work: Path, threads: int) -> dict[str, Any]:
    """Build one engine's index, sweep it, and tell it at the recall."""
    bench = Bench(work)
    begun = time.perf_counter()
    ram, disk, sweep = ENGINES[engine](bench, work, threads)
    built = time.perf_counter() - begun
    sweep()
    reached = [point for point in bench.points if point["recall"] >= RECALL]
    taken = (
        min(reached, key=lambda p: p["ms"])
        if reached
        else max(bench.points, key=lambda p: p["recall"])
    )
    return {
        "taken": taken,
        "reached": bool(reached),
        "ram_bytes_a_vector": round(ram / len(bench.vectors), 1),
        "disk_bytes_a_vector": round(disk / len(bench.vectors), 1),
        "build_seconds": round(built + bench.seconds_before, 1),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "points": bench.points,
    }


def table(results: dict[str, Any], drawn: str) -> str:
    """A page for people; drawn: the name of its picture."""
    lines = [
        "# Whole searches\n",
        f"{results['vectors']}; {results['queries']} queries, {results['threads']} threads; "
        f"`{results['command']}`; {results['machine']}, which "
        f"reads {results['memory_gigabytes_a_second']} GB/s",
        "",
        "| engine | setting | recall@10 | ms | ms, 99 % | ms of 64 | RAM | disk beside | build s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in results["engines"].items():
        if "failed" in found:
            lines.append(f"| {name} | failed: {found['failed']} | | | | | | | |")
            continue
        one = found["taken"]
        lines.append(
            f"| {name} | {one['setting']} | {one['recall']:.3f} | {one['ms']} | {one['ms_99']} | "
            f"{one['ms_of_64']} | {found['ram_bytes_a_vector']} B | "
            f"{found['disk_bytes_a_vector']} B | {found['build_seconds']} |"
        )
    lines += ["", f"![recall against queries a second]({drawn})"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
