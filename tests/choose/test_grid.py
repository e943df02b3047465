import numpy as np
import pytest

from nestvec.choose import axes, relevance
from nestvec.choose.baselines import Float16Full, FloatAxes, FullVectors, Signs, plain_baselines
from nestvec.choose.evidence import Evidence
from nestvec.choose.geometry import Geometry, geometry_of_sizes
from nestvec.choose.grid import evaluate_grid
from nestvec.choose.methods import NestedCodes, NestedMethod
from nestvec.choose.relevance import QueryTask
from nestvec.codec.nested import Codec
from nestvec.errors import UserError
from nestvec.measure.geometry import alignment, intrinsic_dimension, uniformity
from nestvec.measure.intervals import bootstrap_mean, paired_difference
from nestvec.measure.metrics import Measure, Relevance, ranks_of_relevant
from nestvec.progress import quiet


def _task(documents, q=12, seed=0, measure="nDCG@10", seen=None):
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(documents), q, replace=False)
    noise = 0.5 * rng.standard_normal((q, documents.shape[1])).astype(np.float32)
    return QueryTask(
        np.asarray(documents[rows], np.float32) + noise,
        Relevance.from_top(rows[:, None].astype(np.int64)),
        measure,
        "labels",
        tuple(map(str, rows)),
        seen,
    )


def _documents(n=300, d=24, seed=1):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def test_values_by_hand():
    documents = np.array([[1, 0], [0.6, 0.8], [0, 1], [-1, 0]], np.float32)
    task = QueryTask(
        np.array([[1, 0.1], [0, 1]], np.float32),
        Relevance.from_gains([{1: 1.0}, {2: 1.0}]),
        "RR@10",
        "labels",
        ("a", "b"),
    )
    evidence = evaluate_grid(documents, task, [Float16Full()])
    # the first query finds row 0 before row 1: 1/2; the second its row at once: 1
    assert evidence.full.value == 0.75
    (cell,) = evidence.cells
    assert (cell.method, cell.dims, cell.bytes, cell.fact_bytes) == ("float16", 2, 4, 0)
    assert (cell.value, cell.delta, cell.delta_low, cell.delta_high) == (0.75, 0, 0, 0)
    assert evidence.fitted_on_relevant


def test_cells_equal_brute_force_sorting_with_its_intervals():
    documents = _documents()
    task = _task(documents)
    evidence = evaluate_grid(documents, task, [Signs()], seed=5)
    unit = documents / np.linalg.norm(documents, axis=1)[:, None]
    full = Measure.parse("nDCG@10").values(
        ranks_of_relevant(task.vectors @ unit.T, task.relevance), task.relevance
    )
    signs = np.where(unit > unit.mean(axis=0), 1, -1).astype(np.float32)
    own = Measure.parse("nDCG@10").values(
        ranks_of_relevant(task.vectors @ signs.T, task.relevance), task.relevance
    )
    assert evidence.full == bootstrap_mean(full, 5)
    cell = evidence.cells[-1]
    expected = bootstrap_mean(own, 5)
    assert (cell.value, cell.low, cell.high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    expected = paired_difference(own, full, 5)
    assert (cell.delta, cell.delta_low, cell.delta_high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    values, full_values = evidence.query_values()
    np.testing.assert_allclose(values[-1], own)
    np.testing.assert_allclose(full_values, full)


def test_evidence_survives_json_and_forgets_single_queries():
    documents = _documents()
    seen = np.arange(12) < 5
    evidence = evaluate_grid(
        documents, _task(documents, seen=seen), [Signs(), Float16Full()], left_out=["pq: no"]
    )
    again = Evidence.from_json(evidence.to_json())
    assert again == evidence
    assert [(part.name, part.queries) for part in again.parts] == [("seen", 5), ("unseen", 7)]
    with pytest.raises(UserError, match="evaluate again"):
        again.query_values()
    values, full = evidence.query_values()
    assert (values.shape, full.shape) == ((2, 12), (12,))


def test_parts_are_means_over_their_queries():
    documents = _documents()
    seen = np.arange(12) < 5
    evidence = evaluate_grid(documents, _task(documents, seen=seen), [Signs()])
    values, full = evidence.query_values()
    part = evidence.parts[1]
    assert part.full.value == pytest.approx(full[~seen].mean())
    assert part.cells[0].value == pytest.approx(values[0, ~seen].mean())


def test_nested_cells_score_as_the_codec_does():
    documents = _documents(400)
    task = _task(documents, measure="RR@400")
    codec = Codec("8xcb16", seed=0).fit(documents)
    codes = codec.encode(documents)
    facts = codec.facts(codes, documents)
    evidence = evaluate_grid(documents, task, [NestedCodes("mine", codec, codes, facts)])
    assert [cell.bytes for cell in evidence.cells] == list(codec.cuts)
    for cell in evidence.cells:
        scores = codec.score(task.vectors, codes, cell.bytes, facts)
        ranks = ranks_of_relevant(scores, task.relevance)
        expected = Measure.parse("RR@400").values(ranks, task.relevance).mean()
        # look-ups and products round differently, so that near ties may swap
        assert cell.value == pytest.approx(expected, abs=2e-3)
        assert cell.codec_bytes == codec.size_bytes(cell.bytes)
        assert cell.total_bytes(1000) == 1000 * (cell.bytes + 1) + cell.codec_bytes


@pytest.mark.parametrize("metric", ["dot", "l2"])
def test_nested_cells_follow_the_metric(metric):
    documents = _documents(400) * np.linspace(0.5, 2, 400, dtype=np.float32)[:, None]
    task = _task(documents, measure="RR@400")
    evidence = evaluate_grid(documents, task, [NestedMethod("float16")], metric=metric)
    (cell,) = evidence.cells
    assert (cell.bytes, cell.fact_bytes) == (48, 5)
    assert cell.delta == pytest.approx(0, abs=0.02)


def test_the_full_grid_of_baselines_runs_on_memory_maps(tmp_path):
    np.save(tmp_path / "x.npy", _documents().astype(np.float16))
    documents = np.load(tmp_path / "x.npy", mmap_mode="r")
    task = relevance.agreement(documents, at_most=20)
    evidence = evaluate_grid(documents, task, plain_baselines())
    assert evidence.full.value == 1.0
    assert evidence.kind == "agreement"
    assert {cell.method for cell in evidence.cells} == {m.name for m in plain_baselines()}
    widest = [evidence.of(name)[-1].value for name in ("prefix-float", "pca-float", "svd-float")]
    assert min(widest) > 0.99
    rising = [cell.value for cell in evidence.of("svd-float")]
    assert rising[0] < rising[-1]


def test_names_must_differ():
    documents = _documents()
    with pytest.raises(ValueError, match="differ in name"):
        evaluate_grid(documents, _task(documents), [Signs(), Signs()])


def test_full_vectors_are_a_method_too():
    documents = _documents()
    evidence = evaluate_grid(documents, _task(documents), [FullVectors()])
    assert evidence.cells[0].delta == 0
    assert evidence.cells[0].bytes == 96


def test_what_shows_no_vectors_is_not_read_for_its_shape():
    documents = _documents()
    task = _task(documents)
    encoded = FloatAxes("pca-float", axes.pca).fit(documents, "cosine", 0, quiet())
    encoded = encoded.encode(documents, quiet())
    sizes = encoded.fitted.sizes
    object.__setattr__(encoded, "documents", None)  # reading it would fail
    found = geometry_of_sizes(encoded, sizes, task, len(documents), 0)
    assert found == [Geometry(None, None, None)] * len(sizes)


def test_shapes_of_sizes_are_those_of_their_vectors():
    documents = _documents()
    task = _task(documents)
    (cell,) = evaluate_grid(documents, task, [Float16Full()], geometry=True).cells
    unit = documents / np.linalg.norm(documents, axis=1)[:, None]
    asked = task.vectors / np.linalg.norm(task.vectors, axis=1)[:, None]
    assert cell.intrinsic_dimension == intrinsic_dimension(unit)
    assert cell.uniformity == pytest.approx(uniformity(unit), abs=1e-3)
    assert cell.alignment == pytest.approx(alignment(asked, unit[task.relevance.rows]), abs=1e-3)
