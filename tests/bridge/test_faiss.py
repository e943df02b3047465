"""faiss's quantizers as methods: what is shown equals what faiss itself would score."""

import sys

import numpy as np
import pytest

from nestvec.bridge import faiss as bridge
from nestvec.choose.decoded import cut_decodes
from nestvec.choose.grid import evaluate_grid
from nestvec.choose.relevance import agreement
from nestvec.errors import MissingExtra
from nestvec.progress import quiet

faiss = pytest.importorskip("faiss")

D = 32


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, D)).astype(np.float32) * np.linspace(2, 0.3, D) + 0.2
    return (x / np.linalg.norm(x, axis=1)[:, None]).astype(np.float32)


@pytest.fixture(scope="module")
def queries():
    return np.random.default_rng(1).standard_normal((7, D)).astype(np.float32)


def _views(method, vectors, metric="cosine"):
    fitted = method.fit(vectors, metric, 0, quiet())
    encoded = fitted.encode(vectors, quiet())
    return fitted, encoded, [np.array(v) for v in encoded.views(slice(0, len(vectors)))]


def test_residual_cuts_add_up_to_what_faiss_decodes(vectors):
    method = bridge.Residual(beam=3, bytes=8)
    fitted, encoded, views = _views(method, vectors)
    (last,) = list(cut_decodes(fitted.codebooks, encoded.codes, (8,)))
    np.testing.assert_allclose(last, fitted.quantizer.decode(encoded.codes), atol=1e-5)
    assert [size.code_bytes for size in fitted.sizes] == [4, 8]
    assert [size.codec_bytes for size in fitted.sizes] == [4 * 256 * D * 4, 8 * 256 * D * 4]
    for view in views:
        np.testing.assert_allclose(np.linalg.norm(view, axis=1), 1, atol=0.02)


@pytest.mark.parametrize("method", [bridge.Product(), bridge.RotatedProduct(rounds=2)])
def test_products_point_where_the_vectors_do(method, vectors):
    fitted, _, views = _views(method, vectors)
    assert [size.code_bytes for size in fitted.sizes] == [4, 8, 12, 16, 24, 32]
    assert all(size.fact_bytes == 1 for size in fitted.sizes)
    cosines = [float((view * vectors).sum(axis=1).mean()) for view in views]
    assert cosines[0] > 0.6
    assert cosines[-1] > 0.95


def test_axes_are_shared_out_by_their_variances():
    # standard deviations 8 4 2 1: the first axis, then two that make up for it, then the last
    rows = np.repeat(np.eye(4, dtype=np.float32) * [8, 4, 2, 1], 2, axis=0) * np.resize(
        [1, -1], (8, 1)
    ).astype(np.float32)
    found = np.abs(bridge.even_axes(rows.astype(np.float32), 2))
    np.testing.assert_allclose(found, np.eye(4)[[0, 3, 1, 2]], atol=1e-6)


def test_axes_of_padded_and_of_equal_rows_are_a_rotation(vectors):
    padded = np.pad(vectors, ((0, 0), (0, 4)))
    for rows in (padded, np.ones((9, 12), np.float32)):
        axes = bridge.even_axes(rows, 4).astype(np.float64)
        np.testing.assert_allclose(axes @ axes.T, np.eye(axes.shape[0]), atol=1e-5)


def test_a_rotation_leaves_less_error_than_none():
    rng = np.random.default_rng(4)
    spread = 0.8 ** np.arange(D) * np.sqrt(D)
    rows = (rng.standard_normal((2_000, D)) * spread).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = {}
    for method in (bridge.Product(), bridge.RotatedProduct()):
        _, _, views = _views(method, rows)
        cosines[method.name] = [float((view * rows).sum(axis=1).mean()) for view in views[:3]]
    assert all(o > p for o, p in zip(cosines["opq"], cosines["pq"], strict=True))


def test_the_best_entry_alone_teaches_codebooks_for_other_rows_as_well():
    rng = np.random.default_rng(5)
    rows = (rng.standard_normal((4_000, D)) * 0.8 ** np.arange(D)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = []
    for every in (False, True):
        fitted = bridge.Residual(beam=4, bytes=8, all_entries=every).fit(
            rows[:3_000], "cosine", 0, quiet()
        )
        views = fitted.encode(rows[3_000:], quiet()).views(slice(0, 1_000))
        cosines.append([float((view * rows[3_000:]).sum(axis=1).mean()) for view in views])
    np.testing.assert_allclose(cosines[0], cosines[1], atol=0.01)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_rabitq_scores_as_faiss_searches(bits, vectors, queries):
    method = bridge.Rabitq(bits=(bits,))
    fitted, encoded, (view,) = _views(method, vectors)
    (mapped,) = encoded.map_queries(queries)
    index = fitted.index(bits)
    index.add(np.ascontiguousarray(vectors @ fitted.rotation))
    scores, found = index.search(np.ascontiguousarray(queries @ fitted.rotation), len(vectors))
    expected = np.empty_like(scores)
    np.put_along_axis(expected, found, scores, axis=1)
    np.testing.assert_allclose(mapped @ view.T, expected, atol=1e-4)
    (size,) = fitted.sizes
    assert size.code_bytes == D * bits // 8
    assert size.code_bytes + size.fact_bytes == index.code_size


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_all_run_in_a_grid(metric, vectors, monkeypatch):
    monkeypatch.setattr(bridge, "_MOST_BYTES", 8)
    documents = vectors * np.linspace(0.5, 2, len(vectors), dtype=np.float32)[:, None]
    task = agreement(documents, metric, at_most=30)
    methods = [
        bridge.Product(),
        bridge.RotatedProduct(rounds=1),
        bridge.Residual(beam=1, bytes=4),
        bridge.Rabitq(bits=(1, 4)),
    ]
    evidence = evaluate_grid(documents, task, methods, metric=metric)
    assert evidence.methods == ("pq", "opq", "rq", "rabitq")
    assert evidence.of("rabitq")[-1].value > 0.6
    assert evidence.of("pq")[-1].value > evidence.of("pq")[0].value


def test_fewer_rows_than_coordinates_do_not_end_the_process():
    rows = np.random.default_rng(3).standard_normal((40, 64)).astype(np.float32)
    for method in (bridge.Product(), bridge.RotatedProduct(rounds=2)):
        fitted, _, views = _views(method, rows)
        assert len(views) == len(fitted.sizes)
        assert all(np.isfinite(view).all() for view in views)


def test_the_four_have_their_names():
    assert [method.name for method in bridge.faiss_methods()] == ["pq", "opq", "rq", "rabitq"]


def test_faiss_missing_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"pip install 'nestvec\[bench\]'"):
        bridge.faiss_methods()
