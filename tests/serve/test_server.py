"""A server and clients that are slow, rude, gone or many; and its end."""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from nestvec.errors import UserError
from nestvec.serve.server import Server
from nestvec.serve.settings import ServeSettings

from .conftest import ask, running, settings_with

_BODY = json.dumps({"input": "one two"}).encode()


@pytest.fixture(scope="module")
def hasty(serving):
    """A server that waits a fifth of a second for a request."""
    served, encoder = serving()
    with running(served, settings_with(send_s=0.2, body_bytes=2000, connections=20)) as found:
        found.encoder = encoder
        yield found


def talk(port, *parts, pause=0.0, wait=10.0):
    """All that a server answers to bytes on a socket, until it closes it."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        for part in parts:
            connection.sendall(part)
            if pause:
                time.sleep(pause)
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                found += part
    return found


def status_of(answer):
    return int(answer.split(b" ", 2)[1])


def head(length, extra=b""):
    return (
        b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n%s\r\n" % (length, extra)
    )


def test_half_a_request_is_not_waited_for(hasty):
    for part in (
        b"",
        b"POST /v1/emb",
        b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\n",
        head(100),
        head(100) + b'{"input": "a',
    ):
        answer = talk(hasty.port, part)
        assert status_of(answer) == 408
        assert b"request_timeout" in answer
    assert hasty.ask("GET", "/health").status == 200


def test_a_body_sent_drop_by_drop_is_given_up(hasty):
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=10) as connection:
        connection.sendall(head(10_000)[:-2] + b"\r\n")
        sent = 0
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while sent < 1000:
                connection.sendall(b" ")
                sent += 1
                time.sleep(0.02)
    assert sent < 1000
    assert hasty.ask("GET", "/health").status == 200


def test_a_second_request_on_a_connection_is_not_waited_for_either(hasty):
    first = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = talk(hasty.port, first, b"GET /hea", pause=0.05)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"HTTP/1.1 408" in answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HELLO\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        head(-5),
        head(5, b"Content-Length: 6\r\n"),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 600_000 + b"\r\n\r\n",
        b"POST /search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused(hasty, request_bytes):
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        answer = talk(hasty.port, request_bytes)
        assert not answer or status_of(answer) in (400, 501)
        assert not answer or b'"error"' in answer
    assert hasty.ask("GET", "/health").status == 200


def test_a_large_body_is_refused_however_it_comes(hasty):
    told = hasty.ask("POST", "/v1/embeddings", b" " * 3000)
    assert (told.status, told.json["error"]["code"]) == (413, "body_too_large")
    chunk = b"%x\r\n%s\r\n" % (1500, b" " * 1500)
    chunked = (
        b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + 2 * chunk
    )
    assert status_of(talk(hasty.port, chunked + b"0\r\n\r\n")) == 413
    small = b"%x\r\n%s\r\n" % (len(_BODY), _BODY)
    assert status_of(talk(hasty.port, chunked[: -2 * len(chunk)] + small + b"0\r\n\r\n")) == 200


def test_connections_are_bounded(hasty):
    with contextlib.ExitStack() as stack:
        opened = [
            stack.enter_context(socket.create_connection(("127.0.0.1", hasty.port), timeout=10))
            for _ in range(20)
        ]
        last = socket.create_connection(("127.0.0.1", hasty.port), timeout=10)
        stack.enter_context(last)
        assert status_of(last.recv(65536)) == 503
        for each in opened:
            assert status_of(each.recv(65536)) == 408
    assert hasty.ask("GET", "/health").status == 200


def test_a_client_that_takes_in_nothing_is_left(serving):
    """Its answer is larger than the system's buffers, and it never reads."""
    served, _ = serving()
    settings = settings_with(send_s=0.3)
    with running(served, settings) as found:
        body = json.dumps({"input": ["a"] * 2048}).encode()
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(20)
        slow.connect(("127.0.0.1", found.port))
        with slow:
            slow.sendall((head(len(body)) + body) * 2)
            state = found.server._server.server_state
            wait_until(lambda: state.connections)
            wait_until(lambda: not state.connections)
        assert found.ask("GET", "/health").status == 200


def test_a_flood_of_one_client_does_not_starve_another(serving):
    served, encoder = serving()
    settings = settings_with(batch_texts=4, waiting=400, requests_per_s=0, texts=200)
    with running(served, settings) as found:
        encoder.hold = True
        flood = [
            threading.Thread(
                target=lambda: ask(found.port, "POST", "/v1/embeddings", {"input": ["x y"] * 100})
            )
            for _ in range(6)
        ]
        for thread in flood:
            thread.start()
        wait_until(lambda: b"nestvec_encode_waiting 39" in found.ask("GET", "/metrics").body)
        # the room is full now, and a client from elsewhere still finds a place in it
        with socket.create_connection(
            ("127.0.0.1", found.port), timeout=20, source_address=("127.0.0.9", 0)
        ) as other:
            other.sendall(head(len(_BODY), b"Connection: close\r\n") + _BODY)
            wait_until(lambda: b"nestvec_encode_waiting 397" in found.ask("GET", "/metrics").body)
            encoder.go.set()
            answer = b""
            while part := other.recv(65536):
                answer += part
        assert status_of(answer) == 200
        batches = [texts for _, texts in encoder.seen]
        place = next(i for i, texts in enumerate(batches) if "one two" in texts)
        assert place <= 3
        for thread in flood:
            thread.join(20)


def test_a_full_room_is_told_with_a_time_to_come_again(serving):
    served, encoder = serving()
    with running(served, settings_with(waiting=2, batch_texts=1)) as found:
        encoder.hold = True
        asked = [
            threading.Thread(target=found.ask, args=("POST", "/v1/embeddings", {"input": "a"}))
            for _ in range(3)
        ]
        asked[0].start()
        assert encoder.held.wait(20)
        for thread in asked[1:]:
            thread.start()
        wait_until(lambda: b"nestvec_encode_waiting 2" in found.ask("GET", "/metrics").body)
        refused = found.ask("POST", "/v1/embeddings", {"input": "a"})
        assert (refused.status, refused.json["error"]["code"]) == (503, "overloaded")
        assert int(refused.headers["Retry-After"]) >= 1
        encoder.go.set()
        for thread in asked:
            thread.join(20)


def test_who_leaves_makes_room(serving):
    served, encoder = serving()
    with running(served, settings_with(batch_texts=1)) as found:
        encoder.hold = True
        gone = [socket.create_connection(("127.0.0.1", found.port)) for _ in range(4)]
        for each in gone:
            each.sendall(head(len(_BODY)) + _BODY)
        wait_until(lambda: b"nestvec_encode_waiting 3" in found.ask("GET", "/metrics").body)
        for each in gone:
            each.close()
        wait_until(lambda: b"nestvec_encode_waiting 0" in found.ask("GET", "/metrics").body)
        encoder.go.set()
        assert found.ask("POST", "/v1/embeddings", {"input": "a"}).status == 200


def test_stopping_finishes_what_runs(serving):
    served, encoder = serving()
    answers = []
    with running(served, settings_with()) as found:
        encoder.hold = True
        kept = http.client.HTTPConnection("127.0.0.1", found.port, timeout=20)
        kept.request("GET", "/health")
        assert kept.getresponse().read()
        asking = threading.Thread(
            target=lambda: answers.append(found.ask("POST", "/v1/embeddings", {"input": "a"}))
        )
        asking.start()
        wait_until(lambda: found.server._server.server_state.tasks)
        found.server.stop()
        wait_until(lambda: not _connects(found.port))
        assert found.thread.is_alive()
        encoder.go.set()
        asking.join(20)
        found.thread.join(20)
        kept.close()
    assert [answer.status for answer in answers] == [200]


def test_an_address_that_is_taken_or_unknown_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port}.*--port"):
            Server(None, ServeSettings(port=port))
    with pytest.raises(UserError, match="not known"):
        Server(None, ServeSettings("no.such.host.invalid", api_key="a-long-enough-key"))


@pytest.mark.slow
def test_the_command_serves_and_ends_by_a_signal(tmp_path):
    import numpy as np

    from .conftest import make_collection, rows_of_words

    vectors = np.random.default_rng(0).standard_normal((60, 32)).astype(np.float32)
    make_collection(tmp_path / "v.nv", rows_of_words(60), vectors, texts=False)
    command = [sys.executable, "-m", "nestvec", "serve", str(tmp_path / "v.nv"), "--port", "0"]
    running_server = subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        told = json.loads(running_server.stdout.readline())
        port = int(told["address"].rpartition(":")[2])
        assert ask(port, "GET", "/info").json["rows"] == 60
        assert ask(port, "POST", "/search", {"vector": vectors[5].tolist()}).status == 200
    finally:
        running_server.send_signal(signal.SIGTERM)
        out, complaints = running_server.communicate(timeout=60)
    assert (running_server.returncode, out, complaints) == (0, "", "")


def _connects(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(found, patience_s=20.0):
    end = time.monotonic() + patience_s
    while not found():
        assert time.monotonic() < end
        time.sleep(0.01)
