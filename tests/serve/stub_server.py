"""A server with the answers of `nestvec serve` made up, so that the page is tested by itself.

Twelve rows are ranked by the full vectors as they stand. Four bytes rank them the other way round,
from the third on; eight swap the first two; sixteen agree.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from nestvec.serve.page import HEADERS, assets

ROWS = [f"row {letter}" for letter in "abcdefghijkl"]
DIM = 4
INFO: dict[str, Any] = {
    "name": "twelve.nv",
    "rows": len(ROWS),
    "dim": DIM,
    "spec": "16xcb",
    "bytes_per_vector": 17,
    "plan": "16B:10",
    "model": "stub",
    "cuts": [4, 8, 16],
    "dims": [1, 2, 4],
    "full_bytes": 256,
    "curve": [
        {"bytes": 4, "bytes_per_vector": 5, "value": 0.31, "low": 0.28, "high": 0.34},
        {"bytes": 8, "bytes_per_vector": 9, "value": 0.45, "low": 0.42, "high": 0.48},
        {"bytes": 16, "bytes_per_vector": 17, "value": 0.6, "low": 0.57, "high": 0.63},
    ],
    "measure": "nDCG@10",
    "full": {"value": 0.65, "low": 0.62, "high": 0.68},
    "has_vectors": True,
    "has_texts": True,
    "searchable": True,
    "version": "0.0",
    "collection_version": 1,
}


def ranked(asked: dict[str, Any]) -> list[str]:
    """The rows in the order in which a search finds them."""
    if asked.get("bytes") == 4 or asked.get("dims") == 1:
        return ROWS[2:][::-1] + ROWS[:2]
    if asked.get("bytes") == 8 or asked.get("dims") == 2:
        return [ROWS[1], ROWS[0], *ROWS[2:]]
    return ROWS


class Stub:
    """What the server does next; tests change it as they go.

    key: wanted of each request, or None. held: what a search of so many bytes waits for.
    refusal: (status, message, param) for searches that give param, or for all; or None.
    asked: bodies of all searches.
    """

    def __init__(self) -> None:
        self.address = ""
        self.info = dict(INFO)
        self.key: str | None = None
        self.held: dict[int, threading.Event] = {}
        self.refusal: tuple[int, str, str | None] | None = None
        self.rows: int | None = None
        self.asked: list[dict[str, Any]] = []

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The answer of /search, its snippets naming the question."""
        k = min(asked["k"], len(ROWS) if self.rows is None else self.rows)
        cut = asked.get("bytes")
        stage = asked.get("plan") or (f"{cut}B:{k}" if cut else f"exact:{k}")
        hits = [
            {"id": row[-1], "score": 1 - i / 20, "title": row, "text": f"{asked.get('query')} <b>"}
            for i, row in enumerate(ranked(asked)[:k])
        ]
        read = cut + 1 if cut else 2 * asked["dims"] if asked.get("dims") else 256
        stages = [{"stage": stage, "rows": 12, "kept": k, "bytes_read": 12 * read, "ms": 0.4}]
        return {
            "hits": hits,
            "plan": stage,
            "stages": stages,
            "ms": 0.5,
            "bytes_per_vector": read,
            "encode_ms": 2.0,
            "collection_version": self.info["collection_version"],
        }


class _Handler(BaseHTTPRequestHandler):
    stub: Stub

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/info":
            if self._open():
                self._json(200, self.stub.info)
        elif path in (files := assets()):
            self._send(200, files[path].content, files[path].content_type, HEADERS)
        else:
            self._json(404, {"error": {"message": "no such path", "param": None}})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self._open():
            return
        self.stub.asked.append(asked)
        status, message, param = self.stub.refusal or (200, "", None)
        if status != 200 and (param is None or asked.get(param)):
            self._json(status, {"error": {"message": message, "param": param}})
            return
        held = self.stub.held.get(asked.get("bytes") or 0)
        if held is not None:
            held.wait(20)
        self._json(200, self.stub.answer(asked))

    def _open(self) -> bool:
        key = self.stub.key
        if key is None or self.headers.get("authorization") == f"Bearer {key}":
            return True
        self._json(401, {"error": {"message": "a key is needed.", "param": None}})
        return False

    def _json(self, status: int, value: Any) -> None:
        self._send(status, json.dumps(value).encode(), "application/json", {})

    def _send(self, status: int, content: bytes, kind: str, headers: dict[str, str]) -> None:
        try:
            self.send_response(status)
            for name, value in {**headers, "content-type": kind}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the page gave the request up, as it should

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def running() -> Iterator[Stub]:
    """A stub that listens; its address ends with a slash."""
    stub = Stub()
    handler = type("Handler", (_Handler,), {"stub": stub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    stub.address = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
