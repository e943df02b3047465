"""From the bytes of a request's body to what is asked, each fault told in one sentence."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, cast

from nestvec.data.encoder import TextKind
from nestvec.data.records import is_whole
from nestvec.serve.faults import Fault
from nestvec.serve.settings import Limits

Format = Literal["float", "base64"]

_SHOWN = 60
_LARGEST = 1 << 31
_MOST_SNIPPET = 10_000
_MOST_PLAN = 400
_EMBEDDINGS = ("input", "model", "dimensions", "encoding_format", "input_type", "user")
_SEARCH = ("query", "vector", "k", "plan", "bytes", "dims", "exact", "snippet")
# OpenAI's query and document are what Cohere and NVIDIA call search_query and passage.
_KINDS: dict[str, TextKind] = {"query": "query", "document": "document"}


@dataclass(frozen=True)
class EmbeddingsAsked:
    """texts: one or more. dimensions: None for all. kind: which prompt goes before each text."""

    texts: tuple[str, ...]
    model: str | None = None
    dimensions: int | None = None
    encoding: Format = "float"
    kind: TextKind = "document"


@dataclass(frozen=True)
class SearchAsked:
    """query or vector, the other is None; at most one of plan, bytes, dims and exact is given.

    k: None for the count of the plan that is given, else 10. snippet: characters of a hit's text.
    """

    query: str | None
    vector: tuple[float, ...] | None
    k: int | None = None
    plan: str | None = None
    bytes: int | None = None
    dims: int | None = None
    exact: bool = False
    snippet: int = 300


def read_embeddings(body: bytes, limits: Limits) -> EmbeddingsAsked:
    """What a body asks of /v1/embeddings; raises Fault (400) where it is not of its form."""
    found = _object(body, _EMBEDDINGS)
    if "input" not in found:
        _wrong("input", "is needed: a text, or a list of texts")
    encoding = found.get("encoding_format")
    if encoding not in (None, "float", "base64"):
        _wrong("encoding_format", f"must be float or base64; got {_shown(encoding)}")
    kind = found.get("input_type")
    if kind is not None and (not isinstance(kind, str) or kind not in _KINDS):
        _wrong("input_type", f"must be query or document; got {_shown(kind)}")
    _maybe_text(found, "user", "a text")
    return EmbeddingsAsked(
        texts=_texts(found["input"], limits),
        model=_maybe_text(found, "model", "a text"),
        dimensions=_count(found, "dimensions"),
        encoding=cast(Format, encoding or "float"),
        kind=_KINDS[kind or "document"],
    )


def read_search(body: bytes, limits: Limits) -> SearchAsked:
    """What a body asks of /search; raises Fault (400) where it is not of its form."""
    found = _object(body, _SEARCH)
    query, vector = found.get("query"), found.get("vector")
    if (query is None) == (vector is None):
        _wrong("query", "or vector is needed, one of them: a text, or a list of numbers")
    if query is not None:
        query = _text(query, "query", limits)
        if not query.strip():
            _wrong("query", "must hold a word; got an empty text")
    k = _count(found, "k")
    if k is not None and k > limits.hits:
        _wrong("k", f"may be at most {limits.hits:,}; got {k:,}")
    exact = found.get("exact")
    if exact is not None and not isinstance(exact, bool):
        _wrong("exact", f"must be true or false; got {_shown(exact)}")
    snippet = _count(found, "snippet", least=0)
    if snippet is not None and snippet > _MOST_SNIPPET:
        _wrong("snippet", f"may be at most {_MOST_SNIPPET:,} characters; got {snippet:,}")
    plan = _maybe_text(found, "plan", "a text such as 8B:2000,32B:10")
    if plan is not None and len(plan) > _MOST_PLAN:
        _wrong("plan", f"may have {_MOST_PLAN} characters; got {len(plan):,}")
    asked = SearchAsked(
        query=query,
        vector=None if vector is None else _vector(vector),
        k=k,
        plan=plan,
        bytes=_count(found, "bytes"),
        dims=_count(found, "dims"),
        exact=bool(exact),
        snippet=300 if snippet is None else snippet,
    )
    ways = {"plan": asked.plan, "bytes": asked.bytes, "dims": asked.dims, "exact": exact or None}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        _wrong(given[1], f"cannot be given beside {given[0]}: each names a plan; keep one")
    return asked


def _object(body: bytes, fields: tuple[str, ...]) -> dict[str, Any]:
    try:
        found = json.loads(body.decode("utf-8"), parse_constant=_not_a_number)
    except Fault:
        raise
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0] or "it is nested too deep"
        raise Fault(
            400,
            f"the body must be a JSON object in UTF-8; it cannot be read ({reason[:_SHOWN]}): "
            "mend it.",
            code="invalid_json",
        ) from None
    if not isinstance(found, dict):
        raise Fault(400, f"the body must be a JSON object; got {_shown(found)}.")
    unknown = next((name for name in found if name not in fields), None)
    if unknown is not None:
        shown = _shown(unknown)
        raise Fault(
            400,
            f"the fields of this request are {', '.join(fields)}; got {shown}: leave it out.",
            param=unknown[:_SHOWN] if is_whole(unknown) else None,
            code="unknown_parameter",
        )
    return found


def _not_a_number(name: str) -> NoReturn:
    raise Fault(
        400, f"numbers must be finite, as JSON has them; got {name}: mend it.", code="invalid_json"
    )


def _texts(given: Any, limits: Limits) -> tuple[str, ...]:
    if isinstance(given, str):
        return (_text(given, "input", limits),)
    if not isinstance(given, list):
        _wrong("input", f"must be a text or a list of texts; got {_shown(given)}")
    if not given:
        _wrong("input", "must hold at least one text; got an empty list")
    if any(isinstance(each, int | list) and not isinstance(each, bool) for each in given):
        _wrong(
            "input",
            "must be texts, not token ids, which belong to another model's tokenizer: send the "
            "texts (LangChain does with check_embedding_ctx_length=False)",
        )
    if len(given) > limits.texts:
        _wrong(
            "input", f"may hold {limits.texts:,} texts; got {len(given):,}: send several requests"
        )
    return tuple(_text(each, "input", limits) for each in given)


def _text(given: Any, name: str, limits: Limits) -> str:
    if not isinstance(given, str):
        _wrong(name, f"must be text; got {_shown(given)}")
    if not given:
        _wrong(name, "must hold at least one character; got an empty text")
    if len(given) > limits.text_characters:
        _wrong(
            name,
            f"may have {limits.text_characters:,} characters a text; got {len(given):,}: cut it "
            "into parts",
        )
    if not is_whole(given):
        _wrong(name, "must be text in UTF-8; got half of a surrogate pair")
    return given


def _vector(given: Any) -> tuple[float, ...]:
    if not isinstance(given, list) or not given:
        _wrong("vector", f"must be a list of numbers; got {_shown(given)}")
    for each in given:
        if isinstance(each, bool) or not isinstance(each, int | float):
            _wrong("vector", f"must be a list of numbers; got {_shown(each)} in it")
    try:
        values = tuple(float(each) for each in given)
    except OverflowError:
        values = (math.inf,)
    # in float32, in which it will be compared
    if not all(abs(value) <= 3.4e38 for value in values):
        _wrong("vector", "must be finite numbers below 3.4e38; got a larger one")
    return values


def _count(found: dict[str, Any], name: str, least: int = 1) -> int | None:
    value = found.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        _wrong(name, f"must be a whole number; got {_shown(value)}")
    if not least <= value < _LARGEST:
        _wrong(name, f"must be {least} or more; got {_shown(value)}")
    return value


def _maybe_text(found: dict[str, Any], name: str, words: str) -> str | None:
    value = found.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        _wrong(name, f"must be {words}; got {_shown(value)}")
    if not is_whole(value):
        _wrong(name, "must be text in UTF-8; got half of a surrogate pair")
    return value


def _shown(value: Any) -> str:
    """A value as JSON, shortened, for a sentence."""
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:
        return "a number of too many digits"
    try:
        words = json.dumps(value)
    except (ValueError, RecursionError):
        return "a value that is nested too deep"
    return words if len(words) <= _SHOWN else words[:_SHOWN] + "…"


def _wrong(param: str, rule: str) -> NoReturn:
    raise Fault(400, f"'{param}' {rule}.", param=param)
