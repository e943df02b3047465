"""Vectors from any server that speaks OpenAI's /v1/embeddings."""

from __future__ import annotations

import base64
import binascii
import email.utils
import http.client
import json
import math
import os
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.data.encoder import EncodedBlock, Metric, TextKind
from nestvec.errors import UserError

KEY_VARIABLES = ("NESTVEC_API_KEY", "OPENAI_API_KEY")

# OpenAI takes 2,048 texts or 300,000 tokens a request; small servers choke earlier.
_BATCH_TEXTS = 128
_BATCH_CHARACTERS = 200_000
_TRIES = 7
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 60.0
_LONGEST_ASKED_WAIT_S = 300.0
_PATIENCE_S = 120.0
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})


class ApiEncoder:
    """One model behind an address; see Encoder for the methods.

    url: the server, with or without /v1/embeddings; model: its name there; dimensions: the width to
    ask for, the model's own where None. The key is taken from NESTVEC_API_KEY or OPENAI_API_KEY,
    sent to this address only and never stored; without one, none is sent.
    Requests hold at most 128 texts. What may pass (429, 5xx, no answer) is tried seven times in
    all, after waits that double from half a second, with jitter, or as long as Retry-After says.
    sleep: how to wait; seed: of the jitter. Raises UserError for an address that is not http(s).
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        dimensions: int | None = None,
        metric: Metric = "cosine",
        query_prompt: str = "",
        document_prompt: str = "",
        patience_s: float = _PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
        seed: int = 0,
    ) -> None:
        if dimensions is not None and dimensions < 1:
            raise UserError(f"dimensions must be 1 or more, got {dimensions}.")
        if not model:
            raise UserError("an API needs the name of a model: give it with --model.")
        self._address = embeddings_address(url)
        self._model = model
        self._dimensions = dimensions
        self._metric: Metric = metric
        self._prompts = {"query": query_prompt, "document": document_prompt}
        self._patience_s = patience_s
        self._sleep = sleep
        self._jitter = random.Random(seed)
        self._dim: int | None = None

    @property
    def name(self) -> str:
        """The model's name at its server."""
        return self._model

    @property
    def revision(self) -> str:
        """Unknown: a server does not say."""
        return ""

    @property
    def dim(self) -> int:
        """Width of the vectors; asks the server once where none was seen yet."""
        if self._dim is None:
            self.encode(["width"], "document")
        assert self._dim is not None
        return self._dim

    @property
    def metric(self) -> Metric:
        """As given; cosine suits the models that are served so."""
        return self._metric

    @property
    def max_tokens(self) -> int | None:
        """Unknown: a server does not say."""
        return None

    def prepare(self, sample: list[str]) -> None:
        """Nothing to settle."""

    def encode(self, texts: list[str], kind: TextKind) -> NDArray[np.float32]:
        """(n, d) float32 vectors in the order of the texts.

        Raises UserError where the server refuses, does not answer, or answers something else.
        """
        prompt = self._prompts[kind]
        parts = [self._ask([prompt + text for text in batch]) for batch in _batches(texts)]
        if not parts:
            return np.empty((0, self.dim), np.float32)
        return np.concatenate(parts)

    def encode_block(self, texts: list[str], kind: TextKind) -> EncodedBlock:
        """As encode; whether the server cut texts is unknown."""
        return EncodedBlock(self.encode(texts, kind), None)

    def describe(self) -> dict[str, object]:
        """Address, model, width, metric and prompts, without the key."""
        return {
            "kind": "api",
            "name": self._model,
            "url": self._address,
            "dim": self.dim,
            "dimensions": self._dimensions,
            "metric": self._metric,
            "query_prompt": self._prompts["query"],
            "document_prompt": self._prompts["document"],
        }

    def _ask(self, texts: list[str]) -> NDArray[np.float32]:
        asked: dict[str, object] = {
            "model": self._model,
            "input": texts,
            "encoding_format": "float",
        }
        if self._dimensions is not None:
            asked["dimensions"] = self._dimensions
        vectors = read_answer(self._post(json.dumps(asked).encode()), len(texts), self._address)
        wanted = self._dimensions or self._dim or vectors.shape[1]
        if vectors.shape[1] != wanted:
            raise UserError(
                f"{self._address} gave vectors of {vectors.shape[1]} dims where {wanted} were "
                f"expected: ask for dimensions that the model {self._model!r} can give."
            )
        self._dim = wanted
        return vectors

    def _post(self, body: bytes) -> bytes:
        reason = ""
        for attempt in range(_TRIES):
            request = urllib.request.Request(
                self._address, data=body, headers={"Content-Type": "application/json"}
            )
            key = next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), None)
            if key is not None:
                # not carried along when the server redirects elsewhere
                request.add_unredirected_header("Authorization", f"Bearer {key}")
            asked_wait = 0.0
            try:
                with urllib.request.urlopen(request, timeout=self._patience_s) as answer:
                    found: bytes = answer.read()
                    return found
            except urllib.error.HTTPError as error:
                with error:
                    said = _message(error)
                if error.code not in _PASSING:
                    raise UserError(_refusal(self._address, error.code, said)) from None
                reason = f"status {error.code}{said}"
                asked_wait = _retry_after(error.headers.get("Retry-After"), time.time())
            except (OSError, http.client.HTTPException) as error:
                reason = str(getattr(error, "reason", error)) or type(error).__name__
            if attempt + 1 < _TRIES:
                self._sleep(max(asked_wait, self._wait_s(attempt)))
        raise UserError(
            f"{self._address} gave no answer in {_TRIES} tries (the last: {reason}): "
            "check the address, or wait and run the same again, it goes on where it stopped."
        )

    def _wait_s(self, attempt: int) -> float:
        longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0**attempt)
        return longest * self._jitter.uniform(0.5, 1.0)


def embeddings_address(url: str) -> str:
    """The address to post to: /v1/embeddings is added as far as it is not there.

    >>> embeddings_address("http://localhost:8080")
    'http://localhost:8080/v1/embeddings'
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UserError(
            f"an API address starts with http:// or https://, got {url!r}: "
            "give one such as http://localhost:8080/v1."
        )
    path = parts.path.rstrip("/")
    if not path.endswith("/embeddings"):
        versioned = path.rsplit("/", 1)[-1]
        path += (
            "/embeddings"
            if versioned[:1] == "v" and versioned[1:].isdigit()
            else ("/v1/embeddings")
        )
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def read_answer(body: bytes, count: int, address: str) -> NDArray[np.float32]:
    """(count, d) float32 vectors of an answer, put in the order of their index.

    An embedding is a list of numbers, or little-endian float32 in base64. Raises UserError where
    the answer is not of that form, or vectors are missing, of unlike widths, or not finite.
    """
    try:
        items = json.loads(body)["data"]
        indexes = [int(item.get("index", at)) for at, item in enumerate(items)]
        vectors = [_vector(item["embedding"]) for item in items]
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error):
        raise UserError(
            f"{address} answered {body[:80].decode('utf-8', 'replace')!r}, which is not a list of "
            "embeddings: give the address of an OpenAI-compatible /v1/embeddings."
        ) from None
    if sorted(indexes) != list(range(count)):
        raise UserError(
            f"{address} gave {len(indexes)} vectors for {count} texts: "
            "use a server that gives one vector a text."
        )
    widths = sorted({len(vector) for vector in vectors})
    if len(widths) != 1 or widths[0] == 0:
        raise UserError(
            f"{address} gave vectors of {' and '.join(map(str, widths))} dims in one answer: "
            "all must have one width."
        )
    out = np.empty((count, widths[0]), np.float32)
    for index, vector in zip(indexes, vectors, strict=True):
        out[index] = vector
    if not np.isfinite(out).all():
        raise UserError(
            f"{address} gave a vector that is not finite: use another model or mend the text."
        )
    return out


def _vector(found: object) -> NDArray[np.float32]:
    if isinstance(found, str):
        return np.frombuffer(base64.b64decode(found, validate=True), dtype="<f4")
    if not isinstance(found, list):
        raise TypeError(type(found).__name__)
    with np.errstate(over="ignore"):  # told as not finite
        vector = np.asarray(found, dtype=np.float32)
    if vector.ndim != 1:
        raise ValueError(vector.shape)
    return vector


def _batches(texts: list[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        full = len(batch) == _BATCH_TEXTS or characters + len(text) > _BATCH_CHARACTERS
        if batch and full:
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text)
    if batch:
        yield batch


def _message(error: urllib.error.HTTPError) -> str:
    """What the server says of a fault, as ", ..." or ""."""
    try:
        body: Any = json.loads(error.read(10_000))
        found = body.get("error", body)
        text = found if isinstance(found, str) else found.get("message", "")
    except (ValueError, AttributeError, OSError):
        return ""
    line = " ".join(str(text).split()).rstrip(".")
    return f", {line[:200]}" if line else ""


def _refusal(address: str, status: int, said: str) -> str:
    if status in (401, 403):
        remedy = f"put a valid key into {' or '.join(KEY_VARIABLES)}"
    elif status == 404:
        remedy = "check the address and the name of the model"
    else:
        remedy = "check the model, the dimensions and the length of the texts"
    return f"{address} refused the request (status {status}{said}): {remedy}."


def _retry_after(value: str | None, now_s: float) -> float:
    """Seconds to wait by a Retry-After header, a number or a date; 0 where there is none."""
    if not value:
        return 0.0
    try:
        wait = float(value)
    except ValueError:
        try:
            wait = email.utils.parsedate_to_datetime(value).timestamp() - now_s
        except ValueError:
            return 0.0
    return min(max(wait, 0.0), _LONGEST_ASKED_WAIT_S) if math.isfinite(wait) else 0.0
