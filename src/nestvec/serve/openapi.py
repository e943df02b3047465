"""What a server answers to, as an OpenAPI document: requests are read by readers.py, not by it."""

from __future__ import annotations

from typing import Any

from nestvec import __version__
from nestvec.serve.settings import Limits, ServeSettings

DESCRIPTION = (
    "Embeddings as OpenAI's API gives them, at any width the model was trained for, and searches "
    "of a nestvec collection."
)
PATHS = (
    "/v1/embeddings",
    "/v1/models",
    "/search",
    "/info",
    "/health",
    "/metrics",
    "/openapi.json",
)

_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_COUNT = {"type": "integer", "minimum": 0}
_LARGEST = (1 << 31) - 1


def document(settings: ServeSettings) -> dict[str, Any]:
    """The whole document, as a JSON object."""
    limits = settings.limits
    keyed = settings.api_key is not None
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "nestvec", "version": __version__, "description": DESCRIPTION},
        "paths": {
            "/v1/embeddings": {
                "post": _operation(
                    "embeddings",
                    "Vectors of texts.",
                    _reference("Embeddings"),
                    request=_reference("EmbeddingsRequest"),
                    refusals=(400, 404, 408, 413, 415, 429, 500, 502, 503, 504),
                    headers={
                        "x-nestvec-warning": {
                            "description": "What is to be said of the dimensions asked for.",
                            "schema": _TEXT,
                        }
                    },
                    keyed=keyed,
                )
            },
            "/v1/models": {
                "get": _operation("models", "The model served.", _reference("Models"), keyed=keyed)
            },
            "/v1/models/{name}": {
                "get": {
                    **_operation(
                        "model",
                        "One model.",
                        _reference("Model"),
                        refusals=(404, 429),
                        keyed=keyed,
                    ),
                    "parameters": [
                        {"name": "name", "in": "path", "required": True, "schema": _TEXT}
                    ],
                }
            },
            "/search": {
                "post": _operation(
                    "search",
                    "Hits of a text or a vector.",
                    _reference("Found"),
                    request=_reference("SearchRequest"),
                    refusals=(400, 404, 408, 413, 415, 429, 500, 502, 503, 504),
                    keyed=keyed,
                )
            },
            "/info": {
                "get": _operation(
                    "info", "What is served.", _reference("Info"), refusals=(429, 503), keyed=keyed
                )
            },
            "/health": {
                "get": _operation("health", "Whether the server is up.", _reference("Health"))
            },
            "/metrics": {
                "get": _operation(
                    "metrics",
                    "Counters in the text format of Prometheus.",
                    _TEXT,
                    kind="text/plain",
                    keyed=keyed,
                )
            },
        },
        "components": {"schemas": _schemas(limits)},
    }
    if keyed:
        found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return found


def _operation(
    name: str,
    summary: str,
    answer: dict[str, Any],
    *,
    request: dict[str, Any] | None = None,
    refusals: tuple[int, ...] = (429,),
    headers: dict[str, Any] | None = None,
    kind: str = "application/json",
    keyed: bool = False,
) -> dict[str, Any]:
    good: dict[str, Any] = {"description": summary, "content": {kind: {"schema": answer}}}
    if headers is not None:
        good["headers"] = headers
    refused = {
        "description": "Refused; the message says why.",
        "content": {"application/json": {"schema": _reference("Error")}},
    }
    statuses = (*refusals, 401) if keyed else refusals
    found: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "responses": {"200": good, **{str(status): refused for status in sorted(statuses)}},
    }
    if request is not None:
        content = {"application/json": {"schema": request}}
        found["requestBody"] = {"required": True, "content": content}
    if keyed:
        found["security"] = [{"key": []}]
    return found


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: dict[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "properties": properties,
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _list(of: dict[str, Any], **bounds: int) -> dict[str, Any]:
    return {"type": "array", "items": of, **bounds}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _schemas(limits: Limits) -> dict[str, Any]:
    return {**_requests(limits), **_answers()}


def _requests(limits: Limits) -> dict[str, Any]:
    text = {"type": "string", "minLength": 1, "maxLength": limits.text_characters}
    positive = {"type": "integer", "minimum": 1, "maximum": _LARGEST}
    fields = ("model", "dimensions", "encoding_format", "input_type", "user")
    return {
        "EmbeddingsRequest": _object(
            {
                "input": {"anyOf": [text, _list(text, minItems=1, maxItems=limits.texts)]},
                "model": _or_null(_TEXT),
                "dimensions": _or_null(positive),
                "encoding_format": _or_null({"type": "string", "enum": ["float", "base64"]}),
                "input_type": _or_null({"type": "string", "enum": ["query", "document"]}),
                "user": _or_null(_TEXT),
            },
            optional=fields,
        ),
        "SearchRequest": _search_request(limits, text, positive),
    }


def _search_request(
    limits: Limits, text: dict[str, Any], positive: dict[str, Any]
) -> dict[str, Any]:
    properties = {
        "query": _or_null(text),
        "vector": _or_null(_list(_NUMBER, minItems=1)),
        "k": _or_null({"type": "integer", "minimum": 1, "maximum": limits.hits}),
        "plan": _or_null({"type": "string", "maxLength": 400}),
        "bytes": _or_null(positive),
        "dims": _or_null(positive),
        "exact": _or_null({"type": "boolean"}),
        "snippet": _or_null({"type": "integer", "minimum": 0, "maximum": 10_000}),
    }
    return {
        **_object(properties, optional=tuple(properties)),
        "description": "query or vector, one of them; of plan, bytes, dims and exact one at most.",
    }


def _answers() -> dict[str, Any]:
    vector = {"anyOf": [_list(_NUMBER), {"type": "string", "description": "float32 in base64"}]}
    embedding = _object({"object": _TEXT, "index": _COUNT, "embedding": vector})
    error = _object(
        {"message": _TEXT, "type": _TEXT, "param": _or_null(_TEXT), "code": _or_null(_TEXT)}
    )
    stage = _object(
        {"stage": _TEXT, "rows": _COUNT, "kept": _COUNT, "bytes_read": _COUNT, "ms": _NUMBER}
    )
    hit = _object({"id": _TEXT, "score": _NUMBER, "title": _TEXT, "text": _TEXT})
    quality = {"value": _NUMBER, "low": _NUMBER, "high": _NUMBER}
    return {
        "Error": _object({"error": error}),
        "Embeddings": _object(
            {
                "object": _TEXT,
                "data": _list(embedding),
                "model": _TEXT,
                "usage": _object({"prompt_tokens": _COUNT, "total_tokens": _COUNT}),
            }
        ),
        "Model": _object({"id": _TEXT, "object": _TEXT, "created": _COUNT, "owned_by": _TEXT}),
        "Models": _object({"object": _TEXT, "data": _list(_reference("Model"))}),
        "Health": _object({"status": _TEXT}),
        "Found": _object(
            {
                "hits": _list(hit),
                "plan": _TEXT,
                "stages": _list(stage),
                "ms": _NUMBER,
                "bytes_per_vector": _COUNT,
                "encode_ms": _NUMBER,
                "collection_version": _COUNT,
            }
        ),
        "Info": _object(
            {
                "name": _TEXT,
                "rows": _COUNT,
                "dim": _COUNT,
                "spec": _TEXT,
                "bytes_per_vector": _COUNT,
                "plan": _TEXT,
                "model": _or_null(_TEXT),
                "cuts": _list(_COUNT),
                "dims": _list(_COUNT),
                "full_bytes": _COUNT,
                "curve": _list(_object({"bytes": _COUNT, "bytes_per_vector": _COUNT, **quality})),
                "measure": _or_null(_TEXT),
                "full": _or_null(_object(quality)),
                "has_vectors": {"type": "boolean"},
                "has_texts": {"type": "boolean"},
                "searchable": {"type": "boolean"},
                "version": _TEXT,
                "collection_version": _or_null(_COUNT),
            }
        ),
    }
