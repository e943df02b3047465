"""Vectors from any server that speaks OpenAI's /v1/embeddings."""

from __future__ import annotations

import base64
import binascii
import copy
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
from collections.abc import Callable, Iterator, Sequence
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
_LATE = frozenset({408, 504, 524})
_READ_BYTES = 1 << 16
_SAID_BYTES = 10_000
_MOST_TOKENS = 1 << 53
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})


class ApiFault(UserError):
    """A server of embeddings that refuses, does not answer, or answers something else.

    The message names the server without what its address may carry of secrets. status: what it
    refused with at last, None where it did not. timed_out: whether it took too long.
    """

    def __init__(self, message: str, *, status: int | None = None, timed_out: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.timed_out = timed_out


class ApiEncoder:
    """One model behind an address; see Encoder for the methods.

    url: the server, with or without /v1/embeddings; model: its name there; dimensions: the width to
    ask for, the model's own where None. The key is taken from NESTVEC_API_KEY or OPENAI_API_KEY,
    sent to this address only and never stored; without one, none is sent.
    Requests hold at most 128 texts. What may pass (429, 5xx, no answer) is tried seven times in
    all, after waits that double from half a second, with jitter, or as long as Retry-After says.
    sleep: how to wait; seed: of the jitter. Raises UserError for an address that is not http(s) or
    holds a password.
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
        self._shown = shown_address(self._address)
        self._key_variables: Sequence[str] = KEY_VARIABLES
        self._deadline_s = math.inf
        self._model = model
        self._dimensions = dimensions
        self._metric: Metric = metric
        self._prompts = {"query": query_prompt, "document": document_prompt}
        self._patience_s = patience_s
        self._sleep = sleep
        self._jitter = random.Random(seed)
        self._dim: int | None = None

    def hurried(self, deadline_s: float, key_variables: Sequence[str]) -> ApiEncoder:
        """The same encoder for a caller with others to serve.

        deadline_s: seconds that a request takes at most, all tries and waits among them.
        key_variables: of the environment, which may hold the key.
        """
        found = copy.copy(self)
        found._deadline_s = deadline_s
        found._key_variables = key_variables
        return found

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

        Raises ApiFault where the server refuses, does not answer, or answers something else.
        """
        return self.encode_counted(texts, kind)[0]

    def encode_counted(
        self, texts: list[str], kind: TextKind
    ) -> tuple[NDArray[np.float32], int | None]:
        """As encode, and the tokens that the server says it read, None where it does not say."""
        prompt = self._prompts[kind]
        parts = [self._ask([prompt + text for text in batch]) for batch in _batches(texts)]
        if not parts:
            return np.empty((0, self.dim), np.float32), 0
        told = [tokens for _, tokens in parts if tokens is not None]
        tokens = sum(told) if len(told) == len(parts) else None
        return np.concatenate([vectors for vectors, _ in parts]), tokens

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

    def _ask(self, texts: list[str]) -> tuple[NDArray[np.float32], int | None]:
        asked: dict[str, object] = {
            "model": self._model,
            "input": texts,
            "encoding_format": "float",
        }
        if self._dimensions is not None:
            asked["dimensions"] = self._dimensions
        body = self._post(json.dumps(asked).encode())
        vectors, tokens = read_answer_and_tokens(
            body, len(texts), self._shown, self._without_secrets
        )
        wanted = self._dimensions or self._dim or vectors.shape[1]
        if vectors.shape[1] != wanted:
            raise ApiFault(
                f"{self._shown} gave vectors of {vectors.shape[1]} dims where {wanted} were "
                f"expected: ask for dimensions that the model {self._model!r} can give."
            )
        self._dim = wanted
        return vectors, tokens

    def _post(self, body: bytes) -> bytes:
        begun = time.monotonic()
        reason, status, timed_out, tries = "", None, False, 0
        while tries < _TRIES:
            left_s = begun + self._deadline_s - time.monotonic()
            if left_s <= 0:
                timed_out = True
                break
            tries += 1
            asked_wait = 0.0
            try:
                return self._tried(body, min(self._patience_s, left_s), begun)
            except urllib.error.HTTPError as error:
                with error:
                    said = _message(error, self._without_secrets)
                if error.code not in _PASSING:
                    message = _refusal(self._shown, error.code, said, self._key_variables)
                    raise ApiFault(message, status=error.code) from None
                reason, status, timed_out = f"status {error.code}{said}", error.code, False
                asked_wait = _retry_after(error.headers.get("Retry-After"), time.time())
            except (OSError, http.client.HTTPException) as error:
                cause = getattr(error, "reason", error)
                reason = self._without_secrets(str(cause)) or type(error).__name__
                status, timed_out = None, isinstance(cause, TimeoutError)
            wait_s = max(asked_wait, self._wait_s(tries - 1))
            if time.monotonic() - begun + wait_s >= self._deadline_s:
                break
            if tries < _TRIES:
                self._sleep(wait_s)
        raise ApiFault(
            f"{self._shown} gave no answer in {tries} tries (the last: {reason}): "
            "check the address, or wait and run the same again, it goes on where it stopped.",
            status=status,
            timed_out=timed_out or status in _LATE,
        )

    def _tried(self, body: bytes, patience_s: float, begun: float) -> bytes:
        request = urllib.request.Request(
            self._address, data=body, headers={"Content-Type": "application/json"}
        )
        key = self._key()
        if key is not None:
            # not carried along when the server redirects elsewhere
            request.add_unredirected_header("Authorization", f"Bearer {key}")
        with urllib.request.urlopen(request, timeout=patience_s) as answer:
            return self._read(answer, begun)

    def _read(self, answer: http.client.HTTPResponse, begun: float) -> bytes:
        # patience is a socket's, and begins anew with every drop
        length = answer.length  # None where it comes in chunks, or until it ends
        found = bytearray()
        while length is None or len(found) < length:
            part = answer.read1(_READ_BYTES)
            if not part:
                break
            found += part
            if time.monotonic() - begun > self._deadline_s:
                raise TimeoutError("timed out")
        if length is not None and len(found) < length:
            raise http.client.IncompleteRead(bytes(found), length - len(found))
        return bytes(found)

    def _key(self) -> str | None:
        keys = (os.environ.get(name) for name in self._key_variables)
        return next((key for key in keys if key), None)

    def _without_secrets(self, text: str) -> str:
        """What a server or the system said, without the key and what the address carries."""
        query = urllib.parse.urlsplit(self._address).query
        values = [value for _, value in urllib.parse.parse_qsl(query)]
        for secret in (self._key(), query, *values):
            if secret:
                text = text.replace(secret, "***")
        return text

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
    if "@" in parts.netloc:
        raise UserError(
            "an API address holds no name or password, which would be stored with the collection; "
            f"got one before {parts.hostname!r}: leave it out, and put a key into "
            f"{' or '.join(KEY_VARIABLES)}."
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


def shown_address(address: str) -> str:
    """An address as messages show it: without a query, which may hold a key.

    >>> shown_address("https://h/v1/embeddings?code=secret")
    'https://h/v1/embeddings'
    """
    parts = urllib.parse.urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))


def read_answer(body: bytes, count: int, address: str) -> NDArray[np.float32]:
    """(count, d) float32 vectors of an answer, put in the order of their index.

    An embedding is a list of numbers, or little-endian float32 in base64. Raises ApiFault where
    the answer is not of that form, or vectors are missing, of unlike widths, or not finite.
    """
    return read_answer_and_tokens(body, count, address)[0]


def read_answer_and_tokens(
    body: bytes, count: int, address: str, hiding: Callable[[str], str] = str
) -> tuple[NDArray[np.float32], int | None]:
    """As read_answer, and how many tokens the server says it read; None where it does not say.

    hiding: what a text is put through before a message tells it.
    """
    try:
        found = json.loads(body)
        items = found["data"]
        indexes = [int(item.get("index", at)) for at, item in enumerate(items)]
        vectors = [_vector(item["embedding"]) for item in items]
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error):
        said = hiding(body[:_SAID_BYTES].decode("utf-8", "replace"))[:80]
        raise ApiFault(
            f"{address} answered {said!r}, which is not a list of embeddings: give the address of "
            "an OpenAI-compatible /v1/embeddings."
        ) from None
    if sorted(indexes) != list(range(count)):
        raise ApiFault(
            f"{address} gave {len(indexes)} vectors for {count} texts: "
            "use a server that gives one vector a text."
        )
    widths = sorted({len(vector) for vector in vectors})
    if len(widths) != 1 or widths[0] == 0:
        raise ApiFault(
            f"{address} gave vectors of {' and '.join(map(str, widths))} dims in one answer: "
            "all must have one width."
        )
    out = np.empty((count, widths[0]), np.float32)
    for index, vector in zip(indexes, vectors, strict=True):
        out[index] = vector
    if not np.isfinite(out).all():
        raise ApiFault(
            f"{address} gave a vector that is not finite: use another model or mend the text."
        )
    return out, _tokens(found)


def _tokens(answer: dict[str, Any]) -> int | None:
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    told = usage.get("prompt_tokens", usage.get("total_tokens"))
    return told if isinstance(told, int) and 0 <= told < _MOST_TOKENS else None


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


def _message(error: urllib.error.HTTPError, hiding: Callable[[str], str]) -> str:
    """What the server says of a fault, as ", ..." or ""."""
    try:
        body: Any = json.loads(error.read(_SAID_BYTES))
        found = body.get("error", body)
        text = found if isinstance(found, str) else found.get("message", "")
    except (ValueError, AttributeError, OSError):
        return ""
    line = hiding(" ".join(str(text).split())).rstrip(".")
    return f", {line[:200]}" if line else ""


def _refusal(address: str, status: int, said: str, key_variables: Sequence[str]) -> str:
    if status in (401, 403):
        remedy = f"put a valid key into {' or '.join(key_variables)}"
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
