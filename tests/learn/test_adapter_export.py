"""Adapters as sentence-transformers folders: the same vectors, from standard parts alone."""

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from nestvec.adapters.adapter import Adapter, Stage
from nestvec.adapters.maps import Linear, Reflections, Residual, Select
from nestvec.data.model_nesting import read_nesting
from nestvec.errors import UserError

DIM = 32
TEXTS = ["word1 word2", "word3", "word4 word5 word6 word7", "word8 word1 " * 20, ""]

ALONE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "nestvec":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocked())
try:
    import nestvec
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("nestvec is there")

import json
import numpy as np
from sentence_transformers import SentenceTransformer

folder, out, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
model = SentenceTransformer(folder, device="cpu")
np.save(out, model.encode(texts, show_progress_bar=False))
"""


def load(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(folder), device="cpu")


def export(*arguments):
    from nestvec.learn.adapters.export import export_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_model(*arguments)


def encode(model, texts=TEXTS, **options):
    return model.encode(texts, show_progress_bar=False, **options)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def residual(dim, hidden, seed=0):
    return Residual(
        normal(seed, dim, hidden), normal(seed + 1, hidden), normal(seed + 2, hidden, dim) / 8,
        normal(seed + 3, dim) / 8,
    )  # fmt: skip


def shuffled(dim, keep, seed=0):
    return Select(np.random.default_rng(seed).permutation(dim)[:keep])


KINDS = {
    "linear": (Linear(normal(0, DIM, 24)),),
    "residual": (residual(DIM, 20),),
    "reflections": (Reflections(normal(1, 6, DIM)),),
    "select": (shuffled(DIM, 24),),
    "all": (
        Reflections(normal(2, 4, DIM)), residual(DIM, 20, 3), shuffled(DIM, 28),
        Linear(normal(4, 28, 26)), residual(26, 8, 5), Linear(normal(6, 26, 24)),
    ),
    "none": (),
}  # fmt: skip
#: Dense parts that each takes: linear maps become one, or part of those of a residual beside them
PARTS = {"linear": 1, "residual": 2, "reflections": 1, "select": 1, "all": 3, "none": 1}


def adapter_of(maps, dim=DIM, widths=(8, 16)):
    rows = np.ones((1, dim), np.float32)
    for each in maps:
        rows = each.apply(rows)
    width = rows.shape[1]
    return Adapter("test", dim, (*widths, width), (Stage(width, maps),))


@pytest.fixture(scope="module")
def model(small_model):
    """The random BERT, loaded once; no test changes it."""
    return load(small_model)


@pytest.mark.parametrize("width", [None, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_an_export_gives_what_the_adapter_gives(kind, width, model, tmp_path):
    adapter = adapter_of(KINDS[kind])
    export(adapter, model, width, tmp_path / "out")
    exported = load(tmp_path / "out")
    wanted = adapter.transform(encode(model), width)
    found = encode(exported)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    dense = [part for part in exported if type(part).__name__ == "Dense"]
    assert len(dense) == PARTS[kind]
    assert exported.get_embedding_dimension() == (width or adapter.width)


def test_it_loads_without_nestvec_and_without_trust(model, tmp_path):
    adapter = adapter_of(KINDS["all"])
    export(adapter, model, 16, tmp_path / "out")
    ran = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, tmp_path / "out", tmp_path / "found.npy",
         json.dumps(TEXTS)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "trust" not in ran.stderr  # as an activation that is not torch's would be told
    wanted = adapter.transform(encode(model), 16)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), wanted, atol=1e-5)
    parts = json.loads((tmp_path / "out" / "modules.json").read_text(encoding="utf-8"))
    assert all(part["type"].startswith("sentence_transformers.") for part in parts)


def test_a_chain_of_stages_is_exported_at_a_width_between(model, tmp_path):
    stages = (
        Stage(DIM, (residual(DIM, 20), shuffled(DIM, DIM))),
        Stage(16, (Linear(normal(7, DIM, 16)),), 0),
        Stage(8, (residual(16, 4), shuffled(16, 8)), 1),
    )
    adapter = Adapter("test", DIM, (8, 12, 16, DIM), stages)
    export(adapter, model, 14, tmp_path / "out")
    wanted = adapter.transform(encode(model), 14)
    np.testing.assert_allclose(encode(load(tmp_path / "out")), wanted, atol=1e-5)
    # 8 has a stage of its own, which the folder is without
    assert read_nesting(tmp_path / "out").widths == (12,)


def test_vectors_of_any_length_come_out_alike(model, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        plain = SentenceTransformer(modules=list(model)[:2], device="cpu")
    adapter = adapter_of(KINDS["residual"])
    assert np.linalg.norm(encode(plain), axis=1).max() > 2
    export(adapter, plain, 16, tmp_path / "out")
    wanted = adapter.transform(encode(plain), 16)
    np.testing.assert_allclose(encode(load(tmp_path / "out")), wanted, atol=1e-5)


def test_the_model_keeps_its_ways_and_is_left_as_it_was(small_model, tmp_path):
    model = load(small_model)
    model.prompts = {"query": "word1 ", "document": "word2 "}
    model.default_prompt_name = "document"
    model.max_seq_length = 7
    model.similarity_fn_name = "dot"
    model.truncate_dim = 20
    before = encode(model)
    adapter = adapter_of((residual(20, 6), Linear(normal(8, 20, 20))), dim=20)
    export(adapter, model, None, tmp_path / "out")
    exported = load(tmp_path / "out")
    assert exported.prompts == model.prompts
    assert exported.default_prompt_name == "document"
    assert exported.max_seq_length == 7
    assert exported.similarity_fn_name == "cosine"
    wanted = adapter.transform(model.encode_query(TEXTS))
    np.testing.assert_allclose(exported.encode_query(TEXTS), wanted, atol=1e-5)
    np.testing.assert_allclose(encode(exported), adapter.transform(before), atol=1e-5)

    assert len(model) == 3
    assert model.truncate_dim == 20
    assert model.similarity_fn_name == "dot"
    np.testing.assert_array_equal(encode(model), before)


def test_a_path_will_do_and_the_folder_says_what_it_is(small_model, tmp_path):
    adapter = adapter_of(KINDS["linear"])
    export(adapter, small_model, 16, tmp_path / "out")
    assert encode(load(tmp_path / "out")).shape == (len(TEXTS), 16)
    assert read_nesting(tmp_path / "out").widths == (8, 16)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "## Adapter" in card
    assert "gives 16 dimensions" in card
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_units_that_nothing_reads_are_left_out():
    from nestvec.learn.adapters.export import affine_layers

    (first, _), (last, _) = affine_layers((residual(DIM, 20), Select(np.arange(4))), DIM)
    assert first.shape == (DIM, 20 + 2 * 4)
    assert last.shape == (20 + 2 * 4, 4)
    nothing = Linear(np.zeros((DIM, 4), np.float32))
    assert affine_layers((residual(DIM, 20), nothing), DIM)[1][0].shape == (20 + 2 * DIM, 4)


def test_what_cannot_be_exported_is_refused(model, tmp_path):
    adapter = adapter_of(KINDS["linear"])
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists already"):
        export(adapter, model, None, tmp_path / "out")
    with pytest.raises(UserError, match=r"of 40 dimensions; got a model of 32"):
        export(adapter_of((shuffled(40, 16),), dim=40), model, None, tmp_path / "new")
    with pytest.raises(UserError, match="widths from 1 to 24; got 25"):
        export(adapter, model, 25, tmp_path / "new")
    with pytest.raises(UserError, match="does not exist"):
        export(adapter, str(tmp_path / "no-model"), None, tmp_path / "new")
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_an_unknown_kind_of_map_is_refused():
    from nestvec.learn.adapters.export import affine_layers

    class Twist:
        kind = "twist"

    with pytest.raises(UserError, match="'twist'"):
        affine_layers((Twist(),), DIM)


def test_nothing_stands_at_out_after_a_failure(model, tmp_path, monkeypatch):
    from nestvec.learn.adapters import export as module

    def fail(*_arguments):
        raise OSError("no space left")

    monkeypatch.setattr(module, "_card_section", fail)
    with pytest.raises(OSError, match="no space"):
        export(adapter_of(KINDS["linear"]), model, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    export(adapter_of(KINDS["linear"]), model, None, tmp_path / "out")
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
