"""The engines that search.py measures: how each is built, and the settings it is swept over."""

from __future__ import annotations

import importlib
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from search_vectors import BLOCK, DIM, F32, K

BATCH = 64
RECALL = 0.99

Search = Callable[[F32], Any]
"""Queries (q, d) to rows (q, 10)."""


class Bench:
    """One engine's points: a setting, its recall and its times. batches: how many are timed."""

    batches = 5

    def __init__(self, work: Path) -> None:
        self.vectors = np.load(work / "vectors.npy", mmap_mode="r")
        self.queries = np.load(work / "queries.npy")
        self.truth = np.load(work / "truth.npy")
        self.points: list[dict[str, Any]] = []
        self.seconds_before = 0.0

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
        for _ in range(self.batches):
            begun = time.perf_counter()
            search(self.queries[:BATCH])
            together.append((time.perf_counter() - begun) * 1e3 / BATCH)
        hits = [
            len(set(f.tolist()) & set(t.tolist())) for f, t in zip(found, self.truth, strict=True)
        ]
        recall = float(np.mean(hits)) / K
        told: dict[str, Any] = {
            "setting": setting,
            "recall": round(recall, 4),
            "ms": round(statistics.median(times), 3),
            "ms_99": round(float(np.quantile(times, 0.99)), 3),
        }
        if together:
            told["ms_of_64"] = round(statistics.median(together), 3)
        self.points.append(told)
        return recall

    def sweep(self, settings: list[Any], search: Callable[[Any], Search]) -> None:
        """Rising settings until one finds nearly all."""
        for setting in settings:
            if self.point(str(setting), search(setting)) >= 0.997:
                break


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

        place, kept = work / f"{spec}.nv", work / f"{spec}.npz"
        shutil.rmtree(place, ignore_errors=True)
        if kept.exists():  # an engine before coded them; its seconds are this one's as well
            known = np.load(kept)
            codec, codes = Codec.load(kept.with_suffix(".codec")), known["codes"]
            bench.seconds_before = float(known["seconds"])
        else:
            begun = time.perf_counter()
            codec = Codec(spec, power=0.0, beam=4).fit(bench.vectors)
            codes = codec.encode(bench.vectors)
            codec.save(kept.with_suffix(".codec"))
            np.savez(kept, codes=codes, seconds=time.perf_counter() - begun)
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
            opened = opened.make_lists(f"{DIM}d", lists or round(len(codes) ** 0.5))
        begun = time.perf_counter()
        choice = choose_plan(opened, bench.queries, PlanWish(RECALL, K))
        bench.seconds_before -= time.perf_counter() - begun  # others' settings are no building
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

    starts = range(0, len(bench.vectors), BLOCK)
    return np.concatenate([signs(bench.vectors[i : i + BLOCK]) for i in starts]), signs


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
        for start in range(0, len(bench.vectors), BLOCK):
            index.add(np.ascontiguousarray(bench.vectors[start : start + BLOCK]))
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
            for start in range(0, len(bench.vectors), BLOCK):
                block = np.asarray(bench.vectors[start : start + BLOCK])
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
