"""Exports to faiss, read back by faiss: codes, norms, and the hits of the written query."""

from __future__ import annotations

import json
import runpy

import numpy as np
import pytest

from nestvec.bridge.export_folder import MARK
from nestvec.bridge.exported import Place, target_named
from nestvec.codec.directions import directions
from nestvec.errors import UserError
from nestvec.index.plan import Plan

from .staged_in_numpy import agrees, assert_same_hits, held_of

faiss = pytest.importorskip("faiss")

TARGET = target_named("faiss")


def _written(source, folder, plan=None):
    exported = TARGET.write(source, Place(folder / "out"), plan and Plan.parse(plan))
    return exported, folder / "out"


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("plan", ["sign:100,16d:40,raw:10", "16d:60,raw:10", "raw:10"])
def test_the_same_plan_here(source_of, queries, tmp_path, metric, plan):
    source = source_of(metric)
    exported, _ = _written(source, tmp_path, plan)
    assert str(exported.plan) == plan
    assert_same_hits(exported, source, queries)


@pytest.mark.parametrize("spec", ["6xcb16", "6xcb32", "8xcb16+int8"])
def test_codebooks_are_ours(source_of, tmp_path, spec):
    """What faiss decodes is what our codec decodes, spectral map and all; ids are seqs."""
    source = source_of(spec=spec)
    codec = source.opened.codec
    _, out = _written(source, tmp_path, "4B:100,6B:50,raw:10")
    assert (out / MARK).is_file()
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text("utf-8").splitlines()]
    seqs = np.array([row["seq"] for row in rows])
    for cut in (4, 6):
        index = faiss.read_index(str(out / f"{cut}B.faiss"))
        assert index.ntotal == source.count
        np.testing.assert_array_equal(faiss.vector_to_array(index.id_map), seqs)
        ours = codec.decode(source.opened.codes(), cut)
        np.testing.assert_allclose(index.reconstruct_batch(seqs), ours, atol=1e-5)
        inner = faiss.downcast_index(index.index)
        bits = {"6xcb16": 4, "6xcb32": 5, "8xcb16+int8": 4}[spec]
        depth = cut * 2 if bits == 4 else cut
        assert inner.code_size == -(-depth * bits // 8) + 1
        assert inner.rq.search_type == faiss.AdditiveQuantizer.ST_norm_qint8


def test_codebook_search_by_hand(source_of, queries, tmp_path):
    """The shortlist is that of |q - x|^2 with the norm in one byte; what follows, our own score."""
    source = source_of(spec="6xcb16")
    codec = source.opened.codec
    exported, out = _written(source, tmp_path, "4B:60,6B:30,raw:10")
    length = json.loads((out / MARK).read_text("utf-8"))["query_length"]
    held = held_of(source, Plan.parse("raw:10"))
    codes = source.opened.codes()
    short, long = (codec.decode(codes, cut) for cut in (4, 6))
    squares = (short**2).sum(axis=1)
    low, high = squares.min(), squares.max()
    kept = (np.floor((squares - low) / (high - low) * 256).clip(0, 255) + 0.5) / 256
    kept = kept * (high - low) + low
    asked = source.opened.map_queries(queries)
    for found, query in zip(exported.search(asked, 10), directions(asked), strict=True):
        near = np.argsort(kept - 2 * length * (short @ query), kind="stable")[:60]
        by_six = directions(long[near]) @ query
        near = near[np.argsort(-by_six, kind="stable")[:30]]
        scores = directions(held.vectors[near]) @ query
        best = np.lexsort((held.seqs[near], -scores))[:10]
        assert agrees(found, held.seqs[near[best]], scores[best].astype(np.float64))


def test_the_length_of_a_query_brings_distances_near_to_cosines(source_of, tmp_path):
    """Shortlists share more with our own, which divides by the norm, than by other lengths."""
    source = source_of(spec="6xcb16")
    opened = source.opened
    _, out = _written(source, tmp_path, "4B:40,raw:10")
    index = faiss.read_index(str(out / "4B.faiss"))
    length = json.loads((out / MARK).read_text("utf-8"))["query_length"]
    rng = np.random.default_rng(3)
    asked = np.asarray(opened.vectors(), np.float32)[::9]
    asked = directions(asked + 0.1 * rng.standard_normal(asked.shape).astype(np.float32))
    seqs = np.concatenate([rows.seqs for rows in source.rows()])
    places = {int(p): i for i, p in enumerate(opened.positions())}
    ours = [
        {int(seqs[places[int(row)]]) for row in ranking.rows}
        for ranking in opened.rank(asked, "4B:40")
    ]

    def shared(of):
        _, found = index.search(np.float32(of) * asked, 40)
        return np.mean([len(a & set(b.tolist())) / 40 for a, b in zip(ours, found, strict=True)])

    assert shared(length) > 0.9
    assert shared(length) > max(shared(1), shared(1e4))


def test_the_query_stands_in_the_folder_and_runs_alone(source_of, queries, tmp_path):
    source = source_of(spec="sign48")
    exported, out = _written(source, tmp_path)
    assert str(exported.plan) == "sign:597,raw:10"
    text = (out / "query.py").read_text("utf-8")
    assert text == exported.query
    assert "nestvec" not in text.split('"""')[2]
    search = runpy.run_path(str(out / "query.py"))["search"]
    asked = source.opened.map_queries(queries)
    seqs, scores = search(asked[0], 5)
    np.testing.assert_array_equal(exported.search(asked[:1], 5)[0], seqs)
    assert (np.diff(scores) <= 0).all()
    assert scores[0] == pytest.approx(1, abs=1e-3)


def test_plans_that_are_taken(source_of):
    assert str(TARGET.plan(source_of(spec="6xcb16"))) == "6B:60,raw:10"
    assert str(TARGET.plan(source_of())) == "sign:597,raw:10"
    assert str(TARGET.plan(source_of("dot", "6xcb16"))) == "sign:597,raw:10"


@pytest.mark.parametrize(
    ("metric", "spec", "plan", "words"),
    [
        ("cosine", "sign48", "7B:20,raw:10", "begins with codebooks; got sign48"),
        ("dot", "6xcb16", "4B:20,raw:10", "compares by cosine; got dot"),
        ("cosine", "8xcb16+int8", "56B:20,raw:10", "holds the 8 bytes of codebooks"),
        ("cosine", "6xcb16", "exact:10", "faiss holds stages such as"),
    ],
)
def test_plans_that_faiss_does_not_hold(source_of, tmp_path, metric, spec, plan, words):
    with pytest.raises(UserError, match=words):
        _written(source_of(metric, spec), tmp_path, plan)
    assert not list(tmp_path.iterdir())


def test_only_an_export_is_replaced(source_of, tmp_path, monkeypatch):
    source = source_of()
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(UserError, match="replaces only what nestvec exported"):
        _written(source, tmp_path)
    out.rmdir()
    _written(source, tmp_path, "raw:10")
    before = (out / MARK).read_text("utf-8")

    def stop(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nestvec.bridge.faiss_export._write_stage", stop)
    with pytest.raises(UserError, match="No space left"):
        _written(source, tmp_path, "sign:20,raw:10")
    assert (out / MARK).read_text("utf-8") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    monkeypatch.undo()
    _written(source, tmp_path, "sign:20,raw:10")
    assert (out / "sign.faiss").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
