from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nestvec.data.encode import encode_texts
from nestvec.data.encoder import Encoder
from nestvec.data.encoder_api import ApiEncoder, ApiFault, embeddings_address, read_answer
from nestvec.errors import UserError

Answer = tuple[int, dict[str, str], object]


class Server:
    """A small embeddings server: answers what its script says, else vectors of the texts."""

    def __init__(self) -> None:
        self.script: list[Callable[[dict[str, Any]], Answer | None]] = []
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append(body)
                server.headers.append(dict(self.headers))
                server.paths.append(self.path)
                step = server.script.pop(0) if server.script else embed
                answer = step(body)
                if answer is None:  # hang up without a word
                    self.close_connection = True
                    return
                status, headers, found = answer
                raw = found if isinstance(found, bytes) else json.dumps(found).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


def vector(text: str, dim: int) -> list[float]:
    return [float(len(text)), float(ord(text[-1]))] + [1.0] * (dim - 2)


def embed(body: dict[str, Any]) -> Answer:
    dim = body.get("dimensions", 4)
    items = [
        {"object": "embedding", "index": index, "embedding": vector(text, dim)}
        for index, text in enumerate(body["input"])
    ]
    return 200, {}, {"object": "list", "data": items[::-1], "model": body["model"]}


def status(code: int, **headers: str) -> Callable[[dict[str, Any]], Answer]:
    told = {"error": {"message": f"told {code}\nand more."}}
    return lambda body: (code, {name.replace("_", "-"): v for name, v in headers.items()}, told)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("NESTVEC_API_KEY", raising=False)
    running = Server()
    yield running
    running.close()


def test_vectors_come_in_the_order_of_the_texts_whatever_the_servers_order(server: Server) -> None:
    encoder: Encoder = ApiEncoder(server.url, "m")
    found = encoder.encode(["a", "bb", "ccc"], "document")
    np.testing.assert_array_equal(found, [[1, 97, 1, 1], [2, 98, 1, 1], [3, 99, 1, 1]])
    assert found.dtype == np.float32
    assert server.paths == ["/v1/embeddings"]
    assert server.asked[0] == {
        "model": "m",
        "input": ["a", "bb", "ccc"],
        "encoding_format": "float",
    }
    assert "Authorization" not in server.headers[0]
    assert (encoder.name, encoder.dim, encoder.metric) == ("m", 4, "cosine")


def test_dimensions_are_asked_for_and_checked(server: Server) -> None:
    encoder = ApiEncoder(server.url + "/v1", "m", dimensions=3)
    assert encoder.encode(["a"], "query").shape == (1, 3)
    assert server.asked[0]["dimensions"] == 3
    server.script = [lambda body: embed({**body, "dimensions": 5})]
    with pytest.raises(UserError, match="gave vectors of 5 dims where 3 were expected"):
        encoder.encode(["a"], "query")
    with pytest.raises(UserError, match="dimensions must be 1 or more, got 0"):
        ApiEncoder(server.url, "m", dimensions=0)


def test_long_lists_go_in_batches(server: Server) -> None:
    texts = [f"text {n}" for n in range(300)]
    found = ApiEncoder(server.url, "m").encode(texts, "document")
    assert [len(body["input"]) for body in server.asked] == [128, 128, 44]
    assert [text for body in server.asked for text in body["input"]] == texts
    assert found.shape == (300, 4)
    server.asked.clear()
    ApiEncoder(server.url, "m").encode(["x" * 150_000, "y" * 150_000, "z"], "document")
    assert [len(body["input"]) for body in server.asked] == [1, 2]


def test_prompts_go_before_the_texts(server: Server) -> None:
    encoder = ApiEncoder(server.url, "m", query_prompt="q: ", document_prompt="d: ")
    encoder.encode(["x"], "query")
    encoder.encode(["x"], "document")
    assert [body["input"] for body in server.asked] == [["q: x"], ["d: x"]]


def test_the_key_comes_from_the_environment_and_is_not_described(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-1")
    encoder = ApiEncoder(server.url, "m")
    encoder.encode(["x"], "query")
    monkeypatch.setenv("NESTVEC_API_KEY", "secret-2")
    encoder.encode(["x"], "query")
    assert [headers["Authorization"] for headers in server.headers] == [
        "Bearer secret-1",
        "Bearer secret-2",
    ]
    assert "secret" not in json.dumps(encoder.describe())


def test_the_key_does_not_follow_a_redirect(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Server()
    try:
        monkeypatch.setenv("OPENAI_API_KEY", "secret")
        server.script = [lambda body: (302, {"Location": other.url + "/v1/embeddings"}, {})]
        with pytest.raises(UserError):
            ApiEncoder(server.url, "m").encode(["x"], "query")
        assert all("Authorization" not in headers for headers in other.headers)
    finally:
        other.close()


def test_what_may_pass_is_tried_again_with_rising_waits(server: Server) -> None:
    waits: list[float] = []
    server.script = [status(429), status(503), status(500), lambda body: None]
    found = ApiEncoder(server.url, "m", sleep=waits.append).encode(["abc"], "query")
    assert found[0, 0] == 3
    assert len(server.asked) == 5
    for attempt, wait in enumerate(waits):
        assert 0.25 * 2**attempt <= wait <= 0.5 * 2**attempt


def test_retry_after_is_honoured_as_seconds_and_as_a_date(server: Server) -> None:
    waits: list[float] = []
    server.script = [
        status(429, Retry_After="17"),
        status(429, Retry_After="Wed, 01 Jan 2200 00:00:00 GMT"),
        status(429, Retry_After="soon"),
    ]
    ApiEncoder(server.url, "m", sleep=waits.append).encode(["abc"], "query")
    assert waits[0] == 17
    assert waits[1] == 300  # the longest wait that a server may ask for
    assert waits[2] <= 2


def test_after_seven_tries_the_last_reason_is_told(server: Server) -> None:
    waits: list[float] = []
    server.script = [status(503)] * 7
    with pytest.raises(UserError, match=r"no answer in 7 tries \(the last: status 503, told 503"):
        ApiEncoder(server.url, "m", sleep=waits.append).encode(["x"], "query")
    assert len(waits) == 6


def test_a_server_that_is_not_there_is_told() -> None:
    waits: list[float] = []
    encoder = ApiEncoder("http://127.0.0.1:9", "m", sleep=waits.append)
    with pytest.raises(UserError, match=r"no answer in 7 tries .*[Rr]efused"):
        encoder.encode(["x"], "query")


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(400, "check the model"), (401, "NESTVEC_API_KEY"), (403, "a valid key"), (404, "address")],
)
def test_a_refusal_is_told_at_once(server: Server, code: int, remedy: str) -> None:
    server.script = [status(code)]
    told = rf"refused the request \(status {code}, told {code} and more\): .*{remedy}"
    with pytest.raises(UserError, match=told) as caught:
        ApiEncoder(server.url, "m").encode(["x"], "query")
    assert "\n" not in str(caught.value)
    assert len(server.asked) == 1


def test_what_a_message_says_holds_no_secret(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "the-key")
    told = {"error": {"message": "no: the-key is not known, nor is code-1"}}

    def refusing(status: int) -> Callable[[dict[str, Any]], Answer]:
        return lambda body: (status, {}, told)

    encoder = ApiEncoder(server.url + "/v1/embeddings?code=code-1", "m", sleep=lambda s: None)
    for code in (401, 500):
        server.script = [refusing(code)] * 7
        with pytest.raises(ApiFault, match=rf"status {code}, no: \*\*\* is not known") as caught:
            encoder.encode(["x"], "query")
        assert caught.value.status == code
        assert "the-key" not in str(caught.value)
        assert "code-1" not in str(caught.value)
    assert server.paths[0].endswith("?code=code-1")
    with pytest.raises(UserError, match=r"no name or password.*'h'") as refused:
        ApiEncoder("http://someone:secret@h:1", "m")
    assert "secret" not in str(refused.value)


def test_who_is_in_a_hurry_waits_no_longer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setenv("MY_KEY", "mine")
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    encoder = ApiEncoder(server.url, "m", sleep=waits.append).hurried(100, ("MY_KEY",))
    server.script = [status(429), status(503, Retry_After="101")]
    with pytest.raises(ApiFault, match=r"in 2 tries \(the last: status 503") as caught:
        encoder.encode(["x"], "query")
    assert (len(waits), caught.value.timed_out) == (1, False)
    assert server.headers[-1]["Authorization"] == "Bearer mine"
    with pytest.raises(ApiFault, match="in 0 tries") as late:
        encoder.hurried(0, ()).encode(["x"], "query")
    assert late.value.timed_out


def test_an_answer_that_ends_early_is_asked_for_again(server: Server) -> None:
    short = b'{"data": ['
    server.script = [lambda body: (200, {"Content-Length": "99"}, short)]
    assert ApiEncoder(server.url, "m", sleep=lambda s: None).encode(["abc"], "query")[0, 0] == 3
    assert len(server.asked) == 2


def test_tokens_are_counted_where_the_server_says(server: Server) -> None:
    def counting(usage: object) -> Callable[[dict[str, Any]], Answer]:
        def step(body: dict[str, Any]) -> Answer:
            code, headers, found = embed(body)
            assert isinstance(found, dict)
            return code, headers, {**found, "usage": usage}

        return step

    encoder = ApiEncoder(server.url, "m")
    told: list[tuple[object, int | None]] = [
        ({"prompt_tokens": 5, "total_tokens": 6}, 5),
        ({"total_tokens": 6}, 6),
        ({"prompt_tokens": -1}, None),
        ({"prompt_tokens": "many"}, None),
        (None, None),
    ]
    for usage, tokens in told:
        server.script = [counting(usage)]
        assert encoder.encode_counted(["x"], "query")[1] == tokens
    server.script = [counting({"prompt_tokens": 100})] * 2
    assert encoder.encode_counted(["x"] * 200, "query")[1] == 200


def test_an_interrupted_run_resumes_where_the_server_broke(server: Server, tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(10)]
    out = tmp_path / "v.npy"
    server.script = [embed, embed, embed, status(400)]
    with pytest.raises(UserError, match="refused"):
        encode_texts(texts, ApiEncoder(server.url, "m"), out, block_rows=4)
    server.asked.clear()
    done = encode_texts(texts, ApiEncoder(server.url, "m"), out, block_rows=4)
    assert done.resumed == 8
    assert done.truncated is None
    assert [body["input"] for body in server.asked] == [["width"], texts[8:]]
    expected = np.array([vector(text, 4) for text in texts], np.float32)
    np.testing.assert_array_equal(done.vectors, expected)


def answer(*embeddings: object, indexes: list[int] | None = None) -> bytes:
    places = indexes if indexes is not None else list(range(len(embeddings)))
    items = [{"index": i, "embedding": e} for i, e in zip(places, embeddings, strict=True)]
    return json.dumps({"data": items}).encode()


def test_base64_and_lists_are_read_alike() -> None:
    packed = base64.b64encode(np.array([1.5, -2.0], "<f4").tobytes()).decode()
    found = read_answer(answer(packed, [1.5, -2.0]), 2, "there")
    np.testing.assert_array_equal(found, [[1.5, -2.0], [1.5, -2.0]])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<html>", "not a list of embeddings"),
        (b'{"object": "list"}', "not a list of embeddings"),
        (b'{"data": null}', "not a list of embeddings"),
        (b"[]", "not a list of embeddings"),
        (answer("not base64!", "x"), "not a list of embeddings"),
        (answer([[1.0]], [[2.0]]), "not a list of embeddings"),
        (answer([1.0]), "gave 1 vectors for 2 texts"),
        (answer([1.0], [2.0], indexes=[0, 0]), "gave 2 vectors for 2 texts"),
        (answer([1.0], [1.0, 2.0]), "of 1 and 2 dims in one answer"),
        (answer([], []), "of 0 dims"),
        (b'{"data": [{"embedding": [NaN]}, {"embedding": [1]}]}', "not finite"),
        (b'{"data": [{"embedding": [1e300]}, {"embedding": [1]}]}', "not finite"),
    ],
)
def test_what_is_no_answer_is_told(body: bytes, told: str) -> None:
    with pytest.raises(UserError, match=told):
        read_answer(body, 2, "there")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://h:1", "http://h:1/v1/embeddings"),
        ("http://h:1/", "http://h:1/v1/embeddings"),
        ("https://h/v1", "https://h/v1/embeddings"),
        ("https://h/api/v3/", "https://h/api/v3/embeddings"),
        ("https://h/x/embeddings?version=2", "https://h/x/embeddings?version=2"),
    ],
)
def test_the_address_is_completed(url: str, address: str) -> None:
    assert embeddings_address(url) == address


@pytest.mark.parametrize("url", ["localhost:8080", "file:///etc/passwd", "http://", ""])
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(UserError, match=r"starts with http:// or https://"):
        ApiEncoder(url, "m")
