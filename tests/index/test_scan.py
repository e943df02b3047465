from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nestvec.index.runs import CodeRun, VectorRun
from nestvec.index.scan import (
    Shortlist,
    of_query,
    rescore,
    rescore_vectors,
    scan,
    scan_vectors,
    vector_scores,
)

METRICS = ("cosine", "dot", "l2")


def test_vector_scores_by_hand() -> None:
    query = np.array([3, 4, 12], np.float32)
    rows = np.array([[3, 4, 0], [-4, 3, 0], [0, 0, 2]], np.float32)
    lengths = np.array([5, 5, 2], np.float32)
    cosine = vector_scores(query, rows, None, "cosine")
    np.testing.assert_allclose(cosine, [5 / 13, 0, 12 / 13], atol=1e-6)
    np.testing.assert_allclose(vector_scores(query, rows, lengths, "dot"), [25, 0, 24], atol=1e-5)
    l2 = vector_scores(query, rows, lengths, "l2")
    np.testing.assert_allclose(l2, [-144, -194, -(9 + 16 + 100)], rtol=1e-6)


def test_a_prefix_is_renormalized_and_a_prefix_of_zeros_scores_as_orthogonal() -> None:
    query = np.array([3, 4, 12], np.float32)
    rows = np.array([[3, 4], [0, 0]], np.float32)
    lengths = np.array([10, 2], np.float32)
    np.testing.assert_allclose(vector_scores(query, rows, None, "cosine"), [1, 0], atol=1e-6)
    np.testing.assert_allclose(vector_scores(query, rows, lengths, "dot"), [130, 0], rtol=1e-6)
    np.testing.assert_allclose(
        vector_scores(query, rows, lengths, "l2"), [-(100 + 169 - 260), -173], rtol=1e-5
    )


def runs(vectors: NDArray[np.float32], metric: str, size: int, seqs: Any) -> list[VectorRun]:
    lengths = None if metric == "cosine" else np.linalg.norm(vectors, axis=1).astype(np.float32)
    return [
        VectorRun(
            np.arange(start, min(start + size, len(vectors))),
            vectors[start : start + size],
            None if lengths is None else lengths[start : start + size],
            seqs[start : start + size],
        )
        for start in range(0, len(vectors), size)
    ]


@pytest.mark.parametrize("metric", METRICS)
@given(data=st.data())
def test_equal_vectors_tie_to_the_smaller_seq_wherever_they_stand(
    metric: str, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n, width = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 40))
    few = rng.standard_normal((3, width)).astype(np.float32)
    vectors = few[rng.integers(0, 3, n)]
    seqs = rng.permutation(n).astype(np.int64)
    queries = rng.standard_normal((2, width)).astype(np.float32)
    keep, size = data.draw(st.integers(1, n + 3)), data.draw(st.integers(1, 64))
    found = scan_vectors(queries, runs(vectors, metric, size, seqs), width, metric, keep)
    for query, shortlist in zip(queries, found, strict=True):
        lengths = np.linalg.norm(vectors, axis=1).astype(np.float32)
        scores = vector_scores(query, vectors, lengths, metric)
        order = sorted(range(n), key=lambda i: (-scores[i], seqs[i]))[:keep]
        assert shortlist.rows.tolist() == order
        assert shortlist.scores.tolist() == scores[order].tolist()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("spec", ["12xcb16", "sign16+4xcb16", "4xcb16+int8"])
def test_scan_and_rescore_equal_scores_by_decoding(
    make: Callable[..., Any], queries: NDArray[np.float32], metric: str, spec: str
) -> None:
    material = make(300, metric, spec)
    codec = material.codec
    first, last = codec.level_ends[0], codec.level_ends[-1]
    lengths = material.facts.get("length")
    prepared = codec.prepare(queries)

    def norms(cut: int) -> NDArray[np.float32]:
        if cut in codec.cuts:
            return codec.unpack_norms(material.facts[f"norm_{cut}"], cut)
        return codec.norms(material.codes, cut)

    seqs = np.arange(300)
    parts = [
        CodeRun(
            np.arange(start, min(start + 128, 300)),
            np.asfortranarray(material.codes[start : start + 128, :first]),
            norms(first)[start : start + 128],
            None if lengths is None else lengths[start : start + 128],
            seqs[start : start + 128],
        )
        for start in range(0, 300, 128)
    ]
    shortlists = scan(codec, prepared, parts, first, 300)
    early, late = material.code_scores(queries, first), material.code_scores(queries, last)
    for i, shortlist in enumerate(shortlists):
        np.testing.assert_allclose(shortlist.scores, early[i][shortlist.rows], rtol=1e-3, atol=1e-4)
        rows = shortlist.rows
        # Bytes already read are not read again: garbage there changes nothing.
        codes = material.codes[rows].copy()
        codes[:, :first] = 0
        deeper = rescore(
            codec,
            of_query(prepared, i),
            shortlist,
            codes,
            norms(last)[rows],
            None if lengths is None else lengths[rows],
            first,
            7,
        )
        np.testing.assert_allclose(deeper.scores, late[i][deeper.rows], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(deeper.scores, np.sort(late[i])[::-1][:7], rtol=1e-3, atol=1e-4)


def test_rescore_vectors_keeps_the_best_of_the_survivors_only() -> None:
    vectors = np.eye(4, dtype=np.float32)
    zeros = np.zeros(2, np.float32)
    shortlist = Shortlist(np.array([3, 1]), np.array([3, 1]), zeros, zeros)
    query = np.array([9, 1, 0, 2], np.float32)
    some = vectors[[3, 1]]
    products = some @ query, (some * some).sum(axis=1)
    found = rescore_vectors(query, 4, shortlist, products, None, "cosine", 1)
    assert found.rows.tolist() == [3]
    assert found.scores == pytest.approx([2 / np.sqrt(86)])
