"""The routes of a server: the one file that imports fastapi."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import numpy as np

from nestvec import __version__
from nestvec.errors import MissingExtra, UserError
from nestvec.serve import openapi
from nestvec.serve.batching import Batcher
from nestvec.serve.faults import Fault
from nestvec.serve.gate import CLIENT, Gate, own_fault
from nestvec.serve.metrics import Metrics
from nestvec.serve.model import Asked, Embedded, Model, embeddings_answer
from nestvec.serve.opening import Served
from nestvec.serve.page import HEADERS, Asset
from nestvec.serve.readers import read_embeddings, read_search
from nestvec.serve.searching import Found, info_answer, search_answer
from nestvec.serve.settings import ServeSettings

try:
    from fastapi import FastAPI, Request, Response
    from fastapi.exceptions import HTTPException
    from starlette.exceptions import HTTPException as PlainHTTPException
except ImportError:
    raise MissingExtra("nestvec serve", "serve") from None

WARNING_HEADER = "x-nestvec-warning"
# the body of an answer to HEAD is left out by uvicorn
_READ = ["GET", "HEAD"]
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


#: what the thread of searches does: a search, or a look for a newer version
Task = Callable[[], Found | bool]


class Service:
    """The answers of one server, as functions of what was asked; the routes below call them."""

    def __init__(self, served: Served, settings: ServeSettings, metrics: Metrics) -> None:
        limits = settings.limits
        self._served = served
        self._limits = limits
        self._metrics = metrics
        self._begun = int(time.time())
        self.encoding: Batcher[Asked, Embedded] | None = None
        self.searching: Batcher[Task, Found | bool] | None = None
        if served.model is not None:
            self.encoding = Batcher(
                "encode",
                served.model.work,
                cost=lambda asked: 50.0 + len(asked[0]),
                most_items=limits.batch_texts,
                most_cost=limits.batch_characters,
                most_waiting=limits.waiting,
                wait_s=limits.batch_wait_ms / 1000,
                seen=metrics.batch,
            )
        if served.searched is not None:
            self.searching = Batcher(
                "search",
                lambda tasks: [_done(task) for task in tasks],
                cost=lambda task: 1.0,
                most_items=1,
                most_cost=1.0,
                most_waiting=limits.waiting,
            )
        for name, batcher in (("encode", self.encoding), ("search", self.searching)):
            if batcher is not None:
                metrics.gauges[f"nestvec_{name}_waiting"] = (
                    f"Items that wait to {name}.",
                    lambda batcher=batcher: float(batcher.waiting),  # type: ignore[misc]
                )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the server runs."""
        batchers = [each for each in (self.encoding, self.searching) if each is not None]
        for each in batchers:
            await each.start()
        try:
            yield
        finally:
            for each in batchers:
                await each.stop()

    async def embeddings(self, client: str, body: bytes) -> tuple[dict[str, Any], str]:
        """The answer of /v1/embeddings and a warning, "" for none; raises Fault."""
        model, encoding = self._encoder()
        asked = read_embeddings(body, self._limits)
        model.check_name(asked.model)
        warning = model.check_width(asked.dimensions)
        found = await encoding.run(client, [(text, asked.kind) for text in asked.texts])
        tokens = sum(each.tokens for each in found)
        self._metrics.tokens(tokens)
        vectors = model.cut(np.stack([each.vector for each in found]), asked.dimensions)
        return embeddings_answer(vectors, tokens, asked.encoding, model.name), warning

    async def search(self, client: str, body: bytes) -> dict[str, Any]:
        """The answer of /search; raises Fault."""
        searched = self._served.searched
        if searched is None or self.searching is None:
            raise Fault(
                404,
                f"this server has the model {self._served.name!r} alone, and nothing to search: "
                "start nestvec serve with a collection.",
                code="no_collection",
            )
        asked = read_search(body, self._limits)
        searched.plan_of(asked)
        begun = time.perf_counter()
        if asked.query is not None:
            _, encoding = self._encoder()
            found = await encoding.run(client, [(asked.query, "query")])
            vector = found[0].vector
        else:
            vector = np.array(asked.vector, np.float32)
        encode_ms = (time.perf_counter() - begun) * 1000 if asked.query is not None else 0.0
        hits = await self.searching.run(client, [lambda: searched.search(vector, asked)])
        assert isinstance(hits[0], Found)
        return search_answer(hits[0], asked.snippet, encode_ms)

    async def info(self, client: str) -> dict[str, Any]:
        """The answer of /info; raises Fault (503) where too many wait."""
        if self._served.searched is not None and self.searching is not None:
            await self.searching.run(client, [self._served.searched.look])
        model, searched = self._served.model, self._served.searched
        return info_answer(
            searched,
            self._served.name,
            0 if model is None else model.dim,
            None if model is None else model.name,
            () if model is None else model.widths,
        )

    def models(self) -> list[dict[str, Any]]:
        """The models as /v1/models lists them: one, or none."""
        model = self._served.model
        if model is None:
            return []
        return [
            {"id": model.name, "object": "model", "created": self._begun, "owned_by": "nestvec"}
        ]

    def model(self, name: str) -> dict[str, Any]:
        """One model as /v1/models/NAME tells; raises Fault (404)."""
        for each in self.models():
            if each["id"] == name:
                return each
        raise Fault(
            404,
            f"there is no model {name[:60]!r} here: GET /v1/models lists what there is.",
            param="model",
            code="model_not_found",
        )

    def _encoder(self) -> tuple[Model, Batcher[Asked, Embedded]]:
        if self._served.model is None or self.encoding is None:
            raise Fault(
                400,
                f"{self._served.name} has no model that reads texts: search it by the vectors of "
                "the model it was built with.",
                param="query",
                code="no_model",
            )
        return self._served.model, self.encoding


def _done(task: Task) -> Found | bool | Exception:
    try:
        return task()
    except Exception as error:
        return error


def make_app(served: Served, settings: ServeSettings, page: Mapping[str, Asset]) -> Gate:
    """The ASGI application of a server; page: the files at / and beside it."""
    metrics = Metrics()
    service = Service(served, settings, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="nestvec",
        version=__version__,
        description=openapi.DESCRIPTION,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    _add_routes(app, service, metrics)
    for path, asset in page.items():
        _add_file(app, path, asset)
    _add_faults(app)
    app.openapi = lambda: openapi.document(settings)  # type: ignore[method-assign]
    routes = frozenset({*openapi.PATHS, *page})
    return Gate(app, settings, metrics, open_routes=frozenset({"/health", *page}), routes=routes)


def _add_routes(app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.post("/v1/embeddings")
    async def embeddings(request: Request) -> Response:
        answer, warning = await service.embeddings(_client(request), await _body(request))
        return await _large_json(answer, {WARNING_HEADER: warning} if warning else {})

    @app.post("/search")
    async def search(request: Request) -> Response:
        return _json(await service.search(_client(request), await _body(request)))

    @app.api_route("/info", methods=_READ)
    async def info(request: Request) -> Response:
        return _json(await service.info(_client(request)))

    @app.api_route("/v1/models", methods=_READ)
    async def models() -> Response:
        return _json({"object": "list", "data": service.models()})

    @app.api_route("/v1/models/{name:path}", methods=_READ)
    async def model(name: str) -> Response:
        return _json(service.model(name))

    @app.api_route("/health", methods=_READ)
    async def health() -> Response:
        return _json({"status": "ok"})

    @app.api_route("/metrics", methods=_READ)
    async def counted() -> Response:
        return Response(metrics.text(), media_type=_METRICS_TYPE)


def _add_file(app: FastAPI, path: str, asset: Asset) -> None:
    @app.api_route(path, methods=_READ)
    async def file() -> Response:
        return Response(asset.content, 200, HEADERS, asset.content_type)


def _add_faults(app: FastAPI) -> None:
    @app.exception_handler(Fault)
    async def refused(request: Request, fault: Fault) -> Response:
        return _refusal(fault)

    @app.exception_handler(UserError)
    async def mistaken(request: Request, error: UserError) -> Response:
        return _refusal(Fault(400, str(error)))

    @app.exception_handler(PlainHTTPException)
    async def elsewhere(request: Request, error: HTTPException) -> Response:
        path, method = request.url.path[:80], request.method
        headers = tuple((error.headers or {}).items())
        sentence = f"there is nothing at {path!r}: GET /openapi.json lists what there is."
        if error.status_code == 405:
            sentence = f"{path!r} does not answer {method}: GET /openapi.json lists what does."
        return _refusal(Fault(error.status_code, sentence, headers=headers))

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return _refusal(own_fault())


def _client(request: Request) -> str:
    return str(getattr(request.state, CLIENT))


async def _body(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise Fault(
            415,
            f"a body is JSON, and says so; got the content type {kind[:60]!r}: send the header "
            "'Content-Type: application/json'.",
        )
    return await request.body()


def _refusal(fault: Fault) -> Response:
    return Response(fault.body(), fault.status, dict(fault.headers()))


def _json(value: Any, headers: Mapping[str, str] | None = None) -> Response:
    return Response(_dumped(value), 200, headers, "application/json")


async def _large_json(value: Any, headers: Mapping[str, str]) -> Response:
    """As _json, but many numbers are written by another thread."""
    return Response(await asyncio.to_thread(_dumped, value), 200, headers, "application/json")


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
