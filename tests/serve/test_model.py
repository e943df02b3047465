"""The encoder of a server: widths, names, and one text's fault that is its own."""

import base64

import numpy as np
import pytest

from nestvec.data.model_nesting import TrainedNesting
from nestvec.errors import UserError
from nestvec.serve.faults import Fault
from nestvec.serve.model import Model, embeddings_answer

from .conftest import DIM, WIDTHS, WordEncoder

TRAINED = TrainedNesting(WIDTHS, {})


def made(trained=TRAINED, any_dimensions=False, **changes):
    encoder = WordEncoder()
    for name, value in changes.items():
        setattr(encoder, name, value)
    return Model(encoder, trained, any_dimensions)


def test_texts_of_both_kinds_are_answered_in_order():
    model = made()
    asked = [("a", "query"), ("b", "document"), ("c d", "query")]
    found = model.work(asked)
    assert model.encoder.seen == [("query", ["a", "c d"]), ("document", ["b"])]
    for (text, _), each in zip(asked, found, strict=True):
        np.testing.assert_array_equal(each.vector, WordEncoder().encode([text], "query")[0])
        assert each.tokens == len(text.split())


def test_a_text_without_a_vector_is_alone_with_it():
    found = made().work([("a", "query"), ("broken", "query"), ("b", "document")])
    assert [isinstance(each, UserError) for each in found] == [False, True, False]


def test_widths_that_the_model_was_trained_for_are_given():
    model = made()
    assert [model.check_width(dims) for dims in (None, 8, 16, 32)] == ["", "", "", ""]
    assert "lie between" in model.check_width(12)
    with pytest.raises(Fault, match=r"8, 16, 32.*--any-dimensions") as found:
        model.check_width(7)
    assert (found.value.status, found.value.param) == (400, "dimensions")
    with pytest.raises(Fault, match="32 dimensions at most"):
        model.check_width(33)


def test_any_width_may_be_allowed_and_is_warned_of():
    model = made(any_dimensions=True)
    assert "not trained for 7" in model.check_width(7)
    with pytest.raises(Fault, match="at most"):
        model.check_width(33)
    assert "does not say" in made(None).check_width(7)
    assert made(None).check_width(DIM) == ""


def test_a_cut_has_length_1_where_vectors_are_compared_by_cosine():
    vectors = np.arange(1, 65, dtype=np.float32).reshape(2, 32)
    cut = made().cut(vectors, 8)
    expected = vectors[:, :8] / np.linalg.norm(vectors[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose(cut, expected, rtol=1e-6)
    np.testing.assert_array_equal(made(metric="dot").cut(vectors, 8), vectors[:, :8])
    assert made().cut(vectors, None) is vectors
    assert np.isfinite(made().cut(np.zeros((1, 32), np.float32), 8)).all()


def test_a_model_is_asked_for_by_its_name():
    model = made(name="/home/someone/models/tiny")
    assert model.name == "tiny"
    for name in (None, "tiny", "/home/someone/models/tiny"):
        model.check_name(name)
    with pytest.raises(Fault, match="'tiny' alone; got 'other'") as found:
        model.check_name("other")
    assert (found.value.status, found.value.code) == (404, "model_not_found")


def test_vectors_are_written_as_lists_or_base64():
    vectors = np.array([[0.5, -1.25], [3, 4]], np.float32)
    plain = embeddings_answer(vectors, 7, "float", "m")
    assert [each["embedding"] for each in plain["data"]] == [[0.5, -1.25], [3.0, 4.0]]
    assert plain["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    packed = embeddings_answer(vectors, 7, "base64", "m")["data"][1]["embedding"]
    assert base64.b64decode(packed) == np.array([3, 4], "<f4").tobytes()
