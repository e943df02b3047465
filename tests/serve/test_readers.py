"""Bodies of requests: what is read, and that nothing else ends in anything but a clear refusal."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nestvec.serve.faults import Fault
from nestvec.serve.readers import EmbeddingsAsked, SearchAsked, read_embeddings, read_search
from nestvec.serve.settings import Limits

LIMITS = Limits(texts=3, text_characters=20, hits=50)


def embeddings(**fields):
    return read_embeddings(json.dumps(fields).encode(), LIMITS)


def search(**fields):
    return read_search(json.dumps(fields).encode(), LIMITS)


def test_embeddings_are_asked_by_one_text_or_several():
    assert embeddings(input="a") == EmbeddingsAsked(("a",))
    assert embeddings(
        input=["a", "b"],
        model="m",
        dimensions=8,
        encoding_format="base64",
        input_type="query",
        user="u",
    ) == EmbeddingsAsked(("a", "b"), "m", 8, "base64", "query")
    # what clients send for what they do not want
    assert embeddings(input="a", model=None, dimensions=None, encoding_format=None).texts == ("a",)


def test_searches_are_asked_by_text_or_vector():
    assert search(query="a") == SearchAsked("a", None)
    assert search(vector=[1, 2.5], k=3, plan="8B:3", snippet=0) == SearchAsked(
        None, (1.0, 2.5), 3, "8B:3", snippet=0
    )
    assert search(query="a", bytes=8).bytes == 8
    assert search(query="a", dims=8, exact=False).dims == 8
    assert search(query="a", exact=True).exact


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({}, "input", "is needed"),
        ({"input": ""}, "input", "empty text"),
        ({"input": []}, "input", "empty list"),
        ({"input": [""]}, "input", "empty text"),
        ({"input": 3}, "input", "got 3"),
        ({"input": [3, 4]}, "input", "not token ids"),
        ({"input": [[3, 4], [5]]}, "input", "check_embedding_ctx_length=False"),
        ({"input": ["a", None]}, "input", "got null"),
        ({"input": ["a", True]}, "input", "got true"),
        ({"input": {"text": "a"}}, "input", "a list of texts"),
        ({"input": ["a"] * 4}, "input", "3 texts; got 4"),
        ({"input": "a" * 21}, "input", "20 characters a text; got 21"),
        ({"input": "\ud800"}, "input", "surrogate"),
        ({"input": "a", "model": 3}, "model", "a text; got 3"),
        ({"input": "a", "dimensions": 0}, "dimensions", "1 or more; got 0"),
        ({"input": "a", "dimensions": "8"}, "dimensions", 'got "8"'),
        ({"input": "a", "dimensions": 8.5}, "dimensions", "whole number"),
        ({"input": "a", "dimensions": True}, "dimensions", "whole number"),
        ({"input": "a", "dimensions": 10**4000}, "dimensions", "too many digits"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "float or base64"),
        ({"input": "a", "encoding_format": []}, "encoding_format", "float or base64"),
        ({"input": "a", "input_type": "title"}, "input_type", "query or document"),
        ({"input": "a", "dimension": 8}, "dimension", "leave it out"),
    ],
)
def test_embeddings_that_are_not_of_the_form_are_refused(fields, param, words):
    with pytest.raises(Fault) as found:
        embeddings(**fields)
    assert (found.value.status, found.value.param) == (400, param)
    assert words in found.value.message
    is_one_sentence(found.value)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({}, "query", "one of them"),
        ({"query": "a", "vector": [1]}, "query", "one of them"),
        ({"query": "  "}, "query", "must hold a word"),
        ({"query": ["a"]}, "query", "must be text"),
        ({"vector": []}, "vector", "list of numbers"),
        ({"vector": [1, "2"]}, "vector", 'got "2"'),
        ({"vector": [True]}, "vector", "got true"),
        ({"vector": [1e39]}, "vector", "finite"),
        ({"vector": [10**400]}, "vector", "finite"),
        ({"query": "a", "k": 0}, "k", "1 or more"),
        ({"query": "a", "k": -1}, "k", "1 or more"),
        ({"query": "a", "k": 51}, "k", "at most 50; got 51"),
        ({"query": "a", "k": 2**31}, "k", "1 or more"),
        ({"query": "a", "plan": 8}, "plan", "a text such as"),
        ({"query": "a", "plan": "8B:1," * 200}, "plan", "400 characters"),
        ({"query": "a", "plan": "8B:9", "bytes": 8}, "bytes", "beside plan"),
        ({"query": "a", "dims": 8, "exact": True}, "exact", "beside dims"),
        ({"query": "a", "exact": 1}, "exact", "true or false"),
        ({"query": "a", "snippet": -1}, "snippet", "0 or more"),
        ({"query": "a", "snippet": 10**6}, "snippet", "10,000"),
        ({"query": "a", "limit": 5}, "limit", "leave it out"),
    ],
)
def test_searches_that_are_not_of_the_form_are_refused(fields, param, words):
    with pytest.raises(Fault) as found:
        search(**fields)
    assert (found.value.status, found.value.param) == (400, param)
    assert words in found.value.message
    is_one_sentence(found.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"input"',
        b'{"input": NaN}',
        b'{"input": -Infinity}',
        b'{"input": "a"} x',
        b"\xff\xfe{\x00}\x00",
        b'{"input": "\xff"}',
        b'{"input":' * 5 + b"[" * 100_000,
        b'{"input": ' + b"1" * 5000 + b"}",
    ],
)
@pytest.mark.parametrize("read", [read_embeddings, read_search])
def test_what_is_no_json_object_is_refused(read, body):
    with pytest.raises(Fault) as found:
        read(body, LIMITS)
    assert found.value.status == 400
    is_one_sentence(found.value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(st.characters(codec=None), max_size=30),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=8,
)
_EMBEDDINGS = ["input", "model", "dimensions", "encoding_format", "input_type", "user"]
_SEARCH = ["query", "vector", "k", "plan", "bytes", "dims", "exact", "snippet", "other"]
NAMES = st.sampled_from([*_EMBEDDINGS, *_SEARCH])
BODIES = st.binary(max_size=60) | st.dictionaries(NAMES, JSON, max_size=5).map(
    lambda found: json.dumps(found).encode("utf-8", "surrogatepass")
)


@settings(max_examples=150)
@given(BODIES, st.data())
def test_whatever_comes_is_read_or_refused(body, data):
    if body and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(body) - 1))
        body = body[:at] + data.draw(st.binary(max_size=2)) + body[at + 1 :]
    for read in (read_embeddings, read_search):
        asked = outcome(read, body)
        if isinstance(asked, Fault):
            assert asked.status == 400
            is_one_sentence(asked)
        elif isinstance(asked, EmbeddingsAsked):
            assert 1 <= len(asked.texts) <= 3
            assert all(1 <= len(text) <= 20 and text.encode() for text in asked.texts)
        else:
            assert (asked.query is None) != (asked.vector is None)
            assert asked.vector is None or np.isfinite(np.array(asked.vector, np.float32)).all()
            assert asked.k is None or 1 <= asked.k <= 50


def outcome(read, body):
    try:
        return read(body, LIMITS)
    except Fault as fault:
        return fault


def is_one_sentence(fault):
    assert fault.message.endswith((".", "?"))
    assert "\n" not in fault.message
    assert len(fault.message) < 400
    error = json.loads(fault.body())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert not math.isnan(fault.status)
