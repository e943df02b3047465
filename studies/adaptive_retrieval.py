"""Width only where it is needed, in search: make study NAME=adaptive-retrieval DATA=folder.

Vectors of a nested image model (make study NAME=images leaves them in its folder of work):
training images are the database, test images ask, a hit is right if it bears the query's class.
Told, by plans over a collection: one pass at every width; a shortlist at one width rescored at
another, for all pairs; shortlist lengths; funnels; lists; graphs; the certified exact search; and
FAISS's flat and HNSW indexes on the same vectors. Each with mAP@10 (by min(R, 10), and by 10 as the
code of MRL has it), P@10, 1-NN accuracy, paired differences from one pass at full width,
multiply-adds and bytes of a query by formula, and milliseconds of queries asked alone, all plans in
turn within one run. Then routers that widen some queries only. Tables as in MRL (Kusupati et al.
2022, arXiv:2205.13147, sections 4.3 and app. E-F) and AdANNS (arXiv:2305.19435).
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from studies.adaptive_plans import (
    Found,
    Ways,
    cluster_and_scan,
    funnels,
    grid,
    headline,
    lengths,
    many_rows,
    one_pass,
)
from studies.adaptive_report import as_markdown, grid_picture, width_picture
from studies.adaptive_router import routers
from studies.trained import F32, F64, command_of, machine, parser_of

from nestvec.errors import UserError
from nestvec.measure.classes import ap_at_k, ap_by_k, first_right, precision_at_k, relevant_hits
from nestvec.measure.intervals import bootstrap_means

SETS = ("fashion_mnist", "cifar10", "tiny_imagenet32")
HITS = 10
SHORTLIST = 200
TIMES = 10
PARTS = ("times", "tables", "routers", "scale")


def main() -> None:
    """Rank, measure, time, and write adaptive.json, adaptive.md and the pictures."""
    parser = parser_of("images", __doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--queries", type=int, default=2_000, help="of the tables; drawn")
    parser.add_argument("--timed", type=int, default=200)
    parser.add_argument("--parts", nargs="+", default=list(PARTS))
    parser.set_defaults(out=Path("docs/results/retrieval"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    place = options.out / "adaptive.json"
    known = json.loads(place.read_text())["sets"] if place.exists() else {}
    for name in options.sets:
        begun = time.perf_counter()
        found = measured(options.work / name / f"mrl-{options.seed}.npz", options)
        found["seconds"] = round(time.perf_counter() - begun)
        known[name] = known.get(name, {}) | found
        result = {
            "command": command_of(
                "adaptive-retrieval", seed=options.seed, queries=options.queries, sets=list(known)
            ),
            "machine": machine(),
            "hits": HITS,
            "shortlist": SHORTLIST,
            "sets": known,
        }
        place.write_text(json.dumps(result, indent=1) + "\n")
        (options.out / "adaptive.md").write_text(as_markdown(result))
        (options.out / "adaptive.svg").write_text(grid_picture(result))
        (options.out / "adaptive-widths.svg").write_text(width_picture(result))
        print(f"{name}: {found['seconds']} s", flush=True)
    print(as_markdown(result))


class Labelled:
    """Vectors of a database and of queries, and their classes."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise UserError(
                f"vectors of images are read from {path}, and it is not there: make them with "
                "make study NAME=images, or name their folder with --work."
            )
        kept = np.load(path)
        self.rows: F32 = np.ascontiguousarray(kept["train"], np.float32)
        self.queries: F32 = np.ascontiguousarray(kept["test"], np.float32)
        self.row_labels, self.labels = kept["train_labels"], kept["test_labels"]

    def values(self, hits: NDArray[np.int64], some: NDArray[np.int64]) -> dict[str, F64]:
        """Measures of some queries, by their hits (m, k)."""
        relevant, totals = relevant_hits(hits, self.row_labels, self.labels[some])
        return {
            "map": ap_at_k(relevant, HITS, totals),
            "map_by_k": ap_by_k(relevant, HITS),
            "p": precision_at_k(relevant, HITS),
            "first": first_right(relevant),
        }


def measured(path: Path, options: Any) -> dict[str, Any]:
    """One set: tables, times and routers, as asked for."""
    data = Labelled(path)
    rng = np.random.default_rng(options.seed)
    drawn = np.sort(rng.permutation(len(data.queries))[: options.queries])
    found: dict[str, Any] = {
        "rows": len(data.rows),
        "dim": data.rows.shape[1],
        "classes": len(np.unique(data.row_labels)),
        "queries": len(data.queries),
    }
    with tempfile.TemporaryDirectory() as place:
        ways = Ways(data.rows, Path(place) / "c.nv")
        if "times" in options.parts:
            found["timed"] = timed(ways, data, options.timed)
        if "tables" in options.parts:
            found["tables"] = tables(ways, data, drawn)
            found["drawn"] = len(drawn)
        if "routers" in options.parts:
            found["routers"] = routers(ways, data, options.seed)
        if "scale" in options.parts:
            found["scaled"] = scaled(data, Path(place) / "m.nv", options.timed, options.seed)
    return found


def tables(ways: Ways, data: Labelled, drawn: NDArray[np.int64]) -> dict[str, Any]:
    """The quality and the counted cost of every plan, table by table."""
    asked, dim = data.queries[drawn], data.rows.shape[1]
    plans = {
        "one pass": one_pass(dim, HITS),
        "grid": grid(dim, SHORTLIST, HITS),
        "lengths": lengths(dim, len(data.rows), HITS),
        "funnels": funnels(dim, HITS),
        "lists": cluster_and_scan(dim, SHORTLIST, HITS),
    }
    found = []
    for table, named in plans.items():
        found += [ways.ask(asked, plan, way) for way, plan in named]
        print(f"{table}: {len(named)} plans", flush=True)
    full = ways.ask(asked, f"raw:{HITS}")
    cells = iter(cells_of(found, full, data, drawn))
    return {
        table: [{"way": way, "plan": plan} | next(cells) for way, plan in named]
        for table, named in plans.items()
    }


def cells_of(
    found: Sequence[Found], full: Found, data: Labelled, asked: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """What is told of plans; full: what theirs are compared with. One bootstrap for all."""
    best = data.values(full.hits, asked)["map"]
    values = [data.values(each.hits, asked) for each in found]
    columns = [np.stack([*each.values(), each["map"] - best], axis=1) for each in values]
    told = iter(bootstrap_means(np.concatenate(columns, axis=1)))
    names = (*values[0], "from_full")
    return [
        {name: asdict(next(told)) for name in names}
        | {"multiply_adds": round(each.multiply_adds), "bytes": round(each.bytes)}
        for each in found
    ]


def timed(ways: Ways, data: Labelled, queries: int) -> list[dict[str, Any]]:
    """Quality, by all queries, and milliseconds of the ways that are compared, in one run."""
    engines = headline(ways, SHORTLIST, HITS)
    print(f"timed: {len(engines)} ways are built", flush=True)
    full = ways.ask(data.queries, f"raw:{HITS}")
    found = [engine.ask(data.queries) for engine in engines.values()]
    cells = cells_of(found, full, data, np.arange(len(data.queries)))
    told = [
        {"name": name, "plan": engine.plan} | cell
        for (name, engine), cell in zip(engines.items(), cells, strict=True)
    ]
    for threads in (1, 2):
        times = interleaved(list(engines.values()), data.queries[:queries], threads)
        for each, ms in zip(told, times, strict=True):
            each[f"ms_{threads}"] = ms
    return told


def scaled(data: Labelled, place: Path, queries: int, seed: int) -> dict[str, Any]:
    """Times over more rows than there are: mixes of two rows of a class, TIMES a row.

    Of such rows no class is told, but how many of the ten nearest by the whole vectors are found.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(data.row_labels, kind="stable")
    ends = np.cumsum(np.unique(data.row_labels, return_counts=True)[1])
    parts = [data.rows]
    for _ in range(TIMES - 1):
        partner = np.empty(len(order), np.int64)
        for own in np.split(order, ends[:-1]):
            partner[own] = rng.permutation(own)
        share = rng.uniform(0.5, 1.0, (len(order), 1)).astype(np.float32)
        parts.append(share * data.rows + (1 - share) * data.rows[partner])
    ways = Ways(np.concatenate(parts), place)
    engines = many_rows(ways, SHORTLIST, HITS)
    asked = data.queries[:queries]
    found = {name: engine.ask(asked) for name, engine in engines.items()}
    best = found["one pass, FAISS flat"].hits
    told: list[dict[str, Any]] = [
        {
            "name": name,
            "plan": engines[name].plan,
            "recall": float((each.hits[:, :, None] == best[:, None]).any(axis=2).mean()),
            "multiply_adds": round(each.multiply_adds),
        }
        for name, each in found.items()
    ]
    for threads in (1, 2):
        times = interleaved(list(engines.values()), asked, threads)
        for one, ms in zip(told, times, strict=True):
            one[f"ms_{threads}"] = ms
    return {"rows": len(ways.rows), "queries": len(asked), "timed": told}


def interleaved(engines: Sequence[Any], asked: F32, threads: int) -> list[float]:
    """Median milliseconds of a query alone, by engines that take turns from query to query."""
    import faiss
    import numba
    from threadpoolctl import threadpool_limits

    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    faiss.omp_set_num_threads(threads)
    times: list[list[float]] = [[] for _ in engines]
    with threadpool_limits(threads):
        for query in asked[:5]:
            for engine in engines:
                engine.one(query[None])
        for i, query in enumerate(asked):
            # who comes after whom changes: none always finds the caches that another left
            order = np.random.default_rng(i).permutation(len(engines))
            for at in order:
                begun = time.perf_counter()
                engines[at].one(query[None])
                times[at].append((time.perf_counter() - begun) * 1e3)
    return [round(float(np.median(each)), 4) for each in times]


if __name__ == "__main__":
    main()
