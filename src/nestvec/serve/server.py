"""A server on its socket: the one file that imports uvicorn, and what it leaves to its caller.

uvicorn waits for a request's headers, and for a client to take in its answer, as long as the client
likes; here both have an end. Its refusals are sentences of the same shape as all others.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from nestvec.errors import MissingExtra, UserError
from nestvec.serve.faults import Fault
from nestvec.serve.gate import App
from nestvec.serve.settings import ServeSettings

try:
    import h11
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol
except ImportError:
    raise MissingExtra("nestvec serve", "serve") from None

_HEADER_BYTES = 64 << 10
_IDLE_S = 30
_BACKLOG = 512
_SLOWEST_READER = 4096
"""Bytes a second that a client takes in at least."""


class Server:
    """One server: bound when made, serving while run runs.

    Raises UserError where the address cannot be listened at.
    """

    def __init__(self, app: App, settings: ServeSettings) -> None:
        self._socket = _listen(settings.host, settings.port)
        limits = settings.limits
        config = uvicorn.Config(
            app,
            http=_protocol(limits.send_s, limits.connections),
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,  # anyone could write another address there
            server_header=False,
            h11_max_incomplete_event_size=_HEADER_BYTES,
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=max(1, round(limits.grace_s)),
        )
        self._server = _Quiet(config)

    @property
    def address(self) -> str:
        """Where it listens: http://127.0.0.1:8080."""
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Serve until SIGTERM or SIGINT, or stop: what runs is finished, and run returns.

        started: called once requests are answered. In another thread than the main one signals are
        not looked at.
        """
        self._server.told = started
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """Let run return, from any thread."""
        self._server.should_exit = True


class _Quiet(uvicorn.Server):  # type: ignore[misc]
    """uvicorn's server, which ends by returning where a signal has asked it to."""

    told: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.told()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            each: signal.signal(each, self.handle_exit) for each in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


def _listen(host: str, port: int) -> socket.socket:
    bare = host.strip("[]")
    try:
        found = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(
            f"the address {host!r} is not known ({error.strerror}): try 127.0.0.1."
        ) from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise UserError(
            f"cannot listen at {host}, port {port} ({error.strerror}): take another one with "
            "--port, or 0 for any that is free."
        ) from None
    listening.setblocking(False)
    return listening


def _protocol(send_s: float, connections: int) -> type[asyncio.Protocol]:
    """uvicorn's reader of HTTP/1.1, with an end to waiting for a client."""

    class Bounded(H11Protocol):  # type: ignore[misc]
        _waits: asyncio.TimerHandle | None = None
        _stalls: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > connections:
                self._refuse(
                    Fault(
                        503,
                        f"the server has {connections:,} connections, and takes no more: ask again "
                        "after a while.",
                        code="overloaded",
                        retry_after_s=1,
                        close=True,
                    )
                )
                return
            self._waits = self.loop.call_later(send_s, self._too_slow)

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel("_waits")
            self._cancel("_stalls")
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            between = self.cycle is None or self.cycle.response_complete
            if between and self._waits is None:
                self._waits = self.loop.call_later(send_s, self._too_slow)
            super().data_received(data)

        def handle_events(self) -> None:
            before = self.cycle
            super().handle_events()
            if self.cycle is not before:  # headers have come; the gate looks after the body
                self._cancel("_waits")

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch(self.transport.get_write_buffer_size())

        def resume_writing(self) -> None:
            self._cancel("_stalls")
            super().resume_writing()

        def _watch(self, left: int) -> None:
            self._stalls = self.loop.call_later(send_s, self._look, left)

        def _look(self, left: int) -> None:
            now_left = self.transport.get_write_buffer_size()
            if left - now_left < send_s * _SLOWEST_READER:
                self.transport.abort()
            else:
                self._watch(now_left)

        def send_400_response(self, msg: str) -> None:
            sentence = "the request is not HTTP/1.1, or its headers are too large: mend it."
            self._refuse(Fault(400, sentence, code="invalid_http", close=True))

        def _too_slow(self) -> None:
            self._waits = None
            if self.conn.our_state is not h11.IDLE or self.transport.is_closing():
                return
            sentence = "a request must be sent in time, and this one was not: send it at once."
            self._refuse(Fault(408, sentence, code="request_timeout", close=True))

        def _refuse(self, fault: Fault) -> None:
            self._cancel("_waits")
            body = fault.body()
            headers = [*fault.headers(), ("content-length", str(len(body)))]
            for event in (
                h11.Response(status_code=fault.status, headers=headers, reason=b""),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                with contextlib.suppress(h11.LocalProtocolError):
                    self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

        def _cancel(self, timer: str) -> None:
            handle = getattr(self, timer)
            if handle is not None:
                handle.cancel()
                setattr(self, timer, None)

    return Bounded
