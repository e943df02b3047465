"""Small random models of several architectures, files of examples, and small trainings."""

import copy
import csv
import json
import warnings
from dataclasses import fields, replace
from functools import cache
from itertools import count

import jinja2
import numpy as np
import pytest
import torch

from nestvec.learn.adapters import running, spectrum
from nestvec.learn.adapters.examples import Examples
from nestvec.learn.adapters.methods import METHODS, AdapterSettings
from nestvec.learn.adapters.settings import Training

WORDS = [f"word{i}" for i in range(40)]


@pytest.fixture(scope="session", autouse=True)
def cards_compiled_once():
    """Every model that is saved has a card, whose template Jinja takes half a second to compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", cache(jinja2.Environment.compile))
        yield


def build_model(folder, architecture="bert", layers=3, dims=32, seed=0):
    """A random sentence-transformers model: mean pooling, unit length."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, as they are imported and as they save
        import transformers
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import (
            Normalize,
            Pooling,
            Transformer,
        )

        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
        common = {
            "vocab_size": len(vocabulary),
            "hidden_size": dims,
            "num_hidden_layers": layers,
            "num_attention_heads": 2,
            "intermediate_size": 2 * dims,
            "max_position_embeddings": 64,
            "pad_token_id": 0,
        }
        names = {
            "bert": "Bert", "roberta": "Roberta", "mpnet": "MPNet", "modernbert": "ModernBert",
            "albert": "Albert",
        }  # fmt: skip
        if architecture == "qwen3":
            name = "Qwen3"
            common |= {"num_key_value_heads": 1, "head_dim": dims // 2}
        else:
            name = names[architecture]
        if architecture == "modernbert":
            common |= {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
        torch.manual_seed(seed)
        config = getattr(transformers, f"{name}Config")(**common)
        for key in config.to_dict():
            if "dropout" in key:  # so that chunks and whole batches are alike
                setattr(config, key, 0.0)
        encoder = getattr(transformers, f"{name}Model")(config)
        with torch.no_grad():  # norms that do something
            for key, value in encoder.named_parameters():
                if "norm" in key.lower() and key.endswith("weight"):
                    value.uniform_(0.5, 1.5)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
        tokenizer = transformers.BertTokenizerFast(
            vocab=str(folder / "vocab.txt"),
            model_input_names=["input_ids", "attention_mask"],
        )
        encoder.save_pretrained(folder / "encoder")
        tokenizer.save_pretrained(folder / "encoder")
        transformer = Transformer(str(folder / "encoder"), max_seq_length=32)
        model = SentenceTransformer(
            modules=[transformer, Pooling(dims, "mean"), Normalize()], device="cpu"
        )
        model.save(str(folder / "model"))
    return folder / "model"


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A random model of an architecture, made once: models("qwen3") is its folder."""
    made = {}

    def model(architecture):
        if architecture not in made:
            made[architecture] = build_model(tmp_path_factory.mktemp(architecture), architecture)
        return made[architecture]

    return model


@pytest.fixture(scope="session")
def small_model(models):
    """A random BERT of 3 layers and 32 dimensions."""
    return models("bert")


@pytest.fixture(scope="session")
def pair_file(tmp_path_factory):
    """48 pairs whose texts share two words."""
    place = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = []
    for i in range(48):
        one, two = WORDS[i % 40], WORDS[(7 * i + 3) % 40]
        rows.append({"anchor": f"{one} {two}", "positive": f"{two} {one} {WORDS[(i + 1) % 40]}"})
    place.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return place


@pytest.fixture(scope="session")
def label_file(tmp_path_factory):
    """40 texts of 4 classes, each with words of its own."""
    place = tmp_path_factory.mktemp("labels") / "texts.csv"
    lines = ["text,label"]
    for i in range(40):
        group = i % 4
        one, two = WORDS[group * 10 + i % 10], WORDS[group * 10 + (3 * i) % 10]
        lines.append(f"{one} {two},class{group}")
    place.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


@pytest.fixture(scope="session")
def texts(label_file):
    """Its texts, and the labels of their classes."""
    rows = list(csv.DictReader(label_file.read_text().splitlines()))
    return [row["text"] for row in rows], np.array([row["label"] for row in rows])


@pytest.fixture(scope="session")
def scored_file(tmp_path_factory):
    """24 pairs with scores of 0 to 2."""
    place = tmp_path_factory.mktemp("scored") / "scored.tsv"
    lines = ["sentence1\tsentence2\tscore"]
    for i in range(24):
        one, two, other = WORDS[i], WORDS[i + 1], WORDS[i + i % 3]
        lines.append(f"{one} {two}\t{one} {other}\t{i % 3}")
    place.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


@pytest.fixture(scope="session")
def planted():
    """Examples whose queries and documents agree in some coordinates and are noise elsewhere.

    planted(n, dim, agree) has a document each for n queries; agree says where they are alike.
    """

    def examples(n=96, dim=12, agree=(7, 2, 10), noise=1.0, seed=0, labelled=True):
        rng = np.random.default_rng(seed)
        meant = rng.standard_normal((n, len(agree)))
        sides = []
        for _ in range(2):
            rows = noise * rng.standard_normal((n, dim))
            rows[:, list(agree)] = meant + 0.1 * rng.standard_normal(meant.shape)
            sides.append(rows.astype(np.float32))
        if not labelled:
            return Examples(sides[0])
        return Examples(*sides, np.stack([np.arange(n), np.arange(n)], 1))

    return examples


def _in_turn(names):
    # what is trained through the code takes seconds, however small
    slow = {"coded": pytest.mark.slow}
    return [pytest.param(name, marks=slow.get(name, ())) for name in names]


@pytest.fixture(params=_in_turn(METHODS))
def each_method(request):
    """The name of a method, every one in turn."""
    return request.param


@pytest.fixture(params=_in_turn(name for name in METHODS if name != "spectemp"))
def each_trained_method(request):
    """The name of a method that takes steps, every one in turn."""
    return request.param


@pytest.fixture
def given_exponent(monkeypatch):
    """No seconds for the search of an exponent; test_adapter_spectrum.py has the real one."""
    monkeypatch.setattr(spectrum, "fit_exponent", lambda rows, moment, seed: -0.125)


@pytest.fixture(scope="session")
def quick():
    """Settings of a short training: quick(epochs=1, queue=9) has others, its training's or its own.

    Widths are 2, 4, 8 and the vectors' own.
    """
    of_training = {field.name for field in fields(Training)}

    def settings(**changed):
        training = {name: changed.pop(name) for name in of_training & changed.keys()}
        usual = AdapterSettings(
            widths=(2, 4, 8),
            training=Training(**{"batch": 16, "rate": 1e-2, "epochs": 3} | training),
            queue=40,
            neighbours=3,
            hidden=6,
            reflections=4,
        )
        return replace(usual, **changed)

    return settings


@pytest.fixture
def modules(monkeypatch):
    """The modules that methods trained, in turn, and what they were right after it."""
    seen = []

    def watched(module, *args, **kwargs):
        history = real(module, *args, **kwargs)
        seen.append((module, copy.deepcopy(module.state_dict())))
        return history

    real = running.train
    monkeypatch.setattr(running, "train", watched)
    return seen


@pytest.fixture(scope="session")
def rising():
    """rising() is a score that is better at every check."""

    def score():
        numbers = count()
        return lambda apply: float(next(numbers))

    return score


@pytest.fixture(scope="session")
def told():
    """told(.1, .3) is a score of these values in turn."""

    def score(*values):
        left = iter(values)
        return lambda apply: next(left)

    return score


@pytest.fixture(scope="session")
def weights():
    """weights(module) are its numbers, for == to the last bit."""
    return lambda module: {name: x.tolist() for name, x in module.state_dict().items()}
