"""Ways to search that adaptive_retrieval.py compares: a collection's plans, and other engines."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from studies.exact import collection_of
from studies.trained import F32

from nestvec.codec.directions import directions
from nestvec.index.collection import Collection
from nestvec.index.plan import Plan

I64 = NDArray[np.int64]
Named = list[tuple[str, str]]
"""Pairs of a way, by the name that Ways knows it by, and a plan."""

PROBE = 8
_LINKS = 16


@dataclass(frozen=True)
class Found:
    """Hits (q, k), -1 beyond the last, and what a query read in the mean."""

    hits: I64
    multiply_adds: float
    bytes: float


@dataclass(frozen=True)
class Engine:
    """How all queries are asked, and how one is."""

    plan: str
    ask: Callable[[F32], Found]
    one: Callable[[F32], Any]


class Ways:
    """A collection of vectors as it is, and with lists or graphs over some width, made when asked.

    A way is named "", "lists 16" or "graph 16".
    """

    def __init__(self, rows: F32, place: Path) -> None:
        self.rows = rows
        self.dim = rows.shape[1]
        place.parent.mkdir(parents=True, exist_ok=True)
        # float32, so that every engine has the same numbers
        self._made: dict[str, Collection] = {"": collection_of(rows, place)}

    def of(self, way: str) -> Collection:
        """The collection with that."""
        if way not in self._made:
            kind, width = way.split()
            plain = self._made[""]
            on = f"{width}d"
            self._made[way] = (
                plain.make_lists(on) if kind == "lists" else plain.make_graph(on, _LINKS)
            )
        return self._made[way]

    def ask(self, queries: F32, plan: str, way: str = "") -> Found:
        """Hits and costs of a plan for all queries."""
        rankings = self.of(way).rank(queries, plan)
        read = [sum(stage.bytes for stage in ranking.stages) for ranking in rankings]
        k = max(len(ranking.rows) for ranking in rankings)
        hits = np.full((len(rankings), k), -1)
        for own, ranking in zip(hits, rankings, strict=True):
            own[: len(ranking.rows)] = ranking.rows
        worked = [self._multiply_adds(plan, way, ranking.stages) for ranking in rankings]
        return Found(hits, float(np.mean(worked)), float(np.mean(read)))

    def _multiply_adds(self, plan: str, way: str, stages: Any) -> float:
        """Of one query: rows times coordinates, stage by stage, and what finds the rows."""
        parsed = Plan.parse(plan)
        total = 0.0
        for stage, report in zip(parsed.stages, stages, strict=True):
            if stage.kind == "exact":
                return float(report.bytes)  # a byte a coordinate, but for the few rows read whole
            total += report.scanned * (stage.amount or self.dim)
        if way and (parsed.probe or parsed.graph):
            kind, width = way.split()
            if kind == "lists":
                lists = self.of(way).lists
                assert lists is not None
                return total + lists.count * int(width)
            # float16 rows: the bytes of a walk beyond those of the rows that it leads to
            first = parsed.stages[0]
            own = (first.amount or self.dim) * 4 * stages[0].scanned
            return float(total + (stages[0].bytes - own) / 2)
        return total

    def engine(self, plan: str, way: str = "") -> Engine:
        """A plan as an engine."""
        collection = self.of(way)
        return Engine(
            f"{plan}{f' ({way})' if way else ''}",
            lambda queries: self.ask(queries, plan, way),
            lambda query: collection.rank(query, plan),
        )


def widths_of(dim: int) -> list[int]:
    """2, 4, 8, ... and the whole."""
    return [2**i for i in range(1, 20) if 2**i < dim] + [dim]


def name_of(width: int, dim: int) -> str:
    """A stage over a width."""
    return "raw" if width == dim else f"{width}d"


def one_pass(dim: int, k: int) -> Named:
    """One pass at each width."""
    return [("", f"{name_of(width, dim)}:{k}") for width in widths_of(dim)]


def grid(dim: int, shortlist: int, k: int) -> Named:
    """A shortlist at D_s, rescored at D_r."""
    widths = widths_of(dim)
    return [
        ("", f"{short}d:{shortlist},{name_of(long, dim)}:{k}")
        for short in widths[:-1]
        for long in widths
        if long > short
    ]


def lengths(dim: int, rows: int, k: int) -> Named:
    """How many rows a shortlist keeps."""
    kept = [n for n in (10, 20, 50, 100, 200, 500, 1_000, 2_000) if n <= rows]
    return [("", f"{short}d:{n},raw:{k}") for short in (4, 8, 16) if short < dim for n in kept]


def funnels(dim: int, k: int) -> Named:
    """Half the list and double the width, step by step; from 16, MRL's own example."""
    found = []
    for first in (4, 8, 16, 32):
        widths = [width for width in widths_of(dim) if width >= first]
        for most in (200, 400, 800):
            kept = [max(k, most // 2**i) for i in range(len(widths))]
            kept[-1] = k
            stages = zip((name_of(width, dim) for width in widths), kept, strict=True)
            if all(a >= b for a, b in pairwise(kept)):
                found.append(("", ",".join(f"{name}:{n}" for name, n in stages)))
    return found


def cluster_and_scan(dim: int, shortlist: int, k: int) -> Named:
    """Lists by one width, scanned at another (AdANNS-IVF), and rescored in full."""
    widths = [width for width in (8, 16, 64) if width < dim] + [dim]
    found = [
        (f"lists {by}", f"probe={PROBE};{name_of(scanned, dim)}:{k}")
        for by in widths
        for scanned in widths
    ]
    return found + [
        (f"lists {by}", f"probe={PROBE};{by}d:{shortlist},raw:{k}") for by in widths[:-1]
    ]


def headline(ways: Ways, shortlist: int, k: int) -> dict[str, Engine]:
    """What is timed in one run, {name: engine}."""
    dim = ways.dim
    found = {
        "one pass, full width": ways.engine(f"raw:{k}"),
        "one pass, certified exact": ways.engine(f"exact:{k}"),
        "one pass, 16": ways.engine(f"16d:{k}"),
    }
    for short in (4, 8, 16, 32):
        name = f"{short} to full"
        found[name] = ways.engine(f"{short}d:{shortlist},raw:{k}")
    found["16 to full, 50 kept"] = ways.engine(f"16d:50,raw:{k}")
    (plan,) = [each for _, each in funnels(dim, k) if each.startswith("16d:200,")]
    found["funnel from 16"] = ways.engine(plan)
    found["16 to full in lists by 16"] = ways.engine(
        f"probe={PROBE};16d:{shortlist},raw:{k}", "lists 16"
    )
    found["16 to full over a graph by 16"] = ways.engine(
        f"graph={shortlist};16d:{shortlist},raw:{k}", "graph 16"
    )
    found["full over a graph by full"] = ways.engine(f"graph=64;raw:{k}", f"graph {dim}")
    return found | rivals(ways.rows, shortlist, k)


def many_rows(ways: Ways, shortlist: int, k: int) -> dict[str, Engine]:
    """What is timed over more rows."""
    found = {
        "one pass, full width": ways.engine(f"raw:{k}"),
        "one pass, certified exact": ways.engine(f"exact:{k}"),
        "16 to full": ways.engine(f"16d:{shortlist},raw:{k}"),
        "16 to full in lists by 16": ways.engine(
            f"probe={PROBE};16d:{shortlist},raw:{k}", "lists 16"
        ),
    }
    return found | rivals(ways.rows, shortlist, k)


def rivals(rows: F32, shortlist: int, k: int) -> dict[str, Engine]:
    """numpy's product, and FAISS's flat and HNSW indexes, of 32 links as MRL has them."""
    faiss = importlib.import_module("faiss")
    whole = directions(rows)
    n, dim = whole.shape
    flat = faiss.IndexFlatIP(dim)
    flat.add(whole)

    def plain(query: F32) -> Any:
        scores = whole @ directions(query)[0]
        best = np.argpartition(scores, n - k)[n - k :]
        return best[np.argsort(-scores[best])]

    def asked_flat(queries: F32) -> Found:
        return Found(flat.search(directions(queries), k)[1], n * dim, 4.0 * n * dim)

    found = {
        "one pass, numpy": Engine("product, argpartition", asked_flat, plain),
        "one pass, FAISS flat": Engine(
            "IndexFlatIP", asked_flat, lambda query: flat.search(directions(query), k)
        ),
    }
    for width in (dim, 16):
        prefix = directions(np.ascontiguousarray(rows[:, :width]))
        index = faiss.IndexHNSWFlat(width, 32, faiss.METRIC_INNER_PRODUCT)
        faiss.omp_set_num_threads(2)
        index.add(prefix)
        if width == dim:
            for breadth in (16, 32, 64, 128):
                found[f"FAISS HNSW32, ef {breadth}"] = _walk(faiss, index, width, breadth, k)
        else:
            name = f"FAISS HNSW32 by {width}, {shortlist} rescored"
            found[name] = _walk(faiss, index, width, shortlist, k, whole)
    return found


def _walk(
    faiss: Any, index: Any, width: int, breadth: int, k: int, whole: F32 | None = None
) -> Engine:
    """An HNSW at one breadth; whole: the vectors by which as many rows are scored again."""

    def one(query: F32) -> Any:
        index.hnsw.efSearch = breadth
        unit = directions(query)
        kept = k if whole is None else breadth
        rows = index.search(directions(np.ascontiguousarray(unit[:, :width])), kept)[1]
        if whole is None:
            return rows
        best = []
        for own, asked in zip(rows, unit, strict=True):
            near = own[own >= 0]
            best.append(near[np.argsort(-(whole[near] @ asked))[:k]])
        return np.stack(best)

    def ask(queries: F32) -> Found:
        stats = faiss.cvar.hnsw_stats
        stats.reset()
        hits = one(queries)
        worked = stats.ndis / len(queries) * width
        if whole is not None:
            worked += breadth * whole.shape[1]
        return Found(hits, worked, 4.0 * worked)

    text = f"efSearch {breadth}" + ("" if whole is None else f", {breadth} rescored")
    return Engine(text, ask, one)
