"""What every request passes: rate, name, key, size, time; and that nothing stays held."""

import asyncio
import json

import pytest

from nestvec.serve.gate import CLIENT, Buckets, Gate, client_of
from nestvec.serve.metrics import Metrics
from nestvec.serve.settings import Limits, ServeSettings

KEY = "a-long-enough-key"


def test_a_bucket_fills_at_its_rate():
    now = [0.0]
    buckets = Buckets(2.0, 3, clock=lambda: now[0])
    assert [buckets.wait_s("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.wait_s("b") == 0
    now[0] = 0.25
    assert buckets.wait_s("a") == 0.25
    now[0] = 0.5
    assert [buckets.wait_s("a") for _ in range(2)] == [0, 0.5]
    now[0] = 100.0
    assert [buckets.wait_s("a") > 0 for _ in range(4)] == [False, False, False, True]
    assert Buckets(0, 1).wait_s("a") == 0 == Buckets(0, 1).wait_s("a")


def test_clients_are_told_apart_by_address():
    assert client_of({"client": ("10.0.0.1", 99)}) == "10.0.0.1"
    assert client_of({"client": ("2001:db8::1", 1)}) == client_of({"client": ("2001:db8::2", 1)})
    assert client_of({"client": ("2001:db8:0:1::1", 1)}) != client_of({"client": ("2001:db8::", 1)})
    assert client_of({"client": None}) == ""


def test_a_request_is_passed_on_whole():
    gate, asked = made()
    found = request(gate, body=[b"one", b" two"])
    assert (found.status, found.body) == (200, b"one two")
    assert asked == [("10.0.0.1", b"one two")]
    assert gate._held == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer another-long-key"}, 401),
        ({"authorization": KEY}, 401),
        ({"authorization": f"Basic {KEY}"}, 401),
        ({"authorization": f"Bearer {KEY}x"}, 401),
        ({"authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": f"bearer  {KEY} "}, 200),
    ],
)
def test_a_key_is_wanted_of_all_but_open_routes(headers, status):
    gate, asked = made(api_key=KEY)
    found = request(gate, headers=headers)
    assert found.status == status
    assert len(asked) == (status == 200)
    if status == 401:
        assert found.headers["www-authenticate"] == "Bearer"
        assert KEY not in found.message
    assert request(gate, path="/health").status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("localhost", 200),
        ("[::1]:8080", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("10.0.0.1:80", 403),
    ],
)
def test_without_a_key_only_this_machines_names_are_answered(host, status):
    assert request(made()[0], headers={"host": host}).status == status
    keyed = request(made(api_key=KEY)[0], headers={"host": host, "authorization": f"Bearer {KEY}"})
    assert keyed.status == 200


def test_bodies_that_are_too_large_are_refused_while_they_come():
    gate, asked = made(body_bytes=10)
    assert request(gate, body=[b"x" * 10]).status == 200
    told = request(gate, headers={"content-length": "11"}, body=[b"x" * 11])
    chunked = request(gate, body=[b"x" * 6, b"x" * 6])
    assert (told.status, chunked.status) == (413, 413)
    assert "10 bytes" in told.message
    # within reason the rest is read, so that its sender hears why
    assert "connection" not in told.headers
    endless = request(gate, body=[b"x" * 6] * 1000)
    assert (endless.status, endless.headers["connection"]) == (413, "close")
    assert endless.unread > 900
    unread = request(gate, headers={"content-length": "1000000"}, body=[b"x"])
    assert (unread.status, unread.unread) == (413, 1)
    asking = request(gate, headers={"content-length": "11", "expect": "100-continue"}, body=[b"x"])
    assert (asking.status, asking.unread) == (413, 1)
    assert len(asked) == 1
    assert gate._held == 0


def test_a_request_that_is_sent_too_slowly_is_given_up():
    gate, asked = made(send_s=0.05)
    found = request(gate, body=[b"x", None])
    assert (found.status, found.headers["connection"]) == (408, "close")
    assert asked == []
    assert gate._held == 0


def test_bodies_are_held_up_to_a_limit():
    async def main():
        gate, _ = made(held_bytes=15, hold=True)
        first = asyncio.create_task(asked_of(gate, body=[b"x" * 10]))
        await asyncio.sleep(0.01)
        second = await asked_of(gate, body=[b"x" * 10])
        assert (second.status, second.headers["retry-after"]) == (503, "1")
        gate._app.go.set()
        assert (await first).status == 200
        assert (await asked_of(gate, body=[b"x" * 10])).status == 200
        assert gate._held == 0

    asyncio.run(main())


def test_who_leaves_stops_what_was_done_for_them():
    async def main():
        metrics = Metrics()
        gate, _ = made(hold=True, metrics=metrics)
        found = await asked_of(gate, body=[b"x"], leaves=True)
        assert found.status == 0
        assert gate._app.cancelled
        assert gate._held == 0
        assert 'nestvec_requests_total{route="other",status="499"} 1' in metrics.text()

    asyncio.run(main())


def test_a_rate_is_kept_but_health_is_always_told():
    gate, _ = made(requests_per_s=0.001, burst=2)
    assert [request(gate).status for _ in range(3)] == [200, 200, 429]
    found = request(gate)
    assert int(found.headers["retry-after"]) >= 900
    assert json.loads(found.body)["error"]["type"] == "rate_limit_error"
    assert request(gate, client="10.0.0.2").status == 200
    assert request(gate, path="/health").status == 200


def test_a_fault_of_our_own_is_told_without_its_reasons(capsys):
    gate, _ = made(breaks=True)
    found = request(gate)
    assert found.status == 500
    assert "secret" not in found.message
    assert "secret" in capsys.readouterr().err


class App:
    def __init__(self, hold, breaks):
        self.asked, self.cancelled, self.breaks = [], False, breaks
        self.go = asyncio.Event()
        if not hold:
            self.go.set()

    async def __call__(self, scope, receive, send):
        if self.breaks:
            raise RuntimeError("secret")
        message = await receive()
        self.asked.append((scope["state"][CLIENT], message["body"]))
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": message["body"]})


class Found:
    def __init__(self):
        self.status, self.headers, self.body, self.unread = 0, {}, b"", 0

    @property
    def message(self):
        return json.loads(self.body)["error"]["message"]


def made(api_key=None, hold=False, breaks=False, metrics=None, **limits):
    app = App(hold, breaks)
    settings = ServeSettings(api_key=api_key, limits=Limits(**limits))
    gate = Gate(
        app,
        settings,
        metrics or Metrics(),
        open_routes=frozenset({"/health"}),
        routes=frozenset({"/health"}),
    )
    return gate, app.asked


def request(gate, **options):
    return asyncio.run(asked_of(gate, **options))


async def asked_of(gate, *, path="/x", headers=None, body=(b"",), client="10.0.0.1", leaves=False):
    """What the gate answers; None in a body never comes."""
    found, parts = Found(), list(body)

    async def receive():
        if not parts:
            await asyncio.sleep(0.01 if leaves else 3600)
            return {"type": "http.disconnect"}
        part = parts.pop(0)
        if part is None:
            await asyncio.sleep(3600)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message):
        if message["type"] == "http.response.start":
            found.status = message["status"]
            found.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            found.body += message["body"]

    given = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "path": path, "headers": given, "client": (client, 1)}
    await gate(scope, receive, send)
    found.unread = len(parts)
    return found
