"""A server whose texts are embedded by an API: answers, usage, and what is said of its faults."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from nestvec.data.encoder_api import ApiEncoder
from nestvec.errors import UserError
from nestvec.serve.model import Model
from nestvec.serve.opening import Served, open_served
from nestvec.serve.settings import ServeSettings
from nestvec.serve.upstream import apportioned

from .conftest import WordEncoder, make_collection, rows_of_words, running

KEY, CODE, OWN = "upstream-key-1", "code-in-the-address", "the-key-of-our-own"


class Upstream:
    """An API of WordEncoder's vectors; tokens are 7 a text. step: what it does instead, if set."""

    def __init__(self):
        self.step = None
        self.go = threading.Event()
        self.keys, self.asked = [], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body["input"])
                outer.keys.append(self.headers["Authorization"])
                found = outer.step(body) if outer.step else None
                status, raw = found or (200, json.dumps(answer(body["input"])).encode())
                if status is None:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1/embeddings?code={CODE}"

    def close(self):
        self.go.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


def answer(texts):
    vectors = WordEncoder().encode(texts, "document")
    data = [{"index": i, "embedding": vector.tolist()} for i, vector in enumerate(vectors)]
    return {"data": data, "usage": {"prompt_tokens": 7 * len(texts)}}


def refusing(status):
    told = {"error": {"message": f"no: Bearer {KEY} at ?code={CODE}, {CODE}"}}
    return lambda body: (status, json.dumps(told).encode())


@pytest.fixture(scope="module")
def upstream():
    found = Upstream()
    yield found
    found.close()


@pytest.fixture(scope="module")
def asked(upstream):
    """asked(step, **request) is a server's answer while the API does that, and what it noted."""
    patch = pytest.MonkeyPatch()
    patch.setenv("OPENAI_API_KEY", KEY)
    patch.delenv("NESTVEC_API_KEY", raising=False)
    notes = []
    encoder = ApiEncoder(upstream.url, "words", sleep=lambda seconds: None)
    model = Model(encoder, None, False, notes.append)
    with running(Served("words", model, None)) as server:

        def ask(step, **request):
            notes.clear()
            upstream.asked.clear()
            upstream.step = step
            found = server.ask("POST", "/v1/embeddings", request or {"input": "one two"})
            upstream.step = None
            return found, list(notes)

        ask.encoder = encoder
        yield ask
    patch.undo()


@pytest.mark.parametrize(
    ("step", "status", "words"),
    [
        (refusing(500), 502, "failed (status 500)"),
        (refusing(429), 502, "failed (status 429)"),
        (refusing(401), 502, "failed (status 401)"),
        (refusing(404), 502, "failed (status 404)"),
        (refusing(400), 502, "refused this text (status 400)"),
        (refusing(504), 504, "in time"),
        (lambda body: (None, b""), 502, "which failed: ask again"),
        (lambda body: (200, f"<p>{KEY} {CODE}</p>".encode()), 502, "failed"),
        (lambda body: (200, b'{"data": []}'), 502, "failed"),
        (lambda body: (200, json.dumps(answer(["a", "b"])).encode()), 502, "failed"),
    ],
)
def test_a_fault_of_the_api_is_a_bad_gateway(asked, capfd, step, status, words):
    found, notes = asked(step)
    assert found.status == status
    error = found.json["error"]
    assert error["code"] == ("upstream_timeout" if status == 504 else "upstream_failed")
    assert words in error["message"]
    assert error["message"].count(". ") == 0
    assert error["message"].endswith(".")
    assert len(notes) == 1
    logged = "".join(capfd.readouterr())
    for told in (found.body.decode(), str(found.headers), notes[0], logged):
        for secret in (KEY, CODE):
            assert secret not in told
    assert "127.0.0.1" not in found.body.decode()


def test_an_api_that_is_silent_is_a_gateway_timeout(asked, upstream, monkeypatch):
    monkeypatch.setattr(asked.encoder, "_patience_s", 0.05)
    found, notes = asked(lambda body: upstream.go.wait(30) and None)
    assert (found.status, found.json["error"]["code"]) == (504, "upstream_timeout")
    assert "timed out" in notes[0]
    upstream.go.set()
    monkeypatch.undo()
    assert asked(None)[0].status == 200


def test_an_api_that_is_not_there_is_a_bad_gateway():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    encoder = ApiEncoder(f"http://127.0.0.1:{port}", "words", sleep=lambda seconds: None)
    encoder._dim = 32
    with running(Served("words", Model(encoder, None, False), None)) as server:
        found = server.ask("POST", "/v1/embeddings", {"input": "a"})
    assert (found.status, found.json["error"]["code"]) == (502, "upstream_failed")


def test_a_text_that_the_api_refuses_is_alone_with_it(asked, upstream):
    def step(body):
        return refusing(400)(body) if any("broken" in text for text in body["input"]) else None

    model = asked.encoder
    upstream.step = step
    found = Model(model, None, False).work([("a", "query"), ("broken", "query"), ("b", "query")])
    upstream.step = None
    assert [getattr(each, "status", 200) for each in found] == [200, 502, 200]
    # what is not a text's fault is not asked again text by text
    upstream.asked.clear()
    upstream.step = refusing(401)
    found = Model(model, None, False).work([("a", "query"), ("b", "query")])
    upstream.step = None
    assert [each.status for each in found] == [502, 502]
    assert len(upstream.asked) == 1


def test_usage_is_what_the_api_says(asked):
    found, notes = asked(None, input=["one two", "three"])
    assert found.json["usage"] == {"prompt_tokens": 14, "total_tokens": 14}
    assert not notes
    silent = json.dumps({"data": answer(["one"])["data"]}).encode()
    assert asked(lambda body: (200, silent))[0].json["usage"]["prompt_tokens"] == 0


def test_tokens_of_a_batch_are_dealt_to_its_texts():
    assert apportioned(7, ["a", "b", "c"]) == [2, 2, 3]
    assert apportioned(5, ["x" * 100, ""]) == [4, 1]
    for total in (0, 1, 99):
        assert sum(apportioned(total, ["a" * n for n in range(9)])) == total


def test_a_collection_of_an_api_is_served_with_the_apis_key(upstream, tmp_path, monkeypatch):
    """The server's own key, which its clients bring, does not go there."""
    rows = rows_of_words(60)
    vectors = WordEncoder().encode([row.text for row in rows], "document")
    make_collection(tmp_path / "a.nv", rows, vectors, api=upstream.url)
    monkeypatch.setenv("NESTVEC_API_KEY", OWN)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    settings = ServeSettings(port=0, api_key=OWN)
    with pytest.raises(UserError, match="pass --api http://127") as refused:
        open_served(str(tmp_path / "a.nv"), settings)
    assert CODE not in str(refused.value)
    upstream.keys.clear()
    served = open_served(str(tmp_path / "a.nv"), settings, api=upstream.url)
    bearer = {"Authorization": f"Bearer {OWN}"}
    with running(served, settings) as server:
        found = server.ask("POST", "/search", {"query": rows[7].text, "exact": True}, bearer)
        assert found.json["hits"][0]["id"] == "r7"
        upstream.step = refusing(403)
        refused = server.ask("POST", "/search", {"query": "a"}, bearer)
        upstream.step = None
    assert refused.status == 502
    assert set(upstream.keys) == {f"Bearer {KEY}"}
