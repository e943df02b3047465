"""What chains of stages rank for sample queries, and what they cost: each is run once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nestvec.index.plan import Plan
from nestvec.index.snapshot import Snapshot

I64 = NDArray[np.int64]

# A first stage that takes so many times the plans in hand is not looked at further.
_SLOWER = 4.0


@dataclass(frozen=True, eq=False)
class Sample:
    """Queries (q, d), and the rows that exact search finds for each."""

    queries: NDArray[np.float32]
    wanted: list[set[int]]

    def of(self, chosen: slice) -> Sample:
        """Some of them."""
        return Sample(self.queries[chosen], self.wanted[chosen])


@dataclass(eq=False)
class Runs:
    """Deep rankings of the choosing queries by chains of stages, each made once.

    costs: milliseconds of the first stage, and per row of the later ones, by the stage's name.
    """

    snapshot: Snapshot
    sample: Sample
    deep: int
    rankings: dict[tuple[str, ...], list[I64]] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)

    def ranked(self, *names: str) -> list[I64]:
        """Rows in the order of the last stage, for each query, all of them deep."""
        if names not in self.rankings:
            plan = Plan.parse(",".join(f"{name}:{self.deep}" for name in names))
            found = [self.snapshot.rank(query[None], plan)[0] for query in self.sample.queries]
            self.rankings[names] = [each.rows for each in found]
            last = [each.stages[-1] for each in found]
            per = 1 if len(names) == 1 else min(self.deep, self.snapshot.count)
            self.costs.setdefault(names[-1], float(np.median([each.ms for each in last])) / per)
        return self.rankings[names]

    def hopeless(self, first: str, most: float) -> bool:
        """Whether a first stage alone takes more than four times `most` milliseconds.

        Stages that no kernel scans are a hundred times slower than others: minutes at a million
        rows, where one query tells.
        """
        if most == np.inf or (first,) in self.rankings:
            return False
        plan = Plan.parse(f"{first}:{self.deep}")
        fastest = np.inf
        for query in self.sample.queries[:2]:  # the first may have to map its arrays
            begun = time.perf_counter()
            self.snapshot.rank(query[None], plan)
            fastest = min(fastest, 1000 * (time.perf_counter() - begun))
        return fastest > _SLOWER * most
