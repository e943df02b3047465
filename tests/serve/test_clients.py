"""Clients that people have already: OpenAI's own and LangChain's, unchanged, over loopback."""

import json
import warnings
from functools import cache

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("sentence_transformers")

from nestvec.data.encoder import load_encoder
from nestvec.data.encoder_api import ApiEncoder
from nestvec.serve.opening import open_served
from nestvec.serve.settings import ServeSettings

from .conftest import running

KEY = "a-long-enough-key"
WIDTHS = [32, 64, 96]
TEXTS = ["word1 word2 word3", "word7 " * 20, "word9"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random BERT of 96 dims that says it was trained for 32, 64 and 96 of them."""
    folder = tmp_path_factory.mktemp("served") / "tiny"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, as they are imported and as they save
        import torch
        import transformers
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Normalize, Pooling, Transformer

        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{i}" for i in range(40))]
        folder.mkdir()
        (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=len(words),
            hidden_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=96,
            max_position_embeddings=64,
        )
        transformers.BertModel(config).save_pretrained(folder / "bert")
        tokenizer = transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"))
        tokenizer.save_pretrained(folder / "bert")
        transformer = Transformer(str(folder / "bert"), max_seq_length=32)
        whole = SentenceTransformer(
            modules=[transformer, Pooling(96, "mean"), Normalize()], device="cpu"
        )
        whole.save(str(folder / "model"))
    place = folder / "model" / "config.json"
    known = json.loads(place.read_text())
    place.write_text(json.dumps({**known, "matryoshka_dimensions": WIDTHS}))
    return folder / "model"


@pytest.fixture(scope="module")
def server(model):
    settings = ServeSettings(port=0, api_key=KEY)
    served = open_served(str(model), settings, device="cpu")
    served.warm_up()
    with running(served, settings) as found:
        yield found


@pytest.fixture(scope="module")
def openai():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("openai")


@pytest.fixture
def client(openai, server):
    with openai.OpenAI(
        base_url=f"{server.address}/v1", api_key=KEY, max_retries=0, timeout=30
    ) as client:
        yield client


@cache
def ours(model, width):
    return load_encoder(str(model), width=width, device="cpu").encode(TEXTS, "document")


@pytest.mark.parametrize("width", [None, 64, 40])
def test_openais_client_gets_our_vectors(client, model, width):
    asked = {} if width is None else {"dimensions": width}
    found = client.embeddings.create(input=TEXTS, model="model", **asked)
    vectors = np.array([each.embedding for each in found.data], np.float32)
    np.testing.assert_allclose(vectors, ours(model, width), atol=1e-6)
    # specials among them; the model reads 32 tokens of a text
    assert found.usage.prompt_tokens == 5 + 22 + 3


def test_openais_client_gets_numbers_too(client, model):
    found = client.embeddings.create(
        input=TEXTS[0], model="model", dimensions=64, encoding_format="float"
    )
    np.testing.assert_allclose(found.data[0].embedding, ours(model, 64)[0], atol=1e-6)


def test_openais_client_hears_why(client, openai):
    with pytest.raises(openai.BadRequestError, match="32, 64, 96") as narrow:
        client.embeddings.create(input="word1", model="model", dimensions=16)
    assert narrow.value.param == "dimensions"
    with pytest.raises(openai.NotFoundError, match="'model' alone"):
        client.embeddings.create(input="word1", model="text-embedding-3-small")
    with pytest.raises(openai.BadRequestError, match="token ids"):
        client.embeddings.create(input=[[1, 2, 3]], model="model")
    raw = client.embeddings.with_raw_response.create(input="word1", model="model", dimensions=40)
    assert "32, 64, 96" in raw.headers["x-nestvec-warning"]
    assert [each.id for each in client.models.list()] == ["model"]
    assert client.models.retrieve("model").id == "model"


def test_openais_client_needs_the_key(openai, server):
    with (
        openai.OpenAI(base_url=f"{server.address}/v1", api_key="another-key", max_retries=0) as one,
        pytest.raises(openai.AuthenticationError, match="Authorization"),
    ):
        one.models.list()


@pytest.mark.slow
def test_langchains_embeddings_are_ours(server, model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        langchain = pytest.importorskip("langchain_openai")
        embeddings = langchain.OpenAIEmbeddings(
            model="model",
            base_url=f"{server.address}/v1",
            api_key=KEY,
            dimensions=64,
            check_embedding_ctx_length=False,
        )
        found = np.array(embeddings.embed_documents(TEXTS), np.float32)
        one = np.array(embeddings.embed_query(TEXTS[0]), np.float32)
    np.testing.assert_allclose(found, ours(model, 64), atol=1e-6)
    np.testing.assert_allclose(one, found[0], atol=1e-6)


def test_our_own_client_of_servers_gets_them(server, model, monkeypatch):
    monkeypatch.setenv("NESTVEC_API_KEY", KEY)
    encoder = ApiEncoder(server.address, "model", dimensions=64, sleep=lambda seconds: None)
    np.testing.assert_allclose(encoder.encode(TEXTS, "query"), ours(model, 64), atol=1e-6)
