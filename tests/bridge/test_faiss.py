"""faiss's quantizers as methods: what is shown equals what faiss itself would score."""

import os
import subprocess
import sys

import numpy as np
import pytest

from nestvec.bridge import faiss as bridge
from nestvec.bridge import faiss_library, faiss_products, rabitq_codes
from nestvec.choose.decoded import cut_decodes
from nestvec.choose.grid import evaluate_grid
from nestvec.choose.relevance import agreement
from nestvec.errors import MissingExtra, UserError
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


@pytest.mark.parametrize("rows", [600, 40])
def test_nearest_codewords_are_those_that_faiss_finds(rows, vectors):
    # 40 rows make codebooks of 32 codewords, whose codes cross the borders of bytes
    codebooks = faiss_products._Codebooks(D, 8, rows, 0)
    some = np.ascontiguousarray(vectors[:rows])
    codebooks.train(some, 3)
    np.testing.assert_array_equal(codebooks.encode(some), codebooks.quantizer.compute_codes(some))


def test_training_goes_on_from_where_it_ended(vectors):
    def error(codebooks):
        return float(((codebooks.decode(codebooks.encode(vectors)) - vectors) ** 2).sum())

    # codebooks of 16 codewords, or so few rows would be learned by heart at once
    in_steps, at_once = (faiss_products._Codebooks(D, 4, 16, 0) for _ in range(2))
    errors = []
    for _ in range(3):
        in_steps.train(vectors, 2)
        errors.append(error(in_steps))
    at_once.train(vectors, 6)
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] == pytest.approx(error(at_once), rel=0.02)


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


def test_nearest_codewords_alone_teach_codebooks_for_other_rows_as_well():
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
    assert min(cosines[0]) > 0.5
    np.testing.assert_array_less(np.array(cosines[1]) - 0.01, cosines[0])


def test_looked_up_codes_are_those_of_the_plain_beam():
    rows = np.random.default_rng(8).standard_normal((2_000, D)).astype(np.float32)
    fitted = bridge.Residual(beam=4, bytes=4).fit(rows, "cosine", 0, quiet())
    looked_up = fitted.quantizer.compute_codes(rows)
    fitted.quantizer.use_beam_LUT = 0
    assert (looked_up == fitted.quantizer.compute_codes(rows)).mean() > 0.99


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


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_rabitq_of_a_width_that_fills_no_byte(bits):
    rows = np.random.default_rng(6).standard_normal((50, 21)).astype(np.float32)
    fitted, encoded, (view,) = _views(bridge.Rabitq(bits=(bits,)), rows)
    index = fitted.index(bits)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    index.add(np.ascontiguousarray(unit @ fitted.rotation))
    queries = np.random.default_rng(7).standard_normal((5, 21)).astype(np.float32)
    scores, found = index.search(np.ascontiguousarray(queries @ fitted.rotation), len(rows))
    (mapped,) = encoded.map_queries(queries)
    ours = np.take_along_axis(mapped @ view.T, found, axis=1)
    np.testing.assert_allclose(ours, scores, atol=1e-4)


def test_digits_by_hand():
    # signs + - +, further bits 1 0, 0 1, 1 1 (lowest first): counts 5 2 7 of 0 to 7
    codes = np.array([[0b101, 0b00111001]], np.uint8)
    assert rabitq_codes.digits_of(codes, 3, 3).tolist() == [[1.5, -1.5, 3.5]]
    assert rabitq_codes.digits_of(codes[:, :1], 3, 1).tolist() == [[0.5, -0.5, 0.5]]


def test_codes_laid_out_in_another_way_are_noticed(vectors, monkeypatch):
    layout = rabitq_codes._without_factors
    monkeypatch.setattr(rabitq_codes, "_without_factors", lambda *a: layout(*a)[:, ::-1])
    fitted = bridge.Rabitq(bits=(2,)).fit(vectors, "cosine", 0, quiet())
    with pytest.raises(UserError, match=r"pip install faiss-cpu==1\.15\.1"):
        fitted.encode(vectors, quiet())


def test_faiss_is_left_as_it_was(vectors):
    before = faiss.cvar.distance_compute_blas_threshold
    for method in (bridge.Product(), bridge.Residual(beam=1, bytes=4)):
        _views(method, vectors)
    assert faiss.cvar.distance_compute_blas_threshold == before
    with faiss_library.by_blas(faiss), faiss_library.by_blas(faiss):
        assert faiss.cvar.distance_compute_blas_threshold == 20
    assert faiss.cvar.distance_compute_blas_threshold == before


@pytest.mark.parametrize("told", [None, "7"])
def test_its_threads_sleep_while_they_wait_unless_told_otherwise(told):
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE"} | ({names[1]: told} if told else {})
    code = (
        "import os; from nestvec.bridge.faiss import require_faiss; require_faiss(); "
        f"print([os.environ.get(name) for name in {names}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str([None, told])
    if names[1] not in done.stderr:
        pytest.skip("this faiss's OpenMP does not say what it was told")
    assert f"{names[1]} = '{told or 1000}'" in done.stderr


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_all_run_in_a_grid(metric, vectors, monkeypatch):
    monkeypatch.setattr(faiss_products, "_MOST_BYTES", 8)
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
