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
import importlib
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scan import gigabytes_a_second
from search_picture import picture

F32 = NDArray[np.float32]

DIM, K, BATCH, CLUSTERS = 384, 10, 64, 256
QUERIES = 200
RECALL = 0.99
_BLOCK = 1 << 16


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
        + (" --data folder" if options.data else ""),
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


def make(work: Path, data: Path | None, rows: int) -> None:
    """vectors.npy (n, 384) float32 of length 1, queries.npy, truth.npy (q, 10)."""
    work.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    real = None
    if data is not None:
        folder = data / "acl_abstracts" / "minilm"
        real = unit(np.load(folder / "docs.npy").astype(np.float32))
        asked = unit(np.load(folder / "test_queries.npy").astype(np.float32))
        queries = asked[np.sort(rng.choice(len(asked), QUERIES, replace=False))]
    if rows == 0:
        assert real is not None, "--rows 0 needs --data"
        np.save(work / "vectors.npy", real)
    else:
        out = np.lib.format.open_memmap(work / "vectors.npy", "w+", np.float32, (rows, DIM))
        for start, block in synthetic(real, rows, rng):
            out[start : start + len(block)] = block
        if real is None:
            picks = np.sort(rng.choice(rows, QUERIES, replace=False))
            noise = 0.03 * rng.standard_normal((QUERIES, DIM)).astype(np.float32)
            queries = unit(out[picks] + noise)
    vectors = np.load(work / "vectors.npy", mmap_mode="r")
    np.save(work / "queries.npy", queries)
    np.save(work / "truth.npy", exact(vectors, queries))


def synthetic(real: F32 | None, rows: int, rng: np.random.Generator) -> Iterator[tuple[int, F32]]:
    """(start, rows) of rows about the real clusters' centers, with the real spectrum about them."""
    from nestvec.codec.kmeans import progressive_kmeans, threads

    if real is None:
        spectrum = (np.arange(1, DIM + 1) ** -0.6).astype(np.float32)
        axes = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0].astype(np.float32)
        drawn = rng.standard_normal((CLUSTERS, DIM)).astype(np.float32)
        centers = unit((drawn * spectrum @ axes).astype(np.float32))
        spread, shares = 0.06 * spectrum / spectrum.mean(), np.full(CLUSTERS, 1 / CLUSTERS)
    else:
        with threads() as pool:
            centers = progressive_kmeans(real, CLUSTERS, pool, seed=0)
        nearest = (real @ centers.T - (centers**2).sum(axis=1) / 2).argmax(axis=1)
        rest = real - centers[nearest]
        values, vectors = np.linalg.eigh((rest.T @ rest).astype(np.float64) / len(rest))
        axes = vectors.T.astype(np.float32)
        spread = np.sqrt(np.maximum(values, 0)).astype(np.float32)
        shares = np.bincount(nearest, minlength=CLUSTERS) / len(real)
    for start in range(0, rows, _BLOCK):
        n = min(_BLOCK, rows - start)
        noise = rng.standard_normal((n, DIM)).astype(np.float32) * spread.astype(np.float32)
        yield start, unit(centers[rng.choice(CLUSTERS, n, p=shares)] + noise @ axes)


def unit(rows: F32) -> F32:
    """At length 1."""
    found: F32 = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def exact(vectors: F32, queries: F32) -> NDArray[np.int64]:
    """The rows (q, 10) nearest to each query, by blocks."""
    best = np.full((len(queries), K), -np.inf, np.float32)
    found = np.zeros((len(queries), K), np.int64)
    for start in range(0, len(vectors), _BLOCK):
        scores = queries @ np.asarray(vectors[start : start + _BLOCK]).T
        both = np.concatenate([best, scores], axis=1)
        rows = np.arange(start, start + scores.shape[1])
        names = np.concatenate([found, np.broadcast_to(rows, scores.shape)], axis=1)
        top = np.argpartition(-both, K, axis=1)[:, :K]
        best, found = np.take_along_axis(both, top, 1), np.take_along_axis(names, top, 1)
    return found


Search = Callable[[F32], Any]
"""Queries (q, d) to rows (q, 10)."""


class Bench:
    """One engine's points: a setting, its recall and its times."""

    def __init__(self, work: Path) -> None:
        self.vectors = np.load(work / "vectors.npy", mmap_mode="r")
        self.queries = np.load(work / "queries.npy")
        self.truth = np.load(work / "truth.npy")
        self.points: list[dict[str, Any]] = []

    def point(self, setting: str, search: Search) -> float:
        """Run every query alone, then 64 together; returns the recall."""
        search(self.queries[:1])
        times, found = [], []
        for i in range(len(self.queries)):
            begun = time.perf_counter()
            rows = search(self.queries[i : i + 1])
            times.append((time.perf_counter() - begun) * 1e3)
            found.append(np.asarray(rows)[0])
        together = []
        for _ in range(5):
            begun = time.perf_counter()
            search(self.queries[:BATCH])
            together.append((time.perf_counter() - begun) * 1e3 / BATCH)
        hits = [
            len(set(f.tolist()) & set(t.tolist())) for f, t in zip(found, self.truth, strict=True)
        ]
        recall = float(np.mean(hits)) / K
        self.points.append(
            {
                "setting": setting,
                "recall": round(recall, 4),
                "ms": round(statistics.median(times), 3),
                "ms_99": round(float(np.quantile(times, 0.99)), 3),
                "ms_of_64": round(statistics.median(together), 3),
            }
        )
        return recall

    def sweep(self, settings: list[Any], search: Callable[[Any], Search]) -> None:
        """Rising settings until one finds nearly all."""
        for setting in settings:
            if self.point(str(setting), search(setting)) >= 0.997:
                break


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
        "build_seconds": round(built, 1),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "points": bench.points,
    }


Built = tuple[float, float, Callable[[], None]]
"""Bytes in RAM, further bytes on disk, and the sweep."""


def nested(spec: str, lists: int | None) -> Callable[[Bench, Path, int], Built]:
    """A collection of that spec, by the plans that choose_plan tries."""

    def build(bench: Bench, work: Path, _: int) -> Built:
        from nestvec.choose.staging import PlanWish, choose_plan
        from nestvec.codec.nested import Codec
        from nestvec.data.rows import Row
        from nestvec.index.collection import Collection
        from nestvec.index.creation import create
        from nestvec.index.manifest import Manifest

        place = work / f"{spec}.nv"
        shutil.rmtree(place, ignore_errors=True)
        codec = Codec(spec, power=0.0, beam=4).fit(bench.vectors)
        codes = codec.encode(bench.vectors)
        create(
            place,
            [Row(str(i), "") for i in range(len(codes))],
            codes=codes,
            facts=codec.facts(codes, bench.vectors),
            vectors=np.asarray(bench.vectors, np.float16),
            codec=codec,
            manifest=Manifest("", 0, 0, "", f"{codec.bytes}B:10"),
        )
        opened = Collection.open(place)
        if lists is not None:
            opened = opened.make_lists("64d", lists or round(len(codes) ** 0.5))
        choice = choose_plan(opened, bench.queries, PlanWish(RECALL, K))
        plans = [each.plan for each in choice.candidates]
        extra = 16 if lists is not None else 0  # a sorted row's norm, seq and place

        def at(plan: str) -> Search:
            return lambda asked: [each.rows for each in opened.rank(asked, plan)]

        def sweep() -> None:
            for plan in plans:
                bench.point(plan, at(plan))

        ram = max(each.ram for each in choice.candidates if "exact" not in each.plan)
        return ram + extra * len(codes), 2 * DIM * len(codes), sweep

    return build


def faiss_index(
    description: str, settings: list[Any], change: Callable[[Any, Any], None]
) -> Callable[[Bench, Path, int], Built]:
    """An index of FAISS's factory, lists as many as the square root of the rows."""

    def build(bench: Bench, _: Path, threads: int) -> Built:
        import faiss

        faiss.omp_set_num_threads(threads)
        rows = np.ascontiguousarray(bench.vectors)
        lists = round(len(rows) ** 0.5)
        text = description.format(lists=lists)
        index = faiss.index_factory(DIM, text, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            picks = np.sort(np.random.default_rng(0).permutation(len(rows))[: 64 * lists])
            index.train(rows[picks])
        index.add(rows)
        ram = len(faiss.serialize_index(index))

        def at(setting: Any) -> Search:
            def search(asked: F32) -> Any:
                change(index, setting)
                return index.search(asked, K)[1]

            return search

        return ram, 0, lambda: bench.sweep(settings, at)

    return build


def set_ef(index: Any, ef: Any) -> None:
    """Of an HNSW."""
    index.hnsw.efSearch = ef


def set_probes(index: Any, setting: Any) -> None:
    """Of an IVF under a refinement: (probes, factor)."""
    import faiss

    index.k_factor = setting[1]
    faiss.extract_index_ivf(index.base_index).nprobe = setting[0]


def set_nothing(index: Any, setting: Any) -> None:
    """Of an index without settings."""


def refined(bench: Bench, ram: float, shortlists: Callable[[F32, int], NDArray[Any]]) -> Built:
    """A first stage whose shortlists (q, depth) are rescored by float16 rows."""
    stored = np.asarray(bench.vectors, np.float16)

    def at(depth: int) -> Search:
        def search(asked: F32) -> Any:
            best = []
            for query, places in zip(asked, shortlists(asked, depth), strict=True):
                scores = stored[places].astype(np.float32) @ query
                best.append(places[np.argsort(-scores)[:K]])
            return best

        return search

    return ram, 2 * DIM * len(stored), lambda: bench.sweep(_DEPTHS, at)


def turned_signs(bench: Bench) -> tuple[NDArray[np.uint8], Callable[[F32], NDArray[np.uint8]]]:
    """Signs of 256 rotated coordinates, and what makes them of queries."""
    import faiss

    turn = faiss.RandomRotationMatrix(DIM, 256)
    turn.init(5)

    def signs(rows: F32) -> NDArray[np.uint8]:
        return np.packbits(turn.apply(np.ascontiguousarray(rows)) > 0, axis=1)

    starts = range(0, len(bench.vectors), _BLOCK)
    return np.concatenate([signs(bench.vectors[i : i + _BLOCK]) for i in starts]), signs


def faiss_signs(bench: Bench, _: Path, threads: int) -> Built:
    """IndexBinaryFlat over signs, the best rescored."""
    import faiss

    faiss.omp_set_num_threads(threads)
    rows, signs = turned_signs(bench)
    index = faiss.IndexBinaryFlat(256)
    index.add(rows)
    return refined(bench, 32 * len(rows), lambda asked, m: index.search(signs(asked), m)[1])


def usearch_signs(bench: Bench, _: Path, threads: int) -> Built:
    """Every row of signs by usearch's own distances, the best rescored."""
    from usearch.index import search

    rows, signs = turned_signs(bench)

    def shortlists(asked: F32, depth: int) -> Any:
        found = search(
            rows, signs(asked), depth, metric="hamming", dtype="b1", exact=True, threads=threads
        )
        return np.asarray(found.keys).reshape(len(asked), -1).astype(np.int64)

    return refined(bench, 32 * len(rows), shortlists)


def usearch_flat(bench: Bench, _: Path, threads: int) -> Built:
    """Every row of int8."""
    from usearch.index import search as nearest

    rows = np.rint(np.asarray(bench.vectors) * 127).astype(np.int8)

    def search(asked: F32) -> Any:
        eighths = np.rint(asked * 127).astype(np.int8)
        found = nearest(rows, eighths, K, metric="cos", exact=True, threads=threads)
        return np.asarray(found.keys).reshape(len(asked), -1).astype(np.int64)

    return DIM * len(rows), 0, lambda: bench.sweep(["flat"], lambda _: search)


def turbovec_flat(n_bits: int) -> Callable[[Bench, Path, int], Built]:
    """Every row by turbovec, the best rescored."""

    def build(bench: Bench, _: Path, threads: int) -> Built:
        os.environ["RAYON_NUM_THREADS"] = str(threads)
        from turbovec import TurboQuantIndex

        index = TurboQuantIndex(dim=DIM, bit_width=n_bits)
        for start in range(0, len(bench.vectors), _BLOCK):
            index.add(np.ascontiguousarray(bench.vectors[start : start + _BLOCK]))
        ram = len(index.to_bytes())
        return refined(bench, ram, lambda asked, m: np.asarray(index.search(asked, m)[1], np.int64))

    return build


def lancedb_lists(kind: str, **how: int) -> Callable[[Bench, Path, int], Built]:
    """A table of LanceDB with an index, its best refined by the stored vectors."""

    def build(bench: Bench, work: Path, threads: int) -> Built:
        os.environ["LANCE_CPU_THREADS"] = str(threads)
        lancedb: Any = importlib.import_module("lancedb")
        import pyarrow as pa

        place = work / f"lancedb-{kind}"
        shutil.rmtree(place, ignore_errors=True)
        schema = pa.schema([("vector", pa.list_(pa.float32(), DIM)), ("row", pa.int64())])

        def batches() -> Iterator[Any]:
            for start in range(0, len(bench.vectors), _BLOCK):
                block = np.asarray(bench.vectors[start : start + _BLOCK])
                values = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), DIM)
                rows = pa.array(np.arange(start, start + len(block)))
                yield pa.record_batch([values, rows], schema=schema)

        table = lancedb.connect(place).create_table("rows", batches(), schema=schema)
        stored = _size(place)
        lists = round(len(bench.vectors) ** 0.5)
        table.create_index(
            metric="dot", vector_column_name="vector", index_type=kind, num_partitions=lists, **how
        )
        index = _size(place) - stored

        def at(setting: Any) -> Search:
            probes, factor = setting

            def search(asked: F32) -> Any:
                found = []
                for query in asked:
                    wish = table.search(query).distance_type("dot").limit(K).select(["row"])
                    wish = wish.minimum_nprobes(probes).maximum_nprobes(probes)
                    found.append(wish.refine_factor(factor).to_arrow()["row"].to_numpy())
                return found

            return search

        return index, stored, lambda: bench.sweep(_PROBES, at)

    return build


def _size(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def usearch_graph(bench: Bench, _: Path, threads: int) -> Built:
    """HNSW of int8 vectors."""
    from usearch.index import Index

    index: Any = Index(ndim=DIM, metric="cos", dtype="i8")
    index.add(np.arange(len(bench.vectors)), np.ascontiguousarray(bench.vectors), threads=threads)

    def at(ef: int) -> Search:
        def search(asked: F32) -> Any:
            index.expansion_search = ef
            found = index.search(asked, K, threads=threads)
            return np.asarray(found.keys).reshape(len(asked), -1).astype(np.int64)

        return search

    return index.memory_usage, 0, lambda: bench.sweep([32, 64, 128, 256, 512, 1024], at)


def numpy_flat(bench: Bench, _: Path, threads: int) -> Built:
    """All products."""
    rows = np.ascontiguousarray(bench.vectors)

    def search(asked: F32) -> Any:
        scores = asked @ rows.T
        top = np.argpartition(-scores, K, axis=1)[:, :K]
        return top

    return 4 * DIM * len(rows), 0, lambda: bench.sweep(["flat"], lambda _: search)


_DEPTHS = [50, 100, 200, 500, 1000, 2000, 4000]
_EFS = [32, 64, 128, 256, 512, 1024]
_PROBES = [(4, 4), (8, 8), (16, 8), (32, 16), (64, 16), (128, 32), (256, 64)]

ENGINES: dict[str, Callable[[Bench, Path, int], Built]] = {
    "nestvec 32xcb": nested("32xcb", None),
    "nestvec 32xcb, lists": nested("32xcb", 0),
    "nestvec sign256": nested("sign256", None),
    "nestvec sign256, lists": nested("sign256", 0),
    "faiss Flat": faiss_index("Flat", ["flat"], set_nothing),
    "faiss HNSW32": faiss_index("HNSW32", _EFS, set_ef),
    "faiss IVF,PQ64x4fs,Refine": faiss_index(
        "IVF{lists},PQ64x4fs,Refine(SQfp16)", _PROBES, set_probes
    ),
    "faiss IVF,RaBitQfs,Refine": faiss_index(
        "IVF{lists},RaBitQfs,Refine(SQfp16)", _PROBES, set_probes
    ),
    "faiss BinaryFlat, refined": faiss_signs,
    "usearch HNSW i8": usearch_graph,
    "usearch exact i8": usearch_flat,
    "usearch exact b1, refined": usearch_signs,
    "turbovec 2 bits, refined": turbovec_flat(2),
    "turbovec 4 bits, refined": turbovec_flat(4),
    "lancedb IVF_PQ, refined": lancedb_lists("IVF_PQ", num_sub_vectors=48),
    "lancedb IVF_RQ, refined": lancedb_lists("IVF_RQ"),
    "numpy": numpy_flat,
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
