"""What one scan of codes costs, beside others: python benchmarks/scan.py [--data FOLDER].

signs: 32 bytes of signs against signs, the best 1,000, beside IndexBinaryFlat and NumKong's
distances with a selection by counting; and against queries of 4 bits. codebooks: 8 bytes of
codebooks, 4 and 2, against float queries, the best 1,000, beside PQ8x8, PQ16x4 fast scan (8 bytes,
too) and RQ8x8 by look-up tables. One query, and 64 together. read: how fast this machine reads
memory, in the same run, by as many threads. Codes of signs are drawn; codebooks are those of
FOLDER's acl_abstracts, repeated, and what a shortlist of the abstracts holds of the ten nearest is
told beside; without it they are drawn, too, where no code's head says more than its end. Each
engine runs in a process of its own, since the threads of one spin while the other works; figures
are medians of rounds.
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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from nestvec.codec.kernels import thread_count
from nestvec.codec.nested import Codec
from nestvec.codec.signs import SignPlane
from nestvec.index import fused
from nestvec.index.bit_slices import bit_slices
from nestvec.index.runs import PlaneRun, SignRun

F32 = NDArray[np.float32]

DIM = 384
KEEP = 1_000
BATCH = 64
_READ_TOGETHER = 4096
_FIT_ROWS = 20_000
_HELD = "of the ten nearest, held by"
ENGINES = {"signs": ("ours", "faiss", "numkong"), "codebooks": ("ours", "PQ8x8", "RQ8x8", "PQ16x4")}


def main() -> None:
    """Run, print and write the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", default=["signs", "codebooks"])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 8_400_000])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--one", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, default=None, help="with acl_abstracts")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scan.json"))
    options = parser.parse_args()
    if options.one is not None:
        name, count = options.one.split(":")
        given = (options.data,) if name.startswith("codebooks") else ()
        print(json.dumps(globals()[f"measure_{name}"](int(count), options.rounds, *given)))
        return
    results: dict[str, Any] = {
        "command": "python benchmarks/scan.py" + (" --data folder" if options.data else ""),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "threads": thread_count(),
        "keep": KEEP,
    }
    for part in options.parts:
        for rows in options.rows if part == "signs" else options.rows[:1]:
            times: dict[str, float] = {}
            for engine in ENGINES[part]:
                command = [sys.executable, *sys.argv, "--one", f"{part}_{engine}:{rows}"]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                times |= json.loads(done.stdout.splitlines()[-1])
            results[f"{part}, {rows:,} rows"] = told(times, rows)
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


def told(times: dict[str, float], rows: int) -> dict[str, Any]:
    """Milliseconds a query, and in ratio to ours; and what shortlists hold, where it was asked."""
    held = {name: share for name, share in times.items() if name.startswith(_HELD)}
    times = {name: ms for name, ms in times.items() if name not in held}
    found: dict[str, Any] = {"ms_a_query": times}
    if held:
        found[_HELD] = {name.removeprefix(f"{_HELD} "): share for name, share in held.items()}
    if "memory read" in times:
        found["share_of_bandwidth"] = round(times["memory read"] / times["ours, one"], 3)
        found["gigabytes_a_second"] = round(rows * 32 / times["memory read"] / 1e6, 1)
    for name, ms in times.items():
        engine, _, how = name.rpartition(", ")
        if engine not in ("", "ours"):
            found[f"{engine} by ours, {how}"] = round(ms / times[f"ours, {how}"], 2)
    return found


def timed(one: Callable[[], object], many: Callable[[], object], rounds: int) -> list[float]:
    """Median milliseconds of one query, and a query of 64 together, after a call not counted."""
    found = []
    for run, count, share in ((one, rounds, 1), (many, max(1, rounds // 4), BATCH)):
        run()
        times = []
        for _ in range(count):
            begun = time.perf_counter()
            run()
            times.append((time.perf_counter() - begun) * 1e3)
        found.append(round(statistics.median(times) / share, 3))
    return found


@njit(parallel=True)  # type: ignore[untyped-decorator]
def read_words(words: NDArray[np.uint64], out: NDArray[np.uint64]) -> None:
    """Look at every word once, by all threads."""
    for block in prange(words.shape[0]):
        own = np.uint64(0)
        for i in range(words.shape[1]):
            own |= words[block, i]
        out[block] = own


def gigabytes_a_second() -> float:
    """How fast all threads read 512 MB, the median of several times."""
    words = np.ones((1 << 14, _READ_TOGETHER), np.uint64)
    seen = np.empty(len(words), np.uint64)
    ms, _ = timed(lambda: read_words(words, seen), lambda: None, 9)
    return round(words.nbytes / ms / 1e6, 1)


def signs_and_queries(rows: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The same in every process."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (rows, 32), np.uint8), rng.integers(0, 256, (BATCH, 32), np.uint8)


def measure_signs_ours(rows: int, rounds: int) -> dict[str, float]:
    """Sign against sign, and reading the same words."""
    signs, queries = signs_and_queries(rows)
    flat = signs.view(np.uint64).ravel()
    words = flat[: len(flat) // _READ_TOGETHER * _READ_TOGETHER].reshape(-1, _READ_TOGETHER)
    run = SignRun(0, 256, bit_slices(signs), np.arange(rows))
    planes = queries[:, None]
    seen = np.empty(len(words), np.uint64)
    one, many = timed(
        lambda: fused.scan_signs([run], planes[:1], rows, KEEP),
        lambda: fused.scan_signs([run], planes, rows, KEEP),
        rounds,
    )
    read, _ = timed(lambda: read_words(words, seen), lambda: None, rounds)
    table = np.random.default_rng(1).standard_normal((BATCH, 256)).astype(np.float32)
    fine = SignPlane(256).planes((table, np.zeros(BATCH, np.float32)), 4)
    one_fine, many_fine = timed(
        lambda: fused.scan_signs([run], fine[:1], rows, KEEP),
        lambda: fused.scan_signs([run], fine, rows, KEEP),
        rounds,
    )
    return {
        "ours, one": one,
        "ours, of 64": many,
        "ours in 4 bits, one": one_fine,
        "ours in 4 bits, of 64": many_fine,
        "memory read": read,
    }


def measure_signs_numkong(rows: int, rounds: int) -> dict[str, float]:
    """All distances by NumKong, a share of the rows a thread, and those of the nearest 1,000."""
    import numkong

    signs, queries = signs_and_queries(rows)
    threads = thread_count()
    ends = [rows * i // threads for i in range(threads + 1)]
    parts = [numkong.hammings_pack(signs[a:b], dtype="uint1") for a, b in pairwise(ends)]

    def nearest(distances: NDArray[np.uint32]) -> tuple[NDArray[np.intp], NDArray[np.uint32]]:
        counts = np.cumsum(np.bincount(distances, minlength=257))
        within = np.flatnonzero(distances <= np.searchsorted(counts, KEEP))
        best = within[np.argsort(distances[within], kind="stable")[:KEEP]]
        return best, distances[best]

    def of_part(asked: NDArray[np.uint8], part: Any) -> list[Any]:
        found = np.asarray(numkong.hammings_packed(asked, part))
        return [nearest(each) for each in found]

    def search(asked: NDArray[np.uint8], pool: ThreadPoolExecutor) -> list[NDArray[np.uint32]]:
        found: list[Any] = [None] * len(asked)
        # a few queries at a time: their distances stay in the cache of the last level
        for some in range(0, len(asked), 8):
            of_some = partial(of_part, asked[some : some + 8])
            of_parts = list(pool.map(of_some, parts))
            for q, each in enumerate(zip(*of_parts, strict=True)):
                distances = np.concatenate([one[1] for one in each])
                found[some + q] = np.sort(distances)[:KEEP]
        return found

    with ThreadPoolExecutor(threads) as pool:
        (first,) = search(queries[:1], pool)
        own = fused.scan_signs(
            [SignRun(0, 256, bit_slices(signs), np.arange(rows))], queries[:1, None], rows, KEEP
        )
        assert ((256 - own[0].scores) / 2).astype(int).tolist() == first.tolist()
        one, many = timed(lambda: search(queries[:1], pool), lambda: search(queries, pool), rounds)
    return {"NumKong, one": one, "NumKong, of 64": many}


def measure_signs_faiss(rows: int, rounds: int) -> dict[str, float]:
    """IndexBinaryFlat; its distances are held against ours."""
    import faiss

    faiss.omp_set_num_threads(thread_count())
    signs, queries = signs_and_queries(rows)
    index = faiss.IndexBinaryFlat(256)
    index.add(signs)
    one, many = timed(
        lambda: index.search(queries[:1], KEEP), lambda: index.search(queries, KEEP), rounds
    )
    run = SignRun(0, 256, bit_slices(signs), np.arange(rows))
    found = fused.scan_signs([run], queries[:1, None], rows, KEEP)[0]
    distances, _ = index.search(queries[:1], KEEP)
    assert ((256 - found.scores) / 2).astype(int).tolist() == distances[0].tolist()
    return {"IndexBinaryFlat, one": one, "IndexBinaryFlat, of 64": many}


@dataclass(frozen=True, eq=False)
class Vectors:
    """What codebooks are fitted on, 64 queries, and the rows (n, d) that both are of, if real.

    wanted: (64, 10), the rows nearest to each query.
    """

    sample: F32
    queries: F32
    rows: F32 | None = None
    wanted: NDArray[np.int64] | None = None

    def held(self, found: NDArray[Any]) -> float:
        """Of the nearest rows, the share within what was found (64, m)."""
        assert self.wanted is not None
        pairs = zip(self.wanted, found, strict=True)
        return float(np.mean([np.isin(wanted, some).mean() for wanted, some in pairs]))


def vectors_of(data: Path | None) -> Vectors:
    """The same in every process: abstracts and titles, or drawn."""
    rng = np.random.default_rng(0)
    if data is None:
        sample = rng.standard_normal((_FIT_ROWS, DIM)).astype(np.float32)
        return Vectors(sample, rng.standard_normal((BATCH, DIM)).astype(np.float32))
    folder = data / "acl_abstracts" / "minilm"
    rows = np.load(folder / "docs.npy").astype(np.float32)
    queries = np.load(folder / "dev_queries.npy").astype(np.float32)[:BATCH]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    wanted = np.argsort(-(queries @ rows.T), axis=1)[:, :10]
    return Vectors(rows[rng.permutation(len(rows))[:_FIT_ROWS]], queries, rows, wanted)


def runs_of(codec: Codec, codes: NDArray[np.uint8], packed: Any) -> dict[int, PlaneRun]:
    """{cut: the codes as a scan at that cut reads them}."""
    n = len(codes)
    padded = np.zeros((-(-n // 1024) * 1024, codes.shape[1]), np.uint8)
    padded[:n] = codes
    planes = np.ascontiguousarray(padded.reshape(-1, 1024, codes.shape[1]).transpose(0, 2, 1))
    return {
        cut: PlaneRun(0, n, planes, packed[f"norm_{cut}"], None, None, np.arange(n))
        for cut in codec.cuts
    }


def measure_codebooks_ours(rows: int, rounds: int, data: Path | None) -> dict[str, float]:
    """8 bytes of codebooks, the first 4 of them, and 2 bytes."""
    given = vectors_of(data)
    return _codebooks("8xcb", given, rows, rounds) | _codebooks("2xcb", given, rows, rounds)


def _codebooks(spec: str, given: Vectors, rows: int, rounds: int) -> dict[str, float]:
    codec = Codec(spec, power=0.0).fit(given.sample)
    one, many = codec.prepare(given.queries[:1]), codec.prepare(given.queries)
    rng = np.random.default_rng(1)
    told: dict[str, float] = {}
    if given.rows is None:
        codes = rng.integers(0, 256, (rows, codec.bytes), np.uint8)
        packed = {f"norm_{cut}": rng.integers(100, 156, rows, np.uint8) for cut in codec.cuts}
    else:
        codes = codec.encode(given.rows)
        packed = codec.facts(codes, given.rows)
        for cut, run in runs_of(codec, codes, packed).items():
            found = fused.scan_planes(codec, many, [run], len(codes), cut, KEEP)
            share = given.held(np.stack([each.rows for each in found]))
            told[f"{_HELD} {cut} bytes of ours"] = round(share, 4)
        picks = rng.integers(0, len(codes), rows)
        codes, packed = codes[picks], {name: column[picks] for name, column in packed.items()}
    for cut, run in runs_of(codec, codes, packed).items():
        name = "ours" if cut == 8 else f"ours at {cut} bytes"
        arguments = ([run], rows, cut, KEEP)
        times = timed(
            partial(fused.scan_planes, codec, one, *arguments),
            partial(fused.scan_planes, codec, many, *arguments),
            rounds,
        )
        told |= {f"{name}, one": times[0], f"{name}, of 64": times[1]}
    return told


def _faiss_codebooks(name: str, rows: int, rounds: int, data: Path | None) -> dict[str, float]:
    import faiss

    faiss.omp_set_num_threads(thread_count())
    given = vectors_of(data)
    product = faiss.METRIC_INNER_PRODUCT
    index: Any
    if name == "PQ8x8":
        index = faiss.IndexPQ(DIM, 8, 8, product)
    elif name == "RQ8x8":
        index = faiss.IndexResidualQuantizer(DIM, 8, 8, product)
        index.rq.search_type = faiss.AdditiveQuantizer.ST_LUT_nonorm
    else:
        index = faiss.IndexPQFastScan(DIM, 16, 4, product)
    index.train(given.sample)
    told: dict[str, float] = {}
    if given.rows is not None:
        index.add(given.rows)
        share = given.held(index.search(given.queries, KEEP)[1])
        told[f"{_HELD} {name}"] = round(share, 4)
        index.reset()
    source = given.sample if given.rows is None else given.rows
    if name == "PQ16x4":
        for start in range(0, rows, len(source)):
            index.add(source[: min(len(source), rows - start)])
    else:
        codes = index.sa_encode(source)
        picks = np.random.default_rng(1).integers(0, len(codes), rows)
        faiss.copy_array_to_vector(codes[picks].ravel(), index.codes)
        index.ntotal = rows
    one, many = timed(
        lambda: index.search(given.queries[:1], KEEP),
        lambda: index.search(given.queries, KEEP),
        rounds,
    )
    return told | {f"{name}, one": one, f"{name}, of 64": many}


# the engines that --one names
measure_codebooks_PQ8x8 = partial(_faiss_codebooks, "PQ8x8")  # noqa: N816
measure_codebooks_RQ8x8 = partial(_faiss_codebooks, "RQ8x8")  # noqa: N816
measure_codebooks_PQ16x4 = partial(_faiss_codebooks, "PQ16x4")  # noqa: N816


if __name__ == "__main__":
    main()
