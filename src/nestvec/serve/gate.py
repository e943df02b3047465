"""What every request passes before it is read: address, key, rate, size and time."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import math
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from nestvec.serve.faults import Fault
from nestvec.serve.metrics import Metrics
from nestvec.serve.settings import ServeSettings, is_loopback

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_CLIENTS_KEPT = 10_000
# A body that is too large is read to its end, so that its sender hears why, up to so many times
# the limit; a longer one is cut off.
_DRAINED = 8
CLIENT = "client_name"


class Buckets:
    """A token bucket a client: `rate` requests a second, `burst` after a pause (0: no limit)."""

    def __init__(
        self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str) -> float:
        """0 where the client may go on, which is counted; else seconds until it may."""
        if not self._rate:
            return 0.0
        now = self._clock()
        tokens, seen = self._kept.pop(client, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - seen) * self._rate)
        passes = tokens >= 1.0
        self._kept[client] = (tokens - 1.0 if passes else tokens, now)
        if len(self._kept) > _CLIENTS_KEPT:
            self._kept.popitem(last=False)
        return 0.0 if passes else (1.0 - tokens) / self._rate


def client_of(scope: Scope) -> str:
    """Who asks: the address, of IPv6 its first 64 bits, which one network hands out as it likes."""
    host = str((scope.get("client") or ("",))[0])
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 6:
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return host


class Gate:
    """An ASGI application around another, which sees only requests that were read whole.

    open_routes: paths that need no key. routes: paths that metrics tell apart. The client's name is
    put in the scope's state.
    """

    def __init__(
        self,
        app: App,
        settings: ServeSettings,
        metrics: Metrics,
        *,
        open_routes: frozenset[str],
        routes: frozenset[str],
    ) -> None:
        limits = settings.limits
        self._app = app
        self._metrics = metrics
        self._open = open_routes
        self._routes = routes
        self._limits = limits
        self._buckets = Buckets(limits.requests_per_s, limits.burst)
        self._authorization = (
            None if settings.api_key is None else f"Bearer {settings.api_key}".encode()
        )
        # without a key a page from elsewhere must not reach this machine through its browser
        self._own_names = settings.api_key is None
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the server's start and end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.monotonic()
        route = scope["path"] if scope["path"] in self._routes else "other"
        status = 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._pass(scope, receive, counted, begun)
        except Fault as fault:
            await _answer(fault, counted)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            if not status:
                await _answer(own_fault(), counted)
        finally:
            # 499, as nginx counts clients that left before their answer
            self._metrics.request(route, status or 499, time.monotonic() - begun)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, begun: float) -> None:
        headers = dict(scope["headers"])
        client = client_of(scope)
        if scope["path"] != "/health":
            self._check_rate(client)
        if self._own_names:
            _check_host(headers.get(b"host", b""))
        if scope["path"] not in self._open:
            self._check_key(headers.get(b"authorization", b""))
        body = await self._read(headers, receive, begun + self._limits.send_s)
        if body is None:
            return
        scope.setdefault("state", {})[CLIENT] = client
        try:
            await _while_there(self._app, scope, body, receive, send)
        finally:
            self._held -= len(body)

    def _check_rate(self, client: str) -> None:
        wait_s = self._buckets.wait_s(client)
        if wait_s:
            rate = self._limits.requests_per_s
            raise Fault(
                429,
                f"a client may send {rate:g} requests a second here: ask again after a while, and "
                "put several texts into one request.",
                code="rate_limit_exceeded",
                retry_after_s=math.ceil(wait_s),
                close=True,
            )

    def _check_key(self, given: bytes) -> None:
        if self._authorization is None:
            return
        # the scheme's name may be written in any case
        scheme, _, key = given.partition(b" ")
        same = hmac.compare_digest(b"Bearer " + key.strip(), self._authorization)
        if scheme.lower() != b"bearer" or not same:
            raise Fault(
                401,
                "this server wants a key, and "
                + ("it is not this one" if given else "none was sent")
                + ": send the header 'Authorization: Bearer KEY'.",
                code="invalid_api_key",
                close=True,
            )

    async def _read(
        self, headers: dict[bytes, bytes], receive: Receive, deadline: float
    ) -> bytes | None:
        """The whole body, counted as held; None where the client left before its end."""
        most = self._limits.body_bytes
        declared = headers.get(b"content-length", b"0")
        length = int(declared) if declared.isdigit() else 0
        if length > _DRAINED * most or (length > most and b"expect" in headers):
            raise self._too_large(close=True)
        chunks: list[bytes] = []
        size = kept = 0
        try:
            while True:
                message = await _in_time(receive, deadline)
                if message["type"] == "http.disconnect":
                    self._held -= kept
                    return None
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > _DRAINED * most:
                    raise self._too_large(close=True)
                if size <= most:
                    chunks.append(chunk)
                    kept += len(chunk)
                    self._held += len(chunk)
                else:
                    chunks.clear()
                    self._held -= kept
                    kept = 0
                if self._held > self._limits.held_bytes:
                    raise Fault(
                        503,
                        "the server holds as many requests as it can: ask again after a while.",
                        code="overloaded",
                        retry_after_s=1,
                        close=True,
                    )
                if not message.get("more_body", False):
                    break
            if size > most:
                raise self._too_large(close=False)
        except BaseException:
            self._held -= kept
            raise
        return b"".join(chunks)

    def _too_large(self, close: bool) -> Fault:
        return Fault(
            413,
            f"a request's body may have {self._limits.body_bytes:,} bytes; got more: send several "
            "requests.",
            code="body_too_large",
            close=close,
        )


async def _in_time(receive: Receive, deadline: float) -> Message:
    try:
        return await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        raise Fault(
            408,
            "a request must be sent in time, and this one was not: send it at once.",
            code="request_timeout",
            close=True,
        ) from None


async def _while_there(app: App, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
    """Run the application on a request that was read; give up when its client leaves."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await asyncio.Future()  # who leaves is seen below
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    running = asyncio.ensure_future(app(scope, replay, send))
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({running, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        if not running.done():
            running.cancel()
        results = await asyncio.gather(running, leaving, return_exceptions=True)
    if isinstance(results[0], Exception):
        raise results[0]


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _check_host(given: bytes) -> None:
    """Raise Fault (403) where a browser was led here under another machine's name (rebinding)."""
    name = given.decode("latin-1").lower()
    host = (
        name[: name.index("]") + 1]
        if name.startswith("[") and "]" in name
        else (name.partition(":")[0])
    )
    if not given or is_loopback(host):
        return
    raise Fault(
        403,
        f"this server answers to the names of this machine alone; got the host {host[:60]!r}: ask "
        "for http://127.0.0.1, or start it with a key.",
        code="wrong_host",
        close=True,
    )


def own_fault() -> Fault:
    """What is answered where the server, not the request, is at fault."""
    return Fault(500, "the server has met a fault of its own; its log tells more.")


async def _answer(fault: Fault, send: Send) -> None:
    body = fault.body()
    headers = [(name.encode(), value.encode()) for name, value in fault.headers()]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
