"""A server asked over its socket: answers, refusals, and what stands in its metrics."""

import base64
import http.client
import json
import threading

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from nestvec.data.model_nesting import TrainedNesting
from nestvec.serve import openapi
from nestvec.serve.model import Model
from nestvec.serve.opening import Served
from nestvec.serve.page import assets
from nestvec.serve.searching import Searched
from nestvec.serve.settings import ServeSettings

from .conftest import DIM, ROWS, WordEncoder, make_collection, rows_of_words, running, settings_with


@pytest.fixture(scope="module")
def server(serving):
    served, encoder = serving()
    with running(served, settings_with(body_bytes=50_000, texts=40), assets()) as found:
        found.encoder = encoder
        yield found


@pytest.fixture(scope="module")
def keyed(serving):
    settings = ServeSettings(port=0, api_key="a-long-enough-key")
    with running(serving()[0], settings, assets()) as found:
        yield found


def test_embeddings_are_the_encoders(server):
    texts = ["one two", "three", "row number 7"]
    found = server.ask("POST", "/v1/embeddings", {"input": texts, "model": "words"})
    assert found.status == 200
    assert found.headers["Content-Type"] == "application/json"
    assert [each["index"] for each in found.json["data"]] == [0, 1, 2]
    vectors = np.array([each["embedding"] for each in found.json["data"]], np.float32)
    np.testing.assert_array_equal(vectors, WordEncoder().encode(texts, "document"))
    assert found.json["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    assert found.json["model"] == "words"
    assert found.headers["x-nestvec-warning"] is None


def test_embeddings_are_cut_to_a_width(server):
    asked = {"input": "one", "dimensions": 16, "encoding_format": "base64", "input_type": "query"}
    found = server.ask("POST", "/v1/embeddings", asked)
    vector = np.frombuffer(base64.b64decode(found.json["data"][0]["embedding"]), "<f4")
    whole = WordEncoder().encode(["one"], "query")[0, :16]
    np.testing.assert_allclose(vector, whole / np.linalg.norm(whole), rtol=1e-6)
    assert server.encoder.seen[-1] == ("query", ["one"])


def test_widths_are_refused_or_warned_of(server):
    between = server.ask("POST", "/v1/embeddings", {"input": "a", "dimensions": 12})
    assert between.status == 200
    assert "8, 16, 32" in between.headers["x-nestvec-warning"]
    narrow = server.ask("POST", "/v1/embeddings", {"input": "a", "dimensions": 7})
    assert narrow.status == 400
    assert "8, 16, 32" in narrow.message


def test_a_search_by_text_and_by_vector_finds_the_same(server):
    text = "row number 7 of what is odd"
    by_text = server.ask("POST", "/search", {"query": text, "k": 3, "snippet": 9})
    assert by_text.status == 200
    assert by_text.json["hits"][0]["text"] == "row …"
    assert by_text.json["plan"] == "8B:50,raw:3"
    assert [s["stage"] for s in by_text.json["stages"]] == ["8B:50", "raw:3"]
    assert by_text.json["encode_ms"] > 0
    vector = WordEncoder().encode([text], "query")[0].tolist()
    by_vector = server.ask("POST", "/search", {"vector": vector, "k": 3, "snippet": 9})
    assert by_vector.json["hits"] == by_text.json["hits"]
    assert by_vector.json["encode_ms"] == 0
    exact = server.ask("POST", "/search", {"query": text, "exact": True, "k": 1})
    assert exact.json["plan"] == "exact:1"
    assert exact.json["hits"][0]["id"] == "r7"


def test_info_tells_what_is_served(server):
    found = server.ask("GET", "/info").json
    assert found["name"] == "words.nv"
    assert (found["rows"], found["dim"], found["full_bytes"]) == (ROWS, DIM, 4 * DIM)
    assert found["cuts"] == [4, 8]
    assert found["dims"] == [8, 16, 32]
    assert [point["bytes"] for point in found["curve"]] == [4, 8]
    assert found["has_texts"] is found["has_vectors"] is found["searchable"] is True
    searched = server.ask("POST", "/search", {"query": "row", "k": 1}).json
    assert searched["collection_version"] == found["collection_version"]


def test_models_are_listed(server):
    found = server.ask("GET", "/v1/models").json["data"]
    assert [each["id"] for each in found] == ["words"]
    assert server.ask("GET", "/v1/models/words").json == found[0]
    assert server.ask("GET", "/v1/models/other").status == 404


def test_the_page_and_its_files_are_there(server):
    for path, asset in assets().items():
        found = server.ask("GET", path)
        assert (found.status, found.body) == (200, asset.content)
        assert found.headers["Content-Type"] == asset.content_type
        assert "default-src 'none'" in found.headers["Content-Security-Policy"]


def test_head_is_answered_as_get_without_a_body(server):
    server.ask("GET", "/health")  # a status more in /metrics, so that its length stays
    for path in (*assets(), "/info", "/v1/models", "/v1/models/words", "/health", "/openapi.json"):
        whole, head = server.ask("GET", path), server.ask("HEAD", path)
        assert (head.status, head.body) == (200, b"")
        for name in ("Content-Type", "Content-Length", "Content-Security-Policy"):
            assert head.headers[name] == whole.headers[name]
        assert int(head.headers["Content-Length"]) == len(whole.body)
    assert server.ask("HEAD", "/metrics").status == 200
    for path, status in (("/nothing", 404), ("/v1/models/other", 404), ("/search", 405)):
        refused = server.ask("HEAD", path)
        assert (refused.status, refused.body) == (status, b"")
    allowed = server.ask("POST", "/info", {}).headers["Allow"]
    assert set(allowed.split(", ")) == {"GET", "HEAD"}


def test_a_connection_goes_on_after_head(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for method in ("HEAD", "GET", "HEAD", "GET"):
        connection.request(method, "/")
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, method == "GET")
    connection.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", None, 404),
        ("GET", "/../etc/passwd", None, 404),
        ("GET", "/docs", None, 404),
        ("GET", "/search", None, 405),
        ("DELETE", "/v1/embeddings", None, 405),
        ("POST", "/v1/embeddings", b"{", 400),
        ("POST", "/v1/embeddings", {"input": [1, 2]}, 400),
        ("POST", "/v1/embeddings", {"input": "a", "model": "gpt"}, 404),
        ("POST", "/v1/embeddings", {"input": ["a"] * 41}, 400),
        ("POST", "/v1/embeddings", {"input": "broken"}, 400),
        ("POST", "/v1/embeddings", b"x" * 60_000, 413),
        ("POST", "/search", {"query": "a", "k": 10**9}, 400),
        ("POST", "/search", {"query": "a", "plan": "nonsense"}, 400),
        ("POST", "/search", b'{"vector": [NaN]}', 400),
        ("POST", "/search", {"vector": [1.0] * 5}, 400),
        ("POST", "/search", {"query": "broken"}, 400),
    ],
)
def test_refusals_have_one_shape(server, method, path, body, status):
    found = server.ask(method, path, body)
    assert found.status == status
    error = found.json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].endswith(".")
    if status == 405:
        assert found.headers["Allow"] == "POST"


def test_a_body_says_that_it_is_json(server):
    found = server.ask(
        "POST",
        "/search",
        b'{"query": "a"}',
        {"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert found.status == 415
    assert "Content-Type: application/json" in found.message
    charset = {"Content-Type": "application/json; charset=utf-8"}
    assert server.ask("POST", "/search", b'{"query": "a"}', charset).status == 200


def test_one_broken_text_does_not_break_its_neighbours(server):
    server.encoder.hold = True
    server.encoder.go.clear()
    answers = {}

    def ask(text):
        answers[text] = server.ask("POST", "/v1/embeddings", {"input": text}).status

    threads = [threading.Thread(target=ask, args=(text,)) for text in ("a", "broken", "b", "c")]
    for thread in threads:
        thread.start()
    server.encoder.go.set()
    for thread in threads:
        thread.join(20)
    server.encoder.hold = False
    assert answers == {"a": 200, "broken": 400, "b": 200, "c": 200}


def test_a_key_is_wanted_of_all_but_the_page_and_health(keyed):
    for method, path in [
        ("GET", "/info"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/v1/models"),
        ("POST", "/search"),
        ("POST", "/v1/embeddings"),
        ("GET", "/nothing"),
    ]:
        found = keyed.ask(method, path, {"query": "a"} if method == "POST" else None)
        assert found.status == 401
        assert found.json["error"]["code"] == "invalid_api_key"
    for path in ("/health", *assets()):
        assert keyed.ask("GET", path).status == 200
    key = {"Authorization": "Bearer a-long-enough-key"}
    assert keyed.ask("GET", "/info", None, key).status == 200
    assert keyed.ask("POST", "/search", {"query": "a"}, key).status == 200
    assert keyed.ask("GET", "/openapi.json", None, key).json["paths"]["/info"]["get"]["security"]


def test_metrics_count_what_was_asked(server):
    before = server.ask("GET", "/metrics").body.decode()
    server.ask("GET", "/somewhere/else")
    server.ask("POST", "/v1/embeddings", {"input": "three short words"})
    after = server.ask("GET", "/metrics").body.decode()

    def value(text, name):
        lines = [line for line in text.splitlines() if line.startswith(name + " ")]
        return float(lines[0].rpartition(" ")[2]) if lines else 0.0

    def rise(name):
        return value(after, name) - value(before, name)

    assert rise("nestvec_tokens_total") == 3
    assert rise("nestvec_batch_texts_count") == 1
    assert rise('nestvec_requests_total{route="other",status="404"}') == 1
    assert "else" not in after
    assert "nestvec_encode_waiting 0" in after


def test_a_model_alone_is_served_without_searches():
    model = Model(WordEncoder(), TrainedNesting((8, 32), {}), False)
    with running(Served("words", model, None)) as found:
        assert found.ask("POST", "/v1/embeddings", {"input": "a"}).status == 200
        refused = found.ask("POST", "/search", {"query": "a"})
        assert refused.status == 404
        assert "nothing to search" in refused.message
        info = found.ask("GET", "/info").json
        assert (info["searchable"], info["rows"], info["dims"]) == (False, 0, [8, 32])


def test_a_collection_of_vectors_is_searched_by_vectors(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((60, DIM)).astype(np.float32)
    make_collection(tmp_path / "v.nv", rows_of_words(60), vectors, texts=False)
    with running(Served("v.nv", None, Searched(tmp_path / "v.nv", False, 100))) as found:
        by_vector = found.ask("POST", "/search", {"vector": vectors[3].tolist(), "plan": "raw:1"})
        assert by_vector.json["hits"][0]["id"] == "r3"
        for path, body in (("/search", {"query": "a"}), ("/v1/embeddings", {"input": "a"})):
            refused = found.ask("POST", path, body)
            assert refused.status == 400
            assert "no model that reads texts" in refused.message
        assert found.ask("GET", "/v1/models").json["data"] == []


def test_the_document_tells_every_route_and_answers_keep_to_it(server):
    document = server.ask("GET", "/openapi.json").json
    assert set(document["paths"]) == {*openapi.PATHS, "/v1/models/{name}"} - {"/openapi.json"}
    schemas = document["components"]["schemas"]
    for path, name, body in (
        ("/info", "Info", None),
        ("/v1/models", "Models", None),
        ("/health", "Health", None),
        ("/search", "Found", {"query": "row", "k": 2}),
        ("/v1/embeddings", "Embeddings", {"input": "row"}),
        ("/search", "Error", {"query": ""}),
    ):
        found = server.ask("POST" if body else "GET", path, body).json
        assert set(found) == set(schemas[name]["properties"]) == set(schemas[name]["required"])
    assert json.dumps(document)
