"""Scans of prefixes kept by coordinate, against the plain one, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nestvec.index import prefixes
from nestvec.index.cache import BLOCK_ROWS
from nestvec.index.plan import Plan, Stage, keeps_prefix
from nestvec.index.reader import PrefixRun, VectorRun
from nestvec.index.scan import scan_vectors

METRICS = ("cosine", "dot", "l2")


class Rows:
    """What a reader gives of rows in fragments that end at `ends`."""

    def __init__(
        self,
        vectors: NDArray[np.float32],
        metric: str,
        ends: tuple[int, ...],
        alive: NDArray[np.bool_] | None,
        seqs: NDArray[np.int64],
    ) -> None:
        self._vectors, self._ends, self._alive, self._seqs = vectors, ends, alive, seqs
        whole = np.linalg.norm(vectors, axis=1).astype(np.float32)
        self._lengths = None if metric == "cosine" else whole
        self.count = len(vectors)
        self.plain = 0

    def _parts(self) -> Any:
        start = 0
        for end in self._ends:
            yield slice(start, end)
            start = end

    def prefix_runs(self, width: int) -> Any:
        for part in self._parts():
            own = self._vectors[part, :width]
            norms = np.linalg.norm(own.astype(np.float64), axis=1)[:, None]
            blocks = -(-len(own) // BLOCK_ROWS)
            padded = np.zeros((blocks * BLOCK_ROWS, width), np.float32)
            padded[: len(own)] = own / np.where(norms > 0, norms, 1)
            planes = padded.reshape(blocks, BLOCK_ROWS, width).transpose(0, 2, 1)
            yield PrefixRun(
                part.start,
                len(own),
                np.ascontiguousarray(planes),
                None if self._lengths is None else self._lengths[part],
                self._seqs[part],
                None if self._alive is None else self._alive[part],
            )

    def vector_runs(self, width: int, run_rows: int) -> Any:
        self.plain += 1
        for part in self._parts():
            some = np.arange(part.start, part.stop)
            if self._alive is not None:
                some = some[self._alive[part]]
            yield VectorRun(some, self.vectors(some, width), self.lengths(some), self._seqs[some])

    def vectors(self, rows: NDArray[np.int64], width: int) -> NDArray[np.float32]:
        return np.ascontiguousarray(self._vectors[rows, :width])

    def lengths(self, rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
        return None if self._lengths is None else self._lengths[rows]


def same(rows: Any, queries: NDArray[np.float32], width: int, metric: str, keep: int) -> None:
    plain = scan_vectors(queries, rows.vector_runs(width, 1), width, metric, keep)
    rows.plain = 0
    found = prefixes.scan_prefixes(queries, rows, width, metric, keep)
    for one, other in zip(found, plain, strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        assert one.seqs.tolist() == other.seqs.tolist()
        assert one.scores.tolist() == other.scores.tolist()


@pytest.mark.parametrize("metric", METRICS)
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_equal_to_the_plain_scan(metric: str, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n, width = data.draw(st.sampled_from([1, 7, 300, 1024, 2500])), data.draw(st.integers(1, 21))
    vectors = rng.standard_normal((n, 24)).astype(np.float32) * rng.uniform(0.2, 3, (n, 1))
    vectors = vectors.astype(np.float32)
    vectors[rng.random(n) < 0.02] = 0  # without a direction
    alive = rng.random(n) < 0.8 if data.draw(st.booleans()) else None
    if alive is not None:
        alive[0] = True
    ends = (n // 3, n) if n > 2 and data.draw(st.booleans()) else (n,)
    rows = Rows(vectors, metric, ends, alive, rng.permutation(n).astype(np.int64))
    queries = rng.standard_normal((data.draw(st.integers(1, 3)), 24)).astype(np.float32)
    same(rows, queries, width, metric, data.draw(st.sampled_from([1, 10, 200, 3000])))


@pytest.mark.parametrize("metric", METRICS)
def test_many_equal_rows_are_scanned_again_and_tie_to_the_smaller_seq(metric: str) -> None:
    rng = np.random.default_rng(0)
    few = rng.standard_normal((3, 8)).astype(np.float32)
    vectors = few[rng.integers(0, 3, 400)]
    rows = Rows(vectors, metric, (400,), None, rng.permutation(400).astype(np.int64))
    same(rows, rng.standard_normal((2, 8)).astype(np.float32), 4, metric, 5)
    assert rows.plain == 1


def test_rows_apart_are_scanned_once() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((20_000, 16)).astype(np.float32)
    rows = Rows(vectors, "cosine", (9_000, 20_000), None, np.arange(20_000))
    same(rows, rng.standard_normal((4, 16)).astype(np.float32), 8, "cosine", 50)
    assert rows.plain == 0


def test_threads_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from nestvec.index import fused

    monkeypatch.setattr(fused, "_FEW_COORDINATES", 0)
    monkeypatch.setattr(fused, "thread_count", lambda: 3)
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((30_000, 8)).astype(np.float32)
    rows = Rows(vectors, "l2", (30_000,), None, np.arange(30_000))
    same(rows, rng.standard_normal((3, 8)).astype(np.float32), 4, "l2", 20)


def test_only_short_prefixes_are_kept_once_more() -> None:
    kept = [width for width in (8, 9, 128, 129) if keeps_prefix(Stage("dims", width, 1), 256)]
    assert kept == [8, 9, 128]
    assert not keeps_prefix(Stage("raw", 0, 1), 256)


def test_what_a_prefix_stage_reads() -> None:
    sizes = {"rows": 100, "dim": 64, "metric": "l2", "cuts": (), "vector_itemsize": 2}
    # kept prefixes are float32; survivors, wide prefixes and rows of lists are read as stored
    assert Plan.parse("16d:10,32d:5").bytes_read(**sizes) == (100 * 68, 10 * 68)
    assert Plan.parse("33d:10").bytes_read(**sizes) == (100 * 70,)
    assert Plan.parse("probe=2;16d:10").bytes_read(**sizes) == (100 * 36,)
