"""Ten million vectors in one gigabyte: python benchmarks/scale.py [--data FOLDER] [--rows N].

Whether a search still works where memory is small, and how its time grows with the rows. N and N/2
synthetic vectors (as benchmarks/search.py draws them, float16 on disk) become collections of signs,
32 bytes a row, the best rescored from disk. Each search runs in a process of its own, in a control
group of --limit bytes where the machine lets us make one (Linux, as root), file pages counted, and
nothing of its files in memory before; FAISS's and usearch's scans of signs, rescored from the same
file, run alike, by 30 queries: what they take is the disk's. Lists: as many as the square root of
the rows, clustered on all coordinates; of several numbers of lists read and rows rescored the least
time at a recall of .9, taken between the two points around it, at N/2 and at N: without the limit,
the vectors in memory before, or the disk would be all that is timed.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from search_engines import RECALL, Bench
from search_vectors import DIM, F32, QUERIES, exact, synthetic, unit

_BLOCK = 1 << 16
_FIT_ROWS = 200_000
# Control groups of the first version and of the second: where they are, limit, most that was used.
_GROUPS = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max", "memory.peak"),
)
_PROBES = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_DEPTHS = (1_000, 4_000)
_LIST_DEPTHS = (1_000, 2_000, 4_000, 8_000)
_LIST_RECALL = 0.9
# What waits for the disk takes seconds a query.
_LIMITED_QUERIES = 30


def main() -> None:
    """Make the collections, search them, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--limit", type=int, default=1_000_000_000, help="bytes of memory")
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--work", type=Path, default=Path(".study-work/scale"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scale.json"))
    parser.add_argument("--one", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        name, folder = options.one.split("@", 1)
        print(json.dumps(ENGINES[name](Path(folder))))
        return
    sizes = (options.rows // 2, options.rows)
    folders = {
        rows: options.work / f"{rows}-{'real' if options.data else 'drawn'}" for rows in sizes
    }
    results: dict[str, Any] = {
        "command": f"python benchmarks/scale.py --rows {options.rows}"
        + (" --data folder" if options.data else ""),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "limit_bytes": options.limit if limits() else None,
        "queries": {"lists": QUERIES, "others": _LIMITED_QUERIES},
        "built": {},
        "engines": {},
    }
    for rows, folder in folders.items():
        results["built"][f"{rows:,}"] = built(folder, options.data, rows)
    for name in options.engines:
        some = folders if name == "nestvec, lists" else {options.rows: folders[options.rows]}
        for rows, folder in some.items():
            limit = None if name == "nestvec, lists" else options.limit
            found = searched(name, folder, limit)
            results["engines"].setdefault(name, {})[f"{rows:,}"] = found
            print(name, rows, json.dumps(found), flush=True)
    both = list(results["engines"].get("nestvec, lists", {}).values())
    if len(both) == 2 and all("ms_at_recall" in each for each in both):
        results["lists_ratio"] = round(both[1]["ms_at_recall"] / both[0]["ms_at_recall"], 2)
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


class Numbered:
    """So many rows without a text, which may be gone through again."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[Any]:
        from nestvec.data.rows import Row

        return (Row(str(i), "") for i in range(self.count))


def built(folder: Path, data: Path | None, rows: int) -> dict[str, float]:
    """vectors.npy (float16), queries.npy, truth.npy and signs.nv with lists; seconds of each."""
    noted = folder / "seconds.json"
    if noted.exists():
        return dict(json.loads(noted.read_text()))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(what: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        seconds[what] = round(time.perf_counter() - begun, 1)
        print(f"{rows:,} rows, {what}: {seconds[what]} s", flush=True)

    with timed("drawing"):
        draw(folder, data, rows)
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    with timed("exact search"):
        np.save(folder / "truth.npy", exact(vectors, np.load(folder / "queries.npy")))
    collect(folder, vectors, timed)
    noted.write_text(json.dumps(seconds))
    return seconds


def draw(folder: Path, data: Path | None, rows: int) -> None:
    """Vectors and queries, as benchmarks/search.py draws them."""
    rng = np.random.default_rng(0)
    real = queries = None
    if data is not None:
        source = data / "acl_abstracts" / "minilm"
        real = unit(np.load(source / "docs.npy").astype(np.float32))
        asked = unit(np.load(source / "test_queries.npy").astype(np.float32))
        queries = asked[np.sort(rng.choice(len(asked), QUERIES, replace=False))]
    out = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float16, (rows, DIM))
    for start, block in synthetic(real, rows, rng):
        out[start : start + len(block)] = block
    if queries is None:
        picks = np.sort(rng.choice(rows, QUERIES, replace=False))
        noise = 0.03 * rng.standard_normal((QUERIES, DIM)).astype(np.float32)
        queries = unit(out[picks].astype(np.float32) + noise)
    np.save(folder / "queries.npy", queries)


def collect(folder: Path, vectors: NDArray[Any], timed: Callable[[str], Any]) -> None:
    """The collection, its lists, and what its searches derive."""
    from nestvec.codec.nested import Codec
    from nestvec.index.collection import Collection
    from nestvec.index.creation import create
    from nestvec.index.manifest import Manifest

    with timed("coding"):
        codec = Codec("sign256", power=0.0).fit(np.asarray(vectors[:_FIT_ROWS], np.float32))
        parts = []
        for start in range(0, len(vectors), _BLOCK):
            block = np.asarray(vectors[start : start + _BLOCK], np.float32)
            codes = codec.encode(block)
            parts.append((codes, codec.facts(codes, block)))
        codes = np.concatenate([part[0] for part in parts])
        facts = {name: np.concatenate([part[1][name] for part in parts]) for name in parts[0][1]}
    place = folder / "signs.nv"
    with timed("writing"):
        create(
            place,
            Numbered(len(vectors)),
            codes=codes,
            facts=facts,
            vectors=vectors,
            codec=codec,
            manifest=Manifest("", 0, 0, "", "sign4:1000,raw:10"),
        )
    with timed("lists"):
        opened = Collection.open(place).make_lists(f"{DIM}d", round(len(vectors) ** 0.5))
    queries = np.load(folder / "queries.npy")
    with timed("derived arrays"):
        opened.rank(queries[:1], "sign4:1000,raw:10")
        opened.rank(queries[:1], "probe=4;sign4:1000,raw:10")


def limits() -> tuple[Path, str, str] | None:
    """Where memory can be limited, and the names of the files that do and tell; None: nowhere."""
    for root, limit, peak in _GROUPS:
        controlled = root / "cgroup.subtree_control"
        has_memory = not controlled.exists() or "memory" in controlled.read_text()
        is_group = (root / "tasks").exists() or controlled.exists()
        if is_group and has_memory and os.access(root, os.W_OK):
            return root, limit, peak
    return None


def searched(name: str, folder: Path, limit: int | None) -> dict[str, Any]:
    """One engine in a process of its own, which has so much memory, file pages counted, or all."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    kind = None if limit is None else limits()
    group = None if kind is None else kind[0] / f"nestvec-{os.getpid()}"
    if group is not None and kind is not None:
        group.mkdir()
        (group / kind[1]).write_text(str(limit))

    def enter() -> None:
        if group is not None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    command = [sys.executable, *sys.argv, "--one", f"{name}@{folder}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, preexec_fn=enter)
    found: dict[str, Any] = {
        "failed": (done.stderr.strip().splitlines() or [str(done.returncode)])[-1]
    }
    if not done.returncode:
        found = json.loads(done.stdout.splitlines()[-1])
    if group is not None and kind is not None:
        found["most_memory_mb"] = int((group / kind[2]).read_text()) // 10**6
        group.rmdir()
    return found


class DiskBench(Bench):
    """Points of searches of a folder; recall, and milliseconds of one query, in the median."""

    batches = 0

    def __init__(self, folder: Path, queries: int = _LIMITED_QUERIES) -> None:
        super().__init__(folder)
        self.queries, self.truth = self.queries[:queries], self.truth[:queries]

    def told(self) -> dict[str, Any]:
        """The quickest point that reaches the recall, and all of them."""
        reached = [point for point in self.points if point["recall"] >= RECALL]
        best = max(self.points, key=lambda p: p["recall"])
        return {
            "taken": min(reached, key=lambda p: p["ms"]) if reached else best,
            "reached": bool(reached),
            "resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000,
            "points": self.points,
        }


def rows_by(opened: Any, plan: str, asked: F32) -> list[Any]:
    """The hits of a plan."""
    return [each.rows for each in opened.rank(asked, plan)]


def ours(folder: Path) -> dict[str, Any]:
    """All signs, by the query's own and by 4 bits of it."""
    from nestvec.index.collection import Collection

    opened, bench = Collection.open(folder / "signs.nv"), DiskBench(folder)
    for stage in ("sign", "sign4"):
        for depth in _DEPTHS:
            plan = f"{stage}:{depth},raw:10"
            if bench.point(plan, partial(rows_by, opened, plan)) > 0.997:
                break
    return bench.told()


def ours_by_lists(folder: Path) -> dict[str, Any]:
    """The nearest lists alone; what it takes at the recall, between the two points around it."""
    from nestvec.index.collection import Collection

    for path in (folder / "signs.nv" / "cache").glob("*-vector.npy"):
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass
    opened, bench = Collection.open(folder / "signs.nv"), DiskBench(folder, QUERIES)
    # every page that will be read is mapped before
    opened.rank(bench.queries, f"probe={_PROBES[-1]};sign4:{_LIST_DEPTHS[-1]},raw:10")
    at_recall = []
    for depth in _LIST_DEPTHS:
        first = len(bench.points)
        for probe in _PROBES:
            plan = f"probe={probe};sign4:{depth},raw:10"
            if bench.point(plan, partial(rows_by, opened, plan)) >= _LIST_RECALL:
                break
        below, above = bench.points[max(first, len(bench.points) - 2)], bench.points[-1]
        if below["recall"] < _LIST_RECALL <= above["recall"]:
            share = (_LIST_RECALL - below["recall"]) / (above["recall"] - below["recall"])
            at_recall.append(below["ms"] + share * (above["ms"] - below["ms"]))
    found = bench.told()
    if at_recall:
        found["ms_at_recall"] = round(min(at_recall), 3)
    return found


def refined(folder: Path, signs_of: Callable[[DiskBench], Any]) -> dict[str, Any]:
    """Another engine's shortlists of signs, rescored by rows read from the file."""
    bench = DiskBench(folder)
    shortlists = signs_of(bench)
    # as nestvec does: rows that lie apart are read without what is around them
    bench.vectors._mmap.madvise(mmap.MADV_RANDOM)
    for depth in _DEPTHS:

        def search(asked: F32, depth: int = depth) -> Any:
            best = []
            for query, places in zip(asked, shortlists(asked, depth), strict=True):
                scores = bench.vectors[places].astype(np.float32) @ query
                best.append(places[np.argsort(-scores)[:10]])
            return best

        if bench.point(str(depth), search) > 0.997:
            break
    return bench.told()


def turned(bench: DiskBench) -> tuple[Any, Iterator[NDArray[np.uint8]]]:
    """What makes signs of vectors, 256 rotated coordinates, and the rows' signs by blocks."""
    import faiss

    turn = faiss.RandomRotationMatrix(DIM, 256)
    turn.init(5)

    def signs(rows: NDArray[Any]) -> NDArray[np.uint8]:
        return np.packbits(turn.apply(np.asarray(rows, np.float32)) > 0, axis=1)

    starts = range(0, len(bench.vectors), _BLOCK)
    return signs, (signs(bench.vectors[i : i + _BLOCK]) for i in starts)


def faiss_signs(bench: DiskBench) -> Any:
    """IndexBinaryFlat."""
    import faiss

    signs, blocks = turned(bench)
    index = faiss.IndexBinaryFlat(256)
    for block in blocks:
        index.add(block)
    return lambda asked, depth: index.search(signs(asked), depth)[1]


def usearch_signs(bench: DiskBench) -> Any:
    """usearch's distances of every row."""
    from usearch.index import search

    signs, blocks = turned(bench)
    rows = np.empty((len(bench.vectors), 32), np.uint8)
    for i, block in enumerate(blocks):
        rows[i * _BLOCK : i * _BLOCK + len(block)] = block

    def shortlists(asked: F32, depth: int) -> Any:
        found = search(rows, signs(asked), depth, metric="hamming", dtype="b1", exact=True)
        return np.asarray(found.keys).reshape(len(asked), -1).astype(np.int64)

    return shortlists


ENGINES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "nestvec, lists": ours_by_lists,
    "nestvec, all rows": ours,
    "faiss BinaryFlat, refined": lambda folder: refined(folder, faiss_signs),
    "usearch exact b1, refined": lambda folder: refined(folder, usearch_signs),
}


if __name__ == "__main__":
    main()
