"""Adapters as jobs: trained from files, judged, written or refused, and built into collections."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import nestvec as nv
from nestvec.adapters.adapter import Adapter
from nestvec.choose.adapted import AdaptedFloat, AdaptedMethod
from nestvec.choose.grid import evaluate_grid
from nestvec.choose.methods import NestedMethod
from nestvec.choose.relevance import QueryTask, agreement
from nestvec.cli.main import main
from nestvec.errors import UserError
from nestvec.jobs.adapt import load_adapter
from nestvec.learn.adapters import methods
from nestvec.measure.metrics import Relevance
from nestvec.vectors import normalize

ROWS, DIM, SHARED = 400, 24, 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Vectors of which eight coordinates say who belongs together and sixteen say nothing."""
    place = tmp_path_factory.mktemp("adapt")
    rng = np.random.default_rng(0)
    said = rng.standard_normal((ROWS, SHARED))
    documents = 1.0 * rng.standard_normal((ROWS, DIM))
    queries = 1.0 * rng.standard_normal((ROWS, DIM))
    documents[:, -SHARED:] = said + 0.1 * rng.standard_normal(said.shape)
    queries[:, -SHARED:] = said + 0.1 * rng.standard_normal(said.shape)
    ids = np.array([f"d{i}" for i in range(ROWS)])
    asked = np.array([f"q{i}" for i in range(ROWS)])
    np.savez(place / "docs.npz", vectors=documents.astype(np.float32), id=ids)
    np.savez(place / "queries.npz", vectors=queries.astype(np.float32), id=asked)
    lines = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in range(ROWS))]
    (place / "pairs.tsv").write_text("\n".join(lines) + "\n")
    (place / "few.tsv").write_text("\n".join(lines[:13]) + "\n")
    return place


def run(*arguments):
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    return done.exit_code, done.stdout, done.stderr


OPTIONS = (
    "--widths",
    "4,8",
    "--epochs",
    "30",
    "--batch",
    "128",
    "--learning-rate",
    "0.03",
    "--temperature",
    "0.1",
)


def adapt(folder, out, *more):
    return run(
        "adapt", folder / "docs.npz", "--queries", folder / "queries.npz",
        "--pairs", folder / "pairs.tsv", "--out", out, *OPTIONS, *more,
    )  # fmt: skip


def test_what_helps_is_written_and_said(folder, tmp_path):
    code, out, _ = adapt(folder, tmp_path / "ad", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["used"]
    assert not found["forced"]
    assert found["verdict"]["mean"]["low"] > 0
    assert found["pairs"] == ROWS * 4 // 5
    adapter = load_adapter(tmp_path / "ad")
    assert (adapter.method, adapter.widths) == ("linear", (4, 8, DIM))
    assert json.loads((tmp_path / "ad" / "verdict.json").read_text())["used"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ad"]


def test_people_see_a_table_and_a_sentence(folder, tmp_path):
    code, out, _ = adapt(folder, tmp_path / "ad")
    assert code == 0
    assert "best baseline" in out
    assert "linear helps: +" in out


def test_what_does_not_help_is_refused_unless_forced(folder, tmp_path):
    # learns nothing in one step of no length, and differs from SVD by nothing
    useless = ("--epochs", "1", "--learning-rate", "1e-12")
    code, out, _ = adapt(folder, tmp_path / "ad", *useless)
    assert code == 0
    assert "linear is not used" in out
    assert [path.name for path in (tmp_path / "ad").iterdir()] == ["verdict.json"]
    with pytest.raises(UserError, match="the judge refused it"):
        load_adapter(tmp_path / "ad")
    code, _, _ = adapt(folder, tmp_path / "forced", *useless, "--force")
    assert code == 0
    assert load_adapter(tmp_path / "forced").method == "linear"


def test_rows_that_the_judge_asks_about_are_not_learned_from(folder, tmp_path, monkeypatch):
    real, learned = methods.fit_adapter, []

    def watched(method, examples, *more, **named):
        learned.append(examples)
        return real(method, examples, *more, **named)

    monkeypatch.setattr(methods, "fit_adapter", watched)
    nv.adapt(folder / "docs.npz", tmp_path / "ad", widths=(4, 8), epochs=1)
    asked = agreement(learned[0].documents, seed=0).own_rows
    assert sorted([*learned[0].rows, *asked]) == list(range(ROWS))


def test_few_pairs_prove_nothing(folder, tmp_path):
    code, _out, _ = run(
        "adapt", folder / "docs.npz", "--queries", folder / "queries.npz",
        "--pairs", folder / "few.tsv", "--out", tmp_path / "ad", "--widths", "4", "--epochs", "1",
    )  # fmt: skip
    assert code in (0, 2)
    assert not (tmp_path / "ad" / "adapter.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--method", "search"], "search learns from pairs"),
        (["--widths", "4,99"], "up to the vectors' own, 24; got 99"),
        (["--widths", "0"], "widths are at least 1"),
        (["--widths", "a"], "whole numbers with commas"),
        (["--queries", "QUERIES"], "of use with pairs alone"),
        (["--pairs", "PAIRS"], "pairs name queries"),
        (["--pairs", "missing.tsv", "--queries", "QUERIES"], "missing.tsv"),
        (["--pairs", "STRANGE", "--queries", "QUERIES"], "names 'nobody'"),
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--learning-rate", "-1"], "learning_rate must be above 0"),
    ],
)
def test_mistakes_are_one_sentence(folder, tmp_path, arguments, says):
    (folder / "strange.tsv").write_text("q0\tnobody\t1\n")
    names = {"QUERIES": "queries.npz", "PAIRS": "pairs.tsv", "STRANGE": "strange.tsv"}
    given = [str(folder / names[each]) if each in names else each for each in arguments]
    code, out, err = run("adapt", folder / "docs.npz", "--out", tmp_path / "ad", *given)
    assert code == 2, err
    assert out == ""
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda rows: np.ones_like(rows), "vectors that differ"),
        (lambda rows: np.where(np.arange(len(rows))[:, None] == 3, np.nan, rows), "row 3 has NaN"),
    ],
)
def test_vectors_that_cannot_be_learned_from(folder, tmp_path, spoil, says):
    rows = np.load(folder / "docs.npz")["vectors"]
    np.save(tmp_path / "bad.npy", spoil(rows).astype(np.float32))
    code, _, err = run("adapt", tmp_path / "bad.npy", "--out", tmp_path / "ad")
    assert code == 2
    assert says in err
    assert not (tmp_path / "ad").exists()


@pytest.fixture(scope="module")
def source(folder):
    """Vectors with queries, judged apart: train for the adapter, test for the evaluation."""
    place = folder / "source"
    place.mkdir()
    documents, queries = (np.load(folder / f"{n}.npz")["vectors"] for n in ("docs", "queries"))
    np.savez(place / "docs.npz", vectors=documents, queries=queries)
    lines = [f"{i}\t{i}\t1" for i in range(ROWS)]
    (place / "train.tsv").write_text("\n".join(lines[:300]) + "\n")
    (place / "test.tsv").write_text("\n".join(lines[300:]) + "\n")
    return place


@pytest.fixture(scope="module")
def adapted_nv(source):
    out = source / "made.nv"
    result = nv.build(
        source / "docs.npz", out, qrels=str(source / "test.tsv"), spec="8xcb16", adapt="auto",
        keep=0.9,
    )  # fmt: skip
    return out, result


def test_a_collection_keeps_its_adapter(adapted_nv):
    out, result = adapted_nv
    assert result.adapter == "linear"
    assert result.verdict.used
    opened = nv.open(out)
    assert opened.collection.adapter.method == "linear"
    assert opened.dim == DIM
    assert nv.info(out).adapter == "linear"
    assert any("300 queries" in warning for warning in result.warnings)
    # none of the last hundred, which the evaluation asks for
    assert opened.collection.adapter.trained_rows.tolist() == list(range(300))


def test_an_adapted_code_is_called_so(adapted_nv):
    out, result = adapted_nv
    assert result.method == "linear:nested"
    assert {"nested", "linear:nested"} <= {cell.method for cell in result.evaluation.cells}
    assert "bytes a vector of adapted nested code keep" in result.sentence
    assert any(text.startswith("adapted 8xcb16 helps") for text in result.warnings)
    page = (out / "report.html").read_text()
    assert "The adapted nested code: nDCG@10" in page
    assert "The nested code: nDCG@10" in page
    assert f"adapted code {result.spec}" in page
    lines = dict(nv.info(out).lines())
    assert "adapted code" in lines
    assert "code" not in lines
    assert list(lines).index("kept") == list(lines).index("plan") + 1


def test_search_maps_queries_and_rows(adapted_nv, source):
    out, _ = adapted_nv
    opened = nv.open(out).collection
    queries = np.load(source / "docs.npz")["queries"][300:310]
    documents = opened.vectors()
    mapped = opened.adapter.transform(documents) @ opened.adapter.transform(queries).T
    ranked = opened.rank(queries, "raw:5")
    for i, one in enumerate(ranked):
        assert one.rows.tolist() == np.argsort(-mapped[:, i], kind="stable")[:5].tolist()
    codes = opened.rank(queries, f"{opened.codec.bytes}B:5")
    scores = opened.codec.score(
        opened.adapter.transform(queries), opened.codes(), opened.codec.bytes, opened.facts()
    )
    for one, wanted in zip(codes, scores, strict=True):
        np.testing.assert_allclose(one.scores, np.sort(wanted)[::-1][:5], rtol=1e-4)
    # a stage of vectors reads them whole, whatever width it ranks by
    assert ranked[0].stages[0].bytes == ROWS * DIM * 2


def test_an_adapter_that_does_not_help_is_left_out(source, tmp_path, monkeypatch):
    from nestvec.jobs import build as module

    def useless(material, *_):
        shuffled = np.random.default_rng(0).standard_normal((DIM, DIM)).astype(np.float32)
        from nestvec.adapters.adapter import Stage
        from nestvec.adapters.maps import Linear

        shuffled[:, 4:] = 0
        return Adapter("linear", DIM, (DIM,), (Stage(DIM, (Linear(shuffled),)),)), "nothing"

    monkeypatch.setattr(module, "train_adapter", useless)
    options = {
        "qrels": str(source / "test.tsv"),
        "spec": "8xcb16", "adapt": "linear", "keep": 0.9,
    }  # fmt: skip
    refused = nv.build(source / "docs.npz", tmp_path / "a.nv", **options)
    assert refused.adapter is None
    assert not refused.verdict.used
    assert nv.open(tmp_path / "a.nv").collection.adapter is None
    assert refused.method == "nested"
    assert "adapted" not in refused.sentence
    assert "linear:nested" in {cell.method for cell in refused.evaluation.cells}
    forced = nv.build(source / "docs.npz", tmp_path / "b.nv", force=True, **options)
    assert forced.adapter == "linear"


def test_adapters_as_methods_of_a_grid(folder):
    documents, queries = (np.load(folder / f"{n}.npz")["vectors"] for n in ("docs", "queries"))
    from nestvec.adapters.adapter import Stage
    from nestvec.adapters.maps import Select

    order = np.r_[DIM - SHARED : DIM, 0 : DIM - SHARED]
    adapter = Adapter("by hand", DIM, (SHARED, DIM), (Stage(DIM, (Select(order),)),))
    gains = [{i: 1.0} for i in range(ROWS)]
    task = QueryTask(
        queries, Relevance.from_gains(gains), "nDCG@10", "labels", tuple(map(str, range(ROWS)))
    )
    methods = [
        AdaptedFloat("float", adapter, (SHARED, DIM)),
        AdaptedMethod("coded", adapter.cut(SHARED), NestedMethod("4xcb16", name="inner")),
    ]
    evidence = evaluate_grid(documents, task, methods)
    (narrow, wide) = evidence.of("float")
    assert (narrow.dims, narrow.bytes) == (SHARED, 4 * SHARED)
    assert narrow.codec_bytes == 8 * SHARED
    assert wide.value == pytest.approx(evidence.full.value)
    scores = normalize(queries[:, -SHARED:]) @ normalize(documents[:, -SHARED:]).T
    ranks = 1 + (scores > scores.diagonal()[:, None]).sum(axis=1)
    wanted = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0).mean()
    assert narrow.value == pytest.approx(wanted)
    assert evidence.of("coded")[-1].codec_bytes > adapter.cut(SHARED).size_bytes()


def test_evaluating_an_adapted_collection_shows_both(adapted_nv):
    out, _ = adapted_nv
    found = nv.evaluate(out, spec="4xcb16").evidence
    assert {"nested", "linear:nested"} <= set(found.methods)
    mine, plain = found.of("linear:nested")[-1], found.of("nested")[-1]
    assert mine.bytes == plain.bytes
    assert mine.codec_bytes > plain.codec_bytes


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"adapt": "linear", "spec": "int8"}, "before codebooks or sign planes; got int8"),
        ({"adapt": "linear", "pairs": "missing.tsv"}, "missing.tsv is not there"),
        ({"adapt": "magic"}, "auto or one of"),
        ({"pairs": "train.tsv"}, "of use with an adapter alone"),
        ({"adapt": "auto", "similarity": "dot"}, "compared by cosine; got dot"),
    ],
)
def test_builds_that_cannot_be_adapted(source, tmp_path, options, says):
    with pytest.raises(UserError, match=says):
        nv.build(source / "docs.npz", tmp_path / "x.nv", qrels=str(source / "test.tsv"), **options)
    assert not (tmp_path / "x.nv").exists()


def test_an_encoder_of_other_vectors_is_told_before_training(folder, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "modules.json").write_text("[]")
    (model / "config.json").write_text(json.dumps({"hidden_size": 32}))
    code, _, err = adapt(folder, tmp_path / "ad", "--model", model)
    assert code == 2
    assert not (tmp_path / "ad").exists()
    assert not (tmp_path / "ad.work").exists()
    assert len(err.strip().splitlines()) == 1
