"""Whole trainings of small models."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import nestvec as nv
from nestvec.data.model_nesting import read_nesting
from nestvec.data.training import read_examples
from nestvec.errors import UserError
from nestvec.jobs.train import train
from nestvec.learn.dev import DevMeasure

PAIRS = {
    "nesting": {"widths": [4, 16, 32]},
    "train": {"batch": 8, "epochs": 2, "learning_rate": 1e-3, "log_every": 2, "warmup": 0},
}


def tables(start, place, **changes):
    made = {"model": {"name": str(start)}, "data": {"train": str(place)}}
    for part in (PAIRS, changes):
        for name, table in part.items():
            made[name] = {**made.get(name, {}), **table}
    return made


def weights(folder):
    return load_file(folder / "model.safetensors")


def assert_same(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], msg=name, **tolerance)


def load(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(folder), device="cpu")


def test_what_is_trained_is_an_ordinary_model_that_got_better(small_model, pair_file, tmp_path):
    result = train(tables(small_model, pair_file, data={"dev": str(pair_file)}), tmp_path / "out")
    assert result.steps == 12
    assert result.widths == (4, 16, 32)
    assert set(result.losses) == {"4", "16", "32", "total"}
    assert result.losses["total"] == pytest.approx(
        sum(result.losses[w] for w in ("4", "16", "32")), abs=1e-3
    )
    model = load(tmp_path / "out")
    pairs = [json.loads(line) for line in pair_file.read_text().splitlines()]
    left = model.encode([p["anchor"] for p in pairs], show_progress_bar=False)
    assert left.shape == (48, 32)
    np.testing.assert_allclose(np.linalg.norm(left, axis=1), 1, atol=1e-5)
    assert result.quality["32"]["nDCG@10"] > 0.8
    assert not (tmp_path / "out.partial").exists()


def test_tensorboard_gets_every_width_and_its_files_outlast_the_training(
    small_model, pair_file, tmp_path
):
    pytest.importorskip("tensorboard")
    settings = {"steps": 2, "log_every": 1, "report_to": "tensorboard"}
    train(tables(small_model, pair_file, train=settings), tmp_path / "out")
    (events,) = (tmp_path / "out" / "runs").rglob("events.out.tfevents.*")
    told = events.read_bytes()
    assert all(f"train/loss_{width}".encode() in told for width in (4, 16, 32))
    assert not (tmp_path / "out.partial").exists()


def test_the_folder_says_what_it_was_trained_for(small_model, pair_file, tmp_path):
    train(tables(small_model, pair_file, train={"steps": 1}), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["is_matryoshka"] is True
    assert config["matryoshka_dimensions"] == [4, 16, 32]
    assert not config.get("output_hidden_states")
    nesting = read_nesting(tmp_path / "out")
    assert nesting is not None
    assert (nesting.widths, dict(nesting.layers), nesting.temperatures) == (
        (4, 16, 32),
        {},
        (0.05,),
    )
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Trained widths: 4, 16, 32 dimensions." in card


def test_models_whose_layers_are_no_list_train_too(models, pair_file, tmp_path):
    train(tables(models("albert"), pair_file, train={"steps": 1}), tmp_path / "albert")
    nesting = read_nesting(tmp_path / "albert")
    assert nesting is not None
    assert nesting.widths == (4, 16, 32)
    recipe = tables(models("albert"), pair_file, train={"steps": 1}, layers={"kind": "two_d"})
    with pytest.raises(UserError, match="layers must be a list"):
        train(recipe, tmp_path / "layers")


def test_static_embeddings_train_too(small_model, pair_file, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(small_model))
        static = StaticEmbedding(tokenizer, embedding_dim=32)
        SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "static"))
    out = tmp_path / "out"
    train(tables(tmp_path / "static", pair_file, train={"steps": 2}), out)
    nesting = read_nesting(out)
    assert nesting is not None
    assert nesting.widths == (4, 16, 32)
    assert load(out).encode(["word1 word2"], show_progress_bar=False).shape == (1, 32)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ({"temperatures": [0.1, 0.2, 0.3]}, (0.1, 0.2, 0.3)),
        ({"temperatures": [0.1, 0.2, 0.3], "beta": 0.5}, (0.1, 0.2, 0.3)),
        ({"kind": "temp_agg_mrl"}, (0.03, 0.06, 0.1)),
        ({"kind": "temp_spec_mrl"}, (0.03, 0.06, 0.1)),
        ({"schedule": "linear", "temperature": 0.4, "last_temperature": 0.2}, (0.3,)),
    ],
    ids=["a width", "a width, concentrated", "aggregated", "specific", "moving"],
)
def test_the_temperatures_that_were_used_are_said(loss, said, small_model, pair_file, tmp_path):
    train(tables(small_model, pair_file, loss=loss, train={"steps": 2}), tmp_path / "out")
    nesting = read_nesting(tmp_path / "out")
    assert nesting is not None
    assert nesting.temperatures == pytest.approx(said)


def test_temperatures_of_widths_hold_where_negatives_are_concentrated(small_model):
    from nestvec.learn.losses.contrastive import info_nce
    from nestvec.learn.objective import Objective
    from nestvec.learn.recipe import parse_recipe

    taus = (0.1, 0.2, 0.4)
    recipe = parse_recipe(
        {
            "data": {"train": "x"},
            "nesting": {"widths": [4, 16, 32]},
            "loss": {"temperatures": taus, "beta": 0.5},
        }
    )
    queries, documents = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    found = Objective(load(small_model), recipe)._info_nce(queries, documents, False)
    for width, tau in zip((4, 16, 32), taus, strict=True):
        q, d = (torch.nn.functional.normalize(x[:, :width]) for x in (queries, documents))
        wanted = info_nce(q, d, temperature=tau, beta=0.5)
        torch.testing.assert_close(found.parts[str(width)], wanted)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param(
            {"loss": {"learned": True}, "nesting": {"learned": True}}, marks=pytest.mark.slow
        ),
        pytest.param(
            {"nesting": {"per_step": 2}, "train": {"mini_batch": 4}}, marks=pytest.mark.slow
        ),
        pytest.param(
            {"layers": {"kind": "two_d"}, "loss": {"schedule": "cosine", "last_temperature": 0.1}},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["plain", "learned", "sampled and cached", "layers and schedule"],
)
def test_a_run_that_was_killed_ends_with_the_same_weights(
    changes, small_model, pair_file, tmp_path, monkeypatch
):
    changes = {**changes, "train": {**changes.get("train", {}), "save_every": 5}}
    recipe = tables(small_model, pair_file, **changes)
    train(recipe, tmp_path / "whole")

    class KilledError(BaseException):
        pass

    from nestvec.learn import objective

    through = objective.Objective.forward

    def dies(self, *args, **kwargs):
        if self.step == 8:
            raise KilledError
        return through(self, *args, **kwargs)

    monkeypatch.setattr(objective.Objective, "forward", dies)
    with pytest.raises(KilledError):
        train(recipe, tmp_path / "killed")
    monkeypatch.undo()
    assert (tmp_path / "killed.partial" / "checkpoint-5").is_dir()
    result = train(recipe, tmp_path / "killed")
    assert result.steps == 12
    assert_same(weights(tmp_path / "killed"), weights(tmp_path / "whole"), rtol=0, atol=0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": {"kind": "temp_agg_mrl"}},
        {"layers": {"kind": "ese", "width": 8}, "nesting": {"widths": []}},
        # test_cached.py has the same of each loss alone
        *(
            pytest.param(changes, marks=pytest.mark.slow)
            for changes in (
                {"loss": {"both_directions": True, "beta": 0.5}},
                {"loss": {"kind": "temp_spec_mrl"}},
                {"loss": {"kind": "temp_agg"}, "nesting": {"widths": []}},
                {"layers": {"kind": "two_d"}},
                {"layers": {"kind": "uniform"}},
                {
                    "layers": {"kind": "pairs", "pairs": [[1, 8], [3, 32]]},
                    "nesting": {"widths": []},
                },
            )
        ),
    ],
    ids=lambda c: "-".join(str(v.get("kind", "x")) for v in c.values()) or "plain",
)
def test_cached_trains_what_uncached_trains(changes, small_model, pair_file, tmp_path):
    few = {"steps": 2, "batch": 16, "learning_rate": 1e-4}
    train(tables(small_model, pair_file, **{**changes, "train": few}), tmp_path / "a")
    cached = {**changes, "train": {**few, "mini_batch": 5}}
    train(tables(small_model, pair_file, **cached), tmp_path / "b")
    assert_same(weights(tmp_path / "b"), weights(tmp_path / "a"), rtol=1e-3, atol=1e-4)


def test_layers_that_were_trained_are_said_and_cut(small_model, scored_file, tmp_path):
    changes = {
        "loss": {"kind": "cosent"},
        "nesting": {"widths": []},
        "layers": {"kind": "pairs", "pairs": [[1, 8], [3, 32]]},
        "data": {"dev": str(scored_file), "dev_split": "any"},
    }
    result = train(tables(small_model, scored_file, **changes), tmp_path / "out")
    assert dict(result.layers) == {1: (8,), 3: (32,)}
    assert set(result.losses) == {"layer 1:8", "layer 3:32", "total"}
    assert set(result.quality) == {"layer 1:8", "layer 3:32"}
    from nestvec.jobs.truncate import truncate

    truncate(str(tmp_path / "out"), tmp_path / "cut", layers=1, dims=8)
    small = load(tmp_path / "cut")
    assert small.encode("word1", show_progress_bar=False).shape == (8,)
    # what was measured while training is what the cut model gives
    dev = read_examples(str(scored_file), "scored")
    served = DevMeasure(dev, {None: (8,)}).by_cut(small)["8"]
    assert served == pytest.approx(result.quality["layer 1:8"]["spearman"], abs=0.01)
    # and what an evaluation of the whole model says of that layer
    found = nv.evaluate(scored_file, model=str(tmp_path / "out"), spec="4xcb4", task="sts")
    cell = next(cell for cell in found.cells if cell.layer == 1)
    assert (cell.method, cell.dims, cell.bytes) == ("layer 1", 8, 32)
    assert cell.value == pytest.approx(served, abs=0.01)


@pytest.mark.parametrize("head", ["separate", "tied"])
def test_class_heads_are_saved_beside_the_model(head, small_model, label_file, tmp_path):
    changes = {"loss": {"kind": "cross_entropy", "head": head}, "data": {"dev": str(label_file)}}
    result = train(tables(small_model, label_file, **changes), tmp_path / "out")
    assert set(result.quality["4"]) == {"1-NN"}
    labels = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert labels == ["class0", "class1", "class2", "class3"]
    heads = load_file(tmp_path / "out" / "heads.safetensors")
    shapes = sorted(tuple(value.shape) for value in heads.values())
    if head == "separate":
        assert shapes == [(4,), (4,), (4,), (4, 4), (4, 16), (4, 32)]
    else:
        assert shapes == [(4,), (4, 32)]


def test_masked_words_train_every_width(small_model, tmp_path):
    sentences = [" ".join(f"word{10 * i + j}" for j in range(8)) for i in range(4)]
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": s}) + "\n" for s in sentences * 12))
    changes = {
        "loss": {"kind": "masked_words"},
        "nesting": {"widths": [16, 32]},
        "train": {"epochs": 20, "learning_rate": 1e-2, "batch": 16, "save_every": 60},
    }
    result = train(tables(small_model, texts, **changes), tmp_path / "out")
    chance = np.log(45)
    assert result.losses["32"] < chance - 1
    assert result.losses["16"] < chance - 1


def test_patience_stops_and_keeps_the_best(small_model, pair_file, tmp_path):
    changes = {
        "data": {"dev": str(pair_file)},
        "train": {"learning_rate": 1e-9, "evaluate_every": 2, "patience": 2, "epochs": 10},
    }
    result = train(tables(small_model, pair_file, **changes), tmp_path / "out")
    assert result.stopped
    assert result.steps < 60


def test_faults_of_data_and_place_are_told_before_anything_is_loaded(
    small_model, pair_file, label_file, scored_file, tmp_path, monkeypatch
):
    import nestvec.learn.sentence_model as sentence_model

    monkeypatch.setattr(sentence_model, "load_model", lambda *a, **k: pytest.fail("loaded"))
    out = tmp_path / "out"
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    alike = tmp_path / "alike.tsv"
    alike.write_text("sentence1\tsentence2\tscore\na\tb\t1\nc\td\t1\n")
    late = tmp_path / "late.jsonl"
    pair = {"anchor": "a", "positive": "b"}
    late.write_text(json.dumps(pair) + "\n" + json.dumps({**pair, "negative": "c"}) + "\n")
    one = tmp_path / "one.csv"
    one.write_text("text,label\na,x\nb,x\n")
    cases = [
        (tables(small_model, tmp_path / "absent.jsonl"), "does not exist"),
        (tables(small_model, empty), "no examples"),
        (tables(small_model, label_file), "no column for 'anchor'"),
        (tables(small_model, pair_file, loss={"kind": "cosent"}), "'score'"),
        (tables(small_model, label_file, data={"columns": ["text", "lable"]}), "'lable'"),
        (tables(small_model, one, loss={"kind": "cross_entropy"}), "one label only"),
        (tables(small_model, pair_file, nesting={"widths": [8, 64]}), "end at the vectors' width"),
        (
            tables(
                small_model,
                pair_file,
                nesting={"widths": []},
                layers={"kind": "pairs", "pairs": [[9, 8]]},
            ),
            "3 layers and 32 dimensions",
        ),
        (tables(tmp_path / "nowhere", pair_file), "does not exist"),
        (tables(small_model, pair_file, model={"rotate": True}, data={"rows": 9}), "at least 32"),
        (tables(small_model, pair_file, train={"report_to": "paper"}), "report_to is one of none"),
        (tables(small_model, pair_file, model={"max_tokens": 65}), "64 tokens at most"),
        (tables(small_model, pair_file, model={"max_tokens": 2}), "max_tokens must be 3 or more"),
        (tables(small_model, pair_file, train={"seed": 2**32}), "from 0 to 4294967295"),
        (tables(small_model, pair_file, data={"dev": ""}), "data.dev is empty"),
        (tables(small_model, pair_file, loss={"temperature": 10**400}), "must be a number"),
        (tables(small_model, late), "which the first row lacks"),
        (tables(small_model, "datasets:"), "got no name"),
        (tables(small_model, scored_file, loss={"kind": "cosent"}, train={"batch": 1}), "got 1"),
        (
            tables(small_model, scored_file, loss={"kind": "cosent"}, data={"dev": str(alike)}),
            "one score only",
        ),
    ]
    for recipe, said in cases:
        with pytest.raises(UserError, match=said):
            train(recipe, out)
        assert not out.exists()
        assert not (tmp_path / "out.partial").exists()
    out.mkdir()
    with pytest.raises(UserError, match="exists already"):
        train(tables(small_model, pair_file), out)


@pytest.mark.parametrize("dev", [True, False], ids=["measured", "not measured"])
def test_a_training_that_diverges_is_told_and_leaves_nothing(dev, small_model, pair_file, tmp_path):
    data = {"dev": str(pair_file)} if dev else {}
    recipe = tables(small_model, pair_file, data=data, train={"learning_rate": 1e30, "steps": 3})
    with pytest.raises(UserError, match=r"diverged at step \d: .*rate is 1e\+30"):
        train(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


def test_columns_may_have_any_name_but_each_once(small_model, label_file, tmp_path):
    place = tmp_path / "named.jsonl"
    rows = [{"label": f"word{i}", "score": f"word{i + 1}"} for i in range(8)]
    place.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tables(small_model, place, data={"columns": ["label", "score"]}, train={"steps": 1})
    assert train(recipe, tmp_path / "out").steps == 1
    twice = tables(small_model, place, data={"columns": ["label", "label"]})
    with pytest.raises(UserError, match="name each once"):
        train(twice, tmp_path / "twice")


def test_a_model_without_a_tokenizer_is_refused(small_model, pair_file, tmp_path):
    mute = tmp_path / "mute"
    shutil.copytree(small_model, mute, ignore=shutil.ignore_patterns("*tokenizer*", "vocab*"))
    with pytest.raises(UserError, match="has no tokenizer"):
        train(tables(mute, pair_file), tmp_path / "out")


def test_damaged_weights_are_one_sentence(small_model, pair_file, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(small_model, broken)
    weights_file = broken / "model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot be loaded"):
        train(tables(broken, pair_file), tmp_path / "out")
    (broken / "config.json").write_text("[]")
    with pytest.raises(UserError, match="cannot be loaded"):
        train(tables(broken, pair_file), tmp_path / "out")


def test_another_recipe_does_not_go_on_with_an_unfinished_one(small_model, pair_file, tmp_path):
    work = tmp_path / "out.partial"
    work.mkdir()
    (work / "recipe.json").write_text("{}")
    (work / "checkpoint-1").mkdir()
    with pytest.raises(UserError, match="unfinished training by another recipe"):
        train(tables(small_model, pair_file), tmp_path / "out")
    shutil.rmtree(work)
