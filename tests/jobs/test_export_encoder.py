"""What an export to onnx is told; tests/bridge/test_onnx.py runs what it writes."""

import json

import pytest

import nestvec as nv
from nestvec.bridge import onnx

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture
def asked(monkeypatch):
    """The calls of write_onnx, which takes a minute with minilm, in turn."""
    calls = []

    def write(encoder, out, *, adapter, dims, progress):
        calls.append((encoder.name, str(out), adapter, dims))
        folder = out.with_suffix(".tokenizer")
        folder.mkdir()
        (folder / "tokenizer.json").write_text("{}")
        return onnx.OnnxFile(
            out=str(out), tokenizer=str(folder), model=encoder.name, width=dims or encoder.dim,
            metric="cosine", longest=256, query_prompt="", document_prompt="", adapted=False,
            difference=2e-7, inputs=13, bytes=90,
        )  # fmt: skip

    monkeypatch.setattr(onnx, "write_onnx", write)
    return calls


def test_a_collection_and_a_model(corpus_nv, tmp_path, asked):
    for src in (corpus_nv[0], "minilm"):
        out = tmp_path / f"{len(asked)}.onnx"
        found = nv.export(src, "onnx", out=out, dims=64)
        assert asked[-1][1:] == (str(out), None, 64)
        assert (found.target, found.rows, found.plan, found.loss) == ("onnx", 0, None, None)
        assert "vectors = session.run" in found.query
        said = json.loads(json.dumps(found.to_json()))
        assert said["facts"]["largest difference from torch"].startswith("2.0e-07 of a vector's")
        assert said["files"] == [str(out), str(out.with_suffix(".tokenizer") / "tokenizer.json")]
    assert asked[0][0] == asked[1][0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "needs a file; got none"),
        ({"out": "m.onnx", "plan": "raw:10"}, "writes an encoder; got --plan raw:10"),
        ({"out": "m.onnx", "dsn": "http://x"}, "writes an encoder; got --dsn http://x"),
    ],
)
def test_what_it_needs_and_what_not(options, words):
    with pytest.raises(nv.UserError, match=words):
        nv.export("minilm", "onnx", **options)


def test_rows_have_no_dims(vectors_nv):
    with pytest.raises(nv.UserError, match="writes rows; got --dims 8"):
        nv.export(vectors_nv[0], "faiss", out="x", dims=8)


def test_vectors_have_no_encoder(vectors_nv, tmp_path):
    with pytest.raises(nv.UserError, match="was built from vectors"):
        nv.export(vectors_nv[0], "onnx", out=tmp_path / "m.onnx")


def test_no_such_model(tmp_path):
    with pytest.raises(nv.UserError, match="does not exist"):
        nv.export("./none", "onnx", out=tmp_path / "m.onnx")
