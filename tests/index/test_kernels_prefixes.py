"""The compiled scan of prefixes that are kept by coordinate, against the plain one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nestvec.index import fused
from nestvec.index.cache import BLOCK_ROWS
from nestvec.index.plan import Plan, Stage, keeps_prefix
from nestvec.index.runs import PrefixRun, VectorRun
from nestvec.index.scan import scan_vectors

METRICS = ("cosine", "dot", "l2")
DIM = 24


class Rows:
    """Runs of rows in fragments that end at `ends`, as either scan reads them."""

    def __init__(
        self,
        vectors: NDArray[np.float32],
        metric: str,
        ends: tuple[int, ...] = (),
        alive: NDArray[np.bool_] | None = None,
        seqs: NDArray[np.int64] | None = None,
    ) -> None:
        self.vectors, self.metric, self.alive = vectors, metric, alive
        self.count = len(vectors)
        self.parts = [
            slice(a, b) for a, b in zip((0, *ends), (*ends, self.count), strict=True) if a < b
        ]
        self.seqs = np.arange(self.count) if seqs is None else seqs
        lengths = np.linalg.norm(vectors, axis=1).astype(np.float32)
        self.lengths = None if metric == "cosine" else lengths

    def plain(self, queries: Any, width: int, keep: int) -> Any:
        runs = []
        for part in self.parts:
            some = np.arange(part.start, part.stop)
            if self.alive is not None:
                some = some[self.alive[part]]
            lengths = None if self.lengths is None else self.lengths[some]
            if len(some):
                own = np.ascontiguousarray(self.vectors[some, :width])
                runs.append(VectorRun(some, own, lengths, self.seqs[some]))
        return scan_vectors(queries, runs, width, self.metric, keep)

    def compiled(self, queries: Any, width: int, keep: int) -> Any:
        runs = []
        for part in self.parts:
            own = self.vectors[part, :width]
            norms = np.linalg.norm(own.astype(np.float64), axis=1)[:, None]
            blocks = -(-len(own) // BLOCK_ROWS)
            padded = np.zeros((blocks * BLOCK_ROWS, width), np.float32)
            padded[: len(own)] = own / np.where(norms > 0, norms, 1)
            planes = padded.reshape(blocks, BLOCK_ROWS, width).transpose(0, 2, 1)
            runs.append(
                PrefixRun(
                    part.start,
                    len(own),
                    np.ascontiguousarray(planes),
                    None if self.lengths is None else self.lengths[part],
                    self.seqs[part],
                    None if self.alive is None else self.alive[part],
                )
            )
        return fused.scan_prefixes(runs, queries, width, self.metric, self.count, keep)


def alike(one: Any, other: Any, scale: float) -> None:
    """The same rows, but for those whose scores differ by rounding alone."""
    assert len(one.rows) == len(other.rows)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5 * scale)
    assert (np.diff(one.scores) <= 0).all()
    edge = other.scores[-1] + 1e-5 * scale
    clear = set(other.rows[other.scores > edge].tolist())
    assert clear <= set(one.rows.tolist())


@pytest.mark.parametrize("metric", METRICS)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_finds_what_the_plain_scan_finds(metric: str, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n, width = data.draw(st.sampled_from([1, 7, 300, 1024, 2500])), data.draw(st.integers(1, 21))
    vectors = rng.standard_normal((n, DIM)) * rng.uniform(0.2, 3, (n, 1))
    vectors[rng.random(n) < 0.02] = 0  # without a direction
    alive = None
    if data.draw(st.booleans()):
        alive = rng.random(n) < 0.8
        alive[0] = True
    ends = (n // 3,) if data.draw(st.booleans()) else ()
    rows = Rows(vectors.astype(np.float32), metric, ends, alive, rng.permutation(n))
    queries = rng.standard_normal((data.draw(st.integers(1, 3)), DIM)).astype(np.float32)
    keep = data.draw(st.sampled_from([1, 10, 200, 3000]))
    for one, other in zip(
        rows.compiled(queries, width, keep), rows.plain(queries, width, keep), strict=True
    ):
        alike(one, other, 1.0 if metric == "cosine" else 400.0)
        assert one.seqs.tolist() == rows.seqs[one.rows].tolist()


@pytest.mark.parametrize("metric", METRICS)
def test_equal_rows_have_equal_scores_wherever_they_stand(metric: str) -> None:
    rng = np.random.default_rng(0)
    few = rng.standard_normal((3, DIM)).astype(np.float32)
    kinds = rng.integers(0, 3, 2100)
    seqs = rng.permutation(2100)
    rows = Rows(few[kinds], metric, (1030,), None, seqs)
    for found in rows.compiled(rng.standard_normal((2, DIM)).astype(np.float32), 7, 2100):
        for kind in range(3):
            mine = kinds[found.rows] == kind
            assert len(np.unique(found.scores[mine])) == 1
            assert (np.diff(found.seqs[mine]) > 0).all()


def test_queries_do_not_depend_on_their_company_nor_on_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((30_000, DIM)).astype(np.float32)
    rows = Rows(vectors, "l2", (9_000,))
    queries = rng.standard_normal((3, DIM)).astype(np.float32)
    alone = [rows.compiled(queries[i : i + 1], 6, 20)[0] for i in range(3)]
    monkeypatch.setattr(fused, "_FEW_COORDINATES", 0)
    monkeypatch.setattr(fused, "thread_count", lambda: 3)
    for one, other in zip(alone, rows.compiled(queries, 6, 20), strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        assert one.scores.tolist() == other.scores.tolist()


def test_only_short_prefixes_are_kept_once_more() -> None:
    kept = [width for width in (8, 9, 128, 129) if keeps_prefix(Stage("dims", width, 1), 256)]
    assert kept == [8, 9, 128]
    assert not keeps_prefix(Stage("raw", 0, 1), 256)


def test_what_a_prefix_stage_reads() -> None:
    sizes: dict[str, Any] = {
        "rows": 100,
        "dim": 64,
        "metric": "l2",
        "cuts": (),
        "vector_itemsize": 2,
    }
    # kept prefixes are float32; survivors, wide prefixes and rows of lists are read as stored
    assert Plan.parse("16d:10,32d:5").bytes_read(**sizes) == (100 * 68, 10 * 68)
    assert Plan.parse("33d:10").bytes_read(**sizes) == (100 * 70,)
    assert Plan.parse("probe=2;16d:10").bytes_read(**sizes) == (100 * 36,)
