"""What one scan of codes costs, beside FAISS: python benchmarks/scan.py [--rows N].

signs: 32 bytes of signs against signs, the best 1,000, beside IndexBinaryFlat; one query, and 64.
codebooks: 8 bytes of codebooks against float queries, the best 1,000, beside PQ8x8, PQ16x4 fast
scan (the same bytes) and RQ8x8 by look-up tables. read: how fast this machine reads memory, in
the same run, by as many threads. Codes are drawn uniformly: a scan's time does not depend on what
they say. Each part runs in a process of its own, in which both sides take turns; figures are
medians of rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from nestvec.codec.kernels import thread_count
from nestvec.codec.nested import Codec
from nestvec.index import fused
from nestvec.index.reader import PlaneRun

DIM = 384
KEEP = 1_000
BATCH = 64


def main() -> None:
    """Run, print and write the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", default=["signs", "codebooks"])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 8_400_000])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--one", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, default=None, help="not needed; for make bench")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scan.json"))
    options = parser.parse_args()
    if options.one is not None:
        part, rows = options.one.split(":")
        print(json.dumps(globals()[f"measure_{part}"](int(rows), options.rounds)))
        return
    results: dict[str, Any] = {
        "command": "python benchmarks/scan.py",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "threads": thread_count(),
        "keep": KEEP,
    }
    for part in options.parts:
        for rows in options.rows if part == "signs" else options.rows[:1]:
            command = [sys.executable, *sys.argv, "--one", f"{part}:{rows}"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            results[f"{part}, {rows:,} rows"] = json.loads(done.stdout.splitlines()[-1])
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


def in_turn(arms: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each, taking turns after one call each that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in arms}
    for run in arms.values():
        run()
    for _ in range(rounds):
        for name, run in arms.items():
            begun = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - begun) * 1e3)
    return {name: round(statistics.median(found), 3) for name, found in times.items()}


@njit(parallel=True)  # type: ignore[untyped-decorator]
def _read(words: NDArray[np.uint64], out: NDArray[np.uint64]) -> None:
    """Look at every word once, by all threads."""
    for block in prange(words.shape[0]):
        own = np.uint64(0)
        for i in range(words.shape[1]):
            own |= words[block, i]
        out[block] = own


def measure_signs(rows: int, rounds: int) -> dict[str, Any]:
    """Milliseconds a query, sign against sign."""
    import faiss

    faiss.omp_set_num_threads(thread_count())
    rng = np.random.default_rng(0)
    signs = rng.integers(0, 256, (rows, 32), np.uint8)
    queries = rng.integers(0, 256, (BATCH, 32), np.uint8)
    index = faiss.IndexBinaryFlat(256)
    index.add(signs)
    words = fused.sign_words(signs)
    del signs
    seqs = np.arange(rows)
    flat = words.reshape(len(words), -1)
    seen = np.empty(len(words), np.uint64)
    found = fused.scan_signs(words, queries[:1], seqs, KEEP)[0]
    distances, _ = index.search(queries[:1], KEEP)
    assert ((256 - found.scores) / 2).astype(int).tolist() == distances[0].tolist()
    times = in_turn(
        {
            "ours, one": lambda: fused.scan_signs(words, queries[:1], seqs, KEEP),
            "faiss, one": lambda: index.search(queries[:1], KEEP),
            "memory read": lambda: _read(flat, seen),
        },
        rounds,
    )
    batches = in_turn(
        {
            "ours, of 64": lambda: fused.scan_signs(words, queries, seqs, KEEP),
            "faiss, of 64": lambda: index.search(queries, KEEP),
        },
        max(1, rounds // 4),
    )
    times |= {name: round(ms / BATCH, 3) for name, ms in batches.items()}
    return {
        "ms_a_query": times,
        "share_of_bandwidth": round(times["memory read"] / times["ours, one"], 3),
        "gigabytes_a_second": round(rows * 32 / times["memory read"] / 1e6, 1),
        "faiss_by_ours, one": round(times["faiss, one"] / times["ours, one"], 2),
        "faiss_by_ours, of 64": round(times["faiss, of 64"] / times["ours, of 64"], 2),
    }


def measure_codebooks(rows: int, rounds: int) -> dict[str, Any]:
    """Milliseconds a query over 8 bytes of codebooks."""
    import faiss

    faiss.omp_set_num_threads(thread_count())
    rng = np.random.default_rng(0)
    sample = rng.standard_normal((20_000, DIM)).astype(np.float32)
    queries = rng.standard_normal((BATCH, DIM)).astype(np.float32)
    codec = Codec("8xcb", power=0.0, beam=1).fit(sample)
    codes = rng.integers(0, 256, (rows, 8), np.uint8)
    blocks = -(-rows // 1024)
    planes = np.zeros((blocks * 1024, 8), np.uint8)
    planes[:rows] = codes
    planes = np.ascontiguousarray(planes.reshape(blocks, 1024, 8).transpose(0, 2, 1))
    packed = rng.integers(100, 156, rows, np.uint8)
    run = PlaneRun(0, rows, planes, packed, None, None, np.arange(rows))
    ip = faiss.METRIC_INNER_PRODUCT
    indexes: dict[str, Any] = {
        "PQ8x8": faiss.IndexPQ(DIM, 8, 8, ip),
        "RQ8x8": faiss.IndexResidualQuantizer(DIM, 8, 8, ip),
        "PQ16x4 fast scan": faiss.IndexPQFastScan(DIM, 16, 4, ip),
    }
    indexes["RQ8x8"].rq.search_type = faiss.AdditiveQuantizer.ST_LUT_nonorm
    for name, index in indexes.items():
        index.train(sample)
        if name == "PQ16x4 fast scan":
            for start in range(0, rows, len(sample)):
                index.add(sample[: min(len(sample), rows - start)])
        else:
            faiss.copy_array_to_vector(codes.ravel(), index.codes)
            index.ntotal = rows
    one, many = codec.prepare(queries[:1]), codec.prepare(queries)
    arms: dict[str, Callable[[], object]] = {
        "ours, one": lambda: fused.scan_planes(codec, one, [run], rows, 8, KEEP)
    }
    batched: dict[str, Callable[[], object]] = {
        "ours, of 64": lambda: fused.scan_planes(codec, many, [run], rows, 8, KEEP)
    }
    for name, index in indexes.items():
        arms[f"{name}, one"] = lambda index=index: index.search(queries[:1], KEEP)  # type: ignore[misc]
        batched[f"{name}, of 64"] = lambda index=index: index.search(queries, KEEP)  # type: ignore[misc]
    times = in_turn(arms, rounds)
    batches = in_turn(batched, max(1, rounds // 4))
    times |= {name: round(ms / BATCH, 3) for name, ms in batches.items()}
    ratios = {
        f"{name} by ours, {how}": round(times[f"{name}, {how}"] / times[f"ours, {how}"], 2)
        for name in indexes
        for how in ("one", "of 64")
    }
    return {"ms_a_query": times, **ratios}


if __name__ == "__main__":
    main()
